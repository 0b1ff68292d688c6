//! Weighted k-means, one update at a time.

use super::Codebook;
use super::factors::{Factors, Side, leading_products};
use super::search::{Search, Searcher};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::variant::VariantKind;
use rand::RngExt;
use rand_pcg::Pcg64;

/// Rows of one search.
const ROWS: usize = 1 << 15;

/// Rows to cluster, each with the weight of its squared error.
#[derive(Debug)]
pub struct Points {
    /// Elements of a row.
    side: usize,
    rows: Vec<f32>,
    weights: Vec<f32>,
}

impl Points {
    pub fn new(side: usize) -> Self {
        Self { side, rows: Vec::new(), weights: Vec::new() }
    }

    /// The factors of the first products of every block `[blocks, side, side]`.
    pub fn of_factors(samples: &[f32], side: usize, products: usize) -> Self {
        let mut points = Self::new(side);
        for block in samples.chunks_exact(side * side) {
            for row in leading_products(block, side, products).iter().flat_map(|rows| rows.chunks_exact(side))
            {
                points.rows.extend_from_slice(row);
                // Both factors of a product have the same length.
                points.weights.push(row.iter().map(|value| value * value).sum());
            }
        }
        points
    }

    /// The best values of every factor, and in `places` the codeword that stands there.
    pub fn add_targets(&mut self, factors: &Factors, search: &Searcher<'_>, places: &mut Vec<u32>) {
        for block in 0..factors.blocks() {
            for product in 0..factors.products() {
                for side in Side::BOTH {
                    let weight = factors.target(search, block, product, side, &mut self.rows);
                    self.weights.push(weight);
                    places.push(factors.index(block, product, side));
                }
            }
        }
    }

    fn row(&self, at: usize) -> &[f32] {
        &self.rows[at * self.side..][..self.side]
    }

    /// A first codebook: rows at random, the heavier the likelier.
    pub fn draw(&self, codewords: usize, random: &mut Pcg64) -> Vec<f32> {
        let shares = running_sums(self.weights.iter().map(|weight| f64::from(*weight)));
        (0..codewords).flat_map(|_| self.row(pick(&shares, random))).copied().collect()
    }

    /// The nearest codeword of every row.
    pub async fn nearest(
        &self,
        gpu: &Gpu,
        variant: Option<VariantKind>,
        codewords: &[f32],
    ) -> Result<Vec<u32>> {
        let codebook = Codebook::from_floats(self.side, codewords)?.upload(gpu)?;
        let search = Search::new(gpu, variant, &codebook, ROWS.min(self.weights.len()))?;
        let mut nearest = Vec::with_capacity(self.weights.len());
        for rows in self.rows.chunks(ROWS * self.side) {
            nearest.extend(search.nearest(gpu, rows.to_vec()).await?);
        }
        Ok(nearest)
    }

    /// Moves every codeword to the weighted mean of its rows. One without any takes the place of a row, the likelier the larger its
    /// error.
    pub fn update(&self, codewords: &mut [f32], nearest: &[u32], random: &mut Pcg64) {
        let side = self.side;
        let errors = running_sums(nearest.iter().enumerate().map(|(at, &index)| {
            let codeword = &codewords[index as usize * side..][..side];
            let squares = self.row(at).iter().zip(codeword).map(|(z, c)| f64::from(z - c).powi(2));
            squares.sum::<f64>() * f64::from(self.weights[at])
        }));
        let mut sums = vec![0.0; codewords.len()];
        let mut weights = vec![0.0; codewords.len() / side];
        for (at, &index) in nearest.iter().enumerate() {
            let weight = f64::from(self.weights[at]);
            weights[index as usize] += weight;
            let sum = &mut sums[index as usize * side..][..side];
            sum.iter_mut().zip(self.row(at)).for_each(|(sum, z)| *sum += weight * f64::from(*z));
        }
        for (codeword, (sum, weight)) in
            codewords.chunks_exact_mut(side).zip(sums.chunks_exact(side).zip(weights))
        {
            if weight > 0.0 {
                codeword.iter_mut().zip(sum).for_each(|(value, sum)| *value = (sum / weight) as f32);
            } else {
                codeword.copy_from_slice(self.row(pick(&errors, random)));
            }
        }
    }
}

fn running_sums(shares: impl Iterator<Item = f64>) -> Vec<f64> {
    shares
        .scan(0.0, |sum, share| {
            *sum += share;
            Some(*sum)
        })
        .collect()
}

/// An index at random, as likely as its share; the last where all shares are 0.
fn pick(running: &[f64], random: &mut Pcg64) -> usize {
    let at = random.random::<f64>() * running.last().copied().unwrap_or(0.0);
    running.partition_point(|&sum| sum <= at).min(running.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_codeword_is_the_weighted_mean_of_its_rows() {
        let rows = vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0, 9.0, 9.0, 9.0];
        let points = Points { side: 4, rows, weights: vec![1.0, 3.0, 0.5] };
        let mut codewords = vec![1.0; 12];
        points.update(&mut codewords, &[1, 1, 2], &mut Pcg64::seed_from_u64(1));
        assert_eq!(codewords[4..8], [3.0, 4.0, 5.0, 6.0]);
        assert_eq!(codewords[8..], [9.0; 4]);
        // The first had no row and took the place of one.
        assert!((0..3).any(|row| points.row(row) == &codewords[..4]), "{codewords:?}");
    }

    #[test]
    fn rows_of_no_weight_are_never_drawn_beside_others() {
        let points = Points { side: 4, rows: vec![0.5; 12], weights: vec![0.0, 2.0, 0.0] };
        let shares = running_sums(points.weights.iter().map(|weight| f64::from(*weight)));
        assert_eq!(shares, [0.0, 2.0, 2.0]);
        let mut random = Pcg64::seed_from_u64(3);
        assert!((0..100).all(|_| pick(&shares, &mut random) == 1));
        assert_eq!(pick(&[0.0, 0.0], &mut random), 1);
    }
}
