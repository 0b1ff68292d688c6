//! The factors of a band of blocks: found by decomposition, replaced by codewords, improved one by one.
//!
//! A block T [side, side] is approximated by Σ_k l_k r_kᵀ over `rank · iterations` products whose factors are codewords. What is left,
//! E = T - Σ_k l_k r_kᵀ, is kept beside them.

use super::search::Searcher;
use crate::error::Result;
use nalgebra::DMatrix;

/// Squared lengths below this stand for a factor of zero: nothing can be learned from it.
const NOTHING: f32 = 1e-12;
/// Added to the diagonal of a refit, relative to 1, the range of a sample: equal left factors would leave it singular.
const RIDGE: f32 = 1e-6;

/// Which side of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Vertical, along y.
    Left,
    /// Horizontal, along x.
    Right,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Left, Side::Right];

    fn other(self) -> Side {
        if self == Side::Left { Side::Right } else { Side::Left }
    }
}

/// A band of blocks and the codewords that stand for them.
#[derive(Debug)]
pub struct Factors {
    side: usize,
    rank: usize,
    iterations: usize,
    /// What the codewords don't say, `[blocks, side, side]`.
    left_over: Vec<f32>,
    /// Codewords `[blocks, iterations · rank, 2]`, the left factor first.
    indices: Vec<u32>,
}

impl Factors {
    /// Blocks `[blocks, side, side]` with factors of zero, whatever the indices say: [`start`](Self::start) finds them.
    pub fn new(samples: Vec<f32>, side: usize, rank: usize, iterations: usize) -> Self {
        let blocks = samples.len() / (side * side);
        Self { side, rank, iterations, left_over: samples, indices: vec![0; blocks * rank * iterations * 2] }
    }

    pub fn blocks(&self) -> usize {
        self.left_over.len() / (self.side * self.side)
    }

    pub fn products(&self) -> usize {
        self.rank * self.iterations
    }

    pub fn index(&self, block: usize, product: usize, side: Side) -> u32 {
        self.indices[(block * self.products() + product) * 2 + (side == Side::Right) as usize]
    }

    fn set_index(&mut self, block: usize, product: usize, side: Side, index: u32) {
        let at = (block * self.products() + product) * 2 + (side == Side::Right) as usize;
        self.indices[at] = index;
    }

    fn left_over(&self, block: usize) -> &[f32] {
        &self.left_over[block * self.side * self.side..][..self.side * self.side]
    }

    /// Σ E², the squared error of a block.
    pub fn error(&self, block: usize) -> f64 {
        self.left_over(block).iter().map(|&value| f64::from(value) * f64::from(value)).sum()
    }

    /// First factors: in each iteration the leading products of a singular value decomposition of what is left, the left ones
    /// replaced by codewords, the right ones solved again for those and replaced.
    pub async fn start(&mut self, search: &Searcher<'_>) -> Result<()> {
        for iteration in 0..self.iterations {
            let first = iteration * self.rank;
            let mut rows = Vec::with_capacity(self.blocks() * self.rank * self.side);
            for block in 0..self.blocks() {
                rows.extend(leading_products(self.left_over(block), self.side, self.rank)[0].iter());
            }
            let left = search.ranked(rows).await?;
            let mut rows = Vec::with_capacity(self.blocks() * self.rank * self.side);
            for (block, left) in left.chunks_exact(self.rank).enumerate() {
                rows.extend(self.refit(block, left, search));
            }
            let right = search.ranked(rows).await?;
            for (at, (&left, &right)) in left.iter().zip(&right).enumerate() {
                let (block, product) = (at / self.rank, first + at % self.rank);
                self.set_index(block, product, Side::Left, left);
                self.set_index(block, product, Side::Right, right);
                self.add(block, search.codeword(left), search.codeword(right), -1.0);
            }
        }
        Ok(())
    }

    /// The right factors that fit what is left best, the left ones being given: (L Lᵀ + ridge) R = L E, L `[rank, side]`.
    fn refit(&self, block: usize, left: &[u32], search: &Searcher<'_>) -> Vec<f32> {
        let (rank, side) = (self.rank, self.side);
        let l = DMatrix::from_fn(rank, side, |k, y| search.codeword(left[k])[y]);
        let e = DMatrix::from_row_slice(side, side, self.left_over(block));
        let normal = &l * l.transpose() + DMatrix::identity(rank, rank) * RIDGE;
        let right = match normal.cholesky() {
            Some(cholesky) => cholesky.solve(&(&l * e)),
            None => DMatrix::zeros(rank, side),
        };
        (0..rank).flat_map(|k| (0..side).map(|x| right[(k, x)]).collect::<Vec<_>>()).collect()
    }

    /// E += sign · l rᵀ.
    fn add(&mut self, block: usize, left: &[f32], right: &[f32], sign: f32) {
        let side = self.side;
        let left_over = &mut self.left_over[block * side * side..][..side * side];
        for (line, &l) in left_over.chunks_exact_mut(side).zip(left) {
            for (value, &r) in line.iter_mut().zip(right) {
                *value += sign * l * r;
            }
        }
    }

