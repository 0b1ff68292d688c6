//! Denoising a picture without any training: attention between its own patches, local linear or softmax.

mod basis;
mod picture;

pub use crate::models::picture::Picture;
pub use basis::PatchBasis;
pub use picture::denoise;

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::attention::{Attention, AttentionConfig, AttentionInputs};
use crate::kernels::flash_lla::{FlashLla, FlashLlaConfig, FlashLlaInputs};
use crate::kernels::image::record_place_tiles;
use crate::kernels::{Constants, ELEMENTWISE, dims, expect_dtype, expect_shape};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};
use basis::{check_picture, patch_dim};
use std::str::FromStr;

/// Elements of a token: principal components of a patch.
pub const COMPONENTS: usize = 12;

/// A patch reaches this many pixels around its centre.
pub const RADIUS: usize = 2;

/// How a pixel follows from the pixels of its window, whose weights are exp(-|q - k|² / h²) over the distances of their tokens.
///
/// `h` is in units of the distance that noise alone puts between two equal tokens: h² = 1 is 2 · [`COMPONENTS`] times the variance
/// of the noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DenoiseMethod {
    /// The value at the pixel's own token of the line that fits tokens and pixels best: local linear attention.
    Lla {
        /// Width of the weights.
        h: f32,
        /// λ of the fit, in units of the variance of the noise.
        ridge: f32,
    },
    /// The weighted mean: softmax attention, which is non-local means.
    Softmax {
        /// Width of the weights.
        h: f32,
    },
}

impl DenoiseMethod {
    /// Local linear attention as it does best over the photos of docs/local_linear_attention.md.
    pub const LLA: Self = Self::Lla { h: 2.0, ridge: 5.0 };
    /// Softmax attention as it does best over the same photos.
    pub const SOFTMAX: Self = Self::Softmax { h: 1.0 };

    /// `lla` or `softmax`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lla { .. } => "lla",
            Self::Softmax { .. } => "softmax",
        }
    }

    fn h(self) -> f32 {
        match self {
            Self::Lla { h, .. } | Self::Softmax { h } => h,
        }
    }

    /// h² in units of the variance of the noise, as the tokens are.
    fn h2(self) -> f32 {
        self.h() * self.h() * (2 * COMPONENTS) as f32
    }
}

impl FromStr for DenoiseMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::LLA, Self::SOFTMAX];
        known
            .into_iter()
            .find(|method| method.name() == text)
            .ok_or_else(|| format!("method `{text}`; expected lla or softmax"))
    }
}

/// Configuration of [`Denoise`].
#[derive(Clone, Debug)]
pub struct DenoiseConfig {
    /// Local linear or softmax attention.
    pub method: DenoiseMethod,
    /// Pixels along the side of a tile, 1 to 64: its pixels share one window of keys. From 5 on the rows of a tile are many enough
    /// for the iteration, which is several times as quick here as the solution by moments that few rows get.
    pub tile: usize,
    /// The window reaches this many pixels past the tile on every side, 0 to 64.
    pub margin: usize,
    /// Local linear attention solves each pixel to this share of the first residual.
    pub rtol: f32,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl Default for DenoiseConfig {
    /// Local linear attention in windows of 21 x 21 pixels around tiles of 5 x 5: larger windows give nothing, and larger tiles
    /// show as a grid in the smooth parts of what softmax gives.
    fn default() -> Self {
        Self { method: DenoiseMethod::LLA, tile: 5, margin: 8, rtol: 3e-2, variant: None }
    }
}

/// Non-local means (Buades, Coll, Morel 2005) by local linear attention (arXiv 2510.01450) or by softmax attention.
///
/// Tokens are the 5 x 5 patches around the pixels, reduced to the [`COMPONENTS`] principal components of the picture's own patches
/// and divided by the deviation of the noise ([`PatchBasis`]); values are the noisy pixels. Scale 2 / h² and the per-key bias
/// -|k|² / h² make a softmax of -|q - k|² / h² out of that of q · k. The windows of the tiles lie within the picture, so that a
/// pixel at its border sees as many others as any.
///
/// Shapes: image and result `[height, width, channels]` f32, at least 5 x 5 pixels, 1 to 4 channels. Error bound: 1e-4 plus half of
/// `rtol` of what the line adds to the mean. Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct Denoise {
    config: DenoiseConfig,
    operator: Operator,
}

#[derive(Clone, Debug)]
enum Operator {
    Lla(FlashLla),
    Softmax(Attention),
}

