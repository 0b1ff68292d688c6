//! What Native Sparse Attention reads, and every rule its shapes follow.

use super::{Compression, Gates, NAME, NativeSparseConfig};
use crate::error::{Error, Result};
use crate::kernels::attention::{AttentionInputs, PackedSequences, Shape};
use crate::kernels::{expect_dtype, expect_shape};
use crate::tensor::{Dtype, Tensor};

/// Tensors of one Native Sparse Attention. query_heads is a multiple of kv_heads, and query head i reads kv head
/// i / (query_heads / kv_heads). The branches share keys and values unless `compressed` or `window` bring their own.
#[derive(Clone, Copy, Debug)]
pub struct NativeSparseInputs<'a> {
    /// `[batch, query_tokens, query_heads, head_dim]`, f32 or f16.
    pub query: &'a Tensor,
    /// Keys of the selected branch, `[batch, tokens, kv_heads, head_dim]`, f32 or f16.
    pub key: &'a Tensor,
    /// Values of the selected branch, `[batch, tokens, kv_heads, value_dim]`, dtype of the keys.
    pub value: &'a Tensor,
    /// How the branches are weighed.
    pub gates: Gates<'a>,
    /// How a block of tokens becomes one key and one value.
    pub compression: Compression<'a>,
    /// Keys and values that the compressed branch pools instead, shapes of `key` and `value`.
    pub compressed: Option<(&'a Tensor, &'a Tensor)>,
    /// Keys and values that the window reads instead, shapes of `key` and `value`.
    pub window: Option<(&'a Tensor, &'a Tensor)>,
    /// `[batch, query_tokens, kv_heads, n]` u32: read these blocks instead of the best ones;
    /// [`EMPTY_SLOT`](super::EMPTY_SLOT) is none, a block listed twice counts twice.
    pub blocks: Option<&'a Tensor>,
    /// `[batch]` u32: tokens per sequence where keys and values are caches with room for more.
    pub lengths: Option<&'a Tensor>,
    /// Sequences of different lengths behind each other, queries and keys with the same bounds: all tensors without their batch,
    /// `[all tokens, ..]`. Excludes `lengths`.
    pub sequences: Option<&'a PackedSequences>,
}

impl<'a> NativeSparseInputs<'a> {
    /// One set of keys and values for all branches, pooled by their mean.
    pub fn new(query: &'a Tensor, key: &'a Tensor, value: &'a Tensor, gates: Gates<'a>) -> Self {
        Self {
            query,
            key,
            value,
            gates,
            compression: Compression::Mean,
            compressed: None,
            window: None,
            blocks: None,
            lengths: None,
            sequences: None,
        }
    }

    /// Query, key and value as dense attention takes them.
    pub(super) fn attention(&self) -> AttentionInputs<'a> {
        AttentionInputs {
            lengths: self.lengths,
            sequences: self.sequences,
            ..AttentionInputs::new(self.query, self.key, self.value)
        }
    }

    /// Where the first query row stands if the configuration doesn't say; `None` where only the GPU knows.
    pub(super) fn first_position(&self, shape: &Shape) -> Option<i64> {
        match (self.sequences, self.lengths) {
            (Some(_), _) => Some(0),
            (None, Some(_)) => None,
            (None, None) => Some(shape.tokens as i64 - shape.query_tokens as i64),
        }
    }

    /// Every shape rule.
    pub(super) fn check(&self, config: &NativeSparseConfig) -> Result<Shape> {
        let shape = self.attention().check(NAME, false)?;
        if self.sequences.is_some() {
            if let Some(offset) = config.q_offset.filter(|offset| *offset != 0) {
                return Err(Error::config(NAME, "q_offset", offset, "0 or none beside packed sequences"));
            }
            let (queries, keys) = (self.query.shape()[0], self.key.shape()[0]);
            if queries != keys {
                let found = format!("has {queries} packed tokens");
                return Err(Error::shape(NAME, "q", found, format!("{keys}, as k")));
            }
        }
        self.gates.check(&shape)?;
        for (name, pair) in [("compressed", self.compressed), ("window", self.window)] {
            let Some((key, value)) = pair else { continue };
            expect_shape(NAME, &format!("{name} k"), key, self.key.shape())?;
            expect_shape(NAME, &format!("{name} v"), value, self.value.shape())?;
            expect_dtype(NAME, &format!("{name} k"), key, &[self.key.dtype()])?;
            expect_dtype(NAME, &format!("{name} v"), value, &[self.value.dtype()])?;
        }
        if let Some(blocks) = self.blocks {
            expect_dtype(NAME, "idx", blocks, &[Dtype::U32])?;
            let found = blocks.shape();
            let rows = &self.query.shape()[..self.query.shape().len() - 2];
            let expected = [rows, &[shape.kv_heads]].concat();
            if found.len() != expected.len() + 1 || !found.starts_with(&expected) || blocks.elements() == 0 {
                let expected = format!("{expected:?} and the number of blocks");
                return Err(Error::shape(NAME, "idx", format!("has shape {found:?}"), expected));
            }
        }
        Ok(shape)
    }
}
