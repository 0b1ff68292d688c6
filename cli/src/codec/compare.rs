//! A picture in low-rank code beside JPEG of the same size.

use super::codebook::round_trip;
use crate::photo::Photo;
use crate::record::text_table;
use anyhow::{Context, Result};
use gristmill::codec::{Codebook, EncoderConfig};
use gristmill::kernels::lowrank_vq::Preset;
use gristmill::{Gpu, VariantKind};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// Presets that come with a codebook.
pub const PRESETS: [Preset; 3] = [Preset::A, Preset::B, Preset::C];

/// One preset beside JPEG.
pub struct Comparison {
    pub preset: Preset,
    /// Bytes of the `.gvq` file, its codebook named.
    pub bytes: usize,
    pub psnr: f64,
    pub decoded: Photo,
    /// The largest JPEG file that is no larger: its bytes, PSNR and pixels.
    pub jpeg: Option<(usize, f64, Photo)>,
    pixels: usize,
}

impl Comparison {
    /// Encodes and decodes the photo with the codebook of the preset.
    pub fn run(gpu: &Gpu, photo: &Photo, preset: Preset, variant: Option<VariantKind>) -> Result<Self> {
        let codebook = Codebook::shipped(preset).context("the preset has no codebook")?;
        let config = EncoderConfig { variant, ..EncoderConfig::preset(preset) };
        let (file, decoded) = round_trip(gpu, photo, &config, &codebook)?;
        let jpeg = match jpeg_within(photo, file.len())? {
            None => None,
            Some(jpeg) => {
                let picture = Photo::decode(&jpeg)?;
                Some((jpeg.len(), photo.psnr(&picture)?, picture))
            }
        };
        let pixels = photo.height * photo.width;
        Ok(Self { preset, bytes: file.len(), psnr: photo.psnr(&decoded)?, decoded, jpeg, pixels })
    }

    fn row(&self) -> Vec<String> {
        let bits = |bytes: usize| format!("{:.3}", bytes as f64 * 8.0 / self.pixels as f64);
        let Preset { name, patch, rank, iterations, .. } = self.preset;
        let mut row = vec![
            format!("{name}: {patch} x {patch}, rank {rank} x {iterations}"),
            self.bytes.to_string(),
            bits(self.bytes),
            format!("{:.2}", self.psnr),
        ];
        match &self.jpeg {
            Some((bytes, psnr, _)) => row.extend([bytes.to_string(), format!("{psnr:.2}")]),
            None => row.extend(["none so small".to_owned(), String::new()]),
        }
        row
    }
}

pub const HEADERS: [&str; 6] = ["preset", "bytes", "bits per pixel", "PSNR", "bytes of JPEG", "its PSNR"];

pub fn rows(comparisons: &[Comparison]) -> Vec<Vec<String>> {
    comparisons.iter().map(Comparison::row).collect()
}

/// The rows as text.
pub fn table(comparisons: &[Comparison]) -> String {
    text_table(&HEADERS, &rows(comparisons))
}

/// The largest of the JPEG files of all qualities with at most so many bytes, if there is any.
fn jpeg_within(photo: &Photo, most: usize) -> Result<Option<Vec<u8>>> {
    let mut best: Option<Vec<u8>> = None;
    // Sizes grow with the quality.
    let (mut low, mut high) = (1, 100);
    while low <= high {
        let quality = (low + high) / 2;
        let jpeg = jpeg(photo, quality)?;
        if jpeg.len() <= most {
            best = Some(jpeg);
            low = quality + 1;
        } else {
            high = quality - 1;
        }
    }
    Ok(best)
}

fn jpeg(photo: &Photo, quality: u8) -> Result<Vec<u8>> {
    let (width, height) = (u32::try_from(photo.width)?, u32::try_from(photo.height)?);
    let mut jpeg = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, quality);
    encoder.write_image(&photo.to_u8(), width, height, ExtendedColorType::Rgb8)?;
    Ok(jpeg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jpeg_file_is_the_largest_that_fits() {
        let photo = Photo::decode(include_bytes!("../../assets/chelsea.png")).unwrap().middle(100);
        for quality in [1, 30, 77, 100] {
            let jpeg = jpeg(&photo, quality).unwrap();
            let found = jpeg_within(&photo, jpeg.len()).unwrap().unwrap();
            assert_eq!(found.len(), jpeg.len(), "quality {quality}");
        }
        assert!(jpeg_within(&photo, 100).unwrap().is_none());
    }
}
