//! Textures in and out.

use super::{Constants, ELEMENTWISE, dims, expect_dtype};
use crate::error::{Error, Result};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};

#[derive(encase::ShaderType)]
struct ImageParams {
    height: u32,
    width: u32,
}

fn check_channels(channels: usize) -> Result<()> {
    if channels == 3 || channels == 4 {
        return Ok(());
    }
    Err(Error::config("image", "channels", channels, "3 or 4"))
}

/// Errors: `Shape` where the texture has not so many pixels.
pub(crate) fn check_size(
    operator: &'static str,
    texture: &wgpu::TextureView,
    height: usize,
    width: usize,
) -> Result<()> {
    let texture = texture.texture();
    if height <= texture.height() as usize && width <= texture.width() as usize {
        return Ok(());
    }
    let found = format!("has {} x {} pixels", texture.width(), texture.height());
    Err(Error::shape(operator, "texture", found, format!("at least {width} x {height}")))
}

/// Records the copy of a texture's upper left pixels into a tensor `[height, width, channels]` f32, channels 3 or 4.
///
/// Values are as a shader loads them: 0 to 1 of an `unorm` format, linear of an `srgb` one. The texture needs the usage
/// `TEXTURE_BINDING` and a float format, and may be larger than height x width. Errors: `Config` for the channels, `Shape`
/// where it is smaller, `Limit`; [`compile`](Schedule::compile) gives `Validation` for a wrong usage or format.
pub fn record_load_texture(
    schedule: &mut Schedule,
    texture: &wgpu::TextureView,
    height: usize,
    width: usize,
    channels: usize,
) -> Result<Tensor> {
    check_channels(channels)?;
    check_size("image", texture, height, width)?;
    let tensor = schedule.tensor("image", &[height, width, channels], Dtype::F32)?;
    let constants = Constants::new().set("CHANNELS", channels).set("WORKGROUP", ELEMENTWISE);
    schedule
        .kernel("load texture", "image/load_texture", &constants.pairs())?
        .params(&ImageParams { height: height as u32, width: width as u32 })
        .bind_texture("picture", texture)?
        .bind("image", &tensor)?
        .dispatch(
            (height * width).div_ceil(ELEMENTWISE),
            Cost { flops: 0.0, bytes: tensor.bytes() as f64 },
        )?;
    Ok(tensor)
}

/// Records the copy of a tensor `[height, width, channels]` f32, clamped to 0..1, into an `rgba8unorm` texture with the
/// usage `STORAGE_BINDING`; alpha is 1 where there are 3 channels. Pixels of a larger texture stay as they are.
///
/// Errors: `Shape` where the texture is smaller or the tensor is not f32, `Config` for the channels, `Schedule` for a tensor
/// of another [`Gpu`](crate::Gpu); [`compile`](Schedule::compile) gives `Validation` for a wrong usage or format.
pub fn record_store_texture(
    schedule: &mut Schedule,
    tensor: &Tensor,
    texture: &wgpu::TextureView,
) -> Result<()> {
    let [height, width, channels] = dims("image", "tensor", tensor, "[height, width, channels]")?;
    expect_dtype("image", "tensor", tensor, &[Dtype::F32])?;
    check_channels(channels)?;
    check_size("image", texture, height, width)?;
    let constants = Constants::new().set("CHANNELS", channels).set("WORKGROUP", ELEMENTWISE);
    schedule
        .kernel("store texture", "image/store_texture", &constants.pairs())?
        .params(&ImageParams { height: height as u32, width: width as u32 })
        .bind("image", tensor)?
        .bind_texture("picture", texture)?
        .dispatch((height * width).div_ceil(ELEMENTWISE), Cost { flops: 0.0, bytes: tensor.bytes() as f64 })
}

#[derive(encase::ShaderType)]
struct PlaceParams {
    height: u32,
    width: u32,
    tiles_x: u32,
    tile: u32,
    first_tile: u32,
    tiles: u32,
}

/// Records: write the pixels `[tiles, tile², .., channels]` of a run of square tiles, from `first_tile` on, to their places in the
/// picture `[height, width, channels]`, f32. Tiles count row by row; what lies past the picture's edge is dropped.
pub(crate) fn record_place_tiles(
    schedule: &mut Schedule,
    pixels: &Tensor,
    image: &Tensor,
    tile: usize,
    first_tile: usize,
    tiles: usize,
) -> Result<()> {
    let [height, width, channels] = dims("place_tiles", "image", image, "[height, width, channels]")?;
    let constants = Constants::new().set("CHANNELS", channels).set("WORKGROUP", ELEMENTWISE);
    let params = PlaceParams {
        height: height as u32,
        width: width as u32,
        tiles_x: width.div_ceil(tile) as u32,
        tile: tile as u32,
        first_tile: first_tile as u32,
        tiles: tiles as u32,
    };
    schedule
        .kernel("place tiles", "image/place_tiles", &constants.pairs())?
        .params(&params)
        .bind("pixels", pixels)?
        .bind("image", image)?
        .dispatch(
            (tiles * tile * tile).div_ceil(ELEMENTWISE),
            Cost { flops: 0.0, bytes: 2.0 * pixels.bytes() as f64 },
        )
}
