//! Few rows against many keys (decode): the weighted moments of keys and values from one pass over them, split over ranges of
//! keys; their merge; and one Cholesky solution per row. Nothing is iterated, and the time doesn't depend on the data.

use super::decode_tiles::{CpuTile, Record, Tile, even};
use super::summary::Tiling;
use super::{FlashLla, FlashLlaInputs, FlashLlaOutput};
use crate::error::Result;
use crate::kernels::attention::{Shape, UNBOUNDED};
use crate::kernels::{Constants, ELEMENTWISE, load_type};
use crate::models::sqa_cost::visible_pairs;
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::VariantKind;

/// Rows of a (sequence, kv head) up to which moments are formed. On a GPU the iteration has one workgroup for each kv head, and
/// 32 rows in it: with few rows most of the machine stands idle.
const MOST_ROWS: usize = 16;
/// Kv heads of all sequences up to which they are formed: more fill any machine with the iteration's tiles. 4096 windows of 441 keys
/// with 16 rows each took 10 to 15 s by moments on lavapipe, 2 s by the iteration.
const MOST_HEADS: usize = 1024;
/// Keys from which they are formed; the iteration records a dispatch for each of `max_iters`.
const LEAST_TOKENS: usize = 128;
/// rows · head_dim up to which the software builds form moments. Their cost grows with rows · head_dim², that of an iteration
/// with 8 · head_dim. Measured on lavapipe, 2 cores, 2 kv heads, 4096 keys, f32, milliseconds of moments against the iteration
/// to rtol 1e-3 and 1e-5 (ridge 0.1) on normal keys, which it solves in 3 to 10 iterations, and on clustered ones (19 to 26):
///
/// | rows x head dim | moments | normal keys | clustered keys |
/// |---|---|---|---|
/// | 1 x 64 | 4.1 | 7.2, 8.0 | 11, 13 |
/// | 4 x 64 | 9 | 5.1, 6.2 | 13, 17 |
/// | 8 x 64 | 17 | 5.4, 6.4 | 12, 15 |
/// | 8 x 16 | 3.1 | 3.5, 3.6 | 4.8, 5.4 |
/// | 16 x 16 | 5.2 | 2.1, 2.4 | 4.2, 5.0 |
/// | 4 x 128 | 35 | 12, 15 | 22, 29 |
///
/// 1024 keys, 4 x 64: 3.1 against 3.6, 4.1 and 3.2, 3.9; 32768 keys: 79 against 35, 43 and 94, 109. The portable build there, 4096
/// keys, 4 x 64: 54 against 63, 91 and 185, 236.
const MOST_CPU_SIZE: usize = 256;
/// Ridge below which the software builds form moments at any size: the iteration takes 40 to more than 64 rounds there.
const SMALL_RIDGE: f32 = 0.01;
/// Moments take head_dim (head_dim + value_dim) floats for a row and range. They, and the weights of the software builds, stay
/// within half of what WebGPU lets a binding hold.
const MOST_BYTES: usize = 64 << 20;

/// `DecodeParams` of flash_lla/decode_bindings.wgsl.
#[derive(encase::ShaderType)]
struct DecodeParams {
    batch: u32,
    query_tokens: u32,
    tokens: u32,
    query_heads: u32,
    kv_heads: u32,
    group: u32,
    q_offset: i32,
    align_end: u32,
    right: i32,
    scale: f32,
    row_tiles: u32,
    splits: u32,
    split_keys: u32,
    ridge: f32,
    ridge_floor: f32,
}

