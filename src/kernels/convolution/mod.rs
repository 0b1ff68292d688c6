//! Convolutions of pictures, and the pixel shuffle that follows some of them.
//!
//! Pictures are channels last, `[batch, height, width, channels]`: an output pixel is then a row of a matrix product whose inputs
//! lie together in memory, the order of tokens in the rest of the crate, and of image files.

mod geometry;
mod shuffle;
mod weight;

pub(crate) use shuffle::record_cropped_pixel_shuffle;
pub use shuffle::record_pixel_shuffle;
pub use weight::ConvolutionWeight;

use super::linear_types::Activation;
use super::{Constants, check_activation, expect_dtype, expect_shape, load_type};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};
use geometry::{Geometry, Tiling};

const NAME: &str = "convolution";

/// The longest side of a kernel.
pub const LARGEST_KERNEL: usize = 15;

/// The largest stride, and the largest padding.
pub const LARGEST_STEP: usize = 64;

/// Which channels a convolution joins, and in which direction it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConvolutionKind {
    /// Every output from every input channel. PyTorch's `Conv2d`, weight `[outputs, inputs, kh, kw]`.
    #[default]
    Full,
    /// Every channel on its own. PyTorch's `Conv2d` with `groups` = channels, weight `[channels, 1, kh, kw]`.
    Depthwise,
    /// The transpose of `Full`, which enlarges a picture by its stride. PyTorch's `ConvTranspose2d`, weight `[inputs, outputs, kh, kw]`.
    Transposed,
}

/// Configuration of a [`Convolution`]. The default is a full one with stride 1, no padding and no activation.
#[derive(Clone, Debug)]
pub struct ConvolutionConfig {
    /// Full, depthwise or transposed.
    pub kind: ConvolutionKind,
    /// Pixels of x from one output pixel to the next, of a transposed one pixels of y from one input pixel to the next; 1 to
    /// [`LARGEST_STEP`].
    pub stride: usize,
    /// Lines of zeros around x, of a transposed one lines cut off around y; at most [`LARGEST_STEP`].
    pub padding: usize,
    /// Applied to the sum and the bias.
    pub activation: Activation,
    /// Read max(x, 0) for x: the first half of a block that activates before it convolves.
    pub input_relu: bool,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl Default for ConvolutionConfig {
    fn default() -> Self {
        Self {
            kind: ConvolutionKind::Full,
            stride: 1,
            padding: 0,
            activation: Activation::None,
            input_relu: false,
            variant: None,
        }
    }
}

/// y = activation(x * weight + bias) + residual with zeros around x, in f32.
///
/// Shapes: x `[batch, height, width, inputs]` f32, weight as its [`kind`](ConvolutionKind) says (kernel sides 1 to
/// [`LARGEST_KERNEL`]; see [`upload_weight`](Self::upload_weight)) in f32 or f16, bias `[outputs]` f32, residual like y f32, y `[batch,
/// out height, out width, outputs]` f32. A picture without the batch dimension gives one without it. Out height is (height + 2
/// padding - kernel) / stride + 1 rounded down, of a transposed convolution (height - 1) stride - 2 padding + kernel.
///
/// Error bound: 1e-6 · sqrt(inputs · kh · kw) relative to the sum of absolute products; GELU adds 2e-7. Errors: `Shape`, `Config`,
/// `Limit`.
#[derive(Clone, Debug)]
pub struct Convolution {
    config: ConvolutionConfig,
    variant: Variant,
}

impl Convolution {
    /// Checks the configuration against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: ConvolutionConfig) -> Result<Self> {
        if config.stride == 0 || config.stride > LARGEST_STEP {
            return Err(Error::config(NAME, "stride", config.stride, format!("1 to {LARGEST_STEP}")));
        }
        if config.padding > LARGEST_STEP {
            return Err(Error::config(NAME, "padding", config.padding, format!("at most {LARGEST_STEP}")));
        }
        check_activation(NAME, config.activation)?;
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records the convolution: one kernel, bias, activation and residual included.
    ///
    /// Errors: `Shape`, `Config` for a weight that was ordered for another kind, stride or padding, `Limit`, `Schedule` for a tensor
    /// of another [`Gpu`].
    pub fn record(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        weight: &ConvolutionWeight,
        bias: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let geometry = self.check(x, weight, bias, residual)?;
        let tiling = self.tiling(&geometry);
        let tensor = weight.tensor();
        let mut constants = Constants::new()
            .flag("X_ALIGNED", geometry.inputs.is_multiple_of(4))
            .set("X_TYPE", load_type(Dtype::F32, geometry.inputs))
            .flag("X_RELU", self.config.input_relu)
            .flag("WEIGHT_F16", tensor.dtype() == Dtype::F16)
            .set("WEIGHT_TYPE", load_type(tensor.dtype(), 4))
            .flag("Y_ALIGNED", geometry.outputs.is_multiple_of(4))
            .set("Y_TYPE", load_type(Dtype::F32, geometry.outputs))
            .flag("BIAS", bias.is_some())
            .flag("RESIDUAL", residual.is_some())
            .activation(self.config.activation);
        for (name, value) in &tiling.constants {
            constants = constants.set(name, value);
        }
        let y = schedule.tensor(NAME, &geometry.out_shape(x.shape().len()), Dtype::F32)?;
        let cost =
            Cost { flops: 2.0 * geometry.macs(), bytes: (x.bytes() + tensor.bytes() + y.bytes()) as f64 };
        let mut recorder = schedule
            .kernel(NAME, tiling.kernel, &constants.pairs())?
            .params(&geometry.params(&tiling))
            .bind("x", x)?
            .bind("weight", tensor)?
            .bind("y", &y)?;
        if let Some(bias) = bias {
            recorder = recorder.bind("bias", bias)?;
        }
        if let Some(residual) = residual {
            recorder = recorder.bind("residual", residual)?;
        }
        recorder.dispatch(tiling.groups, cost)?;
        Ok(y)
    }

