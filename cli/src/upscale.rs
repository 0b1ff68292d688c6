//! `gristmill upscale`: a picture of any size in, a larger one out.

use crate::AdapterArgs;
use crate::denoise::bar;
use crate::photo::Photo;
use crate::run::{check_output, write_whole};
use anyhow::{Context, Result, ensure};
use clap::Args;
use gristmill::models::atd::{Atd, Tiling, upscale as enlarge};
use gristmill::run::atd_file;
use image::{GrayImage, ImageFormat};
use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Args)]
pub struct UpscaleArgs {
    /// Picture to enlarge (PNG or JPEG)
    input: PathBuf,
    /// PNG file to write
    output: PathBuf,
    /// Weights of an ATD network with its configuration in the metadata, as `run atd` takes them
    #[arg(long, value_name = "FILE.safetensors")]
    weights: PathBuf,
    /// How many times larger along each side; must be what the weights are for
    #[arg(long)]
    scale: Option<usize>,
    /// Let all pixels take part in category attention, whatever the weights' configuration says
    #[arg(long)]
    no_pure_pass: bool,
    /// Write which pixels were pure as a black and white PNG
    #[arg(long, value_name = "FILE.png", conflicts_with = "no_pure_pass")]
    mask: Option<PathBuf>,
    /// Pixels along a tile's side, a multiple of the network's window; larger ones need more memory
    #[arg(long, default_value_t = Tiling::default().tile)]
    tile: usize,
    #[command(flatten)]
    adapter: AdapterArgs,
}

/// Enlarges the picture; output files appear only when all went well.
pub fn upscale(args: &UpscaleArgs) -> Result<()> {
    check_output(&args.output, "png")?;
    if let Some(mask) = &args.mask {
        check_output(mask, "png")?;
    }
    let photo = Photo::load(&args.input)?;
    let name = || args.weights.display().to_string();
    let bytes = std::fs::read(&args.weights).with_context(|| format!("cannot read {}", name()))?;
    let (mut config, weights) = atd_file(&bytes).with_context(name)?;
    config.variant = args.adapter.variant;
    config.scale = args.scale.unwrap_or(config.scale);
    if args.no_pure_pass {
        config.pure_pass = None;
    }
    ensure!(
        args.mask.is_none() || config.pure_pass.is_some(),
        "--mask: {} has no pure_pass in its configuration; expected one",
        name()
    );
    let gpu = args.adapter.gpu()?;
    let model = Atd::new(&gpu, config, &weights).with_context(name)?;

    let bar = bar("");
    let start = Instant::now();
    let tiling = Tiling { tile: args.tile, ..Tiling::default() };
    let result = pollster::block_on(enlarge(&gpu, &model, photo.picture(), tiling, |share| {
        bar.set_position((share * 1000.0) as u64);
        ControlFlow::Continue(())
    }))?;
    let seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let large = Photo::from_pixels(result.height, result.width, result.pixels)?;
    write_whole(&args.output, &large.png()?)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    let mut pure = String::new();
    if let Some(mask) = result.mask {
        let share = mask.iter().filter(|pure| **pure).count() as f64 / mask.len() as f64;
        pure = format!(", {:.0} % of the pixels pure", 100.0 * share);
        if let Some(path) = &args.mask {
            let bytes = mask.into_iter().map(|pure| 255 * pure as u8).collect();
            let picture = GrayImage::from_raw(photo.width as u32, photo.height as u32, bytes)
                .context("a mask of another size")?;
            let mut png = Cursor::new(Vec::new());
            picture.write_to(&mut png, ImageFormat::Png)?;
            write_whole(path, png.get_ref()).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    let _ = gpu.save_pipeline_cache();
    println!(
        "{}: {} x {} pixels in {seconds:.1} s, {} tiles of {:.0} MiB{pure} (build {})",
        args.output.display(),
        large.width,
        large.height,
        result.tiles,
        result.report.bytes as f64 / (1 << 20) as f64,
        model.explain().kind
    );
    Ok(())
}
