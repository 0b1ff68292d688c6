//! Many rows: statistics, conjugate gradients, output, one dispatch for each phase and iteration. Rows are solved in tiles; a
//! tile without an active row returns at once, so that the number of iterations follows the data without a readback.

use super::summary::Tiling;
use super::{FlashLla, FlashLlaConfig, FlashLlaInputs, FlashLlaOutput, probe};
use crate::error::Result;
use crate::kernels::attention::{AttentionOutput, Shape, UNBOUNDED};
use crate::kernels::{Constants, ELEMENTWISE, expect_dtype, expect_shape, load_type};
use crate::models::sqa_cost::visible_pairs;
use crate::schedule::{Cost, Recorder, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::VariantKind;

/// `LlaParams` of flash_lla/bindings.wgsl.
#[derive(encase::ShaderType)]
struct LlaParams {
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
    mask_words: u32,
    ridge: f32,
    ridge_floor: f32,
    rtol: f32,
    verify: u32,
}

/// Rows and keys of a tile, and how its rows are told active.
struct Tile {
    rows: usize,
    /// Rows of a lane and keys of a step in the software builds.
    lanes: Option<(usize, usize)>,
    /// Flags of one tile: one, or one for each lane where lanes can't ask each other.
    flags: usize,
}

impl Tile {
    fn new(kind: VariantKind, shape: &Shape) -> Tile {
        if !kind.is_cpu() {
            return Tile { rows: 32, lanes: None, flags: 1 };
        }
        let (most, keys) = match (kind, shape.head_dim.max(shape.value_dim)) {
            (VariantKind::Cpu, ..=16) => (4, 4),
            (VariantKind::Cpu, ..=32) => (4, 2),
            (VariantKind::Cpu, ..=64) => (2, 4),
            (VariantKind::Cpu, _) => (2, 2),
            (_, ..=32) => (4, 1),
            (_, ..=64) => (2, 1),
            (_, _) => (1, 1),
        };
        let rows = shape.rows().div_ceil(8).next_power_of_two().min(most);
        Tile {
            rows: 8 * rows,
            lanes: Some((rows, keys)),
            flags: if kind == VariantKind::Cpu { 1 } else { 8 },
        }
    }
}

/// What the phases share.
struct Prefill<'a> {
    kind: VariantKind,
    inputs: &'a FlashLlaInputs<'a>,
    shape: &'a Shape,
    tile: Tile,
    config: &'a FlashLlaConfig,
    buffers: Buffers,
}

/// What the phases keep between them.
struct Buffers {
    /// [batch, kv_heads, 1 + tokens, head_dim in whole vectors]: the first key, then every key seen from it.
    clean_key: Tensor,
    /// [batch, kv_heads, tokens, value_dim in whole vectors].
    clean_value: Tensor,
    /// [batch, kv_heads, tokens, 2]: logit in base 2, squared norm.
    key_info: Tensor,
    /// For each row of a padded tile: query, mean key, g, solution, residual, direction, A times direction, 8 scalars.
    state: Tensor,
}

impl Buffers {
    fn new(schedule: &mut Schedule, shape: &Shape, tile: &Tile) -> Result<Buffers> {
        let (depth, columns) = (4 * shape.head_dim.div_ceil(4), 4 * shape.value_dim.div_ceil(4));
        let heads = [shape.batch, shape.kv_heads];
        let of = |tail: &[usize]| [&heads, tail].concat();
        let padded = shape.rows().next_multiple_of(tile.rows);
        let mut tensor = |label, shape: &[usize]| schedule.tensor(label, shape, Dtype::F32);
        Ok(Buffers {
            clean_key: tensor("lla keys", &of(&[1 + shape.tokens, depth]))?,
            clean_value: tensor("lla values", &of(&[shape.tokens, columns]))?,
            key_info: tensor("lla key info", &of(&[shape.tokens, 2]))?,
            state: tensor("lla row state", &of(&[padded, 7 * depth + 8]))?,
        })
    }
}