    /// Every size, once every shape fits.
    fn check(
        &self,
        x: &Tensor,
        weight: &ConvolutionWeight,
        bias: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Geometry> {
        let [batch, height, width, inputs] = match *x.shape() {
            [height, width, inputs] => [1, height, width, inputs],
            [batch, height, width, inputs] => [batch, height, width, inputs],
            _ => [0; 4],
        };
        if x.elements() == 0 || inputs == 0 {
            let found = format!("has shape {:?}", x.shape());
            let expected = "[height, width, channels] or [batch, height, width, channels], nothing empty";
            return Err(Error::shape(NAME, "x", found, expected));
        }
        expect_dtype(NAME, "x", x, &[Dtype::F32])?;
        weight.check(&self.config)?;
        if weight.inputs() != inputs {
            let found = format!("is for {} channels", weight.inputs());
            return Err(Error::shape(NAME, "weight", found, format!("{inputs}, those of x {:?}", x.shape())));
        }
        let geometry = Geometry::new(&self.config, [batch, height, width], weight).ok_or_else(|| {
            let [high, wide] = weight.kernel();
            let found = format!("has shape {:?}", x.shape());
            let expected = match self.config.kind {
                ConvolutionKind::Transposed => "a picture that its padding leaves something of",
                _ => "a picture, with its padding, no smaller than the kernel",
            };
            let rest = format!("{expected} (kernel {high} x {wide}, padding {})", self.config.padding);
            Error::shape(NAME, "x", found, rest)
        })?;
        if let Some(bias) = bias {
            expect_dtype(NAME, "bias", bias, &[Dtype::F32])?;
            expect_shape(NAME, "bias", bias, &[geometry.outputs])?;
        }
        if let Some(residual) = residual {
            expect_dtype(NAME, "residual", residual, &[Dtype::F32])?;
            expect_shape(NAME, "residual", residual, &geometry.out_shape(x.shape().len()))?;
        }
        Ok(geometry)
    }

    fn tiling(&self, geometry: &Geometry) -> Tiling {
        match self.config.kind {
            ConvolutionKind::Depthwise => Tiling::depthwise(geometry),
            _ => Tiling::product(geometry, self.variant.kind),
        }
    }
}
