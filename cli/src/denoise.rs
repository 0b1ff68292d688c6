//! `gristmill denoise`: a noisy picture in, a quieter one out, of any size.

use crate::AdapterArgs;
use crate::photo::Photo;
use crate::run::{check_output, write_whole};
use anyhow::{Context, Result, ensure};
use clap::Args;
use gristmill::Gpu;
use gristmill::models::denoise::{DenoiseConfig, DenoiseMethod, PatchBasis, denoise as filter_picture};
use indicatif::{ProgressBar, ProgressStyle};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Args)]
pub struct DenoiseArgs {
    /// Picture to denoise (PNG or JPEG)
    input: PathBuf,
    /// PNG file to write
    output: PathBuf,
    /// Standard deviation of the noise, of 255; estimated from the picture without it
    #[arg(long)]
    sigma: Option<f32>,
    /// How pixels follow from those with similar surroundings: lla (local linear attention) or softmax
    #[arg(long, value_name = "NAME", default_value = "lla")]
    method: DenoiseMethod,
    /// Add Gaussian noise of this deviation first and compare the result with the picture
    #[arg(long, value_name = "SIGMA")]
    add_noise: Option<f32>,
    /// The same picture without noise, to compare the result with
    #[arg(long, value_name = "FILE", conflicts_with = "add_noise")]
    clean: Option<PathBuf>,
    #[command(flatten)]
    adapter: AdapterArgs,
}

/// Rounding to 8 bits alone makes noise of 0.3 of 255; a picture with less than this has none to take away.
const LEAST_SIGMA: f32 = 0.5 / 255.0;

/// Denoises the picture; the output file appears only when all went well.
pub fn denoise(args: &DenoiseArgs) -> Result<()> {
    for (name, sigma) in [("--sigma", args.sigma), ("--add-noise", args.add_noise)] {
        ensure!(
            sigma.is_none_or(|sigma| sigma > 0.0 && sigma <= 255.0),
            "{name} {}: expected a number above 0, at most 255",
            sigma.unwrap_or_default()
        );
    }
    check_output(&args.output, "png")?;

    let given = Photo::load(&args.input)?;
    let (noisy, clean) = match args.add_noise {
        Some(sigma) => (given.with_noise(sigma / 255.0, 20), Some(given)),
        None => (given, args.clean.as_deref().map(Photo::load).transpose()?),
    };
    let before = clean.as_ref().map(|clean| clean.psnr(&noisy)).transpose()?;
    let basis = PatchBasis::new(&noisy.pixels, noisy.height, noisy.width, 3)
        .with_context(|| args.input.display().to_string())?;
    let sigma = args.sigma.or(args.add_noise).map_or_else(|| basis.noise(), |sigma| sigma / 255.0);
    let sigma = sigma.max(LEAST_SIGMA);
    let gpu = args.adapter.gpu()?;
    let variant = gpu.variant(args.adapter.variant)?.kind;
    println!(
        "{} x {} pixels, noise {:.1} of 255{}, {} (build {variant})",
        noisy.width,
        noisy.height,
        sigma * 255.0,
        if args.sigma.or(args.add_noise).is_some() { "" } else { " by its own estimate" },
        args.method.name(),
    );

    let bar = bar("");
    let config = DenoiseConfig { method: args.method, variant: args.adapter.variant, ..Default::default() };
    let (result, seconds) = filter(&gpu, &noisy, &basis, sigma, config, &bar)?;
    bar.finish_and_clear();
    if let (Some(before), Some(clean)) = (before, &clean) {
        println!("PSNR {before:.2} dB -> {:.2} dB", clean.psnr(&result)?);
    }
    write_whole(&args.output, &result.png()?)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    let _ = gpu.save_pipeline_cache();
    println!("{} in {seconds:.1} s", args.output.display());
    Ok(())
}

/// A progress bar of the share done.
pub fn bar(indent: &str) -> ProgressBar {
    let template = format!("{indent}{{bar:40}} {{percent}}% {{msg}}");
    let style = ProgressStyle::with_template(&template).expect("a valid template");
    ProgressBar::new(1000).with_style(style)
}

/// The denoised picture, and the seconds that it took.
pub fn filter(
    gpu: &Gpu,
    noisy: &Photo,
    basis: &PatchBasis,
    sigma: f32,
    config: DenoiseConfig,
    bar: &ProgressBar,
) -> Result<(Photo, f64)> {
    let start = Instant::now();
    let pixels = pollster::block_on(filter_picture(gpu, noisy.picture(), basis, sigma, config, |share| {
        bar.set_position((share * 1000.0) as u64);
        ControlFlow::Continue(())
    }))?;
    let seconds = start.elapsed().as_secs_f64();
    Ok((Photo::from_pixels(noisy.height, noisy.width, pixels)?, seconds))
}
