//! Local linear attention: every query fits its own weighted ridge regression from keys to values.
#![doc = include_str!("../../../docs/local_linear_attention.md")]

mod decode;
mod decode_tiles;
mod inputs;
mod prefill;
mod probe;
mod summary;

pub use inputs::{FlashLlaInputs, MOST_DIM, pack_mask};
pub use probe::{LlaProbe, LlaProbeConfig};
pub use summary::FlashLlaSummary;

use super::attention::check_position;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::schedule::Schedule;
use crate::tensor::Tensor;
use crate::variant::{Variant, VariantKind};
use summary::Tiling;

/// What a row's status says, as bits; 0 is a row solved to the wanted accuracy.
pub mod status {
    /// No key is visible: out is 0, lse is [`EMPTY_LSE`](crate::kernels::attention::EMPTY_LSE).
    pub const EMPTY: u32 = 1;
    /// Too few keys for the ridge: at most head_dim of them with a ridge below 1e-4 of their mean variance. The row is solved
    /// with a ridge of 1e-3 of the mean variance instead.
    pub const SINGULAR: u32 = 2;
    /// A NaN or an infinity in what the row attends to, or an overflow on the way: out is 0.
    pub const NON_FINITE: u32 = 4;
    /// `max_iters` or the precision of f32 ended the solution before `rtol`. The weights still sum to 1.
    pub const NOT_CONVERGED: u32 = 8;
}

/// Configuration of [`FlashLla`].
#[derive(Clone, Debug, PartialEq)]
pub struct FlashLlaConfig {
    /// A query sees keys at its own position and before; without it, all keys.
    pub causal: bool,
    /// Position of the first query row, within ±2^29; `None`: the last query row stands at the last key.
    pub q_offset: Option<i64>,
    /// Factor of q · k, finite; `None`: 1 / sqrt(head_dim).
    pub scale: Option<f32>,
    /// λ of the ridge, at least 0, relative to weights that sum to 1, as in the authors' code. 0 is least squares, a huge one
    /// softmax attention.
    pub ridge: f32,
    /// λ is at least this share of the attended keys' mean variance (trace of their covariance / head_dim), and where rows are
    /// iterated at least 1e-7 of it.
    pub ridge_floor: f32,
    /// A row is solved once its residual is at most this share of what it was at the start: the error of out is about half
    /// of it.
    pub rtol: f32,
    /// Most conjugate-gradient iterations, at most 1024; 0 gives softmax attention.
    pub max_iters: usize,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl Default for FlashLlaConfig {
    /// Bidirectional; ridge 0.1, floor 1e-6, rtol 1e-5, at most 64 iterations.
    fn default() -> Self {
        Self {
            causal: false,
            q_offset: None,
            scale: None,
            ridge: 0.1,
            ridge_floor: 1e-6,
            rtol: 1e-5,
            max_iters: 64,
            variant: None,
        }
    }
}

impl FlashLlaConfig {
    /// Every rule that needs no device. Errors: `Config`.
    pub(crate) fn check(&self) -> Result<()> {
        let &Self { scale, q_offset, max_iters, .. } = self;
        check_position(NAME, scale, q_offset)?;
        for (key, value) in [("ridge", self.ridge), ("ridge_floor", self.ridge_floor), ("rtol", self.rtol)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::config(NAME, key, value, "a finite number, at least 0"));
            }
        }
        if max_iters > MOST_ITERATIONS {
            return Err(Error::config(NAME, "max_iters", max_iters, format!("0 to {MOST_ITERATIONS}")));
        }
        Ok(())
    }
}

