//! The blocks of tokens that score best against the pooled keys.

use super::{NAME, NativeSparseConfig};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::attention::{MOST_DIM, PackedSequences, check_block};
use crate::kernels::{Constants, ELEMENTWISE, FLOATS, expect_dtype, expect_shape, load_type};
use crate::models::native_sparse_cost::seen_blocks;
use crate::schedule::{Cost, Recorder, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};

/// Top-n selection of blocks (arXiv 2502.11089, Eq. 8 to 11), without a buffer of queries x blocks.
///
/// A block's score is what the group's heads attend to the compressed keys that overlap it: the sum of their softmax weights, each times
/// the tokens it shares with the block / cmp_stride. The list of a query at position t: its own block t / sel_block, the local blocks before it
/// (nearest first, n_local with the own one), the first n_init blocks, then the others before its own by score, equal
/// scores by the smaller number; top_n in all. Error bound of a score: 1e-5 · group absolute. Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct BlockSelection {
    config: NativeSparseConfig,
    variant: Variant,
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
    /// compressed keys `[all blocks, kv_heads, head_dim]`, lse and the result without a batch too. A sequence has as many tokens as
    /// queries. Excludes `lengths`.
    pub sequences: Option<&'a PackedSequences>,
}

impl SelectInputs<'_> {
    fn bind_sequences<'s>(&self, recorder: Recorder<'s>) -> Result<Recorder<'s>> {
        match self.sequences.map(|sequences| &sequences.bounds).or(self.lengths) {
            Some(sequences) => recorder.bind("sequences", sequences),
            None => Ok(recorder),
        }
    }
}

/// `SelectParams` of native_sparse/select_bindings.wgsl.
#[derive(encase::ShaderType)]
struct SelectParams {
    batch: u32,
    query_tokens: u32,
    tokens: u32,
    kv_heads: u32,
    group: u32,
    q_offset: i32,
    align_end: u32,
    block: i32,
    stride: i32,
    capacity: u32,
    all_tokens: u32,
    scale: f32,
    sel_block: u32,
    slots: u32,
    n_init: u32,
    n_local: u32,
    token_tiles: u32,
    splits: u32,
    split_blocks: u32,
}

/// Sizes of one selection.
#[derive(Clone, Copy, Debug)]
struct Shape {
    batch: usize,
    query_tokens: usize,
    /// Query tokens of all sequences.
    all_tokens: usize,
    /// Compressed keys of one sequence.
    keys: usize,
    /// Tokens of one sequence.
    tokens: usize,
    kv_heads: usize,
    group: usize,
    head_dim: usize,
}

/// A kernel and what its workgroups take. The reasons stand in the kernels' files.
#[derive(Clone, Debug)]
struct Tile {
    kernel: &'static str,
    /// Query tokens of a workgroup.
    tokens: usize,
    /// Blocks of a step.
    blocks: usize,
    constants: Vec<(&'static str, usize)>,
    /// Workgroups that fill the adapter.
    wanted_groups: usize,
}

impl BlockSelection {
    /// Checks the configuration against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: NativeSparseConfig) -> Result<Self> {
        config.check()?;
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records the selection: `[batch, query_tokens, kv_heads, top_n]` u32, ascending, [`EMPTY_SLOT`](super::EMPTY_SLOT) behind the last.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, inputs: &SelectInputs<'_>) -> Result<Tensor> {
        let shape = self.check(inputs)?;
        let tile = self.tile(&shape);
        let candidates = shape.tokens.div_ceil(self.config.sel_block);
        let token_tiles = shape.query_tokens.div_ceil(tile.tokens);
        let others = token_tiles * shape.kv_heads * shape.batch;
        // Enough workgroups to fill the adapter, but ranges of at least four steps.
        let most_splits = candidates.div_ceil(4 * tile.blocks);
        let splits = tile.wanted_groups.div_ceil(others).clamp(1, most_splits);
        let split_blocks = candidates.div_ceil(splits).next_multiple_of(tile.blocks);
        let splits = candidates.div_ceil(split_blocks);

