//! Patches of an image as rows, and rows copied between tensors.

use super::NAME;
use crate::error::{Error, Result};
use crate::kernels::{Constants, ELEMENTWISE, dims, expect_dtype};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use std::ops::Range;

#[derive(encase::ShaderType)]
struct PatchParams {
    batch: u32,
    channels: u32,
    height: u32,
    width: u32,
    side: u32,
}

#[derive(encase::ShaderType)]
struct CopyParams {
    batch: u32,
    count: u32,
    width: u32,
    source_rows: u32,
    source_first: u32,
    result_rows: u32,
    result_first: u32,
}

/// The patches of `[batch, channels, height, width]` f32 as `[batch, 1 + patches, channels · patch²]`, the class token's row 0.
///
/// Errors: `Shape` where a side of the image is no multiple of `patch`, `Limit`.
pub(super) fn record_patches(schedule: &mut Schedule, image: &Tensor, patch: usize) -> Result<Tensor> {
    let [batch, channels, height, width] = dims(NAME, "img", image, "[B, 3, H, W]")?;
    expect_dtype(NAME, "img", image, &[Dtype::F32])?;
    if image.elements() == 0 {
        let found = format!("has shape {:?}", image.shape());
        return Err(Error::shape(NAME, "img", found, "no empty dimension"));
    }
    if !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
        let found = format!("has shape {:?}", image.shape());
        return Err(Error::shape(NAME, "img", found, format!("sides that are multiples of patch = {patch}")));
    }
    let tokens = 1 + height / patch * (width / patch);
    let rows = schedule.tensor("patches", &[batch, tokens, channels * patch * patch], Dtype::F32)?;
    schedule
        .kernel("patches", "vit/patch_rows", &elementwise().pairs())?
        .params(&PatchParams {
            batch: batch as u32,
            channels: channels as u32,
            height: height as u32,
            width: width as u32,
            side: patch as u32,
        })
        .bind("image", image)?
        .bind("rows", &rows)?
        .dispatch(
            (rows.elements() / patch).div_ceil(ELEMENTWISE),
            Cost { flops: 0.0, bytes: 2.0 * rows.bytes() as f64 },
        )?;
    Ok(rows)
}

/// Copies rows of every image: those in `from` of source `[batch, rows, width]`, or of `[rows, width]` the same for all, to the place `to` in
/// result `[batch, rows, width]`.
pub(super) fn record_copy(
    schedule: &mut Schedule,
    source: &Tensor,
    from: Range<usize>,
    result: &Tensor,
    to: usize,
) -> Result<()> {
    let &[batch, result_rows, width] = result.shape() else { unreachable!("three dimensions") };
    let source_rows = if source.shape().len() == 3 { source.shape()[1] } else { 0 };
    let elements = batch * from.len() * width;
    schedule
        .kernel("copy rows", "vit/copy_rows", &elementwise().pairs())?
        .params(&CopyParams {
            batch: batch as u32,
            count: from.len() as u32,
            width: width as u32,
            source_rows: source_rows as u32,
            source_first: from.start as u32,
            result_rows: result_rows as u32,
            result_first: to as u32,
        })
        .bind("source", source)?
        .bind("result", result)?
        .dispatch(elements.div_ceil(ELEMENTWISE), Cost { flops: 0.0, bytes: 8.0 * elements as f64 })
}

/// Rows of every image as a tensor of their own.
pub(super) fn record_slice(
    schedule: &mut Schedule,
    label: &str,
    source: &Tensor,
    rows: Range<usize>,
) -> Result<Tensor> {
    let &[batch, _, width] = source.shape() else { unreachable!("three dimensions") };
    let result = schedule.tensor(label, &[batch, rows.len(), width], Dtype::F32)?;
    record_copy(schedule, source, rows, &result, 0)?;
    Ok(result)
}

fn elementwise() -> Constants {
    Constants::new().set("WORKGROUP", ELEMENTWISE)
}
