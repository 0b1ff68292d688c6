//! Non-local-means denoising (Buades, Coll, Morel 2005) as attention: tokens are patches, values are pixels.

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::attention::{Attention, AttentionConfig, AttentionInputs};
use crate::kernels::image::record_place_tiles;
use crate::kernels::{Constants, ELEMENTWISE, expect_dtype, expect_shape};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};

/// Configuration of [`NonLocalMeans`].
#[derive(Clone, Debug)]
pub struct NonLocalMeansConfig {
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    /// Elements of a pixel, 1 to 4.
    pub channels: usize,
    /// Patches are (2 radius + 1)² pixels; 0 to 3, smaller than the image.
    pub radius: usize,
    /// Pixels along the side of a tile, 1 to 256: its pixels share one window of keys.
    pub tile: usize,
    /// The window reaches this many pixels past the tile on every side, 0 to 256.
    pub margin: usize,
    /// Width of the Gaussian over patch distance, in units of the pixels; weights are exp(-|q - k|² / h²).
    pub h: f32,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl NonLocalMeansConfig {
    /// Settings for an image with Gaussian noise of deviation `sigma` (pixels in 0..1): patches of 3 x 3 pixels, windows of
    /// 24 x 24. Two noisy patches of one picture differ by 2 sigma² a value on average; h² is 0.38 of that, the best of
    /// 0.15 to 0.65 on a photo at sigma 25 / 255 (28.3 dB; tiles of 16 and patches of 5 x 5 give less).
    pub fn for_noise(height: usize, width: usize, channels: usize, sigma: f32) -> Self {
        let patch_dim = (9 * channels) as f32;
        let h = (0.38 * 2.0 * patch_dim).sqrt() * sigma;
        Self { height, width, channels, radius: 1, tile: 8, margin: 8, h, variant: None }
    }
}

/// Non-local means over tiles of an image, as batched cross attention with a per-key bias.
///
/// Shapes: image and result `[height, width, channels]` f32. softmax(2 q·k / h² - |k|² / h²) is the softmax of -|q - k|² / h²; patches
/// reflect at the border without repeating it, keys lie inside the image. Error bound: 2e-5. Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct NonLocalMeans {
    config: NonLocalMeansConfig,
    attention: Attention,
}

#[derive(encase::ShaderType)]
struct PatchParams {
    height: u32,
    width: u32,
    tiles_x: u32,
    tile: u32,
    margin: u32,
    first_tile: u32,
    tiles: u32,
    inverse_h2: f32,
}

/// Bytes of patch tokens of one batch of tiles; batches share their memory.
const BATCH_BYTES: usize = 32 << 20;

const NAME: &str = "non_local_means";

impl NonLocalMeans {
    /// Checks the configuration against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: NonLocalMeansConfig) -> Result<Self> {
        let NonLocalMeansConfig { height, width, channels, radius, tile, h, .. } = config;
        for (key, value, least, most) in [
            ("height", height, radius + 1, 1 << 16),
            ("width", width, radius + 1, 1 << 16),
            ("channels", channels, 1, 4),
            ("radius", radius, 0, 3),
            ("tile", tile, 1, 256),
            ("margin", config.margin, 0, 256),
        ] {
            if value < least || value > most {
                return Err(Error::config(NAME, key, value, format!("{least} to {most}")));
            }
        }
        if !(h > 0.0 && h.is_finite()) {
            return Err(Error::config(NAME, "h", h, "a positive number"));
        }
        let attention = Attention::new(
            gpu,
            AttentionConfig { scale: Some(2.0 / (h * h)), variant: config.variant, ..Default::default() },
        )?;
        Ok(Self { config, attention })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        self.attention.explain()
    }

    /// Records the filter, in batches of tiles so that their tokens stay within 32 MiB.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, image: &Tensor) -> Result<Tensor> {
        let NonLocalMeansConfig { height, width, channels, tile, margin, .. } = self.config;
        expect_dtype(NAME, "image", image, &[Dtype::F32])?;
        expect_shape(NAME, "image", image, &[height, width, channels])?;
        let result = schedule.tensor("filtered image", image.shape(), Dtype::F32)?;
        let tiles = height.div_ceil(tile) * width.div_ceil(tile);
        let window = (tile + 2 * margin).pow(2);
        let per_batch = (BATCH_BYTES / (4 * window * self.patch_dim())).clamp(1, tiles);
        for first_tile in (0..tiles).step_by(per_batch) {
            let count = per_batch.min(tiles - first_tile);
            let [query] = self.patches(schedule, image, first_tile, count, None)?;
            let [key, value, key_bias, key_mask] =
                self.patches(schedule, image, first_tile, count, Some(margin))?;
            let inputs = AttentionInputs {
                key_bias: Some(&key_bias),
                key_mask: Some(&key_mask),
                ..AttentionInputs::new(&query, &key, &value)
            };
            let pixels = self.attention.record(schedule, inputs)?.out;
            record_place_tiles(schedule, &pixels, &result, tile, first_tile, count)?;
        }
        Ok(result)
    }

    /// Values of a patch, padded to whole vectors.
    fn patch_dim(&self) -> usize {
        ((2 * self.config.radius + 1).pow(2) * self.config.channels).next_multiple_of(4)
    }

    /// Tokens of a run of tiles: queries alone, or (with a margin) keys, values, bias and mask.
    fn patches<const N: usize>(
        &self,
        schedule: &mut Schedule,
        image: &Tensor,
        first_tile: usize,
        tiles: usize,
        keys: Option<usize>,
    ) -> Result<[Tensor; N]> {
        let NonLocalMeansConfig { height, width, channels, radius, tile, h, .. } = self.config;
        let margin = keys.unwrap_or(0);
        let tokens = (tile + 2 * margin).pow(2);
        let patch_dim = self.patch_dim();
        let mut outputs =
            vec![("tokens", schedule.tensor("patches", &[tiles, tokens, 1, patch_dim], Dtype::F32)?)];
        if keys.is_some() {
            outputs.push(("values", schedule.tensor("pixels", &[tiles, tokens, 1, channels], Dtype::F32)?));
            outputs.push(("key_bias", schedule.tensor("key_bias", &[tiles, tokens], Dtype::F32)?));
            outputs.push(("key_mask", schedule.tensor("key_mask", &[tiles, tokens], Dtype::U32)?));
        }
        let constants = Constants::new()
            .set("CHANNELS", channels)
            .set("RADIUS", radius)
            .set("PATCH_DIM", patch_dim)
            .flag("KEYS", keys.is_some())
            .set("WORKGROUP", ELEMENTWISE);
        let params = PatchParams {
            height: height as u32,
            width: width as u32,
            tiles_x: width.div_ceil(tile) as u32,
            tile: tile as u32,
            margin: margin as u32,
            first_tile: first_tile as u32,
            tiles: tiles as u32,
            inverse_h2: 1.0 / (h * h),
        };
        let bytes: u64 = outputs.iter().map(|(_, tensor)| tensor.bytes()).sum();
        let mut recorder = schedule
            .kernel("patch tokens", "image/patch_tokens", &constants.pairs())?
            .params(&params)
            .bind("image", image)?;
        for (name, tensor) in &outputs {
            recorder = recorder.bind(name, tensor)?;
        }
        recorder.dispatch(
            (tiles * tokens).div_ceil(ELEMENTWISE),
            Cost { flops: 0.0, bytes: 2.0 * bytes as f64 },
        )?;
        let tensors: Vec<Tensor> = outputs.into_iter().map(|(_, tensor)| tensor).collect();
        Ok(tensors.try_into().expect("one tensor for queries, four for keys"))
    }
}