/// Whether few enough rows face enough keys, and nothing is asked for that only the iteration has: a mask, or no iteration at all,
/// which is softmax attention.
pub(super) fn suits(operator: &FlashLla, inputs: &FlashLlaInputs<'_>, shape: &Shape) -> bool {
    let (kind, ridge) = (operator.variant.kind, operator.config.ridge);
    let small = shape.rows() * shape.head_dim <= MOST_CPU_SIZE || ridge < SMALL_RIDGE;
    let rows = shape.batch * shape.kv_heads * shape.rows();
    let weights = if kind.is_cpu() { 4 * rows * shape.tokens } else { 0 };
    inputs.mask.is_none()
        && operator.config.max_iters > 0
        && shape.rows() <= MOST_ROWS
        && shape.batch * shape.kv_heads <= MOST_HEADS
        && shape.tokens >= LEAST_TOKENS
        && (!kind.is_cpu() || small)
        && weights.max(4 * rows * Record::new(shape).floats()) <= MOST_BYTES
}

pub(super) fn record(
    operator: &FlashLla,
    schedule: &mut Schedule,
    inputs: &FlashLlaInputs<'_>,
    shape: &Shape,
) -> Result<FlashLlaOutput> {
    let decode = Decode { operator, inputs, shape, record: Record::new(shape), kind: operator.variant.kind };
    let moments =
        if decode.kind.is_cpu() { decode.cpu_moments(schedule)? } else { decode.moments(schedule)? };
    let merged = decode.merge(schedule, &moments)?;
    decode.solve(schedule, &merged)
}

struct Decode<'a> {
    operator: &'a FlashLla,
    inputs: &'a FlashLlaInputs<'a>,
    shape: &'a Shape,
    record: Record,
    kind: VariantKind,
}

/// What the software builds keep between their steps.
struct CpuParts {
    /// `[rows, tokens]`, relative to the maximum of the lane that has the key.
    weights: Tensor,
    /// `[rows, splits, 8, 4]`: maximum, sum and the key of the maximum, for each lane.
    lanes: Tensor,
    moments: Tensor,
}

impl CpuParts {
    fn splits(&self) -> usize {
        self.moments.shape()[1]
    }
}

/// Fewest keys of a range in the software builds.
const CPU_SPLIT_KEYS: usize = 64;

