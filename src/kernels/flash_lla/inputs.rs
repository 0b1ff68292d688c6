//! What local linear attention reads, and every rule its shapes follow.

use crate::error::{Error, Result};
use crate::kernels::attention::{AttentionInputs, Shape};
use crate::kernels::{expect_dtype, expect_shape};
use crate::tensor::{Dtype, Tensor};

/// Largest head dim that the kernels are tiled for.
pub const MOST_DIM: usize = 128;

/// Tensors of one local linear attention. query_heads is a multiple of kv_heads, and query head i reads kv head
/// i / (query_heads / kv_heads).
#[derive(Clone, Copy, Debug)]
pub struct FlashLlaInputs<'a> {
    /// `[batch, query_tokens, query_heads, head_dim]`, f32 or f16.
    pub query: &'a Tensor,
    /// `[batch, tokens, kv_heads, head_dim]`, f32 or f16.
    pub key: &'a Tensor,
    /// `[batch, tokens, kv_heads, value_dim]`, dtype of the keys.
    pub value: &'a Tensor,
    /// `[query_tokens, ceil(tokens / 32)]` u32, ANDed with the causal mask: bit s % 32 of word s / 32 says whether key s is
    /// visible to a query token, for every sequence and head. [`pack_mask`] makes it. Excludes `lengths`.
    pub mask: Option<&'a Tensor>,
    /// `[batch, tokens]` f32, added to the logits of a key in natural-log units.
    pub key_bias: Option<&'a Tensor>,
    /// `[batch]` u32: keys per sequence where `key` and `value` are caches with room for more. Lengths past the capacity
    /// count as the capacity.
    pub lengths: Option<&'a Tensor>,
}

impl<'a> FlashLlaInputs<'a> {
    /// Queries, keys and values alone.
    pub fn new(query: &'a Tensor, key: &'a Tensor, value: &'a Tensor) -> Self {
        Self { query, key, value, mask: None, key_bias: None, lengths: None }
    }

    /// Every shape rule.
    pub(super) fn check(&self, operator: &'static str) -> Result<Shape> {
        let dense = AttentionInputs {
            key_bias: self.key_bias,
            lengths: self.lengths,
            ..AttentionInputs::new(self.query, self.key, self.value)
        };
        let shape = dense.check(operator, false)?;
        for (name, dim) in [("q", shape.head_dim), ("v", shape.value_dim)] {
            if dim > MOST_DIM {
                let found = format!("has head dim {dim}");
                return Err(Error::shape(operator, name, found, format!("1 to {MOST_DIM}")));
            }
        }
        if let Some(mask) = self.mask {
            if self.lengths.is_some() {
                return Err(Error::config(operator, "lengths", "given", "none beside a mask"));
            }
            expect_dtype(operator, "mask", mask, &[Dtype::U32])?;
            expect_shape(operator, "mask", mask, &[shape.query_tokens, shape.tokens.div_ceil(32)])?;
        }
        Ok(shape)
    }
}

/// The bits of a mask `[query_tokens, tokens]`, true = visible, as [`FlashLlaInputs::mask`] wants them:
/// `[query_tokens, ceil(tokens / 32)]`. Trailing elements that don't fill a row are left out.
pub fn pack_mask(mask: &[bool], tokens: usize) -> Vec<u32> {
    let word = |bits: &[bool]| bits.iter().rev().fold(0, |word, &bit| word << 1 | bit as u32);
    mask.chunks_exact(tokens.max(1)).flat_map(|row| row.chunks(32).map(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::pack_mask;

    #[test]
    fn a_mask_packs_row_by_row() {
        let mut mask = vec![false; 2 * 35];
        for at in [0, 33, 35 + 1, 35 + 31, 35 + 34] {
            mask[at] = true;
        }
        assert_eq!(pack_mask(&mask, 35), [1, 2, 1 << 31 | 2, 4]);
    }
}
