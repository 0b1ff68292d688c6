//! The convolutional decoder of a VQ-VAE (arXiv 1711.00937): what a decoder of few multiplications is compared with.

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::convolution::{Convolution, ConvolutionConfig, ConvolutionKind, ConvolutionWeight};
use crate::kernels::linear_types::Activation;
use crate::schedule::Schedule;
use crate::tensor::Tensor;
use crate::variant::{Variant, VariantKind};

const NAME: &str = "vqvae_decoder";

/// Channels and depth of a [`VqvaeDecoder`]. The default is the published form: 2 residual blocks of 128 channels, 32 inside.
#[derive(Clone, Debug)]
pub struct VqvaeDecoderConfig {
    /// Elements of a latent vector.
    pub latent: usize,
    /// Channels between the layers; even.
    pub hidden: usize,
    /// Channels inside a residual block.
    pub residual_hidden: usize,
    /// Residual blocks.
    pub residual_blocks: usize,
    /// Channels of the picture.
    pub channels: usize,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl Default for VqvaeDecoderConfig {
    fn default() -> Self {
        Self { latent: 64, hidden: 128, residual_hidden: 32, residual_blocks: 2, channels: 3, variant: None }
    }
}

/// One convolution of the decoder.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub config: ConvolutionConfig,
    /// In PyTorch's order.
    pub weight: [usize; 4],
    /// The second layer of a residual block: what went into the first is added.
    pub closes_block: bool,
}

impl VqvaeDecoderConfig {
    /// The convolutions in their order.
    pub(crate) fn layers(&self) -> Vec<Layer> {
        let Self { latent, hidden, residual_hidden, residual_blocks, channels, variant } = *self;
        let plain = ConvolutionConfig { variant, ..Default::default() };
        let layer = |config, weight| Layer { config, weight, closes_block: false };
        let three = |activation| ConvolutionConfig { padding: 1, activation, ..plain.clone() };
        let mut layers = vec![layer(three(Activation::None), [hidden, latent, 3, 3])];
        for _ in 0..residual_blocks {
            let first = ConvolutionConfig { input_relu: true, ..three(Activation::Relu) };
            layers.push(layer(first, [residual_hidden, hidden, 3, 3]));
            let second = layer(plain.clone(), [hidden, residual_hidden, 1, 1]);
            layers.push(Layer { closes_block: true, ..second });
        }
        let enlarge =
            ConvolutionConfig { kind: ConvolutionKind::Transposed, stride: 2, padding: 1, ..plain.clone() };
        let first = ConvolutionConfig { input_relu: true, activation: Activation::Relu, ..enlarge.clone() };
        layers.push(layer(first, [hidden, hidden / 2, 4, 4]));
        layers.push(layer(enlarge, [hidden / 2, channels, 4, 4]));
        layers
    }

    /// Multiply-adds of decoding latents of this height and width, in closed form: 1225 million of the published form at 64 x 64.
    pub fn macs(&self, height: usize, width: usize) -> f64 {
        let Self { latent, hidden, residual_hidden, residual_blocks, channels, .. } = *self;
        let block = 9 * hidden * residual_hidden + residual_hidden * hidden;
        // A transposed convolution with stride 2 multiplies its 16 taps with every pixel of its input.
        let of_a_latent = 9 * latent * hidden
            + residual_blocks * block
            + 16 * hidden * (hidden / 2)
            + 4 * 16 * (hidden / 2) * channels;
        (height * width) as f64 * of_a_latent as f64
    }

    fn check(&self) -> Result<()> {
        for (key, value) in
            [("latent", self.latent), ("residual_hidden", self.residual_hidden), ("channels", self.channels)]
        {
            if value == 0 {
                return Err(Error::config(NAME, key, value, "at least 1"));
            }
        }
        if self.hidden == 0 || !self.hidden.is_multiple_of(2) {
            return Err(Error::config(NAME, "hidden", self.hidden, "a positive even number"));
        }
        Ok(())
    }
}

/// Weight in PyTorch's order and bias of every convolution, in the order of the layers.
#[derive(Clone, Debug, PartialEq)]
pub struct VqvaeDecoderWeights(pub Vec<(Vec<f32>, Vec<f32>)>);

