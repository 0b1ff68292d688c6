//! Channels that become pixels.

use super::NAME;
use crate::error::{Error, Result};
use crate::kernels::{Constants, ELEMENTWISE, expect_dtype};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};

#[derive(encase::ShaderType)]
struct ShuffleParams {
    elements: u32,
    height: u32,
    width: u32,
    channels: u32,
    scale: u32,
    out_height: u32,
    out_width: u32,
}

/// Records the pixel shuffle (arXiv 1609.05158), the last step of many super-resolution networks: scale² channels become a square of
/// pixels, in the order of PyTorch's `PixelShuffle`.
///
/// Shapes: x `[batch, height, width, channels · scale²]` or without the batch, f32; y `[batch, height · scale, width · scale,
/// channels]` alike. Exact. Errors: `Config` for a scale of 0, `Shape`, `Limit`, `Schedule` for a tensor of another
/// [`Gpu`](crate::Gpu).
pub fn record_pixel_shuffle(schedule: &mut Schedule, x: &Tensor, scale: usize) -> Result<Tensor> {
    shuffle(schedule, x, scale, None)
}

/// The same of the pixels of x above and left of `kept`, height and width: what padding added is left out.
pub(crate) fn record_cropped_pixel_shuffle(
    schedule: &mut Schedule,
    x: &Tensor,
    scale: usize,
    kept: [usize; 2],
) -> Result<Tensor> {
    shuffle(schedule, x, scale, Some(kept))
}

fn shuffle(schedule: &mut Schedule, x: &Tensor, scale: usize, kept: Option<[usize; 2]>) -> Result<Tensor> {
    let Some(square) = scale.checked_mul(scale).filter(|square| *square > 0) else {
        return Err(Error::config(NAME, "scale", scale, "at least 1"));
    };
    let mut shape = x.shape().to_vec();
    let dimensions = shape.len();
    let [.., height, width, channels] = shape.as_mut_slice() else {
        return Err(Error::shape(
            NAME,
            "x",
            format!("has shape {:?}", x.shape()),
            "[height, width, channels]",
        ));
    };
    if dimensions > 4 || x.elements() == 0 || !channels.is_multiple_of(square) {
        let expected =
            format!("[batch, height, width, channels · {square}] or without the batch, nothing empty");
        return Err(Error::shape(NAME, "x", format!("has shape {:?}", x.shape()), expected));
    }
    expect_dtype(NAME, "x", x, &[Dtype::F32])?;
    let (x_height, x_width) = (*height as u32, *width as u32);
    let [kept_height, kept_width] = kept.unwrap_or([*height, *width]);
    (*height, *width, *channels) = (kept_height * scale, kept_width * scale, *channels / square);
    let (out_height, out_width, out_channels) = (*height as u32, *width as u32, *channels as u32);
    let y = schedule.tensor("pixel shuffle", &shape, Dtype::F32)?;
    let params = ShuffleParams {
        elements: y.elements() as u32,
        height: x_height,
        width: x_width,
        channels: out_channels,
        scale: scale as u32,
        out_height,
        out_width,
    };
    let constants = Constants::new().set("WORKGROUP", ELEMENTWISE);
    schedule
        .kernel("pixel shuffle", "convolution/pixel_shuffle", &constants.pairs())?
        .params(&params)
        .bind("x", x)?
        .bind("y", &y)?
        .dispatch(y.elements().div_ceil(ELEMENTWISE), Cost { flops: 0.0, bytes: 2.0 * y.bytes() as f64 })?;
    Ok(y)
}
