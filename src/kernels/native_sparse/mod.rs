//! Native Sparse Attention: three sparse branches, gated.
#![doc = include_str!("../../../docs/native_sparse_attention.md")]

mod cache;
mod compress;
mod gates;
mod inputs;
mod select;
mod selected;
mod selected_tiles;

pub use cache::{CacheShape, NativeSparseCache, NewTokens};
pub use compress::{BlockMlp, BlockPool, Compression};
pub use gates::Gates;
pub use inputs::NativeSparseInputs;
pub use select::{BlockSelection, SelectInputs};
pub use selected::{SelectedAttention, SelectedConfig};

use super::attention::{
    Attention, AttentionConfig, AttentionInputs, KeyBlocks, PackedSequences, check_block, check_position,
};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::models::native_sparse_cost::compressed_blocks;
use crate::schedule::Schedule;
use crate::tensor::Tensor;
use crate::variant::{Variant, VariantKind};

/// An empty slot of a block list in GPU buffers: -1 as a signed integer.
pub const EMPTY_SLOT: u32 = u32::MAX;

const NAME: &str = "native_sparse";

/// Configuration of [`NativeSparseAttention`].
#[derive(Clone, Debug, PartialEq)]
pub struct NativeSparseConfig {
    /// l: tokens that one compressed key stands for; a multiple of `cmp_stride`.
    pub cmp_block: usize,
    /// d: tokens from one compressed block's first to the next one's.
    pub cmp_stride: usize,
    /// l': tokens of a block that is selected as a whole; a multiple of `cmp_stride`.
    pub sel_block: usize,
    /// n: blocks that a query reads, forced ones included.
    pub top_n: usize,
    /// w: tokens of the sliding window, the query's own included; 0 switches the branch off.
    pub window: usize,
    /// First blocks of the sequence that every query reads.
    pub n_init: usize,
    /// Blocks, its own and those before it, that every query reads.
    pub n_local: usize,
    /// Position of the first query row, within ±2^29; `None`: the last query row stands at the last key.
    pub q_offset: Option<i64>,
    /// Factor of q · k in every branch, finite; `None`: 1 / sqrt(head_dim).
    pub scale: Option<f32>,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl Default for NativeSparseConfig {
    /// The paper's: blocks of 32 every 16 tokens, 16 of 64 selected, first and two local ones forced, a window of 512.
    fn default() -> Self {
        Self {
            cmp_block: 32,
            cmp_stride: 16,
            sel_block: 64,
            top_n: 16,
            window: 512,
            n_init: 1,
            n_local: 2,
            q_offset: None,
            scale: None,
            variant: None,
        }
    }
}

impl NativeSparseConfig {
    /// Every rule that needs no device. Errors: `Config`.
    pub(crate) fn check(&self) -> Result<()> {
        let counts = [
            ("cmp_block", self.cmp_block),
            ("cmp_stride", self.cmp_stride),
            ("sel_block", self.sel_block),
            ("top_n", self.top_n),
        ];
        for (key, value) in counts {
            check_block(NAME, key, value)?;
        }
        for (key, value) in [("cmp_block", self.cmp_block), ("sel_block", self.sel_block)] {
            if !value.is_multiple_of(self.cmp_stride) {
                let expected = format!("a multiple of cmp_stride = {}", self.cmp_stride);
                return Err(Error::config(NAME, key, value, expected));
            }
        }
        check_position(NAME, self.scale, self.q_offset)
    }

    /// Complete compression blocks of `tokens` tokens.
    pub fn compressed_blocks(&self, tokens: usize) -> usize {
        compressed_blocks(tokens, self.cmp_block, self.cmp_stride)
    }
}

/// Native Sparse Attention (arXiv 2502.11089): each query attends to pooled blocks of all earlier tokens, to the tokens of the
/// few blocks that score best there, and to a sliding window; a gate for each branch weighs the three results.
///
/// ```text
/// out_t = g_cmp · A(q_t, pooled blocks) + g_slc · A(q_t, selected blocks) + g_swa · A(q_t, window)
/// ```
///
/// All query heads that share a kv head read the same blocks. Shapes are those of [`NativeSparseInputs`]. q, k and v are f32 or f16
/// (k and v alike), head dims 1 to 256, sums f32. Error bound: 2e-5 absolute for outputs of size 1 (goldens `nsa_*`); where two
/// blocks score within 1e-5 · group of each other, either may be selected. Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct NativeSparseAttention {
    config: NativeSparseConfig,
    variant: Variant,
}