impl VqvaeDecoderWeights {
    /// Untrained weights, uniform within 1 / sqrt(products in a sum), the same for the same seed. For timing and for tests.
    pub fn random(config: &VqvaeDecoderConfig, seed: u64) -> Self {
        // xorshift64*
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        };
        let layers = config.layers().into_iter().map(|layer| {
            let [first, second, high, wide] = layer.weight;
            let transposed = layer.config.kind == ConvolutionKind::Transposed;
            let (inputs, outputs) = if transposed { (first, second) } else { (second, first) };
            let taps = high * wide / if transposed { 4 } else { 1 };
            let size = ((inputs * taps).max(1) as f32).powf(-0.5);
            let mut values = |count: usize| (0..count).map(|_| next() * size).collect::<Vec<_>>();
            (values(layer.weight.iter().product()), values(outputs))
        });
        Self(layers.collect())
    }
}

/// Latents to a picture four times as high and wide: a 3 x 3 convolution, residual blocks (ReLU, 3 x 3, ReLU, 1 x 1, added to
/// what came in), and two transposed convolutions 4 x 4 with stride 2, ReLU before and between them.
///
/// Shapes: latents `[batch, height, width, latent]` or without the batch, f32; out `[batch, 4 height, 4 width, channels]` alike, not
/// clamped. Error bound: 1e-5 for latents and outputs of size 1. Errors: `Config`, `Shape`, `Limit`.
#[derive(Clone, Debug)]
pub struct VqvaeDecoder {
    layers: Vec<(Convolution, ConvolutionWeight, Tensor, bool)>,
}

impl VqvaeDecoder {
    /// Checks the configuration and copies the weights to the GPU.
    ///
    /// Errors: `Config`, `Shape` where the weights are not those of the configuration, `Limit`, `OutOfMemory`.
    pub fn new(gpu: &Gpu, config: &VqvaeDecoderConfig, weights: &VqvaeDecoderWeights) -> Result<Self> {
        config.check()?;
        let layers = config.layers();
        if layers.len() != weights.0.len() {
            let found = format!("has {} layers", weights.0.len());
            return Err(Error::shape(NAME, "weights", found, layers.len().to_string()));
        }
        let upload = |(layer, (weight, bias)): (Layer, &(Vec<f32>, Vec<f32>))| {
            let operator = Convolution::new(gpu, layer.config)?;
            let weight = operator.upload_weight(gpu, "weight", layer.weight, weight)?;
            let bias = Tensor::upload(gpu, "bias", &[weight.outputs()], bias)?;
            Ok((operator, weight, bias, layer.closes_block))
        };
        let layers = layers.into_iter().zip(&weights.0).map(upload).collect::<Result<_>>()?;
        Ok(Self { layers })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        self.layers[0].0.explain()
    }

    /// Records the decoding: one kernel a layer.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, latents: &Tensor) -> Result<Tensor> {
        let (mut x, mut before) = (latents.clone(), latents.clone());
        for (operator, weight, bias, closes_block) in &self.layers {
            let residual = closes_block.then_some(&before);
            let y = operator.record(schedule, &x, weight, Some(bias), residual)?;
            before = std::mem::replace(&mut x, y);
        }
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_form_has_1225_million_multiply_adds() {
        let config = VqvaeDecoderConfig::default();
        assert_eq!((config.macs(64, 64) * 1e-6).round(), 1225.0);
        assert_eq!(config.layers().len(), 7);
    }

    #[test]
    fn random_weights_repeat_and_fit_their_layers() {
        let config = VqvaeDecoderConfig { latent: 3, hidden: 4, ..Default::default() };
        let weights = VqvaeDecoderWeights::random(&config, 7);
        assert_eq!(weights, VqvaeDecoderWeights::random(&config, 7));
        assert_ne!(weights, VqvaeDecoderWeights::random(&config, 8));
        for (layer, (weight, bias)) in config.layers().iter().zip(&weights.0) {
            assert_eq!(weight.len(), layer.weight.iter().product::<usize>());
            assert!(weight.iter().chain(bias).all(|value| value.abs() <= 1.0));
        }
        assert_eq!(weights.0.last().unwrap().1.len(), 3);
    }
}
