//! Dense attention: the exact baseline that everything else is measured against.

mod inputs;
mod tiles;

pub use inputs::{AttentionInputs, PackedSequences};

use super::Constants;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::models::native_sparse_cost::seen_blocks;
use crate::models::sqa_cost::visible_pairs;
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};
pub(crate) use inputs::{MOST_DIM, Shape};
use tiles::Route;
pub(crate) use tiles::record_combine;

/// The lse of a row without a visible key in GPU buffers, where WGSL has no infinity; [`lse_to_host`] makes it -inf.
pub const EMPTY_LSE: f32 = -1.0e30;

/// Configuration of [`Attention`]. The default is full, bidirectional attention with scale 1 / sqrt(head_dim).
#[derive(Clone, Debug, Default)]
pub struct AttentionConfig {
    /// A query sees keys at its own position and before; without it, all keys.
    pub causal: bool,
    /// Causal: the last `w` tokens including self (0: none). Otherwise: keys at most `w / 2` away, rounded down.
    pub window: Option<usize>,
    /// Position of the first query row, within ±2^29; `None`: the last query row stands at the last key.
    pub q_offset: Option<i64>,
    /// Keys that each stand for a block of tokens; needs `causal` and no window. A packed sequence has as many tokens as queries.
    pub key_blocks: Option<KeyBlocks>,
    /// Factor of q · k, finite; `None`: 1 / sqrt(head_dim).
    pub scale: Option<f32>,
    /// Allow fewer query heads than kv heads: output head j uses query head j mod query_heads (rSQA).
    pub tile_queries: bool,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

/// Keys of which number i stands for the tokens i · stride .. i · stride + block: a query at position t, in tokens, sees it where
/// i · stride + block <= t + 1 (Native Sparse Attention, arXiv 2502.11089, Eq. 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBlocks {
    /// Tokens of a block, at least 1.
    pub block: usize,
    /// Tokens from one block's first to the next one's, at least 1.
    pub stride: usize,
    /// Tokens of a sequence, or a cache's capacity: `lengths` count tokens, up to this. Keys past the complete blocks are not read.
    pub tokens: usize,
}

/// softmax(scale · q kᵀ + key_bias + mask) v, without a buffer of tokens x tokens.
///
/// FlashAttention-2 (arXiv 2307.08691) for many rows; split over keys for few (decode). Shapes are those of
/// [`AttentionInputs`]. q, k and v are f32 or f16 (k and v alike), head dims 1 to 256, sums f32. Error bound: 2e-5
/// absolute for outputs of size 1 (goldens `sqa_attn_*`); f16 storage adds its own rounding of the inputs.
/// Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct Attention {
    config: AttentionConfig,
    variant: Variant,
}

/// What [`Attention::record`] gives.
#[derive(Clone, Debug)]
pub struct AttentionOutput {
    /// `[batch, query_tokens, out_heads, value_dim]` f32, packed `[all query tokens, out_heads, value_dim]`; 0 in rows without
    /// a visible key. out_heads is the larger of query_heads and kv_heads.
    pub out: Tensor,
    /// Natural log of the sum of exp(logits), `[batch, query_tokens, out_heads]` f32, packed `[all query tokens, out_heads]`;
    /// [`EMPTY_LSE`] in rows without a visible key.
    pub lse: Tensor,
}

/// `AttentionParams` of attention/bindings.wgsl.
#[derive(encase::ShaderType)]
struct AttentionParams {
    batch: u32,
    query_tokens: u32,
    tokens: u32,
    query_heads: u32,
    kv_heads: u32,
    group: u32,
    q_offset: i32,
    align_end: u32,
    left: i32,
    right: i32,
    block: i32,
    stride: i32,
    capacity: u32,
    scale: f32,
    row_tiles: u32,
    splits: u32,
    split_tokens: u32,
}

/// Farther than any position: no bound.
pub(crate) const UNBOUNDED: i32 = 1 << 30;

const NAME: &str = "attention";

