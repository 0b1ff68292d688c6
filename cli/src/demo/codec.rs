//! A photo in low-rank code, beside JPEG of the same size.

use super::DemoArgs;
use crate::codec::compare::{Comparison, HEADERS, PRESETS, rows};
use crate::photo::Photo;
use crate::record::figures;
use crate::report::Report;
use anyhow::Result;
use gristmill::kernels::lowrank_vq::{LowRankVqConfig, Preset};
use gristmill::measure::{self, Measured};
use gristmill::{Dtype, Gpu};

/// What the presets make of the photo, and how fast one of them decodes.
pub struct Codec {
    comparisons: Vec<Comparison>,
    decoding: Measured,
    pixels: usize,
}

impl Codec {
    /// Encodes the photo with every preset and writes `code_a.png` to `code_c.png` and `code_jpeg.png`.
    pub fn run(gpu: &Gpu, args: &DemoArgs, photo: &Photo) -> Result<Self> {
        let variant = args.adapter.variant;
        let run = |preset| -> Result<Comparison> {
            let comparison = Comparison::run(gpu, photo, preset, variant)?;
            let name = format!("code_{}.png", preset.name.to_lowercase());
            comparison.decoded.save_png(&args.output.join(name))?;
            Ok(comparison)
        };
        let comparisons = PRESETS.into_iter().map(run).collect::<Result<Vec<_>>>()?;
        let small = &comparisons[1];
        for (name, picture) in [("code_detail", &small.decoded), ("clean_detail", photo)] {
            picture.middle(100).enlarged(4).save_png(&args.output.join(format!("{name}.png")))?;
        }
        if let Some((.., jpeg)) = &small.jpeg {
            jpeg.save_png(&args.output.join("code_jpeg.png"))?;
            jpeg.middle(100).enlarged(4).save_png(&args.output.join("code_jpeg_detail.png"))?;
        }
        let preset = Preset::B;
        let config = LowRankVqConfig { variant, ..preset.config(photo.height, photo.width, 3) };
        let prepared = measure::lowrank_vq(gpu, &config, preset.codewords, Dtype::F16)?;
        let decoding = pollster::block_on(measure::measure(gpu, &[prepared], 5))?.remove(0);
        Ok(Self { comparisons, decoding, pixels: photo.height * photo.width })
    }

    /// One line for the terminal.
    pub fn summary(&self) -> String {
        let one = &self.comparisons[1];
        let jpeg = one.jpeg.as_ref().map_or(String::new(), |(_, psnr, _)| format!(", JPEG {psnr:.2} dB"));
        format!(
            "preset B: {} bytes, PSNR {:.2} dB{jpeg}; decoded at {} megapixels a second",
            one.bytes,
            one.psnr,
            self.megapixels()
        )
    }

    fn megapixels(&self) -> String {
        figures(self.pixels as f64 / self.decoding.ms * 1e-3)
    }

    /// The section of the report; `clean.png` is there already.
    pub fn report(&self, report: &mut Report) {
        let one = &self.comparisons[1];
        let decoded = format!("preset B: {} bytes, {:.2} dB", one.bytes, one.psnr);
        let mut pictures = vec![("clean.png", "the photo"), ("code_b.png", decoded.as_str())];
        let mut details = vec![("clean_detail.png", "its middle, enlarged"), ("code_detail.png", "preset B")];
        let jpeg = one.jpeg.as_ref().map(|(bytes, psnr, _)| format!("JPEG: {bytes} bytes, {psnr:.2} dB"));
        if let Some(jpeg) = &jpeg {
            pictures.push(("code_jpeg.png", jpeg));
            details.push(("code_jpeg_detail.png", "JPEG of the same size"));
        }
        report
            .section("A codec whose decoder is a few multiplications")
            .paragraph(&format!(
                "Each channel of a 16 x 16 patch is the sum of four outer products whose factors come from one codebook (after \
                 arXiv 2510.01407): four multiplications per sample, in one kernel that unpacks the indices, multiplies, and writes \
                 bytes. Here it decodes {} megapixels a second. The photo is none of those that the codebook was trained on.",
                self.megapixels()
            ))
            .pictures(&pictures)
            .pictures(&details)
            .paragraph(
                "JPEG gives the better picture at equal size, as it codes what its transform makes rare in fewer bits; this code \
                 has no entropy coding, so that any patch decodes by itself, in parallel. PSNR in dB, files with their headers:",
            )
            .table(&HEADERS, &rows(&self.comparisons))
            .paragraph("The same with your own picture:")
            .code("gristmill encode photo.jpg photo.gvq --preset B\ngristmill decode photo.gvq photo.png");
    }
}
