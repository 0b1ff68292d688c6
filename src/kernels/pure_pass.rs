//! Pure-Pass: which pixels of a picture are so plain that a network may spend less on them.

use super::category_sort::{CategorySort, SortedCategories};
use super::{Constants, ELEMENTWISE, expect_dtype, image};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::VariantKind;

/// The name in errors and of `gristmill run`.
pub const NAME: &str = "pure_pass_mask";

/// The most colour classes; labels and one for transparent pixels then fit in a byte.
pub const MOST_COLORS: usize = 255;

/// The longest side of a window.
pub const LARGEST_WINDOW: usize = 256;

/// Configuration of a [`PurePassMask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurePassConfig {
    /// Colour classes, K: 1 to [`MOST_COLORS`].
    pub colors: usize,
    /// Pixels along a window's side: 1 to [`LARGEST_WINDOW`].
    pub window: usize,
}

impl Default for PurePassConfig {
    /// 16 classes and windows of 8 x 8: finer than the 16 x 16 that the paper criticises, with about the pure share that it reports.
    fn default() -> Self {
        Self { colors: 16, window: 8 }
    }
}

impl PurePassConfig {
    /// Errors: `Config`.
    pub fn check(&self) -> Result<()> {
        for (key, value, most) in
            [("colors", self.colors, MOST_COLORS), ("window", self.window, LARGEST_WINDOW)]
        {
            if value == 0 || value > most {
                return Err(Error::config(NAME, key, value, format!("1 to {most}")));
            }
        }
        Ok(())
    }

    /// The centres of the colour classes, hue k / K at saturation and value 0.9, as red, green and blue in sixteenths of a level
    /// (0 to 4080), rounded to nearest.
    pub fn centers(&self) -> Vec<[i32; 3]> {
        let channel = |value: f64| (value * 255.0 * 16.0 + 0.5).floor() as i32;
        (0..self.colors).map(|k| hsv_to_rgb(k as f64 / self.colors as f64, 0.9, 0.9).map(channel)).collect()
    }
}

/// Hue, saturation and value in 0..1, by the hexcone model.
pub(crate) fn hsv_to_rgb(hue: f64, saturation: f64, value: f64) -> [f64; 3] {
    let sector = (hue * 6.0).floor();
    let part = hue * 6.0 - sector;
    let low = value * (1.0 - saturation);
    let falling = value * (1.0 - saturation * part);
    let rising = value * (1.0 - saturation * (1.0 - part));
    match sector as i64 % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

/// The mask of Pure-Pass (arXiv 2510.01997): every pixel gets the label of the nearest of K fixed colours; windows with one label are
/// pure, in a grid from the corner or in one half a window further; a pixel is pure where a window of either grid is.
///
/// Exact: colours are quantised to 8 bits and compared as integers, of equally near ones the first counts, so labels and mask are the
/// same on every adapter. Grids don't wrap around; windows at the border are cut off. Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct PurePassMask {
    config: PurePassConfig,
    centers: Tensor,
    compact: CategorySort,
}

/// What [`PurePassMask::record`] gives, both u32.
#[derive(Clone, Debug)]
pub struct PureMask {
    /// Colour classes, of the picture's shape without the channels; K for transparent pixels of a picture with alpha.
    pub labels: Tensor,
    /// 1 = pure, of the same shape.
    pub mask: Tensor,
}

#[derive(encase::ShaderType)]
struct LabelParams {
    pixels: u32,
    width: u32,
    colors: u32,
}

#[derive(encase::ShaderType)]
struct WindowParams {
    pictures: u32,
    height: u32,
    width: u32,
    window: u32,
    shift: u32,
    columns: u32,
    windows: u32,
    shifted_columns: u32,
    all_windows: u32,
}

impl PurePassMask {
    /// Uploads the centres. Errors: `Config`, `OutOfMemory`.
    pub fn new(gpu: &Gpu, config: PurePassConfig, variant: Option<VariantKind>) -> Result<Self> {
        config.check()?;
        let padded: Vec<i32> = config.centers().iter().flat_map(|&[r, g, b]| [r, g, b, 0]).collect();
        let centers = Tensor::upload(gpu, "colour centres", &[config.colors, 4], &padded)?;
        Ok(Self { config, centers, compact: CategorySort::new(gpu, 1, variant)? })
    }

    /// The configuration.
    pub fn config(&self) -> PurePassConfig {
        self.config
    }

