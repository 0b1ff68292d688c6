//! A photo at half its size, enlarged again: bicubic, and by a network that skips what is plain.

use super::DemoArgs;
use crate::photo::Photo;
use crate::report::Report;
use crate::upscale::{WEIGHTS, pure_share};
use anyhow::{Context, Result};
use gristmill::Gpu;
use gristmill::models::atd::{Atd, Tiling, upscale};
use gristmill::run::atd_file;
use std::ops::ControlFlow;
use std::time::Instant;

/// What the network made of the photo.
pub struct Larger {
    /// PSNR of brightness: bicubic, the network.
    psnr: [f64; 2],
    seconds: f64,
    pure: f64,
    saved: f64,
}

impl Larger {
    /// Halves the photo, enlarges it, and writes `larger_*.png`.
    pub fn run(gpu: &Gpu, args: &DemoArgs, photo: &Photo) -> Result<Self> {
        let (mut config, weights) = atd_file(WEIGHTS)?;
        config.variant = args.adapter.variant;
        let model = Atd::new(gpu, config, &weights)?;
        let whole = photo.cropped(photo.height / 2 * 2, photo.width / 2 * 2);
        let small = whole.resized(whole.height / 2, whole.width / 2)?;
        let bicubic = small.resized(whole.height, whole.width)?;
        let go_on = |_: f64| ControlFlow::Continue(());
        let run = || pollster::block_on(upscale(gpu, &model, small.picture(), Tiling::default(), go_on));
        // The first run compiles the kernels.
        run()?;
        let start = Instant::now();
        let result = run()?;
        let seconds = start.elapsed().as_secs_f64();
        let mask = result.mask.context("the weights are for Pure-Pass")?;
        let large = Photo::from_pixels(result.height, result.width, result.pixels)?;
        let tinted = tinted(&small, &mask).enlarged(2);
        for (name, picture) in
            [("bicubic", &bicubic), ("network", &large), ("mask", &tinted), ("whole", &whole)]
        {
            picture.save_png(&args.output.join(format!("larger_{name}.png")))?;
            let detail = picture.middle(120).enlarged(4);
            detail.save_png(&args.output.join(format!("larger_{name}_detail.png")))?;
        }
        let psnr = |picture: &Photo| whole.psnr_of_brightness(picture, 2);
        let pure = pure_share(&mask);
        let compensation = model.config().pure_pass.context("the weights are for Pure-Pass")?.compensation;
        let saved = model.macs().saved(pure, compensation);
        Ok(Self { psnr: [psnr(&bicubic)?, psnr(&large)?], seconds, pure, saved })
    }

    /// One line for the terminal.
    pub fn summary(&self) -> String {
        let [bicubic, network] = self.psnr;
        format!(
            "bicubic {bicubic:.2} dB, network {network:.2} dB in {:.0} ms; {:.0} % of the pixels pure, {:.1} % of the multiplications saved",
            self.seconds * 1e3,
            100.0 * self.pure,
            100.0 * self.saved
        )
    }

    /// The section of the report.
    pub fn report(&self, report: &mut Report) {
        let [bicubic, network] = self.psnr.map(|psnr| format!("{psnr:.2} dB"));
        let captions = [
            format!("bicubic: {bicubic}"),
            format!("network: {network}"),
            format!("pure pixels, tinted: {:.0} %", 100.0 * self.pure),
            "the photo".to_owned(),
        ];
        let names = ["bicubic", "network", "mask", "whole"];
        let files = names.map(|name| format!("larger_{name}.png"));
        let details = names.map(|name| format!("larger_{name}_detail.png"));
        let row = |files: &'_ [String; 4]| -> Vec<(String, String)> {
            files.iter().cloned().zip(captions.iter().cloned()).collect()
        };
        let (files, details) = (row(&files), row(&details));
        fn borrowed(row: &[(String, String)]) -> Vec<(&str, &str)> {
            row.iter().map(|(file, caption)| (file.as_str(), caption.as_str())).collect()
        }
        report
            .section("Super-resolution that skips what is plain")
            .paragraph(&format!(
                "The photo at half its size, enlarged again by a small ATD network (arXiv 2401.08209) with Pure-Pass (arXiv \
                 2510.01997): pixels whose surroundings have one colour leave category attention, where that costs no accuracy. \
                 Here {:.0} % of the pixels do, which saves {:.1} % of the multiplications. The network was trained on a dozen photos \
                 for less than an hour on one core: it shows how the method runs, not how good it can be. PSNR of brightness, \
                 without a border of 2 pixels.",
                100.0 * self.pure,
                100.0 * self.saved
            ))
            .pictures(&borrowed(&files))
            .pictures(&borrowed(&details))
            .paragraph("The same with your own picture:")
            .code("gristmill upscale photo.jpg larger.png --mask mask.png");
    }
}

/// The picture with its pure pixels in one tint.
fn tinted(picture: &Photo, mask: &[bool]) -> Photo {
    let mut tinted = picture.clone();
    for (pixel, pure) in tinted.pixels.chunks_exact_mut(3).zip(mask) {
        if *pure {
            pixel
                .iter_mut()
                .zip([0.0, 0.45, 0.7])
                .for_each(|(value, tint)| *value = 0.45 * *value + 0.55 * tint);
        }
    }
    tinted
}
