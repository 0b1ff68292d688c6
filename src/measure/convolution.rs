//! Convolutions to measure, and the decoder made of them.

use super::{Prepared, noise, noise_values};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::convolution::{Convolution, ConvolutionConfig, ConvolutionKind};
use crate::models::vqvae_decoder::{VqvaeDecoder, VqvaeDecoderConfig, VqvaeDecoderWeights};
use crate::schedule::Schedule;
use crate::tensor::Dtype;
use half::f16;

/// Shape of a convolution to measure, of one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvolutionCase {
    /// Full, depthwise or transposed.
    pub kind: ConvolutionKind,
    /// Height and width of x.
    pub size: [usize; 2],
    /// Channels of x.
    pub inputs: usize,
    /// Channels of y; not read for a depthwise convolution.
    pub outputs: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// As in [`ConvolutionConfig`].
    pub stride: usize,
    /// As in [`ConvolutionConfig`].
    pub padding: usize,
    /// Storage of the weight.
    pub dtype: Dtype,
}

/// A convolution of random data, ready to be timed.
pub fn convolution(
    gpu: &Gpu,
    case: ConvolutionCase,
    variant: Option<crate::VariantKind>,
) -> Result<Prepared> {
    let ConvolutionCase { kind, size: [height, width], inputs, outputs, kernel, stride, padding, dtype } =
        case;
    let operator =
        Convolution::new(gpu, ConvolutionConfig { kind, stride, padding, variant, ..Default::default() })?;
    let shape = match kind {
        ConvolutionKind::Full => [outputs, inputs, kernel, kernel],
        ConvolutionKind::Depthwise => [inputs, 1, kernel, kernel],
        ConvolutionKind::Transposed => [inputs, outputs, kernel, kernel],
    };
    let values = noise_values("weight", shape.iter().product(), 1.0);
    let weight = if dtype == Dtype::F16 {
        let halves: Vec<_> = values.map(f16::from_f32).collect();
        operator.upload_weight(gpu, "weight", shape, &halves)?
    } else {
        operator.upload_weight(gpu, "weight", shape, &values.collect::<Vec<_>>())?
    };
    let x = noise(gpu, "x", &[height, width, inputs], Dtype::F32)?;
    let mut schedule = Schedule::new(gpu);
    let y = operator.record(&mut schedule, &x, &weight, None, None)?;
    let plan = schedule.compile()?;
    let extra_bytes = plan.report().bytes - y.padded_bytes();
    Ok(Prepared { plan, variant: operator.explain().kind, extra_bytes })
}

/// The convolutional decoder on latents `[height, width, latent]`, ready to be timed.
pub fn vqvae_decoder(
    gpu: &Gpu,
    config: &VqvaeDecoderConfig,
    [height, width]: [usize; 2],
) -> Result<Prepared> {
    let decoder = VqvaeDecoder::new(gpu, config, &VqvaeDecoderWeights::random(config, 1))?;
    let latents = noise(gpu, "latents", &[height, width, config.latent], Dtype::F32)?;
    let mut schedule = Schedule::new(gpu);
    let image = decoder.record(&mut schedule, &latents)?;
    let plan = schedule.compile()?;
    let extra_bytes = plan.report().bytes - image.padded_bytes();
    Ok(Prepared { plan, variant: decoder.explain().kind, extra_bytes })
}