pub(super) fn record(
    operator: &FlashLla,
    schedule: &mut Schedule,
    inputs: &FlashLlaInputs<'_>,
    shape: &Shape,
) -> Result<FlashLlaOutput> {
    let config = &operator.config;
    let (kind, tile) = (operator.variant.kind, Tile::new(operator.variant.kind, shape));
    let tiling = Tiling {
        query_tokens: shape.query_tokens,
        query_heads: shape.query_heads,
        kv_heads: shape.kv_heads,
        rows: tile.rows,
        tokens: shape.tokens,
        causal_offset: config
            .causal
            .then(|| config.q_offset.unwrap_or(shape.tokens as i64 - shape.query_tokens as i64)),
    };
    let buffers = Buffers::new(schedule, shape, &tile)?;
    let prefill = Prefill { kind, inputs, shape, tile, config, buffers };
    let out = schedule.tensor("lla out", &shape.out_shape(), Dtype::F32)?;
    let flags = [prefill.tiles() * prefill.tile.flags];
    let mut active = schedule.tensor("active tiles", &flags, Dtype::U32)?;
    prefill.prepare(schedule)?;
    prefill.statistics(schedule, &out, &active)?;
    for _ in 0..config.max_iters {
        let next = schedule.tensor("active tiles", &flags, Dtype::U32)?;
        prefill.iterate(schedule, &active, &next, false)?;
        active = next;
    }
    if config.max_iters > 0 {
        let unread = schedule.tensor("active tiles", &flags, Dtype::U32)?;
        prefill.iterate(schedule, &active, &unread, true)?;
    }
    prefill.output(schedule, &out)?;
    let [lse, iterations, status] = prefill.report(schedule)?;
    Ok(FlashLlaOutput { out, lse, iterations, status, tiling })
}

pub(super) fn record_probe(
    config: &FlashLlaConfig,
    kind: VariantKind,
    schedule: &mut Schedule,
    inputs: &FlashLlaInputs<'_>,
    shape: &Shape,
    beta: &Tensor,
) -> Result<AttentionOutput> {
    expect_dtype(probe::NAME, "beta", beta, &[Dtype::F32])?;
    expect_shape(probe::NAME, "beta", beta, inputs.query.shape())?;
    let tile = Tile::new(kind, shape);
    let buffers = Buffers::new(schedule, shape, &tile)?;
    let prefill = Prefill { kind, inputs, shape, tile, config, buffers };
    let out = schedule.tensor("lla out", &shape.out_shape(), Dtype::F32)?;
    let active = schedule.tensor("active tiles", &[prefill.tiles() * prefill.tile.flags], Dtype::U32)?;
    prefill.prepare(schedule)?;
    prefill.statistics(schedule, &out, &active)?;
    prefill.place(schedule, beta)?;
    prefill.output(schedule, &out)?;
    let [lse, _, _] = prefill.report(schedule)?;
    Ok(AttentionOutput { out, lse })
}

