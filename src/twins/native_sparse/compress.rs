//! Blocks of tokens become single keys and values.

use super::super::linear::linear;
use super::NativeSparseOptions;
use crate::kernels::linear_types::{Activation, WeightLayout};

/// φ of Eq. 7: how the l tokens of a block become one vector. The default is their mean.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phi<'a> {
    /// What becomes of the block.
    pub pool: Pool<'a>,
    /// `[kv_heads, l, dim]`, added to the tokens of every block first.
    pub positions: Option<&'a [f64]>,
}

/// What becomes of a block of tokens.
#[derive(Clone, Copy, Debug, Default)]
pub enum Pool<'a> {
    /// Its mean.
    #[default]
    Mean,
    /// A sum with the weights `[kv_heads, l]`.
    Weighted(&'a [f64]),
    /// A network's output.
    Mlp(CompressionMlp<'a>),
    /// One of these instead, `[batch, blocks, kv_heads, dim]`.
    Given(&'a [f64]),
}

/// W2 activation(W1 x + b1) + b2 of a block's tokens one behind the other, the same for all kv heads.
#[derive(Clone, Copy, Debug)]
pub struct CompressionMlp<'a> {
    /// `[l · dim, hidden]`.
    pub w1: &'a [f64],
    /// `[hidden]`.
    pub b1: &'a [f64],
    /// `[hidden, dim]`.
    pub w2: &'a [f64],
    /// `[dim]`.
    pub b2: &'a [f64],
    /// ReLU or SiLU; the paper does not say.
    pub activation: Activation,
}

impl<'a> Phi<'a> {
    /// The same for sequence `b` of `batch` alone.
    pub(super) fn sequence(&self, b: usize, batch: usize) -> Phi<'a> {
        match self.pool {
            Pool::Given(tensor) => {
                let width = tensor.len() / batch;
                Phi { pool: Pool::Given(&tensor[b * width..][..width]), ..*self }
            }
            _ => *self,
        }
    }
}

/// The complete blocks of one sequence `[tokens, kv_heads, dim]`: block i stands for the tokens i · d .. i · d + l. Gives
/// `[blocks, kv_heads, dim]`.
pub fn compress(
    x: &[f64],
    phi: &Phi,
    kv_heads: usize,
    dim: usize,
    options: &NativeSparseOptions,
) -> Vec<f64> {
    let &NativeSparseOptions { cmp_block, cmp_stride, .. } = options;
    let blocks = options.compressed_blocks(x.len() / (kv_heads * dim));
    if let Pool::Given(tensor) = phi.pool {
        assert_eq!(tensor.len(), blocks * kv_heads * dim, "compressed");
        return tensor.to_vec();
    }
    assert!(phi.positions.is_none_or(|positions| positions.len() == kv_heads * cmp_block * dim), "positions");
    let mut pooled = Vec::with_capacity(blocks * kv_heads * dim);
    for block in 0..blocks {
        for head in 0..kv_heads {
            // The block's tokens, [l, dim].
            let mut tokens = Vec::with_capacity(cmp_block * dim);
            for m in 0..cmp_block {
                let row = &x[((block * cmp_stride + m) * kv_heads + head) * dim..][..dim];
                tokens.extend(row.iter().enumerate().map(|(e, x)| {
                    x + phi.positions.map_or(0.0, |positions| positions[(head * cmp_block + m) * dim + e])
                }));
            }
            match phi.pool {
                Pool::Mean => pooled.extend(weighted_sum(&tokens, dim, |_| 1.0 / cmp_block as f64)),
                Pool::Weighted(weights) => {
                    pooled.extend(weighted_sum(&tokens, dim, |m| weights[head * cmp_block + m]));
                }
                Pool::Mlp(CompressionMlp { w1, b1, w2, b2, activation }) => {
                    let layer = |x: &[f64], w: &[f64], b: &[f64], activation| {
                        linear(x, w, Some(b), x.len(), b.len(), WeightLayout::InOut, activation)
                    };
                    pooled.extend(layer(&layer(&tokens, w1, b1, activation), w2, b2, Activation::None));
                }
                Pool::Given(_) => unreachable!("returned above"),
            }
        }
    }
    pooled
}

fn weighted_sum(tokens: &[f64], dim: usize, weight: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut sum = vec![0.0; dim];
    for (m, token) in tokens.chunks_exact(dim).enumerate() {
        sum.iter_mut().zip(token).for_each(|(sum, x)| *sum += weight(m) * x);
    }
    sum
}