    /// Replaces every factor in turn by the codeword that leaves the least error while the others stay. As the error is
    /// |r|² |l - target|² and a rest that l doesn't change, that is the codeword nearest to [`target`](Self::target), so that a
    /// sweep never makes an image worse.
    pub async fn sweep(&mut self, search: &Searcher<'_>) -> Result<()> {
        for product in 0..self.products() {
            for side in Side::BOTH {
                let mut rows = Vec::with_capacity(self.blocks() * self.side);
                for block in 0..self.blocks() {
                    self.target(search, block, product, side, &mut rows);
                }
                for (block, found) in search.single(rows).await?.into_iter().enumerate() {
                    self.replace(search, block, product, side, found);
                }
            }
        }
        Ok(())
    }

    /// Appends the best factor of any values, (E + l rᵀ) r / |r|² = l + E r / |r|² of a left one; returns |r|², the weight of its
    /// error. Where the other factor is zero, it is the factor itself.
    pub fn target(
        &self,
        search: &Searcher<'_>,
        block: usize,
        product: usize,
        side: Side,
        rows: &mut Vec<f32>,
    ) -> f32 {
        let factor = search.codeword(self.index(block, product, side));
        let other = search.codeword(self.index(block, product, side.other()));
        let squared: f32 = other.iter().map(|value| value * value).sum();
        let start = rows.len();
        rows.extend_from_slice(factor);
        if squared < NOTHING {
            return 0.0;
        }
        let target = &mut rows[start..];
        let lines = self.left_over(block).chunks_exact(self.side);
        match side {
            Side::Left => {
                for (value, line) in target.iter_mut().zip(lines) {
                    *value += line.iter().zip(other).map(|(e, r)| e * r).sum::<f32>() / squared;
                }
            }
            Side::Right => {
                for (line, l) in lines.zip(other) {
                    target.iter_mut().zip(line).for_each(|(value, e)| *value += e * l / squared);
                }
            }
        }
        squared
    }

    fn replace(&mut self, search: &Searcher<'_>, block: usize, product: usize, side: Side, found: u32) {
        let before = self.index(block, product, side);
        if found == before {
            return;
        }
        let other = search.codeword(self.index(block, product, side.other()));
        for (index, sign) in [(before, 1.0), (found, -1.0)] {
            let factor = search.codeword(index);
            match side {
                Side::Left => self.add(block, factor, other, sign),
                Side::Right => self.add(block, other, factor, sign),
            }
        }
        self.set_index(block, product, side, found);
    }

    /// The same factors with another codebook: what is left is computed anew from the samples `[blocks, side, side]`.
    pub fn restart(&mut self, samples: &[f32], search: &Searcher<'_>) {
        self.left_over.copy_from_slice(samples);
        for block in 0..self.blocks() {
            for product in 0..self.products() {
                let [left, right] = Side::BOTH.map(|side| search.codeword(self.index(block, product, side)));
                self.add(block, left, right, -1.0);
            }
        }
    }
}

/// The first `rank` products of the singular value decomposition of a block, `[left, right]`, each `[rank, side]`. The root of
/// a singular value goes into either factor, so that both sides use the codebook alike, and a left factor has a sum that is not negative,
/// so that no codeword is needed twice.
pub fn leading_products(block: &[f32], side: usize, rank: usize) -> [Vec<f32>; 2] {
    let mut products = [vec![0.0; rank * side], vec![0.0; rank * side]];
    let matrix = DMatrix::from_row_slice(side, side, block);
    // Without convergence the factors stay zero; the sweeps find what fits.
    let Some(svd) = matrix.try_svd(true, true, f32::EPSILON, 1000) else { return products };
    let (Some(u), Some(vt)) = (svd.u, svd.v_t) else { return products };
    for k in 0..rank.min(side) {
        let root = svd.singular_values[k].max(0.0).sqrt();
        let sign = if u.column(k).sum() < 0.0 { -root } else { root };
        for at in 0..side {
            products[0][k * side + at] = u[(at, k)] * sign;
            products[1][k * side + at] = vt[(k, at)] * sign;
        }
    }
    products
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_products_of_a_block_are_the_block() {
        let side = 8;
        let block: Vec<f32> =
            (0..64).map(|at: usize| ((at * at * 37 + at * 11) % 101) as f32 / 101.0).collect();
        let [left, right] = leading_products(&block, side, side);
        for y in 0..side {
            for x in 0..side {
                let sum: f32 = (0..side).map(|k| left[k * side + y] * right[k * side + x]).sum();
                assert!((sum - block[y * side + x]).abs() < 1e-5, "({y}, {x}): {sum}");
            }
        }
        let sums = left.chunks_exact(side).map(|factor| factor.iter().sum::<f32>());
        assert!(sums.into_iter().all(|sum| sum >= -1e-6));
    }

    #[test]
    fn a_block_of_nothing_has_factors_of_zero() {
        let [left, right] = leading_products(&[0.0; 16], 4, 2);
        assert!(left.iter().chain(&right).all(|value| *value == 0.0));
    }
}