impl Prefill<'_> {
    fn row_tiles(&self) -> usize {
        self.shape.rows().div_ceil(self.tile.rows)
    }

    fn tiles(&self) -> usize {
        self.row_tiles() * self.shape.kv_heads * self.shape.batch
    }

    /// The build of a phase for this adapter.
    fn kernel(&self, portable: &'static str, cpu: &'static str) -> &'static str {
        if self.kind.is_cpu() { cpu } else { portable }
    }

    fn constants(&self) -> Constants {
        let constants = Constants::new()
            .set("HEAD_DIM", self.shape.head_dim)
            .set("VALUE_DIM", self.shape.value_dim)
            .flag("MASK", self.inputs.mask.is_some())
            .flag("LENGTHS", self.inputs.lengths.is_some())
            .flag("SUBGROUP", self.kind.uses_subgroups());
        match self.tile.lanes {
            Some((rows, keys)) => constants.set("ROWS", rows).set("KEYS", keys),
            None => constants,
        }
    }

    fn params(&self) -> LlaParams {
        let shape = self.shape;
        LlaParams {
            batch: shape.batch as u32,
            query_tokens: shape.query_tokens as u32,
            tokens: shape.tokens as u32,
            query_heads: shape.query_heads as u32,
            kv_heads: shape.kv_heads as u32,
            group: shape.group as u32,
            q_offset: self.config.q_offset.unwrap_or(0) as i32,
            align_end: self.config.q_offset.is_none() as u32,
            right: if self.config.causal { 0 } else { UNBOUNDED },
            scale: self.config.scale.unwrap_or((shape.head_dim as f32).powf(-0.5)),
            row_tiles: self.row_tiles() as u32,
            mask_words: shape.tokens.div_ceil(32) as u32,
            ridge: self.config.ridge,
            ridge_floor: self.config.ridge_floor,
            rtol: self.config.rtol,
            verify: 0,
        }
    }

    /// `flops` for each visible pair of a query and a key; bytes of keys, values and state once.
    fn cost(&self, flops: usize) -> Cost {
        let offset =
            self.config.q_offset.unwrap_or(self.shape.tokens as i64 - self.shape.query_tokens as i64);
        let pairs =
            visible_pairs(self.shape.query_tokens, self.shape.tokens, self.config.causal, None, offset)
                as f64;
        let heads = (self.shape.batch * self.shape.query_heads) as f64;
        let bytes =
            self.buffers.clean_key.bytes() + self.buffers.clean_value.bytes() + self.buffers.state.bytes();
        Cost { flops: flops as f64 * pairs * heads, bytes: bytes as f64 }
    }

    /// Keys and values in the form that every phase reads.
    fn prepare(&self, schedule: &mut Schedule) -> Result<()> {
        let FlashLlaInputs { key, value, key_bias, lengths, .. } = *self.inputs;
        let constants = Constants::new()
            .set("HEAD_DIM", self.shape.head_dim)
            .set("VALUE_DIM", self.shape.value_dim)
            .flag("KEY_F16", key.dtype() == Dtype::F16)
            .set("KEY_TYPE", load_type(key.dtype(), self.shape.head_dim))
            .set("VALUE_TYPE", load_type(value.dtype(), self.shape.value_dim))
            .flag("KEY_BIAS", key_bias.is_some())
            .flag("LENGTHS", lengths.is_some())
            .set("WORKGROUP", ELEMENTWISE);
        let mut recorder = schedule
            .kernel("lla prepare", "flash_lla/prepare", &constants.pairs())?
            .params(&self.params())
            .bind("key", key)?
            .bind("value", value)?;
        if let Some(key_bias) = key_bias {
            recorder = recorder.bind("key_bias", key_bias)?;
        }
        if let Some(lengths) = lengths {
            recorder = recorder.bind("lengths", lengths)?;
        }
        let Buffers { clean_key, clean_value, key_info, .. } = &self.buffers;
        let bytes = key.bytes() + value.bytes() + clean_key.bytes() + clean_value.bytes();
        recorder
            .bind("clean_key", clean_key)?
            .bind("clean_value", clean_value)?
            .bind("key_info", key_info)?
            .dispatch(
                (self.shape.batch * self.shape.tokens * self.shape.kv_heads).div_ceil(ELEMENTWISE),
                Cost { flops: 0.0, bytes: bytes as f64 },
            )
    }

    /// A phase over the tiles of rows, with what all of them read and write.
    fn phase<'s>(
        &self,
        schedule: &'s mut Schedule,
        label: &'static str,
        kernel: &'static str,
        constants: Constants,
    ) -> Result<Recorder<'s>> {
        let recorder = schedule
            .kernel(label, kernel, &constants.pairs())?
            .params(&self.params())
            .bind("clean_key", &self.buffers.clean_key)?
            .bind("key_info", &self.buffers.key_info)?
            .bind("state", &self.buffers.state)?;
        match (self.inputs.mask, self.inputs.lengths) {
            (Some(mask), _) => recorder.bind("mask", mask),
            (None, Some(lengths)) => recorder.bind("lengths", lengths),
            (None, None) => Ok(recorder),
        }
    }

    /// Phase 1: maximum and sum of the weights, mean key, mean value (in `out`), ridge, first residual and direction.
    fn statistics(&self, schedule: &mut Schedule, out: &Tensor, active: &Tensor) -> Result<()> {
        let kernel = self.kernel("flash_lla/statistics", "flash_lla/statistics_cpu");
        let dtype = self.inputs.query.dtype();
        let constants = self
            .constants()
            .flag("QUERY_F16", dtype == Dtype::F16)
            .set("QUERY_TYPE", load_type(dtype, self.shape.head_dim));
        self.phase(schedule, "lla statistics", kernel, constants)?
            .bind("query", self.inputs.query)?
            .bind("clean_value", &self.buffers.clean_value)?
            .bind("out", out)?
            .bind("active_out", active)?
            .dispatch(self.tiles(), self.cost(4 * self.shape.head_dim + 2 * self.shape.value_dim))
    }

    /// One conjugate-gradient iteration of phase 2; or the true residual of rows whose ridge may be too small for f32.
    fn iterate(&self, schedule: &mut Schedule, active: &Tensor, next: &Tensor, verify: bool) -> Result<()> {
        let kernel = self.kernel("flash_lla/iterate", "flash_lla/iterate_cpu");
        let label = if verify { "lla verify" } else { "lla iterate" };
        self.phase(schedule, label, kernel, self.constants())?
            .params(&LlaParams { verify: verify as u32, ..self.params() })
            .may_end_early()
            .bind("active_in", active)?
            .bind("active_out", next)?
            .dispatch(self.tiles(), self.cost(6 * self.shape.head_dim))
    }

    /// Phase 3: the weights of the fitted line times the values.
    fn output(&self, schedule: &mut Schedule, out: &Tensor) -> Result<()> {
        let kernel = self.kernel("flash_lla/output", "flash_lla/output_cpu");
        self.phase(schedule, "lla output", kernel, self.constants())?
            .bind("clean_value", &self.buffers.clean_value)?
            .bind("out", out)?
            .dispatch(self.tiles(), self.cost(4 * self.shape.head_dim + 2 * self.shape.value_dim))
    }

    /// A given beta as the solution.
    fn place(&self, schedule: &mut Schedule, beta: &Tensor) -> Result<()> {
        let constants = Constants::new()
            .set("HEAD_DIM", self.shape.head_dim)
            .set("BETA_TYPE", load_type(Dtype::F32, self.shape.head_dim))
            .set("TILE", self.tile.rows)
            .set("WORKGROUP", ELEMENTWISE);
        let rows = beta.elements() / self.shape.head_dim;
        schedule
            .kernel("lla place", "flash_lla/place", &constants.pairs())?
            .params(&self.params())
            .bind("beta", beta)?
            .bind("state", &self.buffers.state)?
            .dispatch(
                (rows * self.shape.head_dim.div_ceil(4)).div_ceil(ELEMENTWISE),
                Cost { flops: 0.0, bytes: 2.0 * beta.bytes() as f64 },
            )
    }

    /// lse, iterations and status out of the rows' state.
    fn report(&self, schedule: &mut Schedule) -> Result<[Tensor; 3]> {
        let shape = self.shape.lse_shape();
        let lse = schedule.tensor("lse", &shape, Dtype::F32)?;
        let iterations = schedule.tensor("iterations", &shape, Dtype::U32)?;
        let status = schedule.tensor("status", &shape, Dtype::U32)?;
        let constants = Constants::new()
            .set("HEAD_DIM", self.shape.head_dim)
            .set("TILE", self.tile.rows)
            .set("WORKGROUP", ELEMENTWISE);
        schedule
            .kernel("lla report", "flash_lla/report", &constants.pairs())?
            .params(&self.params())
            .bind("state", &self.buffers.state)?
            .bind("lse", &lse)?
            .bind("iterations", &iterations)?
            .bind("status", &status)?
            .dispatch(
                lse.elements().div_ceil(ELEMENTWISE),
                Cost { flops: 0.0, bytes: 6.0 * lse.bytes() as f64 },
            )?;
        Ok([lse, iterations, status])
    }
}
