//! Twin of the VQ-VAE decoder: its convolutions one after another.

use super::convolution::{ConvolutionShape, convolution};
use crate::kernels::convolution::ConvolutionKind;
use crate::models::vqvae_decoder::{VqvaeDecoderConfig, VqvaeDecoderWeights};

/// latents `[batch, height, width, latent]`; gives `[batch, 4 height, 4 width, channels]`.
pub fn vqvae_decoder(
    latents: &[f64],
    [batch, height, width]: [usize; 3],
    config: &VqvaeDecoderConfig,
    weights: &VqvaeDecoderWeights,
) -> Vec<f64> {
    let (mut x, mut before, mut size) = (latents.to_vec(), Vec::new(), [height, width]);
    for (layer, (weight, bias)) in config.layers().iter().zip(&weights.0) {
        let [first, second, high, wide] = layer.weight;
        let (inputs, outputs) = match layer.config.kind {
            ConvolutionKind::Transposed => (first, second),
            _ => (second, first),
        };
        let shape = ConvolutionShape {
            kind: layer.config.kind,
            batch,
            size,
            inputs,
            outputs,
            kernel: [high, wide],
            stride: layer.config.stride,
            padding: layer.config.padding,
        };
        let seen = if layer.config.input_relu { x.iter().map(|x| x.max(0.0)).collect() } else { x.clone() };
        let [weight, bias] =
            [weight, bias].map(|values| values.iter().map(|&v| v as f64).collect::<Vec<_>>());
        let mut y = convolution(&seen, &weight, Some(&bias), &shape, layer.config.activation);
        if layer.closes_block {
            y.iter_mut().zip(&before).for_each(|(y, before)| *y += before);
        }
        before = std::mem::replace(&mut x, y);
        size = shape.out_size();
    }
    x
}
