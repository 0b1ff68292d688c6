//! Attention of each query to the tokens of its listed blocks.

use super::NAME;
use super::selected_tiles::{Tile, tile};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::attention::{
    AttentionInputs, AttentionOutput, Shape, UNBOUNDED, check_block, check_position, record_combine,
};
use crate::kernels::expect_dtype;
use crate::models::sqa_cost::visible_pairs;
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};

/// Configuration of [`SelectedAttention`].
#[derive(Clone, Debug)]
pub struct SelectedConfig {
    /// l': tokens of a block, 1 to 2^29 - 1.
    pub sel_block: usize,
    /// Position of the first query row, within ±2^29; `None`: the last query row stands at the last key.
    pub q_offset: Option<i64>,
    /// Factor of q · k, finite; `None`: 1 / sqrt(head_dim).
    pub scale: Option<f32>,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

/// softmax(scale · q kᵀ) v over the tokens, not after the query, of the blocks listed for it (arXiv 2502.11089, Eq. 12). The query
/// heads that share a kv head share its lists.
///
/// q, k and v are f32 or f16 (k and v alike), head dims 1 to 256, sums f32. Keys that are not listed are not read. Error bound: 2e-5
/// absolute for outputs of size 1 (goldens `nsa_*`). Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct SelectedAttention {
    config: SelectedConfig,
    variant: Variant,
}

/// `SelectedParams` of native_sparse/selected_bindings.wgsl.
#[derive(encase::ShaderType)]
struct SelectedParams {
    batch: u32,
    query_tokens: u32,
    tokens: u32,
    kv_heads: u32,
    group: u32,
    q_offset: i32,
    align_end: u32,
    left: i32,
    right: i32,
    scale: f32,
    slots: u32,
    block: u32,
    head_tiles: u32,
    splits: u32,
    split_keys: u32,
}