/// Local linear attention (arXiv 2510.01450) in covariance form, without a buffer of tokens x tokens or of
/// tokens x head_dim x head_dim.
///
/// With p = softmax(scale · q kᵀ + key_bias) over the visible keys, k̄ and v̄ the means of keys and values under p and C the covariance
/// of the keys:
///
/// ```text
/// beta = (C + λ I)⁻¹ (k̄ - q)          out = Σ_j p_j (1 - (k_j - k̄) · beta) v_j
/// ```
///
/// which is the value at q of the line that fits the attended (key, value) pairs best. Many rows: statistics, conjugate
/// gradients with the scores recomputed in every iteration, output; a tile of rows whose rows are all solved does nothing more. Few
/// rows on many keys (decode): the covariances themselves from one pass over keys and values, then a Cholesky solution.
///
/// Shapes are those of [`FlashLlaInputs`]. q, k and v are f32 or f16 (k and v alike), head dims 1 to 128, sums f32. Error bound: about
/// half of `rtol`, at best 1e-5 for outputs of size 1 and a ridge of 0.1 (goldens `lla_*`), growing with 1 / ridge. Causality holds
/// to the bit: later keys don't change earlier rows, whatever they hold. Errors: `Shape`, `Config`, `Limit`.
///
/// A token at a time over a cache whose length is on the GPU, by one plan for all steps:
///
/// ```
/// use gristmill::kernels::cache::KvCache;
/// use gristmill::kernels::flash_lla::{FlashLla, FlashLlaConfig, FlashLlaInputs};
/// use gristmill::{Dtype, Gpu, GpuOptions, Result, Schedule, Tensor, no_progress};
///
/// # fn main() -> Result<()> {
/// #     pollster::block_on(async {
/// let gpu = Gpu::request(GpuOptions::default()).await?;
/// let lla = FlashLla::new(&gpu, FlashLlaConfig { causal: true, ..Default::default() })?;
/// let [tokens, heads, dim] = [4, 2, 8];
/// let x: Vec<f32> = (0..tokens * heads * dim).map(|i| (i as f32 * 0.7).sin()).collect();
///
/// // One step: the token's key and value behind those in the cache, then attention to all of them.
/// let cache = KvCache::new(&gpu, 1, 256, heads, dim, dim, Dtype::F32)?;
/// let token = Tensor::zeros(&gpu, "token", &[1, 1, heads, dim], Dtype::F32)?;
/// let mut schedule = Schedule::new(&gpu);
/// cache.record_append(&mut schedule, &token, &token)?;
/// let cached = FlashLlaInputs::new(&token, &cache.key, &cache.value);
/// let row = lla.record(&mut schedule, FlashLlaInputs { lengths: Some(&cache.lengths), ..cached })?.out;
/// let step = schedule.compile()?;
///
/// let mut rows = Vec::new();
/// for token_x in x.chunks(heads * dim) {
///     token.write(&gpu, token_x)?;
///     step.run(no_progress).await?;
///     rows.extend(row.read::<f32>(&gpu).await?);
/// }
///
/// // The same rows as of the whole sequence.
/// let x = Tensor::upload(&gpu, "x", &[1, tokens, heads, dim], &x)?;
/// let mut schedule = Schedule::new(&gpu);
/// let whole = lla.record(&mut schedule, FlashLlaInputs::new(&x, &x, &x))?.out;
/// schedule.compile()?.run(no_progress).await?;
/// let whole = whole.read::<f32>(&gpu).await?;
/// assert!(rows.iter().zip(&whole).all(|(step, whole)| (step - whole).abs() < 1e-4));
/// #         Ok(())
/// #     })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FlashLla {
    config: FlashLlaConfig,
    variant: Variant,
}

/// What [`FlashLla::record`] gives.
#[derive(Clone, Debug)]
pub struct FlashLlaOutput {
    /// `[batch, query_tokens, query_heads, value_dim]` f32; 0 in rows that are empty or not finite.
    pub out: Tensor,
    /// Natural log of the sum of exp(logits), `[batch, query_tokens, query_heads]` f32;
    /// [`EMPTY_LSE`](crate::kernels::attention::EMPTY_LSE) in rows that are empty or not finite.
    pub lse: Tensor,
    /// Conjugate-gradient iterations until the row's own convergence, `[batch, query_tokens, query_heads]` u32; 0 in decode,
    /// which has none.
    pub iterations: Tensor,
    /// Bits of [`status`], `[batch, query_tokens, query_heads]` u32.
    pub status: Tensor,
    tiling: Tiling,
}

const NAME: &str = "flash_lla";

impl FlashLla {
    /// Checks the configuration against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: FlashLlaConfig) -> Result<Self> {
        config.check()?;
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records local linear attention over these inputs. Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, inputs: FlashLlaInputs<'_>) -> Result<FlashLlaOutput> {
        let shape = inputs.check(NAME)?;
        if decode::suits(self, &inputs, &shape) {
            return decode::record(self, schedule, &inputs, &shape);
        }
        prefill::record(self, schedule, &inputs, &shape)
    }
}

impl FlashLlaOutput {
    /// Reads iterations and status back and counts them. Errors: those of [`Tensor::read`].
    pub async fn summary(&self, gpu: &Gpu) -> Result<FlashLlaSummary> {
        let iterations = self.iterations.read::<u32>(gpu).await?;
        let status = self.status.read::<u32>(gpu).await?;
        Ok(self.tiling.summarize(&iterations, &status))
    }
}

/// Dispatches of one plan: more than any row needs in f32.
const MOST_ITERATIONS: usize = 1024;
