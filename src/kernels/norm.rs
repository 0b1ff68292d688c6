//! RMSNorm and LayerNorm over the last dimension.

use super::{Constants, FLOATS, check_row_count, expect_dtype, expect_shape, load_type};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};

/// Configuration of a [`Norm`].
#[derive(Clone, Debug)]
pub struct NormConfig {
    /// Subtract the mean first (LayerNorm); without it, RMSNorm.
    pub center: bool,
    /// Added to the mean square (LayerNorm: the variance) before the root; positive.
    pub epsilon: f32,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl Default for NormConfig {
    /// RMSNorm with epsilon 1e-6.
    fn default() -> Self {
        Self { center: false, epsilon: 1e-6, variant: None }
    }
}

/// RMSNorm (arXiv 1910.07467) or LayerNorm (arXiv 1607.06450): y = (x - mean) / sqrt(variance + epsilon) · weight + bias.
///
/// Shapes: x `[.., width]` f32 or f16, weight `[width]` and bias `[width]` f32, y like x in f32. RMSNorm has no mean, and the
/// mean square for the variance. LayerNorm's variance is taken after subtracting the mean, so a large offset loses nothing.
/// Error bound: 1e-6 of the row's largest |y|.
/// Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct Norm {
    config: NormConfig,
    variant: Variant,
}

#[derive(encase::ShaderType)]
struct NormParams {
    rows: u32,
    width: u32,
    epsilon: f32,
}

impl Norm {
    /// Checks the configuration against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: NormConfig) -> Result<Self> {
        if !(config.epsilon > 0.0 && config.epsilon.is_finite()) {
            return Err(Error::config("norm", "epsilon", config.epsilon, "a positive number"));
        }
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records the normalisation of every row of `x`.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        self.record_counted(schedule, x, weight, bias, None)
    }

    /// The same for as many rows as only the GPU knows: `row_count` `[1]` u32 says how many of x's rows there are. Those past
    /// them cost next to nothing, and in y hold anything.
    ///
    /// Errors: those of [`record`](Self::record).
    pub fn record_rows(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        row_count: &Tensor,
    ) -> Result<Tensor> {
        self.record_counted(schedule, x, weight, bias, Some(row_count))
    }

    fn record_counted(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        row_count: Option<&Tensor>,
    ) -> Result<Tensor> {
        const NAME: &str = "norm";
        let width = x.shape().last().copied().unwrap_or(0);
        if width == 0 || x.elements() == 0 {
            let found = format!("has shape {:?}", x.shape());
            return Err(Error::shape(NAME, "x", found, "[.., width] without an empty dimension"));
        }
        expect_dtype(NAME, "x", x, &FLOATS)?;
        expect_dtype(NAME, "weight", weight, &[Dtype::F32])?;
        expect_shape(NAME, "weight", weight, &[width])?;
        if let Some(bias) = bias {
            expect_dtype(NAME, "bias", bias, &[Dtype::F32])?;
            expect_shape(NAME, "bias", bias, &[width])?;
        }
        check_row_count(NAME, row_count)?;
        let rows = x.elements() / width;
        let mut constants = Constants::new()
            .flag("X_F16", x.dtype() == Dtype::F16)
            .set("X_TYPE", load_type(x.dtype(), width))
            .flag("ALIGNED", width.is_multiple_of(4))
            .flag("CENTER", self.config.center)
            .flag("BIAS", bias.is_some())
            .flag("COUNTED", row_count.is_some());
        // Barriers are dear on software adapters: there a row belongs to one invocation.
        let (kernel, groups) = if self.variant.kind.is_cpu() {
            ("norm/norm_cpu", rows.div_ceil(8))
        } else {
            let workgroup = if width <= 512 { 64 } else { 256 };
            constants =
                constants.set("WORKGROUP", workgroup).flag("SUBGROUP", self.variant.kind.uses_subgroups());
            ("norm/norm", rows)
        };
        let y = schedule.tensor("norm", x.shape(), Dtype::F32)?;
        let params = NormParams { rows: rows as u32, width: width as u32, epsilon: self.config.epsilon };
        let cost = Cost { flops: 5.0 * x.elements() as f64, bytes: (x.bytes() + y.bytes()) as f64 };
        let mut recorder = schedule
            .kernel("norm", kernel, &constants.pairs())?
            .params(&params)
            .bind("x", x)?
            .bind("weight", weight)?
            .bind("y", &y)?;
        if let Some(bias) = bias {
            recorder = recorder.bind("bias", bias)?;
        }
        if let Some(row_count) = row_count {
            recorder = recorder.bind("row_count", row_count)?.may_end_early();
        }
        recorder.dispatch(groups, cost)?;
        Ok(y)
    }
}