impl Decode<'_> {
    fn rows(&self) -> usize {
        self.shape.batch * self.shape.kv_heads * self.shape.rows()
    }

    /// Ranges of keys, as many as wanted where none gets fewer than `least_keys` and their records fit.
    fn splits(&self, wanted: usize, least_keys: usize) -> usize {
        let allowed = MOST_BYTES / (4 * self.record.floats() * self.rows());
        wanted.min(self.shape.tokens.div_ceil(least_keys)).min(allowed).max(1)
    }

    fn params(&self, row_tiles: usize, splits: usize, split_keys: usize) -> DecodeParams {
        let (shape, config) = (self.shape, &self.operator.config);
        DecodeParams {
            batch: shape.batch as u32,
            query_tokens: shape.query_tokens as u32,
            tokens: shape.tokens as u32,
            query_heads: shape.query_heads as u32,
            kv_heads: shape.kv_heads as u32,
            group: shape.group as u32,
            q_offset: config.q_offset.unwrap_or(0) as i32,
            align_end: config.q_offset.is_none() as u32,
            right: if config.causal { 0 } else { UNBOUNDED },
            scale: config.scale.unwrap_or((shape.head_dim as f32).powf(-0.5)),
            row_tiles: row_tiles as u32,
            splits: splits as u32,
            split_keys: split_keys as u32,
            ridge: config.ridge,
            ridge_floor: config.ridge_floor,
        }
    }

    fn dims(&self) -> Constants {
        Constants::new()
            .set("HEAD_DIM", self.shape.head_dim)
            .set("VALUE_DIM", self.shape.value_dim)
            .flag("LENGTHS", self.inputs.lengths.is_some())
    }

    fn query_and_key(&self) -> Constants {
        let (query, key) = (self.inputs.query.dtype(), self.inputs.key.dtype());
        self.dims()
            .flag("QUERY_F16", query == Dtype::F16)
            .flag("KEY_F16", key == Dtype::F16)
            .set("QUERY_TYPE", load_type(query, self.shape.head_dim))
            .set("KEY_TYPE", load_type(key, self.shape.head_dim))
    }

    /// `flops` for each visible pair of a query and a key; keys and values once, and what is written.
    fn cost(&self, flops: usize, written: &Tensor) -> Cost {
        let (shape, config) = (self.shape, &self.operator.config);
        let offset = config.q_offset.unwrap_or(shape.tokens as i64 - shape.query_tokens as i64);
        let pairs = visible_pairs(shape.query_tokens, shape.tokens, config.causal, None, offset) as f64;
        let bytes = self.inputs.key.bytes() + self.inputs.value.bytes() + written.bytes();
        let heads = (shape.batch * shape.query_heads) as f64;
        Cost { flops: flops as f64 * pairs * heads, bytes: bytes as f64 }
    }

    /// Step 1: the moments of every row over every range of keys.
    fn moments(&self, schedule: &mut Schedule) -> Result<Tensor> {
        let shape = self.shape;
        let tile = Tile::new(shape, self.record);
        let row_tiles = shape.rows().div_ceil(tile.rows);
        let groups = row_tiles * shape.kv_heads * shape.batch;
        let splits = self.splits(256usize.div_ceil(groups), 4 * tile.keys);
        let moments =
            schedule.tensor("lla moments", &[self.rows(), splits, self.record.floats()], Dtype::F32)?;
        let FlashLlaInputs { query, key, value, key_bias, lengths, .. } = *self.inputs;
        let constants = self
            .query_and_key()
            .set("VALUE_TYPE", load_type(value.dtype(), shape.value_dim))
            .flag("KEY_BIAS", key_bias.is_some())
            .set("ROWS", tile.rows)
            .set("KEYS", tile.keys)
            .set("THREADS", tile.threads)
            .set("STAGES", tile.stages);
        let mut recorder = schedule
            .kernel("lla moments", "flash_lla/decode_moments", &constants.pairs())?
            .params(&self.params(row_tiles, splits, 4 * tile.keys))
            .bind("query", query)?
            .bind("key", key)?
            .bind("value", value)?
            .bind("moments", &moments)?;
        if let Some(key_bias) = key_bias {
            recorder = recorder.bind("key_bias", key_bias)?;
        }
        if let Some(lengths) = lengths {
            recorder = recorder.bind("lengths", lengths)?;
        }
        let (d, dv) = (shape.head_dim, shape.value_dim);
        recorder.dispatch(groups * splits, self.cost(d * (d + 1) + 2 * d * dv + 2 * d, &moments))?;
        Ok(moments)
    }

    /// Step 1 in the software builds: weights, then the moments of keys and of values in blocks.
    fn cpu_moments(&self, schedule: &mut Schedule) -> Result<Tensor> {
        let shape = self.shape;
        let tile = CpuTile::new(self.kind, shape, self.record);
        // A range's record costs as much as a few hundred keys. 2048 keys stay in a core's cache while all blocks pass over them (8 %
        // faster than 8192), and sums over more lose digits.
        let groups = shape.rows().div_ceil(tile.rows) * shape.kv_heads * shape.batch * tile.key_blocks;
        let splits = self.splits(32usize.div_ceil(groups).max(shape.tokens.div_ceil(2048)), 512);
        let mut tensor = |label, shape: &[usize]| schedule.tensor(label, shape, Dtype::F32);
        let parts = CpuParts {
            weights: tensor("lla weights", &[self.rows(), shape.tokens])?,
            lanes: tensor("lla lanes", &[self.rows(), splits, 8, 4])?,
            moments: tensor("lla moments", &[self.rows(), splits, self.record.floats()])?,
        };
        self.cpu_weights(schedule, &parts)?;
        self.cpu_center(schedule, &parts)?;
        self.cpu_product(schedule, &parts, &tile, false)?;
        self.cpu_product(schedule, &parts, &tile, true)?;
        Ok(parts.moments)
    }

    fn cpu_weights(&self, schedule: &mut Schedule, parts: &CpuParts) -> Result<()> {
        let (shape, splits) = (self.shape, parts.splits());
        let rows = even(shape.rows(), if shape.head_dim > 64 { 2 } else { 4 });
        let row_tiles = shape.rows().div_ceil(rows);
        let constants =
            self.query_and_key().flag("KEY_BIAS", self.inputs.key_bias.is_some()).set("ROWS", rows);
        let mut recorder = schedule
            .kernel("lla weights", "flash_lla/decode_weights_cpu", &constants.pairs())?
            .params(&self.params(row_tiles, splits, CPU_SPLIT_KEYS))
            .bind("query", self.inputs.query)?
            .bind("key", self.inputs.key)?
            .bind("weights", &parts.weights)?
            .bind("lanes", &parts.lanes)?;
        if let Some(key_bias) = self.inputs.key_bias {
            recorder = recorder.bind("key_bias", key_bias)?;
        }
        if let Some(lengths) = self.inputs.lengths {
            recorder = recorder.bind("lengths", lengths)?;
        }
        let groups = row_tiles * shape.kv_heads * shape.batch * splits;
        recorder.dispatch(groups, self.cost(2 * shape.head_dim, &parts.weights))
    }

    fn cpu_center(&self, schedule: &mut Schedule, parts: &CpuParts) -> Result<()> {
        let (splits, FlashLlaInputs { key, value, lengths, .. }) = (parts.splits(), *self.inputs);
        let constants = self
            .dims()
            .flag("KEY_F16", key.dtype() == Dtype::F16)
            .set("KEY_TYPE", load_type(key.dtype(), self.shape.head_dim))
            .set("VALUE_TYPE", load_type(value.dtype(), self.shape.value_dim));
        let mut recorder = schedule
            .kernel("lla center", "flash_lla/decode_center_cpu", &constants.pairs())?
            .params(&self.params(1, splits, CPU_SPLIT_KEYS))
            .bind("key", key)?
            .bind("value", value)?
            .bind("weights", &parts.weights)?
            .bind("lanes", &parts.lanes)?
            .bind("moments", &parts.moments)?;
        if let Some(lengths) = lengths {
            recorder = recorder.bind("lengths", lengths)?;
        }
        let invocations = self.rows() * splits * self.record.quads;
        let bytes = (key.bytes() + value.bytes()) as f64 / 16.0;
        recorder.dispatch(invocations.div_ceil(8), Cost { flops: 0.0, bytes })
    }

    /// The product of the keys with themselves, or of the values with the keys.
    fn cpu_product(
        &self,
        schedule: &mut Schedule,
        parts: &CpuParts,
        tile: &CpuTile,
        values: bool,
    ) -> Result<()> {
        let (shape, splits, FlashLlaInputs { key, value, lengths, .. }) =
            (self.shape, parts.splits(), *self.inputs);
        let (d, dv) = (shape.head_dim, shape.value_dim);
        let (label, blocks, flops) = if values {
            ("lla value moments", tile.value_blocks, 2 * d * dv)
        } else {
            ("lla key moments", tile.key_blocks, d * (d + 1))
        };
        let constants = self
            .dims()
            .flag("KEY_F16", key.dtype() == Dtype::F16)
            .set("KEY_TYPE", load_type(key.dtype(), d))
            .set("VALUE_TYPE", load_type(value.dtype(), dv))
            .flag("SUBGROUP", self.kind.uses_subgroups())
            .flag("VALUES", values)
            .set("ROWS", tile.rows)
            .set("COLUMN_QUADS", tile.column_quads)
            .set("BLOCKS", blocks);
        let row_tiles = shape.rows().div_ceil(tile.rows);
        let mut recorder = schedule
            .kernel(label, "flash_lla/decode_moments_cpu", &constants.pairs())?
            .params(&self.params(row_tiles, splits, CPU_SPLIT_KEYS))
            .bind("key", key)?
            .bind("weights", &parts.weights)?
            .bind("lanes", &parts.lanes)?
            .bind("moments", &parts.moments)?;
        if values {
            recorder = recorder.bind("value", value)?;
        }
        if let Some(lengths) = lengths {
            recorder = recorder.bind("lengths", lengths)?;
        }
        let groups = row_tiles * shape.kv_heads * shape.batch * splits * blocks;
        recorder.dispatch(groups, self.cost(flops, &parts.moments))
    }

    /// Step 2: the ranges of every row joined.
    fn merge(&self, schedule: &mut Schedule, moments: &Tensor) -> Result<Tensor> {
        let splits = moments.shape()[1];
        let merged =
            schedule.tensor("lla merged", &[self.rows(), self.record.merged_floats()], Dtype::F32)?;
        let workgroup = if self.kind.is_cpu() { 8 } else { ELEMENTWISE };
        let constants = self.dims().set("LENGTHS", 0).set("WORKGROUP", workgroup);
        let bytes = moments.bytes() + merged.bytes();
        schedule
            .kernel("lla merge", "flash_lla/decode_merge", &constants.pairs())?
            .params(&self.params(1, splits, 1))
            .bind("moments", moments)?
            .bind("merged", &merged)?
            .dispatch(
                (self.rows() * self.record.quads * self.record.key_quads).div_ceil(workgroup),
                Cost { flops: 0.0, bytes: bytes as f64 },
            )?;
        Ok(merged)
    }

    /// Step 3: ridge, Cholesky, output.
    fn solve(&self, schedule: &mut Schedule, merged: &Tensor) -> Result<FlashLlaOutput> {
        let shape = self.shape;
        let out = schedule.tensor("lla out", &shape.out_shape(), Dtype::F32)?;
        let lse = schedule.tensor("lse", &shape.lse_shape(), Dtype::F32)?;
        let iterations = schedule.tensor("iterations", &shape.lse_shape(), Dtype::U32)?;
        let status = schedule.tensor("status", &shape.lse_shape(), Dtype::U32)?;
        // On software adapters a barrier costs by the thread (head dim 64: 64 threads 0.16 ms a row, 256 threads 0.35), and more
        // than 32 vectors in a thread take long to compile (head dim 128: 64 threads 11 s).
        let side = if self.kind.is_cpu() && self.record.key_quads <= 16 { 8 } else { 16 };
        let (thread_rows, thread_quads) = (side, self.record.key_quads.min(side));
        let matrix_rows = 4 * self.record.quads;
        let constants = self
            .query_and_key()
            .set("THREAD_ROWS", thread_rows)
            .set("THREAD_QUADS", thread_quads)
            .set("ROW_SLOTS", matrix_rows.div_ceil(thread_rows))
            .set("QUAD_SLOTS", self.record.key_quads.div_ceil(thread_quads))
            .set("VALUE_SLOTS", matrix_rows.div_ceil(thread_rows * thread_quads));
        let mut recorder = schedule
            .kernel("lla solve", "flash_lla/decode_solve", &constants.pairs())?
            .params(&self.params(1, 1, 1))
            .bind("query", self.inputs.query)?
            .bind("key", self.inputs.key)?
            .bind("merged", merged)?
            .bind("out", &out)?
            .bind("lse", &lse)?
            .bind("iterations", &iterations)?
            .bind("status", &status)?;
        if let Some(lengths) = self.inputs.lengths {
            recorder = recorder.bind("lengths", lengths)?;
        }
        let (d, dv) = (shape.head_dim as f64, shape.value_dim as f64);
        let flops = (d * d * d / 3.0 + d * d * dv) * self.rows() as f64;
        recorder.dispatch(self.rows(), Cost { flops, bytes: merged.bytes() as f64 })?;
        let tiling = Tiling {
            query_tokens: shape.query_tokens,
            query_heads: shape.query_heads,
            kv_heads: shape.kv_heads,
            rows: shape.rows(),
            tokens: shape.tokens,
            causal_offset: None,
        };
        Ok(FlashLlaOutput { out, lse, iterations, status, tiling })
    }
}
