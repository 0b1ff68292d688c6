//! ATD-light, a transformer for super-resolution (arXiv 2401.08209), with Pure-Pass (arXiv 2510.01997): pixels in plain windows leave
//! its category attention.
#![doc = include_str!("../../../docs/pure_pass.md")]

mod cost;
mod layer;
mod rows;
mod sizes;
mod upscale;

pub use crate::models::named_tensors::NamedTensors;
pub use cost::AtdMacs;
pub use layer::{AtdLayer, AtdLayerOutput};
pub use sizes::AtdSizes;
pub(crate) use sizes::layer_name;
pub use upscale::{Tiling, Upscaled, upscale};

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::convolution::{
    Convolution, ConvolutionConfig, ConvolutionWeight, record_cropped_pixel_shuffle,
};
use crate::kernels::norm::{Norm, NormConfig};
use crate::kernels::pure_pass::{PureMask, PurePassConfig, PurePassMask};
use crate::kernels::{dims, expect_dtype};
use crate::models::named_tensors::halves;
use crate::schedule::Schedule;
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};

/// The name in errors and of `gristmill run`.
pub const NAME: &str = "atd";

/// Of every LayerNorm.
pub(crate) const EPSILON: f32 = 1e-5;

/// What the network subtracts from red, green and blue, and adds again at the end: means of photos.
pub const MEAN: [f32; 3] = [0.4488, 0.4371, 0.4040];

/// The largest factor of an [`Atd`].
pub const LARGEST_SCALE: usize = 8;

/// What a pure pixel gets instead of category attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compensation {
    /// Its own value vector, which costs nothing; for weights trained with Pure-Pass.
    #[default]
    Value,
    /// Its value, projected: attention replaced by the identity. For weights trained without Pure-Pass.
    ProjectedValue,
    /// Nothing.
    Zero,
}

impl Compensation {
    /// All of them.
    pub const ALL: [Compensation; 3] = [Self::Value, Self::ProjectedValue, Self::Zero];

    /// `v`, `proj_v` or `zero`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Value => "v",
            Self::ProjectedValue => "proj_v",
            Self::Zero => "zero",
        }
    }
}

/// Pure-Pass in a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurePass {
    /// How pixels are found pure.
    pub mask: PurePassConfig,
    /// What they get.
    pub compensation: Compensation,
}

/// Configuration of an [`Atd`] network; channels, tokens and depth are those of its weights. The default is ATD-light's, twice the size,
/// without Pure-Pass.
#[derive(Clone, Debug)]
pub struct AtdConfig {
    /// How many times larger the picture becomes along each side: 1 to [`LARGEST_SCALE`].
    pub scale: usize,
    /// Pixels along a side of a window of attention; even.
    pub window: usize,
    /// Pixels of a group of category attention.
    pub group: usize,
    /// Heads of window and category attention.
    pub heads: usize,
    /// Which pixels leave category attention; `None`: all stay.
    pub pure_pass: Option<PurePass>,
    /// Storage of the matrices and kernels, f32 or f16; those of dictionary attention are f32.
    pub dtype: Dtype,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl Default for AtdConfig {
    fn default() -> Self {
        Self { scale: 2, window: 16, group: 128, heads: 4, pure_pass: None, dtype: Dtype::F32, variant: None }
    }
}

impl AtdConfig {
    /// Checks what doesn't depend on weights. Errors: `Config`.
    pub fn check(&self) -> Result<()> {
        if self.scale == 0 || self.scale > LARGEST_SCALE {
            return Err(Error::config(NAME, "scale", self.scale, format!("1 to {LARGEST_SCALE}")));
        }
        if self.window < 2 || !self.window.is_multiple_of(2) {
            return Err(Error::config(NAME, "window", self.window, "an even number"));
        }
        if ![Dtype::F32, Dtype::F16].contains(&self.dtype) {
            return Err(Error::config(NAME, "dtype", self.dtype.name(), "f32 or f16"));
        }
        if let Some(pure_pass) = &self.pure_pass {
            pure_pass.mask.check()?;
        }
        Ok(())
    }

