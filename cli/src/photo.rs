//! Pictures as kernels see them: [height, width, 3] values in [0, 1].

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use gristmill::models::picture::Picture;
use image::{DynamicImage, ImageDecoder, ImageReader, Rgb32FImage, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// An RGB picture in row order, [height, width, 3]. A file gives values in [0, 1]; noise may leave that range,
/// and saving clamps to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Photo {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// [height, width, 3].
    pub pixels: Vec<f32>,
}

impl Photo {
    /// Reads a PNG or JPEG file, turned upright as its metadata says. Grey becomes RGB; alpha is dropped.
    pub fn load(path: &Path) -> Result<Self> {
        Ok(Self::from_image(load_upright(path)?.into_rgb32f()))
    }

    /// The same from the bytes of a file.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(Self::from_image(decode_upright(bytes)?.into_rgb32f()))
    }

    /// The picture over black, and its opacity [height, width] where it is not opaque everywhere.
    pub fn load_with_opacity(path: &Path) -> Result<(Self, Option<Vec<f32>>)> {
        let picture = load_upright(path)?;
        if !picture.color().has_alpha() {
            return Ok((Self::from_image(picture.into_rgb32f()), None));
        }
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let rgba = picture.into_rgba32f().into_raw();
        let pixels = rgba.chunks_exact(4).flat_map(|p| [p[0] * p[3], p[1] * p[3], p[2] * p[3]]).collect();
        let opacity: Vec<f32> = rgba.chunks_exact(4).map(|p| p[3]).collect();
        let opacity = opacity.iter().any(|alpha| *alpha < 1.0).then_some(opacity);
        Ok((Self::from_pixels(height, width, pixels)?, opacity))
    }

    /// A picture from values [height, width, 3].
    pub fn from_pixels(height: usize, width: usize, pixels: Vec<f32>) -> Result<Self> {
        ensure!(
            height > 0 && width > 0 && pixels.len() == height * width * 3,
            "a picture of {height} x {width} holds {} values, found {}",
            height * width * 3,
            pixels.len()
        );
        Ok(Self { height, width, pixels })
    }

    /// A picture from bytes [height, width, 3].
    pub fn from_bytes(height: usize, width: usize, bytes: &[u8]) -> Result<Self> {
        Self::from_pixels(height, width, bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect())
    }

    /// The picture as the library takes it.
    pub fn picture(&self) -> Picture<'_> {
        Picture { pixels: &self.pixels, height: self.height, width: self.width, channels: 3 }
    }

    /// The values rounded to 8 bits, [height, width, 3].
    pub fn to_u8(&self) -> Vec<u8> {
        self.pixels.iter().map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8).collect()
    }

    /// The picture with Gaussian noise of deviation `sigma` (25 grey levels are 25.0 / 255.0), not clamped. The
    /// same seed gives the same noise on every machine.
    pub fn with_noise(&self, sigma: f32, seed: u64) -> Self {
        let mut random = Pcg64::seed_from_u64(seed);
        let mut noisy = self.clone();
        for pair in noisy.pixels.chunks_mut(2) {
            // Box-Muller: 1 - u lies in (0, 1], where the logarithm is finite.
            let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
            let (sin, cos) = (std::f64::consts::TAU * random.random::<f64>()).sin_cos();
            for (value, direction) in pair.iter_mut().zip([cos, sin]) {
                *value += sigma * (radius * direction) as f32;
            }
        }
        noisy
    }

    /// Peak signal-to-noise ratio to `other` in dB, for a peak of 1; infinite for equal pictures.
    pub fn psnr(&self, other: &Self) -> Result<f64> {
        ensure!(
            (self.height, self.width) == (other.height, other.width),
            "PSNR compares pictures of one size, found {} x {} and {} x {}",
            self.height,
            self.width,
            other.height,
            other.width
        );
        let squares =
            self.pixels.iter().zip(&other.pixels).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        Ok(-10.0 * (squares / self.pixels.len() as f64).log10())
    }

    /// The same of brightness alone (Y of ITU-R BT.601), without a border of so many pixels: how enlarged pictures are compared.
    pub fn psnr_of_brightness(&self, other: &Self, border: usize) -> Result<f64> {
        let inside = |photo: &Self| -> Result<Vec<f64>> {
            ensure!(photo.height.min(photo.width) > 2 * border, "a border of {border} leaves no pixel");
            let weights = [65.481, 128.553, 24.966].map(|weight| weight / 255.0);
            let brightness = |y: usize, x: usize| {
                let pixel = &photo.pixels[(y * photo.width + x) * 3..][..3];
                pixel
                    .iter()
                    .zip(weights)
                    .map(|(c, weight)| f64::from(c.clamp(0.0, 1.0)) * weight)
                    .sum::<f64>()
            };
            let columns = border..photo.width - border;
            let rows = border..photo.height - border;
            Ok(rows.flat_map(|y| columns.clone().map(move |x| brightness(y, x))).collect())
        };
        self.psnr(other)?;
        let (one, two) = (inside(self)?, inside(other)?);
        let squares = one.iter().zip(&two).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        Ok(-10.0 * (squares / one.len() as f64).log10())
    }

    /// The picture in another size, bicubic (Catmull-Rom), with antialiasing where it becomes smaller.
    pub fn resized(&self, height: usize, width: usize) -> Result<Self> {
        let sides = |height: usize, width: usize| {
            Ok::<_, anyhow::Error>((u32::try_from(width)?, u32::try_from(height)?))
        };
        let (from_width, from_height) = sides(self.height, self.width)?;
        let image = Rgb32FImage::from_raw(from_width, from_height, self.pixels.clone());
        let image = image.context("the picture's values do not fill its sides")?;
        let (width, height) = sides(height, width)?;
        let resized = image::imageops::resize(&image, width, height, image::imageops::FilterType::CatmullRom);
        Ok(Self::from_image(resized))
    }

    /// The pixels around the middle, at most `side` x `side`.
    pub fn middle(&self, side: usize) -> Self {
        let (height, width) = (self.height.min(side), self.width.min(side));
        let (top, left) = ((self.height - height) / 2, (self.width - width) / 2);
        let line = |y: usize| &self.pixels[(y * self.width + left) * 3..][..width * 3];
        Self { height, width, pixels: (top..top + height).flat_map(line).copied().collect() }
    }

    /// The upper left of a picture.
    pub fn cropped(&self, height: usize, width: usize) -> Self {
        let lines = self.pixels.chunks_exact(self.width * 3).take(height);
        Self { height, width, pixels: lines.flat_map(|line| &line[..width * 3]).copied().collect() }
    }

    /// The largest square in the middle, scaled to `side` x `side`.
    pub fn middle_scaled(&self, side: usize) -> Result<Self> {
        let square = self.middle(self.height.min(self.width));
        let pixels = u32::try_from(square.width)?;
        let image =
            Rgb32FImage::from_raw(pixels, pixels, square.pixels).context("a square holds its values")?;
        let side = u32::try_from(side)?;
        // An equal size keeps every value.
        if side == pixels {
            return Ok(Self::from_image(image));
        }
        let scaled = image::imageops::resize(&image, side, side, image::imageops::FilterType::Triangle);
        Ok(Self::from_image(scaled))
    }

    /// Every pixel as a square of `times` x `times`.
    pub fn enlarged(&self, times: usize) -> Self {
        let (height, width) = (self.height * times, self.width * times);
        let pixel = |y: usize, x: usize| &self.pixels[(y / times * self.width + x / times) * 3..][..3];
        let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(y, x))).copied().collect();
        Self { height, width, pixels }
    }

    /// Writes a PNG file.
    pub fn save_png(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.png()?).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The picture as the bytes of a PNG file.
    pub fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = (u32::try_from(self.width)?, u32::try_from(self.height)?);
        let picture = RgbImage::from_raw(width, height, self.to_u8());
        let picture = picture.context("the picture's values do not fill its sides")?;
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Png)?;
        Ok(bytes.into_inner())
    }

    fn from_image(picture: Rgb32FImage) -> Self {
        Self {
            height: picture.height() as usize,
            width: picture.width() as usize,
            pixels: picture.into_raw(),
        }
    }
}

