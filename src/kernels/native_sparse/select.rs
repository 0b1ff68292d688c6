//! The blocks of tokens that score best against the pooled keys.

use super::NativeSparseConfig;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::attention::PackedSequences;
use crate::schedule::Schedule;
use crate::tensor::Tensor;

/// Top-n selection of blocks (arXiv 2502.11089, Eq. 8 to 11), without a buffer of queries x blocks.
///
/// Order of a query at position t: its own block t / sel_block, the local blocks before it (nearest first, n_local with the own
/// one), the first n_init blocks, then the others not after its own by score, equal scores by the smaller number.
#[derive(Clone, Debug)]
pub struct BlockSelection {
    config: NativeSparseConfig,
}

/// What [`BlockSelection`] reads.
#[derive(Clone, Copy, Debug)]
pub struct SelectInputs<'a> {
    /// `[batch, query_tokens, query_heads, head_dim]`, f32 or f16.
    pub query: &'a Tensor,
    /// Compressed keys `[batch, blocks, kv_heads, head_dim]`, f32.
    pub cmp_key: &'a Tensor,
    /// lse of the compressed branch `[batch, query_tokens, query_heads]` f32.
    pub lse_cmp: &'a Tensor,
    /// Tokens of a sequence; a cache's capacity.
    pub tokens: usize,
    /// `[batch]` u32: tokens per sequence where there is room for more.
    pub lengths: Option<&'a Tensor>,
    /// Sequences behind each other, whose key bounds count compressed keys: query `[all query tokens, query_heads, head_dim]`,
    /// compressed keys `[all blocks, kv_heads, head_dim]`, lse and the result without a batch too. Excludes `lengths`.
    pub sequences: Option<&'a PackedSequences>,
}

impl BlockSelection {
    /// Checks the configuration. Errors: `Config`.
    pub fn new(_gpu: &Gpu, config: NativeSparseConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config })
    }

    /// Records the selection: `[batch, query_tokens, kv_heads, top_n]` u32, ascending, [`EMPTY_SLOT`](super::EMPTY_SLOT) behind the last.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, _schedule: &mut Schedule, _inputs: &SelectInputs<'_>) -> Result<Tensor> {
        let _ = &self.config;
        Err(Error::Schedule("to come".into()))
    }
}