    /// A picture's size in whole windows. Errors: `Shape` for one that its mirror image can't fill up.
    pub fn padded(&self, height: usize, width: usize) -> Result<[usize; 2]> {
        let least = self.window / 2;
        if height < least || width < least {
            let found = format!("has {height} x {width} pixels");
            let expected = format!("at least {least} along both sides, half a window");
            return Err(Error::shape(NAME, "img", found, expected));
        }
        Ok([height, width].map(|side| side.next_multiple_of(self.window)))
    }
}

/// A convolution's weight, stored as f32 or f16. Errors: `Shape`, also for a value past the range of f16, `Limit`, `OutOfMemory`.
fn upload_kernel(
    gpu: &Gpu,
    convolution: &Convolution,
    name: &str,
    shape: [usize; 4],
    values: &[f32],
    dtype: Dtype,
) -> Result<ConvolutionWeight> {
    match dtype {
        Dtype::F16 => convolution.upload_weight(gpu, name, shape, &halves(name, values)?),
        _ => convolution.upload_weight(gpu, name, shape, values),
    }
}

/// The whole network: a picture becomes `scale` times as large along each side.
///
/// Pictures are `[height, width, 3]` f32 in 0..1, at least half a window along each side; they are continued to whole windows by their
/// mirror image. Error bound: 1e-4 (goldens `atd_small*`), except where a pixel is nearly as similar to two tokens: rounding then decides
/// its category. Errors: `Shape`, `Config`, `Limit`, `OutOfMemory`.
#[derive(Clone, Debug)]
pub struct Atd {
    config: AtdConfig,
    sizes: AtdSizes,
    norm: Norm,
    convolution: Convolution,
    mask: Option<PurePassMask>,
    first: Convolved,
    entry: [Tensor; 2],
    blocks: Vec<Block>,
    exit: [Tensor; 2],
    body: Convolved,
    up: Convolved,
}

type Convolved = (ConvolutionWeight, Tensor);

#[derive(Clone, Debug)]
struct Block {
    dictionary: Tensor,
    layers: Vec<AtdLayer>,
    convolved: Convolved,
}

/// What [`Atd::record`] gives.
#[derive(Clone, Debug)]
pub struct AtdOutput {
    /// `[height · scale, width · scale, 3]` f32, not clamped.
    pub out: Tensor,
    /// Labels and mask of the picture in whole windows, with Pure-Pass.
    pub pure: Option<PureMask>,
}

impl Atd {
    /// Checks the weights, named as in docs/pure_pass.md, and copies them to the GPU.
    ///
    /// Errors: `Config`, `Shape` with the name of a weight that is missing or has another shape and both shapes, `OutOfMemory`.
    pub fn new(gpu: &Gpu, config: AtdConfig, weights: &NamedTensors) -> Result<Self> {
        config.check()?;
        let sizes = AtdSizes::of(weights)?;
        let AtdConfig { scale, window, heads, dtype, variant, .. } = config;
        if heads == 0 || !sizes.channels.is_multiple_of(heads) {
            let expected = format!("a divisor of the {} channels", sizes.channels);
            return Err(Error::config(NAME, "heads", heads, expected));
        }
        sizes.check(weights, heads, window, scale)?;
        let convolution =
            Convolution::new(gpu, ConvolutionConfig { padding: 1, variant, ..Default::default() })?;
        let channels = sizes.channels;
        let vector = |name: &str| Tensor::upload(gpu, name, &[channels], weights.floats(name, &[channels])?);
        let convolved = |name: &str, inputs: usize, outputs: usize, offset: &dyn Fn(usize) -> f32| {
            let shape = [outputs, inputs, 3, 3];
            let weight = weights.floats(&format!("{name}_w"), &shape)?;
            let bias = weights.floats(&format!("{name}_b"), &[outputs])?;
            let bias: Vec<f32> = bias.iter().enumerate().map(|(i, b)| b + offset(i)).collect();
            let weight = upload_kernel(gpu, &convolution, &format!("{name}_w"), shape, weight, dtype)?;
            Ok::<_, Error>((weight, Tensor::upload(gpu, &format!("{name}_b"), &[outputs], &bias)?))
        };
        let blocks = sizes.layers.iter().enumerate().map(|(b, &layers)| {
            let layer = |l| AtdLayer::new(gpu, &config, &sizes, weights, &layer_name(b, l), l % 2 == 1);
            let name = format!("blocks.{b}.td");
            let shape = [sizes.tokens, channels];
            Ok(Block {
                dictionary: Tensor::upload(gpu, &name, &shape, weights.floats(&name, &shape)?)?,
                layers: (0..layers).map(layer).collect::<Result<_>>()?,
                convolved: convolved(&format!("blocks.{b}.conv"), channels, channels, &|_| 0.0)?,
            })
        });
        Ok(Self {
            norm: Norm::new(gpu, NormConfig { center: true, epsilon: EPSILON, variant })?,
            mask: match &config.pure_pass {
                Some(pure_pass) => Some(PurePassMask::new(gpu, pure_pass.mask, variant)?),
                None => None,
            },
            first: convolved("first", 3, channels, &|_| 0.0)?,
            entry: [vector("pe_g")?, vector("pe_b")?],
            blocks: blocks.collect::<Result<_>>()?,
            exit: [vector("norm_g")?, vector("norm_b")?],
            body: convolved("body", channels, channels, &|_| 0.0)?,
            // The mean that the end of the network adds is a bias before the pixel shuffle.
            up: convolved("up", channels, 3 * scale * scale, &|i| MEAN[i / (scale * scale)])?,
            convolution,
            sizes,
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &AtdConfig {
        &self.config
    }

    /// Channels, tokens and depth.
    pub fn sizes(&self) -> &AtdSizes {
        &self.sizes
    }

    /// Multiplications for a pixel of the given picture.
    pub fn macs(&self) -> AtdMacs {
        AtdMacs::new(&self.config, &self.sizes)
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        self.norm.explain()
    }

    /// Records the network over a picture `[height, width, 3]` f32.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, picture: &Tensor) -> Result<AtdOutput> {
        let [height, width, channels] = dims(NAME, "img", picture, "[height, width, 3]")?;
        expect_dtype(NAME, "img", picture, &[Dtype::F32])?;
        if channels != 3 {
            let found = format!("has shape {:?}", picture.shape());
            return Err(Error::shape(NAME, "img", found, "[height, width, 3]"));
        }
        let padded @ [high, wide] = self.config.padded(height, width)?;
        let pure = match &self.mask {
            Some(operator) => {
                let levels = rows::record_pad(schedule, picture, padded, [0.0; 3])?;
                Some(operator.record(schedule, &levels)?)
            }
            None => None,
        };
        let mask = pure.as_ref().map(|pure| pure.mask.reshape(&[high * wide])).transpose()?;
        let x = rows::record_pad(schedule, picture, padded, MEAN.map(|mean| -mean))?;
        let shallow = self.convolve(schedule, &x, &self.first, None)?;
        drop(x);

        let tokens = [high * wide, self.sizes.channels];
        let map = [high, wide, self.sizes.channels];
        let mut t =
            self.norm.record(schedule, &shallow.reshape(&tokens)?, &self.entry[0], Some(&self.entry[1]))?;
        for block in &self.blocks {
            let mut y = t.clone();
            let mut dictionary = block.dictionary.clone();
            for layer in &block.layers {
                let output = layer.record(schedule, &y, &dictionary, padded, mask.as_ref())?;
                y = output.out;
                dictionary = output.dictionary.unwrap_or(dictionary);
            }
            t = self
                .convolve(schedule, &y.reshape(&map)?, &block.convolved, Some(&t.reshape(&map)?))?
                .reshape(&tokens)?;
        }
        let t = self.norm.record(schedule, &t, &self.exit[0], Some(&self.exit[1]))?;
        let deep = self.convolve(schedule, &t.reshape(&map)?, &self.body, Some(&shallow))?;
        drop((t, shallow));
        let channels = self.convolve(schedule, &deep, &self.up, None)?;
        drop(deep);
        let out = record_cropped_pixel_shuffle(schedule, &channels, self.config.scale, [height, width])?;
        Ok(AtdOutput { out, pure })
    }

    fn convolve(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        (weight, bias): &Convolved,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        self.convolution.record(schedule, x, weight, Some(bias), residual)
    }
}
