//! The twins of the low-rank vector-quantised decoder and of its search by name.

use super::lowrank_vq::{Code, code};
use super::{Config, Inputs, Outputs, vq_nearest};
use crate::error::Result;
use crate::kernels::lowrank_vq::Combine;
use crate::twins::lowrank_vq::{VqShape, lowrank_vq as decode, to_bytes, vq_nearest as nearest};

pub(super) fn lowrank_vq(inputs: &Inputs, config: &Config) -> Result<Outputs> {
    let Code { config, words } = code(inputs, config)?;
    let [codewords, _] = inputs.dims("codebook", "[K, P]")?;
    let shape = VqShape {
        height: config.height,
        width: config.width,
        channels: config.channels,
        patch: config.patch,
        rank: config.rank,
        iterations: config.iterations,
        bits: config.bits_per_index(codewords)?,
        mean: config.combine == Combine::Mean,
    };
    let image = decode(inputs.floats("codebook")?, &words, &shape);
    let clamped: Vec<f64> = image.iter().map(|x| x.clamp(0.0, 1.0)).collect();
    let mut outputs = Outputs::default();
    outputs.double("image", &[shape.height, shape.width, shape.channels], &clamped);
    outputs.bytes("image_u8", &[shape.height, shape.width, shape.channels], &to_bytes(&image));
    Ok(outputs)
}

pub(super) fn vq_nearest(inputs: &Inputs) -> Result<Outputs> {
    let length = vq_nearest::length(inputs)?;
    let (indices, _) = nearest(inputs.floats("z")?, inputs.floats("codebook")?, length);
    let mut outputs = Outputs::default();
    outputs.unsigned("idx", &[indices.len()], &indices);
    Ok(outputs)
}