    /// Records the mask of a picture `[height, width, channels]` or of several `[batch, height, width, channels]`, f32 in 0..1 (values
    /// outside are clamped), channels 3, or 4 with alpha: colours then lie over black, and wholly transparent pixels have a class of
    /// their own.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, picture: &Tensor) -> Result<PureMask> {
        let expected = "[height, width, 3 or 4], a batch before it or not, nothing empty";
        let wrong = || Error::shape(NAME, "img", format!("has shape {:?}", picture.shape()), expected);
        let (pictures, height, width, channels) = match *picture.shape() {
            [height, width, channels] => (1, height, width, channels),
            [batch, height, width, channels] => (batch, height, width, channels),
            _ => return Err(wrong()),
        };
        if picture.elements() == 0 || !(3..=4).contains(&channels) {
            return Err(wrong());
        }
        expect_dtype(NAME, "img", picture, &[Dtype::F32])?;
        let shape = &picture.shape()[..picture.shape().len() - 1];
        let labels = schedule.tensor("colour labels", shape, Dtype::U32)?;
        let constants = Constants::new().set("CHANNELS", channels).set("WORKGROUP", ELEMENTWISE);
        let pixels = pictures * height * width;
        schedule
            .kernel("colour labels", "pure_pass/color_label", &constants.pairs())?
            .params(&self.label_params(pixels, width))
            .bind("centers", &self.centers)?
            .bind("image", picture)?
            .bind("labels", &labels)?
            .dispatch(pixels.div_ceil(ELEMENTWISE), self.label_cost(pixels))?;
        self.record_windows(schedule, labels, [pictures, height, width])
    }

    /// Records the mask of a texture's upper left pixels. With `alpha` colours lie over black, and wholly transparent pixels have a
    /// class of their own; without it alpha is ignored.
    ///
    /// The texture needs the usage `TEXTURE_BINDING` and a float format such as `rgba8unorm`. Errors: `Shape` where it is smaller or
    /// nothing is asked for, `Limit`; [`compile`](Schedule::compile) gives `Validation` for a wrong usage or format.
    pub fn record_texture(
        &self,
        schedule: &mut Schedule,
        texture: &wgpu::TextureView,
        height: usize,
        width: usize,
        alpha: bool,
    ) -> Result<PureMask> {
        image::check_size(NAME, texture, height, width)?;
        if height == 0 || width == 0 {
            let found = format!("is read in {width} x {height} pixels");
            return Err(Error::shape(NAME, "texture", found, "at least one"));
        }
        let labels = schedule.tensor("colour labels", &[height, width], Dtype::U32)?;
        let constants = Constants::new()
            .flag("TEXTURE", true)
            .set("CHANNELS", if alpha { 4 } else { 3 })
            .set("WORKGROUP", ELEMENTWISE);
        let pixels = height * width;
        schedule
            .kernel("colour labels", "pure_pass/color_label", &constants.pairs())?
            .params(&self.label_params(pixels, width))
            .bind("centers", &self.centers)?
            .bind_texture("picture", texture)?
            .bind("labels", &labels)?
            .dispatch(pixels.div_ceil(ELEMENTWISE), self.label_cost(pixels))?;
        self.record_windows(schedule, labels, [1, height, width])
    }

    /// Records the list of a mask's active pixels, those that are not pure, in their order: `order` begins with them, the pure ones
    /// follow, and `active_count` says how many there are. `mask` is of any shape; a flag per window gives a list of windows.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record_active(&self, schedule: &mut Schedule, mask: &Tensor) -> Result<SortedCategories> {
        // One category and a mask: the keys are never looked at, so the mask may stand for them.
        self.compact.record(schedule, mask, Some(mask))
    }

    fn record_windows(
        &self,
        schedule: &mut Schedule,
        labels: Tensor,
        [pictures, height, width]: [usize; 3],
    ) -> Result<PureMask> {
        let window = self.config.window;
        let shift = (window - window / 2) % window;
        let columns = width.div_ceil(window);
        let windows = height.div_ceil(window) * columns;
        let shifted_columns = (width + shift).div_ceil(window);
        let all_windows = windows + (height + shift).div_ceil(window) * shifted_columns;
        let params = WindowParams {
            pictures: pictures as u32,
            height: height as u32,
            width: width as u32,
            window: window as u32,
            shift: shift as u32,
            columns: columns as u32,
            windows: windows as u32,
            shifted_columns: shifted_columns as u32,
            all_windows: all_windows as u32,
        };
        let uniform = schedule.tensor("uniform windows", &[pictures, all_windows], Dtype::U32)?;
        let mask = schedule.tensor("pure mask", labels.shape(), Dtype::U32)?;
        let constants = Constants::new().set("WORKGROUP", ELEMENTWISE);
        schedule
            .kernel("window scan", "pure_pass/window_scan", &constants.pairs())?
            .params(&params)
            .bind("labels", &labels)?
            .bind("uniform_windows", &uniform)?
            .dispatch(
                (pictures * all_windows).div_ceil(ELEMENTWISE),
                Cost { flops: 0.0, bytes: 2.0 * labels.bytes() as f64 },
            )?;
        schedule
            .kernel("fuse grids", "pure_pass/fuse_grids", &constants.pairs())?
            .params(&params)
            .bind("uniform_windows", &uniform)?
            .bind("mask", &mask)?
            .dispatch(
                labels.elements().div_ceil(ELEMENTWISE),
                Cost { flops: 0.0, bytes: mask.bytes() as f64 },
            )?;
        Ok(PureMask { labels, mask })
    }

    fn label_params(&self, pixels: usize, width: usize) -> LabelParams {
        LabelParams { pixels: pixels as u32, width: width as u32, colors: self.config.colors as u32 }
    }

    fn label_cost(&self, pixels: usize) -> Cost {
        Cost { flops: (6 * self.config.colors * pixels) as f64, bytes: 16.0 * pixels as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centers_run_round_the_hues() {
        let config = PurePassConfig { colors: 6, window: 8 };
        let (high, low) = (3672, 367);
        assert_eq!(
            config.centers(),
            [
                [high, low, low],
                [high, high, low],
                [low, high, low],
                [low, high, high],
                [low, low, high],
                [high, low, high]
            ]
        );
    }
}