impl SelectedAttention {
    /// Checks the configuration. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: SelectedConfig) -> Result<Self> {
        check_block(NAME, "sel_block", config.sel_block)?;
        check_position(NAME, config.scale, config.q_offset)?;
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records attention over the blocks `[batch, query_tokens, kv_heads, n]` u32, packed `[all query tokens, kv_heads, n]`, in any
    /// order. [`EMPTY_SLOT`](super::EMPTY_SLOT) and blocks that the sequence doesn't have are none; a block listed twice counts twice.
    /// `inputs` have no mask, bias or positions.
    ///
    /// Errors: `Shape`, `Config`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(
        &self,
        schedule: &mut Schedule,
        inputs: AttentionInputs<'_>,
        blocks: &Tensor,
    ) -> Result<AttentionOutput> {
        let shape = inputs.check(NAME, false)?;
        for (name, given) in [
            ("key_mask", inputs.key_mask.is_some()),
            ("key_bias", inputs.key_bias.is_some()),
            ("positions", inputs.positions.is_some()),
        ] {
            if given {
                return Err(Error::config(NAME, name, "given", "none, as keys come from a list"));
            }
        }
        let slots = self.check_blocks(&inputs, &shape, blocks)?;
        let out = schedule.tensor("selected out", &shape.out_shape(), Dtype::F32)?;
        let lse = schedule.tensor("selected lse", &shape.lse_shape(), Dtype::F32)?;
        let tile = tile(self.variant.kind, &shape, slots * self.block(&shape));
        let params = self.params(&shape, slots, &tile);
        let cost = self.cost(&inputs, &shape, blocks, slots);
        let constants =
            tile.apply(inputs.constants(&shape).flag("SUBGROUP", self.variant.kind.uses_subgroups()));
        let (names, results) = if tile.splits == 1 {
            (["out", "lse"], [out.clone(), lse.clone()])
        } else {
            let out_shape = [&[tile.splits], out.shape()].concat();
            let state_shape = [&[tile.splits], lse.shape(), &[2]].concat();
            let partial_out = schedule.tensor("selected partial out", &out_shape, Dtype::F32)?;
            let partial_state = schedule.tensor("selected partial state", &state_shape, Dtype::F32)?;
            (["partial_out", "partial_state"], [partial_out, partial_state])
        };
        let recorder =
            schedule.kernel("selected attention", tile.kernel, &constants.pairs())?.params(&params);
        inputs
            .bind(recorder)?
            .bind("blocks", blocks)?
            .bind(names[0], &results[0])?
            .bind(names[1], &results[1])?
            .dispatch(tile.workgroups(&shape), cost)?;
        if tile.splits > 1 {
            record_combine(schedule, self.variant.kind, &results[0], &results[1], &out, &lse)?;
        }
        Ok(AttentionOutput { out, lse })
    }

    /// Slots of a list.
    fn check_blocks(&self, inputs: &AttentionInputs<'_>, shape: &Shape, blocks: &Tensor) -> Result<usize> {
        expect_dtype(NAME, "idx", blocks, &[Dtype::U32])?;
        let rows = &inputs.query.shape()[..inputs.query.shape().len() - 2];
        let expected = [rows, &[shape.kv_heads]].concat();
        let found = blocks.shape();
        let slots = found.last().copied().unwrap_or(0);
        if found.len() != expected.len() + 1 || !found.starts_with(&expected) || slots == 0 {
            let expected = format!("{expected:?} and the number of blocks");
            return Err(Error::shape(NAME, "idx", format!("has shape {found:?}"), expected));
        }
        if slots.saturating_mul(self.block(shape)) >= 1 << 31 {
            let found = format!("lists {slots} blocks of {} tokens", self.block(shape));
            return Err(Error::shape(NAME, "idx", found, "fewer than 2^31 tokens"));
        }
        Ok(slots)
    }

    /// Tokens of a block; of one that would hold every sequence, as many as the longest has.
    fn block(&self, shape: &Shape) -> usize {
        self.config.sel_block.min(shape.tokens).max(1)
    }

    fn params(&self, shape: &Shape, slots: usize, tile: &Tile) -> SelectedParams {
        SelectedParams {
            batch: shape.batch as u32,
            query_tokens: shape.query_tokens as u32,
            tokens: shape.tokens as u32,
            kv_heads: shape.kv_heads as u32,
            group: shape.group as u32,
            q_offset: self.config.q_offset.unwrap_or(0) as i32,
            align_end: self.config.q_offset.is_none() as u32,
            left: UNBOUNDED,
            right: 0,
            scale: self.config.scale.unwrap_or((shape.head_dim as f32).powf(-0.5)),
            slots: slots as u32,
            block: self.block(shape) as u32,
            head_tiles: tile.head_tiles(shape) as u32,
            splits: tile.splits as u32,
            split_keys: tile.split_keys as u32,
        }
    }

    /// As if each query saw as many tokens as its list can hold; a key and its value count once for each list that has it, but no
    /// more than all of them once. What the lists hold and cache lengths are not known here.
    fn cost(&self, inputs: &AttentionInputs<'_>, shape: &Shape, blocks: &Tensor, slots: usize) -> Cost {
        let listed = slots * self.block(shape);
        let pairs = |queries: usize, keys: usize| {
            let offset = self.config.q_offset.unwrap_or(keys as i64 - queries as i64);
            visible_pairs(queries, keys, true, Some(listed), offset) as f64
        };
        let pairs = match inputs.sequences.and_then(|sequences| sequences.lengths()) {
            Some(lengths) => lengths.map(|(queries, keys)| pairs(queries, keys)).sum(),
            None => shape.batch as f64 * pairs(shape.query_tokens, shape.tokens),
        };
        let pair = (shape.head_dim + shape.value_dim) as f64;
        let all = (inputs.key.bytes() + inputs.value.bytes()) as f64;
        let read = pairs * pair * shape.kv_heads as f64 * inputs.key.dtype().size() as f64;
        let out: usize = shape.out_shape().iter().product();
        Cost {
            flops: 2.0 * pair * pairs * shape.out_heads() as f64,
            bytes: read.min(all) + (inputs.query.bytes() + blocks.bytes() + 4 * out as u64) as f64,
        }
    }
}