/// What [`NativeSparseAttention::record`] gives. A tensor that is dropped at once may share its memory.
#[derive(Clone, Debug)]
pub struct NativeSparseOutput {
    /// `[batch, query_tokens, query_heads, value_dim]` f32.
    pub out: Tensor,
    /// The compressed branch, shape of `out`, before the gate; 0 where no block is complete yet.
    pub o_cmp: Tensor,
    /// The selected branch, shape of `out`, before the gate.
    pub o_slc: Tensor,
    /// The window, shape of `out`, before the gate.
    pub o_swa: Tensor,
    /// `[batch, query_tokens, kv_heads, top_n]` u32, ascending, [`EMPTY_SLOT`] behind the last block.
    pub blocks: Tensor,
    /// Natural log of the sum of exp(logits) of each branch, `[batch, query_tokens, query_heads]` f32;
    /// [`EMPTY_LSE`](crate::kernels::attention::EMPTY_LSE) in rows without a visible key.
    pub lse_cmp: Tensor,
    /// The same of the selected branch.
    pub lse_slc: Tensor,
    /// The same of the window.
    pub lse_swa: Tensor,
}

impl NativeSparseAttention {
    /// Checks the configuration. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: NativeSparseConfig) -> Result<Self> {
        config.check()?;
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records the three branches and their gated sum.
    ///
    /// Errors: `Shape`, `Config`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(
        &self,
        schedule: &mut Schedule,
        inputs: &NativeSparseInputs<'_>,
    ) -> Result<NativeSparseOutput> {
        let shape = inputs.check(&self.config)?;
        let config = &self.config;
        let gpu = schedule.gpu().clone();
        let (scale, variant) = (config.scale, Some(self.variant.kind));
        let q_offset = config.q_offset.or(inputs.first_position(&shape));
        let bounds = inputs.sequences.map(|sequences| compress::record_bounds(schedule, config, sequences));
        let bounds = bounds.transpose()?;
        let blocks_of = |sequences: &PackedSequences, bounds: &Tensor| {
            let most = config.compressed_blocks(sequences.most_tokens).max(1);
            PackedSequences::from_tensor(bounds, sequences.most_query_tokens, most)
        };
        let block_sequences =
            inputs.sequences.zip(bounds.as_ref()).map(|(s, b)| blocks_of(s, b)).transpose()?;
        let dense = AttentionConfig { causal: true, q_offset, scale, variant, ..Default::default() };

        // 1. Every query against the pooled blocks (Eq. 7).
        let (cmp_key, cmp_value) =
            compress::record(schedule, config, inputs, &shape, bounds.as_ref(), self.variant.kind)?;
        let key_blocks =
            KeyBlocks { block: config.cmp_block, stride: config.cmp_stride, tokens: shape.tokens };
        let compressed =
            Attention::new(&gpu, AttentionConfig { key_blocks: Some(key_blocks), ..dense.clone() })?.record(
                schedule,
                AttentionInputs {
                    key: &cmp_key,
                    value: &cmp_value,
                    sequences: block_sequences.as_ref(),
                    ..inputs.attention()
                },
            )?;

        // 2. The blocks that score best there (Eq. 8 to 11).
        let blocks = match inputs.blocks {
            Some(blocks) => blocks.clone(),
            None => BlockSelection::new(&gpu, NativeSparseConfig { q_offset, ..config.clone() })?.record(
                schedule,
                &SelectInputs {
                    query: inputs.query,
                    cmp_key: &cmp_key,
                    lse_cmp: &compressed.lse,
                    tokens: shape.tokens,
                    lengths: inputs.lengths,
                    sequences: block_sequences.as_ref(),
                },
            )?,
        };
        drop((cmp_key, cmp_value));

        // 3. Their tokens (Eq. 12), 4. the window.
        let selected = SelectedAttention::new(
            &gpu,
            SelectedConfig { sel_block: config.sel_block, q_offset, scale, variant },
        )?
        .record(schedule, inputs.attention(), &blocks)?;
        let (window_key, window_value) = inputs.window.unwrap_or((inputs.key, inputs.value));
        let window = Attention::new(&gpu, AttentionConfig { window: Some(config.window), ..dense })?.record(
            schedule,
            AttentionInputs { key: window_key, value: window_value, ..inputs.attention() },
        )?;

        // 5. The gated sum (Eq. 5).
        let out =
            gates::record(schedule, &inputs.gates, &shape, [&compressed.out, &selected.out, &window.out])?;
        Ok(NativeSparseOutput {
            out,
            o_cmp: compressed.out,
            o_slc: selected.out,
            o_swa: window.out,
            blocks,
            lse_cmp: compressed.lse,
            lse_slc: selected.lse,
            lse_swa: window.lse,
        })
    }
}