impl Attention {
    /// Checks the configuration against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: AttentionConfig) -> Result<Self> {
        check_position(NAME, config.scale, config.q_offset)?;
        if let Some(KeyBlocks { block, stride, tokens }) = config.key_blocks {
            for (key, value) in [("block", block), ("stride", stride), ("tokens", tokens)] {
                check_block(NAME, &format!("key_blocks.{key}"), value)?;
            }
            if !config.causal || config.window.is_some() {
                let found = format!("causal = {}, window = {:?}", config.causal, config.window);
                return Err(Error::config(NAME, "key_blocks", found, "causal attention without a window"));
            }
        }
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records attention over these inputs: one kernel, or a split one and its merge where there are few rows and many keys.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, inputs: AttentionInputs<'_>) -> Result<AttentionOutput> {
        let shape = inputs.check(NAME, self.config.tile_queries)?;
        let out = schedule.tensor("attention out", &shape.out_shape(), Dtype::F32)?;
        let lse = schedule.tensor("lse", &shape.lse_shape(), Dtype::F32)?;
        match tiles::route(self.variant.kind, &shape, self.reachable(&inputs, &shape)) {
            Route::Prefill(tile) => {
                let constants = tile.apply(self.constants(&inputs, &shape));
                let row_tiles = shape.rows().div_ceil(tile.rows);
                let recorder = schedule
                    .kernel("attention prefill", tile.kernel, &constants.pairs())?
                    .params(&self.params(&shape, row_tiles, 1, shape.tokens));
                inputs
                    .bind(recorder)?
                    .bind("out", &out)?
                    .bind("lse", &lse)?
                    .dispatch(row_tiles * shape.kv_heads * shape.batch, self.cost(&inputs, &shape))?;
            }
            Route::Decode { tile, splits, split_tokens, partials_per_split } => {
                let partials = splits * partials_per_split;
                let partial_shape = [&[partials], out.shape()].concat();
                let partial_out = schedule.tensor("partial out", &partial_shape, Dtype::F32)?;
                let state_shape = [&[partials], lse.shape(), &[2]].concat();
                let partial_state = schedule.tensor("partial state", &state_shape, Dtype::F32)?;
                let constants = tile.apply(self.constants(&inputs, &shape));
                let row_tiles = shape.rows().div_ceil(tile.rows);
                let recorder = schedule
                    .kernel("attention decode", tile.kernel, &constants.pairs())?
                    .params(&self.params(&shape, row_tiles, splits, split_tokens));
                inputs
                    .bind(recorder)?
                    .bind("partial_out", &partial_out)?
                    .bind("partial_state", &partial_state)?
                    .dispatch(
                        splits * row_tiles * shape.kv_heads * shape.batch,
                        self.cost(&inputs, &shape),
                    )?;
                tiles::record_combine(schedule, self.variant.kind, &partial_out, &partial_state, &out, &lse)?;
            }
        }
        Ok(AttentionOutput { out, lse })
    }

    fn constants(&self, inputs: &AttentionInputs<'_>, shape: &Shape) -> Constants {
        inputs
            .constants(shape)
            .flag("KEY_BIAS", inputs.key_bias.is_some())
            .flag("KEY_MASK", inputs.key_mask.is_some())
            .flag("BLOCKS", self.config.key_blocks.is_some())
            .flag("POSITIONS", inputs.positions.is_some())
            .flag("SUBGROUP", self.variant.kind.uses_subgroups())
    }

    fn params(&self, shape: &Shape, row_tiles: usize, splits: usize, split_tokens: usize) -> AttentionParams {
        let (left, right) = self.reach();
        AttentionParams {
            batch: shape.batch as u32,
            query_tokens: shape.query_tokens as u32,
            tokens: shape.tokens as u32,
            query_heads: shape.query_heads as u32,
            kv_heads: shape.kv_heads as u32,
            group: shape.group as u32,
            q_offset: self.config.q_offset.unwrap_or(0) as i32,
            align_end: self.config.q_offset.is_none() as u32,
            left,
            right,
            block: self.config.key_blocks.map_or(1, |blocks| blocks.block as i32),
            stride: self.config.key_blocks.map_or(1, |blocks| blocks.stride as i32),
            capacity: self.config.key_blocks.map_or(0, |blocks| blocks.tokens as u32),
            scale: self.config.scale.unwrap_or((shape.head_dim as f32).powf(-0.5)),
            row_tiles: row_tiles as u32,
            splits: splits as u32,
            split_tokens: split_tokens as u32,
        }
    }

    /// How far a query sees to its left and right.
    fn reach(&self) -> (i32, i32) {
        let bounded = |distance: usize| distance.min(UNBOUNDED as usize) as i32;
        match (self.config.causal, self.config.window) {
            (true, None) => (UNBOUNDED, 0),
            // A window of 0 tokens reaches to -1: nothing is visible.
            (true, Some(window)) => (bounded(window) - 1, 0),
            (false, None) => (UNBOUNDED, UNBOUNDED),
            (false, Some(window)) => (bounded(window / 2), bounded(window / 2)),
        }
    }

    /// How many keys the rows of one sequence can see between them.
    fn reachable(&self, inputs: &AttentionInputs<'_>, shape: &Shape) -> usize {
        let (left, right) = self.reach();
        // Positions of their own may lie anywhere.
        if inputs.positions.is_some() || left == UNBOUNDED {
            return shape.tokens;
        }
        shape.tokens.min((left + right + 1) as usize + shape.query_tokens - 1)
    }

    /// FLOPs over the visible pairs; bytes of every tensor once. Masked keys and cache lengths are not known here.
    fn cost(&self, inputs: &AttentionInputs<'_>, shape: &Shape) -> Cost {
        let AttentionConfig { causal, window, q_offset, .. } = self.config;
        let pairs = |queries: usize, keys: usize| {
            if let Some(KeyBlocks { block, stride, tokens }) = self.config.key_blocks {
                let first = q_offset.unwrap_or(tokens as i64 - queries as i64);
                return seen_blocks(queries, first, tokens, block, stride) as f64;
            }
            let offset = q_offset.unwrap_or(keys as i64 - queries as i64);
            visible_pairs(queries, keys, causal, window, offset) as f64
        };
        let pairs = match inputs.sequences.and_then(|sequences| sequences.lengths()) {
            Some(lengths) => lengths.map(|(queries, keys)| pairs(queries, keys)).sum(),
            None => shape.batch as f64 * pairs(shape.query_tokens, shape.tokens),
        };
        let flops = 2.0 * (shape.head_dim + shape.value_dim) as f64 * pairs * shape.out_heads() as f64;
        let out: usize = shape.out_shape().iter().product();
        let bytes = inputs.query.bytes() + inputs.key.bytes() + inputs.value.bytes() + 4 * out as u64;
        Cost { flops, bytes: bytes as f64 }
    }
}

/// What holds for the scale and the first position of every attention. Errors: `Config`.
pub(crate) fn check_position(
    operator: &'static str,
    scale: Option<f32>,
    q_offset: Option<i64>,
) -> Result<()> {
    if let Some(scale) = scale.filter(|scale| !scale.is_finite()) {
        return Err(Error::config(operator, "scale", scale, "a finite number"));
    }
    if let Some(offset) = q_offset.filter(|offset| offset.unsigned_abs() >= UNBOUNDED as u64 / 2) {
        return Err(Error::config(operator, "q_offset", offset, "a position within ±2^29"));
    }
    Ok(())
}

/// What holds for every number of tokens or blocks. Errors: `Config`.
pub(crate) fn check_block(operator: &'static str, key: &str, value: usize) -> Result<()> {
    if value == 0 || value >= UNBOUNDED as usize / 2 {
        return Err(Error::config(operator, key, value, "1 to 2^29 - 1"));
    }
    Ok(())
}

/// Turns the sentinel [`EMPTY_LSE`] of rows without a visible key into -inf, as files have it.
pub fn lse_to_host(lse: &mut [f32]) {
    for value in lse {
        if *value <= EMPTY_LSE * 0.5 {
            *value = f32::NEG_INFINITY;
        }
    }
}