/// The picture of a file, as [`decode_upright`].
fn load_upright(path: &Path) -> Result<DynamicImage> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    decode_upright(&bytes).with_context(|| format!("{} is not a PNG or JPEG picture", path.display()))
}

/// A picture in the format of its file, turned as its metadata says.
fn decode_upright(bytes: &[u8]) -> Result<DynamicImage> {
    let mut decoder = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(height: usize, width: usize) -> Photo {
        let pixels = (0..height * width * 3).map(|i| (i * 7 % 256) as f32 / 255.0).collect();
        Photo::from_pixels(height, width, pixels).unwrap()
    }

    #[test]
    fn a_saved_picture_loads_unchanged() {
        let path = std::env::temp_dir().join(format!("gristmill-photo-{}.png", std::process::id()));
        let photo = gradient(5, 7);
        photo.save_png(&path).unwrap();
        let loaded = Photo::load(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((loaded.height, loaded.width, loaded.to_u8()), (5, 7, photo.to_u8()));
    }

    #[test]
    fn the_demo_pictures_decode() {
        let cat = Photo::decode(include_bytes!("../assets/chelsea.png")).unwrap();
        assert_eq!((cat.height, cat.width), (300, 451));
        let cup = Photo::decode(include_bytes!("../assets/coffee.png")).unwrap();
        assert_eq!((cup.height, cup.width), (400, 600));
        assert!(cup.pixels.iter().all(|value| (0.0..=1.0).contains(value)));
    }

    #[test]
    fn a_detail_is_the_middle_enlarged() {
        let photo = gradient(5, 8);
        let detail = photo.middle(3).enlarged(2);
        assert_eq!((detail.height, detail.width), (6, 6));
        for (y, x, from) in [(0, 0, (1, 2)), (1, 3, (1, 3)), (5, 5, (3, 4))] {
            let pixel =
                |photo: &Photo, y: usize, x: usize| photo.pixels[(y * photo.width + x) * 3..][..3].to_vec();
            assert_eq!(pixel(&detail, y, x), pixel(&photo, from.0, from.1));
        }
        assert_eq!(photo.middle(100), photo);
    }

    #[test]
    fn a_file_that_is_no_picture_is_named() {
        let path = std::env::temp_dir().join(format!("gristmill-text-{}.png", std::process::id()));
        std::fs::write(&path, "no picture").unwrap();
        let error = Photo::load(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("gristmill-text"), "{error}");
        assert!(Photo::load(&path).unwrap_err().to_string().contains("cannot read"));
    }

    #[test]
    fn noise_has_its_deviation_and_its_seed() {
        let photo = Photo::from_pixels(101, 101, vec![0.5; 101 * 101 * 3]).unwrap();
        let noisy = photo.with_noise(0.1, 7);
        assert_eq!(noisy, photo.with_noise(0.1, 7));
        assert_ne!(noisy, photo.with_noise(0.1, 8));
        let noise: Vec<f64> = noisy.pixels.iter().map(|value| f64::from(value - 0.5)).collect();
        let mean = noise.iter().sum::<f64>() / noise.len() as f64;
        let within = noise.iter().filter(|value| value.abs() < 0.1).count() as f64 / noise.len() as f64;
        assert!(mean.abs() < 0.003, "{mean}");
        assert!((within - 0.6827).abs() < 0.01, "{within}");
        assert!((photo.psnr(&noisy).unwrap() - 20.0).abs() < 0.1);
    }

    #[test]
    fn brightness_weighs_the_colours() {
        let photo = Photo::from_pixels(6, 6, vec![0.5; 108]).unwrap();
        let mut other = photo.clone();
        other.pixels.iter_mut().step_by(3).for_each(|red| *red += 0.1);
        let expected = -20.0 * (0.1f64 * 65.481 / 255.0).log10();
        assert!((photo.psnr_of_brightness(&other, 2).unwrap() - expected).abs() < 1e-3);
        // What differs in the border alone does not count.
        let mut edge = photo.clone();
        edge.pixels[0] = 1.0;
        assert_eq!(photo.psnr_of_brightness(&edge, 1).unwrap(), f64::INFINITY);
        assert!(photo.psnr_of_brightness(&other, 3).is_err());
    }

    #[test]
    fn a_picture_of_another_size_keeps_its_mean() {
        let photo = gradient(40, 60);
        let half = photo.resized(20, 30).unwrap();
        assert_eq!((half.height, half.width), (20, 30));
        let mean = |photo: &Photo| photo.pixels.iter().sum::<f32>() / photo.pixels.len() as f32;
        assert!((mean(&half) - mean(&photo)).abs() < 0.01);
    }

    #[test]
    fn psnr_of_a_known_difference() {
        let photo = Photo::from_pixels(2, 3, vec![0.5; 18]).unwrap();
        let other = Photo::from_pixels(2, 3, vec![0.6; 18]).unwrap();
        assert!((photo.psnr(&other).unwrap() - 20.0).abs() < 1e-5);
        assert_eq!(photo.psnr(&photo).unwrap(), f64::INFINITY);
        assert!(photo.psnr(&gradient(3, 2)).is_err());
    }
}
