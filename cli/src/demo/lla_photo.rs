//! The demo's photo once more: softmax and local linear attention between its patches.

use super::DemoArgs;
use crate::denoise::{bar, filter};
use crate::photo::Photo;
use crate::report::Report;
use anyhow::Result;
use gristmill::Gpu;
use gristmill::models::denoise::{DenoiseConfig, DenoiseMethod, PatchBasis};

/// What both forms made of the photo.
pub struct LlaPhoto {
    sigma: f32,
    noisy_psnr: f64,
    softmax: Filtered,
    lla: Filtered,
}

struct Filtered {
    psnr: f64,
    seconds: f64,
}

/// A crop of 128 x 128 pixels with noise of 15 and 25 of 255: name, then (noisy, softmax, LLA) in dB for each.
type Crop = (&'static str, [[f64; 3]; 2]);

/// What `examples/denoise_photos.rs` gave for the five photos in colour of scikit-image (lavapipe).
const LEAVE_ONE_OUT: [Crop; 10] = [
    ("astronaut 1", [[24.67, 31.23, 32.74], [20.23, 29.35, 30.59]]),
    ("astronaut 2", [[24.61, 31.74, 32.73], [20.17, 29.54, 30.12]]),
    ("cat 1", [[24.62, 30.85, 31.59], [20.18, 28.56, 29.45]]),
    ("cat 2", [[24.59, 32.54, 33.12], [20.16, 30.83, 31.47]]),
    ("coffee 1", [[24.59, 34.72, 35.38], [20.16, 32.70, 32.98]]),
    ("coffee 2", [[24.56, 30.90, 31.68], [20.13, 28.62, 29.29]]),
    ("Hubble deep field 1", [[24.55, 30.88, 31.67], [20.11, 29.12, 30.07]]),
    ("Hubble deep field 2", [[24.60, 30.95, 31.74], [20.17, 29.39, 30.28]]),
    ("rocket 1", [[24.61, 40.66, 38.95], [20.17, 36.91, 35.67]]),
    ("rocket 2", [[24.54, 34.60, 35.10], [20.11, 32.72, 33.11]]),
];

impl LlaPhoto {
    /// Denoises the photo with the noise that `noisy` has, and writes the two pictures.
    pub fn run(gpu: &Gpu, args: &DemoArgs, photo: &Photo, noisy: &Photo) -> Result<Self> {
        let sigma = args.sigma / 255.0;
        let basis = PatchBasis::new(&noisy.pixels, noisy.height, noisy.width, 3)?;
        let bar = bar("    ");
        let config = |method| DenoiseConfig { method, variant: args.adapter.variant, ..Default::default() };
        let part = noisy.middle(32);
        let [softmax, lla] = [(DenoiseMethod::SOFTMAX, "softmax"), (DenoiseMethod::LLA, "lla")].map(
            |(method, name)| -> Result<Filtered> {
                // A small part compiles the pipelines; then the whole photo is timed.
                bar.set_message("compiling");
                filter(gpu, &part, &basis, sigma, config(method), &bar)?;
                bar.set_message(method.name());
                let (denoised, seconds) = filter(gpu, noisy, &basis, sigma, config(method), &bar)?;
                denoised.save_png(&args.output.join(format!("{name}.png")))?;
                save_detail(args, &denoised, name)?;
                Ok(Filtered { psnr: photo.psnr(&denoised)?, seconds })
            },
        );
        bar.finish_and_clear();
        for (picture, name) in [(noisy, "noisy"), (photo, "clean")] {
            save_detail(args, picture, name)?;
        }
        Ok(Self { sigma: args.sigma, noisy_psnr: photo.psnr(noisy)?, softmax: softmax?, lla: lla? })
    }

    /// One line for the terminal.
    pub fn summary(&self) -> String {
        let Filtered { psnr, seconds } = self.softmax;
        format!(
            "PSNR {:.2} dB -> softmax {psnr:.2} dB in {:.0} ms, LLA {:.2} dB in {:.0} ms",
            self.noisy_psnr,
            seconds * 1e3,
            self.lla.psnr,
            self.lla.seconds * 1e3
        )
    }

    /// The section of the report; `noisy.png` and `clean.png` are there already.
    pub fn report(&self, report: &mut Report) {
        let caption =
            |name: &str, one: &Filtered| format!("{name}: {:.2} dB in {:.0} ms", one.psnr, one.seconds * 1e3);
        let (softmax, lla) = (caption("softmax", &self.softmax), caption("local linear", &self.lla));
        let row = |crop: &str, sigma: &str, [noisy, softmax, lla]: [f64; 3]| -> Vec<String> {
            let cells = [noisy, softmax, lla].map(|psnr| format!("{psnr:.2}"));
            let gain = format!("{:+.2}", lla - softmax);
            [crop, sigma].into_iter().map(str::to_owned).chain(cells).chain([gain]).collect()
        };
        let all = || LEAVE_ONE_OUT.iter().flat_map(|(_, psnr)| psnr);
        let mean = [0, 1, 2].map(|at| all().map(|psnr| psnr[at]).sum::<f64>() / all().count() as f64);
        let rows: Vec<_> = LEAVE_ONE_OUT
            .iter()
            .flat_map(|(crop, [few, many])| [row(crop, "15", *few), row(crop, "25", *many)])
            .chain([row("mean", "", mean)])
            .collect();
        report
            .section("Local linear attention: the photo again")
            .paragraph(
                "Softmax attention gives the mean of the pixels with similar surroundings, which flattens every slope. \
                 Local linear attention (arXiv 2510.01450) fits a line to the same pixels, with the same kind of \
                 weights, and takes its value at the pixel's own surroundings. Tokens are the 5 x 5 patches, reduced to 12 \
                 principal components of the noisy picture itself; nothing is trained. Each form has the width of the \
                 weights that is best for it.",
            )
            .pictures(&[
                ("noisy.png", &format!("with noise of σ = {}: {:.2} dB", self.sigma, self.noisy_psnr)),
                ("softmax.png", &softmax),
                ("lla.png", &lla),
                ("clean.png", "the photo"),
            ])
            .pictures(&[
                ("noisy_detail.png", "its middle, enlarged"),
                ("softmax_detail.png", "softmax"),
                ("lla_detail.png", "local linear"),
                ("clean_detail.png", "the photo"),
            ])
            .paragraph(
                "PSNR in dB of two crops of 128 x 128 pixels of each of five photos. The settings for a photo are those \
                 that are best on the other four (leave-one-out). Where a picture is flat, as the sky of rocket 1, the mean \
                 is the better fit.",
            )
            .table(&["crop", "σ", "noisy", "softmax", "LLA", "gain"], &rows)
            .paragraph("For pictures of any size:")
            .code("gristmill denoise in.png out.png --sigma 25 --method lla");
    }
}

/// The middle of a picture, enlarged: `<name>_detail.png`.
fn save_detail(args: &DemoArgs, picture: &Photo, name: &str) -> Result<()> {
    picture.middle(100).enlarged(4).save_png(&args.output.join(format!("{name}_detail.png")))
}
