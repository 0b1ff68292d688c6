//! A cache of keys, values and their compressed blocks, so that one plan serves every decode step.

use super::compress::{Slots, record_into};
use super::{Compression, Gates, NAME, NativeSparseAttention, NativeSparseInputs, NativeSparseOutput};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::cache::KvCache;
use crate::kernels::dims;
use crate::schedule::Schedule;
use crate::tensor::{Dtype, Tensor};

/// Keys and values of earlier tokens, and the compressed blocks of them that are complete: 1 / cmp_stride more memory than
/// [`KvCache`]. Clones share the memory.
#[derive(Clone, Debug)]
pub struct NativeSparseCache {
    /// Keys and values of all tokens, since any block may be selected later.
    pub tokens: KvCache,
    /// Those that the compressed branch pools, where it has its own.
    pub compressed: Option<KvCache>,
    /// Those that the window reads, where it has its own.
    pub window: Option<KvCache>,
    /// Compressed keys `[batch, blocks, kv_heads, head_dim]` f32.
    pub cmp_key: Tensor,
    /// Compressed values `[batch, blocks, kv_heads, value_dim]` f32.
    pub cmp_value: Tensor,
}

/// Sizes of a [`NativeSparseCache`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// Sequences.
    pub batch: usize,
    /// Tokens that one sequence can hold.
    pub capacity: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a key.
    pub head_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
    /// Of keys and values, f32 or f16; with f16 the rows (kv_heads · dim) must be even. Compressed blocks are f32.
    pub dtype: Dtype,
    /// The compressed branch has keys and values of its own.
    pub own_compressed: bool,
    /// The window has keys and values of its own.
    pub own_window: bool,
}

/// Keys and values `[batch, new_tokens, kv_heads, dim]` f32 of the next tokens.
#[derive(Clone, Copy, Debug)]
pub struct NewTokens<'a> {
    /// Key and value of the selected branch, and of the branches without their own.
    pub tokens: (&'a Tensor, &'a Tensor),
    /// Of the compressed branch; given where the cache holds its own.
    pub compressed: Option<(&'a Tensor, &'a Tensor)>,
    /// Of the window; given where the cache holds its own.
    pub window: Option<(&'a Tensor, &'a Tensor)>,
    /// How complete blocks are compressed; not [`Compression::Given`].
    pub compression: Compression<'a>,
}

impl<'a> NewTokens<'a> {
    /// One key and value for all branches, pooled by their mean.
    pub fn new(key: &'a Tensor, value: &'a Tensor) -> Self {
        Self { tokens: (key, value), compressed: None, window: None, compression: Compression::Mean }
    }
}

impl NativeSparseCache {
    /// An empty cache for an operator of this configuration.
    ///
    /// Errors: `Config`, `Limit`, `OutOfMemory`.
    pub fn new(gpu: &Gpu, operator: &NativeSparseAttention, shape: CacheShape) -> Result<Self> {
        let CacheShape { batch, capacity, kv_heads, head_dim, value_dim, dtype, .. } = shape;
        let make = || KvCache::new(gpu, batch, capacity, kv_heads, head_dim, value_dim, dtype);
        let tokens = make()?;
        let blocks = operator.config.compressed_blocks(capacity).max(1);
        let zeros = |label, dim| Tensor::zeros(gpu, label, &[batch, blocks, kv_heads, dim], Dtype::F32);
        Ok(Self {
            tokens,
            compressed: shape.own_compressed.then(make).transpose()?,
            window: shape.own_window.then(make).transpose()?,
            cmp_key: zeros("compressed keys", head_dim)?,
            cmp_value: zeros("compressed values", value_dim)?,
        })
    }

    /// Tokens that one sequence can hold.
    pub fn capacity(&self) -> usize {
        self.tokens.capacity()
    }

    /// Makes every sequence empty again; takes effect before the next submit. Errors: `DeviceLost`.
    pub fn clear(&self, gpu: &Gpu) -> Result<()> {
        let zeros = vec![0; self.tokens.lengths.elements()];
        for cache in self.all() {
            cache.set_lengths(gpu, &zeros)?;
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &KvCache> {
        [Some(&self.tokens), self.compressed.as_ref(), self.window.as_ref()].into_iter().flatten()
    }
}

impl NativeSparseAttention {
    /// Records: put new tokens behind the cached ones, and compress the blocks that they complete. Any number of tokens at a time.
    ///
    /// Tokens past the capacity are dropped on the GPU; a caller that counts them refuses earlier. Errors: `Shape`, `Config`, `Limit`,
    /// `Schedule` for a tensor of another [`Gpu`].
    pub fn record_append(
        &self,
        schedule: &mut Schedule,
        cache: &NativeSparseCache,
        new: &NewTokens<'_>,
    ) -> Result<()> {
        let branches = [
            ("tokens", Some(&cache.tokens), Some(new.tokens)),
            ("compressed", cache.compressed.as_ref(), new.compressed),
            ("window", cache.window.as_ref(), new.window),
        ];
        for (name, cache, pair) in branches {
            match (cache, pair) {
                (Some(cache), Some((key, value))) => cache.record_append(schedule, key, value)?,
                (None, None) => {}
                (cache, _) => {
                    let words = |given| if given { "given" } else { "not given" };
                    let (found, expected) = (words(cache.is_none()), words(cache.is_some()));
                    return Err(Error::config(NAME, name, found, format!("{expected}, as in the cache")));
                }
            }
        }
        let source = cache.compressed.as_ref().unwrap_or(&cache.tokens);
        let [batch, new_tokens, kv_heads, _] = dims(NAME, "k", new.tokens.0, "[batch, tokens, heads, dim]")?;
        let capacity = cache.cmp_key.shape()[1];
        let slots = Slots {
            batch,
            tokens: cache.capacity(),
            kv_heads,
            block: self.config.cmp_block,
            stride: self.config.cmp_stride,
            // So many can have their last token among the new ones.
            blocks: ((new_tokens - 1) / self.config.cmp_stride + 1).min(capacity),
            capacity,
            packed: None,
            lengths: Some(&source.lengths),
            variant: self.variant.kind,
        };
        let (sources, results) = ([&source.key, &source.value], [&cache.cmp_key, &cache.cmp_value]);
        record_into(schedule, &new.compression, &slots, sources, results)
    }

    /// Records attention of the last tokens of each cached sequence, query `[batch, query_tokens, query_heads, head_dim]`: the rows that
    /// [`record`](Self::record) over the whole sequence would give them.
    ///
    /// Errors: `Shape`, `Config` where the operator has a `q_offset`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record_attend(
        &self,
        schedule: &mut Schedule,
        cache: &NativeSparseCache,
        query: &Tensor,
        gates: Gates<'_>,
    ) -> Result<NativeSparseOutput> {
        if let Some(offset) = self.config.q_offset {
            return Err(Error::config(NAME, "q_offset", offset, "none, as the cache knows its lengths"));
        }
        let inputs = NativeSparseInputs {
            compression: Compression::Given { key: &cache.cmp_key, value: &cache.cmp_value },
            window: cache.window.as_ref().map(|window| (&window.key, &window.value)),
            lengths: Some(&cache.tokens.lengths),
            ..NativeSparseInputs::new(query, &cache.tokens.key, &cache.tokens.value, gates)
        };
        self.record(schedule, &inputs)
    }
}
