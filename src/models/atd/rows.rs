//! Pictures before the first layer, and rows of a sorted list on their way back.

use super::NAME;
use crate::error::Result;
use crate::kernels::category_sort::SortedCategories;
use crate::kernels::{Constants, ELEMENTWISE, dims, load_type};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};

#[derive(encase::ShaderType)]
struct PadParams {
    height: u32,
    width: u32,
    padded_height: u32,
    padded_width: u32,
    red: f32,
    green: f32,
    blue: f32,
}

/// Records the picture `[height, width, 3]` f32, mirrored to the right and below up to the padded size (at most twice its own) and
/// shifted by `offset`.
pub(super) fn record_pad(
    schedule: &mut Schedule,
    picture: &Tensor,
    [padded_height, padded_width]: [usize; 2],
    [red, green, blue]: [f32; 3],
) -> Result<Tensor> {
    let [height, width, _] = dims(NAME, "picture", picture, "[height, width, 3]")?;
    let padded = schedule.tensor("padded picture", &[padded_height, padded_width, 3], Dtype::F32)?;
    let params = PadParams {
        height: height as u32,
        width: width as u32,
        padded_height: padded_height as u32,
        padded_width: padded_width as u32,
        red,
        green,
        blue,
    };
    schedule
        .kernel("pad picture", "atd/pad_picture", &elementwise().pairs())?
        .params(&params)
        .bind("picture", picture)?
        .bind("padded", &padded)?
        .dispatch(
            padded.elements().div_ceil(ELEMENTWISE),
            Cost { flops: 0.0, bytes: 2.0 * padded.bytes() as f64 },
        )?;
    Ok(padded)
}

#[derive(encase::ShaderType)]
struct RowParams {
    pixels: u32,
}

/// Records: the values in `qkv` `[pixels, 3 · channels]` of the pixels that the list leaves out, into their places in `rows` `[pixels,
/// channels]`, behind those of the list.
pub(super) fn record_place_values(
    schedule: &mut Schedule,
    sorted: &SortedCategories,
    qkv: &Tensor,
    rows: &Tensor,
) -> Result<()> {
    let [pixels, channels] = dims(NAME, "rows", rows, "[pixels, channels]")?;
    let units = if channels.is_multiple_of(4) { channels / 4 } else { channels };
    let constants = elementwise().set("ROW_TYPE", load_type(Dtype::F32, channels)).set("UNITS", units);
    schedule
        .kernel("place values", "atd/place_values", &constants.pairs())?
        .params(&RowParams { pixels: pixels as u32 })
        .bind("order", &sorted.order)?
        .bind("active_count", &sorted.active_count)?
        .bind("qkv", qkv)?
        .bind("rows", rows)?
        .may_end_early()
        .dispatch(
            (pixels * units).div_ceil(ELEMENTWISE),
            Cost { flops: 0.0, bytes: 2.0 * rows.bytes() as f64 },
        )
}

fn elementwise() -> Constants {
    Constants::new().set("WORKGROUP", ELEMENTWISE)
}