#[derive(encase::ShaderType)]
struct ComponentParams {
    height: u32,
    width: u32,
}

#[derive(encase::ShaderType)]
struct WindowParams {
    height: u32,
    width: u32,
    top: u32,
    left: u32,
    tiles_x: u32,
    tile: u32,
    margin: u32,
    rows: u32,
    columns: u32,
    first_tile: u32,
    tiles: u32,
    inverse_h2: f32,
}

/// The pixels of an image that are filtered; the others are only looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

/// Sizes of one recording.
struct Frame {
    height: usize,
    width: usize,
    channels: usize,
    part: Part,
    /// Keys of a window.
    rows: usize,
    columns: usize,
}

/// Bytes of the windows of one batch of tiles; batches share their memory.
const BATCH_BYTES: usize = 32 << 20;

/// In exact arithmetic conjugate gradients end after as many steps as a token has elements.
const MOST_ITERATIONS: usize = COMPONENTS + 4;

const NAME: &str = "denoise";

impl Denoise {
    /// Checks the configuration against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: DenoiseConfig) -> Result<Self> {
        let DenoiseConfig { method, tile, margin, rtol, variant } = config;
        for (key, value, least, most) in [("tile", tile, 1, 64), ("margin", margin, 0, 64)] {
            if value < least || value > most {
                return Err(Error::config(NAME, key, value, format!("{least} to {most}")));
            }
        }
        if !(method.h() > 0.0 && method.h2().is_normal()) {
            return Err(Error::config(NAME, "h", method.h(), "a positive number"));
        }
        let scale = Some(2.0 / method.h2());
        let operator = match method {
            DenoiseMethod::Lla { ridge, .. } => {
                let max_iters = MOST_ITERATIONS;
                let config = FlashLlaConfig { scale, ridge, rtol, max_iters, variant, ..Default::default() };
                Operator::Lla(FlashLla::new(gpu, config)?)
            }
            DenoiseMethod::Softmax { .. } => Operator::Softmax(Attention::new(
                gpu,
                AttentionConfig { scale, variant, ..Default::default() },
            )?),
        };
        Ok(Self { config, operator })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        match &self.operator {
            Operator::Lla(lla) => lla.explain(),
            Operator::Softmax(attention) => attention.explain(),
        }
    }

    /// Pixels in a window.
    pub fn keys(&self) -> usize {
        self.side().pow(2)
    }

    fn side(&self) -> usize {
        self.config.tile + 2 * self.config.margin
    }

    /// Records the filter, in batches of tiles so that their windows stay within 32 MiB. `basis` is that of
    /// [`PatchBasis::upload`]: of this picture, or of another one with the same kind of content.
    ///
    /// Errors: `Shape`, `Config`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, image: &Tensor, basis: &Tensor) -> Result<Tensor> {
        let [height, width, _] = dims(NAME, "image", image, "[height, width, channels]")?;
        self.record_part(schedule, image, basis, Part { top: 0, left: 0, height, width })
    }

    /// The pixels of `part` alone, `[part.height, part.width, channels]`.
    fn record_part(
        &self,
        schedule: &mut Schedule,
        image: &Tensor,
        basis: &Tensor,
        part: Part,
    ) -> Result<Tensor> {
        let [height, width, channels] = dims(NAME, "image", image, "[height, width, channels]")?;
        check_picture(height, width, channels)?;
        expect_dtype(NAME, "image", image, &[Dtype::F32])?;
        expect_dtype(NAME, "basis", basis, &[Dtype::F32])?;
        expect_shape(NAME, "basis", basis, &[patch_dim(channels) + 1, COMPONENTS])?;
        let (rows, columns) = (self.side().min(height), self.side().min(width));
        let frame = Frame { height, width, channels, part, rows, columns };

        let components = project(schedule, image, basis, &frame)?;
        let result = schedule.tensor("denoised image", &[part.height, part.width, channels], Dtype::F32)?;
        let tile = self.config.tile;
        let tiles = part.height.div_ceil(tile) * part.width.div_ceil(tile);
        let per_batch = BATCH_BYTES / (4 * rows * columns * (COMPONENTS + channels + 1));
        let per_batch = per_batch.clamp(1, tiles);
        for first_tile in (0..tiles).step_by(per_batch) {
            let count = per_batch.min(tiles - first_tile);
            let [query] = self.gather(schedule, &components, None, &frame, first_tile, count)?;
            let [key, value, key_bias] =
                self.gather(schedule, &components, Some(image), &frame, first_tile, count)?;
            let pixels = self.attend(schedule, &query, &key, &value, &key_bias)?;
            record_place_tiles(schedule, &pixels, &result, self.config.tile, first_tile, count)?;
        }
        Ok(result)
    }

    fn attend(
        &self,
        schedule: &mut Schedule,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        key_bias: &Tensor,
    ) -> Result<Tensor> {
        let key_bias = Some(key_bias);
        match &self.operator {
            Operator::Lla(lla) => {
                let inputs = FlashLlaInputs { key_bias, ..FlashLlaInputs::new(query, key, value) };
                Ok(lla.record(schedule, inputs)?.out)
            }
            Operator::Softmax(attention) => {
                let inputs = AttentionInputs { key_bias, ..AttentionInputs::new(query, key, value) };
                Ok(attention.record(schedule, inputs)?.out)
            }
        }
    }

    /// Tokens of a run of tiles: queries alone or, with the image, keys, values and bias.
    fn gather<const N: usize>(
        &self,
        schedule: &mut Schedule,
        components: &Tensor,
        image: Option<&Tensor>,
        frame: &Frame,
        first_tile: usize,
        tiles: usize,
    ) -> Result<[Tensor; N]> {
        let tile = self.config.tile;
        let &Frame { height, width, channels, part, .. } = frame;
        let (margin, rows, columns) = match image {
            Some(_) => (self.config.margin, frame.rows, frame.columns),
            None => (0, tile, tile),
        };
        let tokens = rows * columns;
        let shape = [tiles, tokens, 1, COMPONENTS];
        let mut outputs = vec![("tokens", schedule.tensor("window tokens", &shape, Dtype::F32)?)];
        if image.is_some() {
            let shape = [tiles, tokens, 1, channels];
            outputs.push(("values", schedule.tensor("window pixels", &shape, Dtype::F32)?));
            outputs.push(("key_bias", schedule.tensor("key_bias", &[tiles, tokens], Dtype::F32)?));
        }
        let constants = Constants::new()
            .set("CHANNELS", channels)
            .set("COMPONENTS", COMPONENTS)
            .flag("KEYS", image.is_some())
            .set("WORKGROUP", ELEMENTWISE);
        let params = WindowParams {
            height: height as u32,
            width: width as u32,
            top: part.top as u32,
            left: part.left as u32,
            tiles_x: part.width.div_ceil(tile) as u32,
            tile: tile as u32,
            margin: margin as u32,
            rows: rows as u32,
            columns: columns as u32,
            first_tile: first_tile as u32,
            tiles: tiles as u32,
            inverse_h2: 1.0 / self.config.method.h2(),
        };
        let bytes: u64 = outputs.iter().map(|(_, tensor)| tensor.bytes()).sum();
        let mut recorder = schedule
            .kernel("gather windows", "image/gather_windows", &constants.pairs())?
            .params(&params)
            .bind("components", components)?;
        if let Some(image) = image {
            recorder = recorder.bind("image", image)?;
        }
        for (name, tensor) in &outputs {
            recorder = recorder.bind(name, tensor)?;
        }
        recorder.dispatch(
            (tiles * tokens).div_ceil(ELEMENTWISE),
            Cost { flops: 0.0, bytes: 2.0 * bytes as f64 },
        )?;
        let tensors: Vec<Tensor> = outputs.into_iter().map(|(_, tensor)| tensor).collect();
        Ok(tensors.try_into().expect("one tensor for queries, three for keys"))
    }
}

/// The token of every pixel, `[height, width, COMPONENTS]`.
fn project(schedule: &mut Schedule, image: &Tensor, basis: &Tensor, frame: &Frame) -> Result<Tensor> {
    let &Frame { height, width, channels, .. } = frame;
    let components = schedule.tensor("components", &[height, width, COMPONENTS], Dtype::F32)?;
    let constants = Constants::new()
        .set("CHANNELS", channels)
        .set("RADIUS", RADIUS)
        .set("COMPONENTS", COMPONENTS)
        .set("WORKGROUP", ELEMENTWISE);
    let flops = 2.0 * (height * width * patch_dim(channels) * COMPONENTS) as f64;
    schedule
        .kernel("patch components", "image/patch_components", &constants.pairs())?
        .params(&ComponentParams { height: height as u32, width: width as u32 })
        .bind("image", image)?
        .bind("basis", basis)?
        .bind("components", &components)?
        .dispatch(
            (height * width).div_ceil(ELEMENTWISE),
            Cost { flops, bytes: (image.bytes() + components.bytes()) as f64 },
        )?;
    Ok(components)
}
