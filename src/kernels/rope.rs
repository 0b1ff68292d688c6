//! Rotary position embedding (RoFormer, arXiv 2104.09864).

use super::{Constants, ELEMENTWISE, dims, expect_dtype, expect_shape};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};

/// Configuration of [`Rope`].
#[derive(Clone, Debug)]
pub struct RopeConfig {
    /// Elements of a head; even.
    pub head_dim: usize,
    /// Pair i turns by position · base^(-2i / head_dim) radians; at least 1 (10000 in the paper).
    pub base: f64,
    /// Store all first components, then all second ones, instead of the pairs in place: SQA's convention. Scores don't
    /// change where queries and keys share it.
    pub deinterleave: bool,
}

/// Where the first token of a sequence stands.
#[derive(Clone, Copy, Debug)]
pub enum RopePosition<'a> {
    /// At this position, in every sequence.
    From(usize),
    /// Behind the keys that its sequence has in a cache: lengths `[batch]` u32.
    After(&'a Tensor),
}

/// Turns every pair (2i, 2i + 1) of a head by an angle that grows with its token's position.
///
/// Shapes: x and y `[batch, tokens, heads, head_dim]`, f32. Error bound: 1e-6 of a pair's length at any position below
/// 2^31. Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct Rope {
    config: RopeConfig,
    /// Turns per position as 64-bit fixed-point fractions.
    turns: Tensor,
}

#[derive(encase::ShaderType)]
struct RotateParams {
    batch: u32,
    tokens: u32,
    heads: u32,
    dim: u32,
    offset: u32,
}

impl Rope {
    /// Uploads the table of frequencies. Errors: `Config`, `OutOfMemory`.
    pub fn new(gpu: &Gpu, config: RopeConfig) -> Result<Self> {
        let RopeConfig { head_dim, base, .. } = config;
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            return Err(Error::config("rope", "head_dim", head_dim, "an even number, at least 2"));
        }
        if !(base.is_finite() && base >= 1.0) {
            return Err(Error::config("rope", "base", base, "a number of at least 1"));
        }
        let turns: Vec<u32> = (0..head_dim / 2)
            .flat_map(|i| {
                let turns = base.powf(-2.0 * i as f64 / head_dim as f64) / std::f64::consts::TAU;
                let fraction = (turns * 2f64.powi(64)) as u64;
                [(fraction >> 32) as u32, fraction as u32]
            })
            .collect();
        let turns = Tensor::upload(gpu, "rope turns", &[head_dim / 2, 2], &turns)?;
        Ok(Self { config, turns })
    }

    /// Records the rotation of tokens whose first stands at `position`.
    ///
    /// Errors: `Shape`, `Config` for a position of 2^31 or more, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, x: &Tensor, position: RopePosition<'_>) -> Result<Tensor> {
        const NAME: &str = "rope";
        let [batch, tokens, heads, dim] = dims(NAME, "x", x, "[batch, tokens, heads, head_dim]")?;
        expect_dtype(NAME, "x", x, &[Dtype::F32])?;
        if dim != self.config.head_dim {
            let expected = format!("{}, as configured", self.config.head_dim);
            return Err(Error::shape(NAME, "x", format!("has head dim {dim}"), expected));
        }
        let (offset, lengths) = match position {
            RopePosition::From(offset) => (offset, None),
            RopePosition::After(lengths) => (0, Some(lengths)),
        };
        if let Some(lengths) = lengths {
            expect_dtype(NAME, "lengths", lengths, &[Dtype::U32])?;
            expect_shape(NAME, "lengths", lengths, &[batch])?;
        }
        if offset.checked_add(tokens).is_none_or(|last| last > 1 << 31) {
            return Err(Error::config(NAME, "offset", offset, "positions below 2^31"));
        }
        let constants = Constants::new()
            .flag("LENGTHS", lengths.is_some())
            .flag("DEINTERLEAVE", self.config.deinterleave)
            .set("WORKGROUP", ELEMENTWISE);
        let y = schedule.tensor("rope", x.shape(), Dtype::F32)?;
        let params = RotateParams {
            batch: batch as u32,
            tokens: tokens as u32,
            heads: heads as u32,
            dim: dim as u32,
            offset: offset as u32,
        };
        let pairs = x.elements() / 2;
        let cost = Cost { flops: 30.0 * pairs as f64, bytes: 2.0 * x.bytes() as f64 };
        let mut recorder = schedule
            .kernel("rope", "rope/rotate", &constants.pairs())?
            .params(&params)
            .bind("x", x)?
            .bind("turns", &self.turns)?
            .bind("y", &y)?;
        if let Some(lengths) = lengths {
            recorder = recorder.bind("lengths", lengths)?;
        }
        recorder.dispatch(pairs.div_ceil(ELEMENTWISE), cost)?;
        Ok(y)
    }
}
