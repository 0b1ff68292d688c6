//! Local linear attention with a given beta: statistics and output without the solver (Parallax, arXiv 2605.29157).

use super::{FlashLlaConfig, FlashLlaInputs, prefill};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::attention::AttentionOutput;
use crate::kernels::attention::check_position;
use crate::schedule::Schedule;
use crate::tensor::Tensor;
use crate::variant::{Variant, VariantKind};

/// Configuration of [`LlaProbe`]. The default is bidirectional with scale 1 / sqrt(head_dim).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LlaProbeConfig {
    /// A query sees keys at its own position and before; without it, all keys.
    pub causal: bool,
    /// Position of the first query row, within ±2^29; `None`: the last query row stands at the last key.
    pub q_offset: Option<i64>,
    /// Factor of q · k, finite; `None`: 1 / sqrt(head_dim).
    pub scale: Option<f32>,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

/// v̄ - C_vk beta: softmax attention corrected along given directions, such as those that a model has learned.
///
/// C_vk is the covariance of values and keys under the softmax weights. With the beta of
/// [`FlashLla`](super::FlashLla) this is its output; with beta 0 it is softmax attention. Costs 3 times dense attention. Error
/// bound: 2e-5 for outputs and beta of size 1. Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct LlaProbe {
    config: LlaProbeConfig,
    variant: Variant,
}

pub(super) const NAME: &str = "lla_probe";

impl LlaProbe {
    /// Checks the configuration against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: LlaProbeConfig) -> Result<Self> {
        check_position(NAME, config.scale, config.q_offset)?;
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records the two phases. `beta` has the shape of the query, f32. Rows that are empty or not finite give 0 and
    /// [`EMPTY_LSE`](crate::kernels::attention::EMPTY_LSE).
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(
        &self,
        schedule: &mut Schedule,
        inputs: FlashLlaInputs<'_>,
        beta: &Tensor,
    ) -> Result<AttentionOutput> {
        let shape = inputs.check(NAME)?;
        let LlaProbeConfig { causal, q_offset, scale, variant } = self.config;
        let config = FlashLlaConfig { causal, q_offset, scale, variant, ridge: 0.0, ..Default::default() };
        prefill::record_probe(&config, self.variant.kind, schedule, &inputs, &shape, beta)
    }
}