        let slots = self.config.top_n;
        let lists =
            [&inputs.query.shape()[..inputs.query.shape().len() - 2], &[shape.kv_heads, slots]].concat();
        let best =
            schedule.tensor("best blocks", &[&[splits], lists.as_slice(), &[2]].concat(), Dtype::U32)?;
        let blocks = schedule.tensor("selected blocks", &lists, Dtype::U32)?;
        let params = SelectParams {
            batch: shape.batch as u32,
            query_tokens: shape.query_tokens as u32,
            tokens: shape.keys as u32,
            kv_heads: shape.kv_heads as u32,
            group: shape.group as u32,
            q_offset: self.first_position(inputs, &shape).unwrap_or(0) as i32,
            align_end: self.first_position(inputs, &shape).is_none() as u32,
            block: self.config.cmp_block as i32,
            stride: self.config.cmp_stride as i32,
            capacity: shape.tokens as u32,
            all_tokens: shape.all_tokens as u32,
            scale: self.config.scale.unwrap_or((shape.head_dim as f32).powf(-0.5)),
            sel_block: self.config.sel_block as u32,
            slots: slots as u32,
            n_init: self.config.n_init.min(u32::MAX as usize) as u32,
            n_local: self.config.n_local.min(1 << 30) as u32,
            token_tiles: token_tiles as u32,
            splits: splits as u32,
            split_blocks: split_blocks as u32,
        };
        let flags = Constants::new()
            .flag("PACKED", inputs.sequences.is_some())
            .flag("LENGTHS", inputs.lengths.is_some());
        let constants = tile.constants.iter().fold(flags.clone(), |all, (name, value)| all.set(name, value));
        let constants = constants
            .set("HEAD_DIM", shape.head_dim)
            .flag("QUERY_F16", inputs.query.dtype() == Dtype::F16)
            .set("QUERY_TYPE", load_type(inputs.query.dtype(), shape.head_dim))
            .set("KEY_TYPE", load_type(Dtype::F32, shape.head_dim))
            .set("BLOCKS", tile.blocks);
        let recorder = schedule
            .kernel("score blocks", tile.kernel, &constants.pairs())?
            .params(&params)
            .bind("query", inputs.query)?
            .bind("key", inputs.cmp_key)?
            .bind("lse", inputs.lse_cmp)?
            .bind("best", &best)?;
        inputs.bind_sequences(recorder)?.dispatch(splits * others, self.cost(inputs, &shape, &best))?;

        let recorder = schedule
            .kernel("pick blocks", "native_sparse/pick_blocks", &flags.set("WORKGROUP", ELEMENTWISE).pairs())?
            .params(&params)
            .bind("best", &best)?
            .bind("blocks", &blocks)?;
        inputs.bind_sequences(recorder)?.dispatch(
            (shape.batch * shape.query_tokens * shape.kv_heads).div_ceil(ELEMENTWISE),
            Cost { flops: 0.0, bytes: (best.bytes() + blocks.bytes()) as f64 },
        )?;
        Ok(blocks)
    }

    fn check(&self, inputs: &SelectInputs<'_>) -> Result<Shape> {
        let &SelectInputs { query, cmp_key, lse_cmp, tokens, lengths, sequences } = inputs;
        let wrong = |name: &str, tensor: &Tensor, expected: &str| {
            Error::shape(NAME, name, format!("has shape {:?}", tensor.shape()), expected)
        };
        let with_batch = |name: &str, tensor: &Tensor, expected: &str| match (sequences, tensor.shape()) {
            (None, &[batch, rows, heads, dim]) => Ok([batch, rows, heads, dim]),
            (Some(_), &[rows, heads, dim]) => Ok([1, rows, heads, dim]),
            _ => Err(wrong(name, tensor, expected)),
        };
        let [batch, query_tokens, query_heads, head_dim] =
            with_batch("q", query, "[batch, query_tokens, query_heads, head_dim]")?;
        let [key_batch, keys, kv_heads, key_dim] =
            with_batch("compressed k", cmp_key, "[batch, blocks, kv_heads, head_dim]")?;
        for (name, tensor) in [("q", query), ("compressed k", cmp_key)] {
            if tensor.elements() == 0 {
                return Err(wrong(name, tensor, "no empty dimension"));
            }
        }
        check_block(NAME, "tokens", tokens)?;
        expect_dtype(NAME, "q", query, &FLOATS)?;
        expect_dtype(NAME, "compressed k", cmp_key, &[Dtype::F32])?;
        if (key_batch, key_dim) != (batch, head_dim)
            || !query_heads.is_multiple_of(kv_heads)
            || head_dim > MOST_DIM
        {
            let expected = format!(
                "[{batch}, blocks, a divisor of {query_heads}, {head_dim}], dims up to {MOST_DIM}, as q"
            );
            return Err(wrong("compressed k", cmp_key, &expected));
        }
        expect_dtype(NAME, "lse", lse_cmp, &[Dtype::F32])?;
        expect_shape(NAME, "lse", lse_cmp, &query.shape()[..query.shape().len() - 1])?;
        let mut shape = Shape {
            batch,
            query_tokens,
            all_tokens: batch * query_tokens,
            keys,
            tokens,
            kv_heads,
            group: query_heads / kv_heads,
            head_dim,
        };
        if let Some(lengths) = lengths {
            if sequences.is_some() {
                return Err(Error::config(NAME, "lengths", "given", "none beside packed sequences"));
            }
            expect_dtype(NAME, "lengths", lengths, &[Dtype::U32])?;
            expect_shape(NAME, "lengths", lengths, &[batch])?;
        }
        if let Some(sequences) = sequences {
            shape.batch = sequences.count;
            shape.query_tokens = sequences.most_query_tokens;
            shape.keys = sequences.most_tokens;
            shape.tokens = sequences.most_query_tokens;
        }
        Ok(shape)
    }

    /// Where the first query stands; `None` where only the GPU knows.
    fn first_position(&self, inputs: &SelectInputs<'_>, shape: &Shape) -> Option<i64> {
        match (inputs.sequences, self.config.q_offset, inputs.lengths) {
            (Some(_), _, _) => Some(0),
            (None, Some(offset), _) => Some(offset),
            (None, None, Some(_)) => None,
            (None, None, None) => Some(shape.tokens as i64 - shape.query_tokens as i64),
        }
    }

    fn tile(&self, shape: &Shape) -> Tile {
        let keys_per_block = self.config.sel_block / self.config.cmp_stride;
        let overlap = self.config.cmp_block / self.config.cmp_stride - 1;
        // Blocks whose keys fit into a number of keys, at least one.
        let blocks_of = |keys: usize| (keys.saturating_sub(overlap) / keys_per_block).max(1);
        let &Shape { group, query_tokens, .. } = shape;
        // The software build unrolls the blocks that a key reaches into; past a few the other one is better.
        if self.variant.kind.is_cpu() && overlap <= 3 * keys_per_block {
            return tile_cpu(self.variant.kind, shape, keys_per_block, overlap + 1);
        }
        let rows = if group * query_tokens <= 32 { 32 } else { 64 };
        let tokens = (rows / group).clamp(1, query_tokens.max(1));
        Tile {
            kernel: "native_sparse/score_blocks",
            tokens,
            blocks: blocks_of(32).min(1024 / tokens),
            constants: vec![("ROW_TILE", rows), ("TOKENS", tokens), ("HEAD_TILES", group.div_ceil(rows))],
            wanted_groups: 1024,
        }
    }

    /// One product of each query and each compressed key it sees. Cache lengths are not known here.
    fn cost(&self, inputs: &SelectInputs<'_>, shape: &Shape, best: &Tensor) -> Cost {
        let first =
            self.first_position(inputs, shape).unwrap_or(shape.tokens as i64 - shape.query_tokens as i64);
        let (block, stride) = (self.config.cmp_block, self.config.cmp_stride);
        let seen = seen_blocks(shape.query_tokens, first, shape.tokens, block, stride);
        let pairs = shape.batch as f64 * seen as f64;
        let heads = (shape.kv_heads * shape.group) as f64;
        Cost {
            flops: 2.0 * shape.head_dim as f64 * pairs * heads,
            bytes: (inputs.query.bytes() + inputs.cmp_key.bytes() + inputs.lse_cmp.bytes() + best.bytes())
                as f64,
        }
    }
}

/// Groups of up to 4 do best with a lane for each token, larger ones share their keys.
fn tile_cpu(kind: VariantKind, shape: &Shape, keys_per_block: usize, span: usize) -> Tile {
    let &Shape { group, head_dim, .. } = shape;
    let subgroup = kind == VariantKind::Cpu && group > 4;
    let (most, keys) = match (subgroup, head_dim) {
        (true, ..=64) => (2, 4),
        (true, ..=128) => (2, 2),
        (true, _) => (1, 2),
        (false, ..=64) => (4, 1),
        (false, ..=128) => (2, 1),
        (false, _) => (1, 1),
    };
    let lanes = if subgroup { 8 } else { 1 };
    let rows = group.div_ceil(lanes).min(most);
    Tile {
        kernel: "native_sparse/score_blocks_cpu",
        tokens: 8 / lanes,
        blocks: 16,
        constants: vec![
            ("SUBGROUP", subgroup as usize),
            ("ROWS", rows),
            ("KEYS", keys),
            ("BLOCK_KEYS", keys_per_block),
            ("SPAN", span),
            ("REACH", (span - 1).div_ceil(keys_per_block) + 1),
            ("HEAD_TILES", group.div_ceil(lanes * rows)),
        ],
        wanted_groups: 16,
    }
}
