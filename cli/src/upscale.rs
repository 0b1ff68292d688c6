//! `gristmill upscale`: a picture of any size in, a larger one out.

use crate::AdapterArgs;
use crate::denoise::bar;
use crate::photo::Photo;
use crate::run::{check_output, parse_dtype, write_whole};
use anyhow::{Context, Result, ensure};
use clap::Args;
use gristmill::Dtype;
use gristmill::models::atd::{Atd, Tiling, upscale as enlarge};
use gristmill::run::atd_file;
use image::{GrayImage, ImageFormat, RgbaImage};
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
    /// Weights of an ATD network with its configuration in the metadata, as `run atd` takes them; without it a small network
    /// for twice the size
    #[arg(long, value_name = "FILE.safetensors")]
    weights: Option<PathBuf>,
    /// How many times larger along each side; must be what the weights are for
    #[arg(long)]
    scale: Option<usize>,
    /// Let all pixels take part in category attention, whatever the weights' configuration says
    #[arg(long)]
    no_pure_pass: bool,
    /// Write which pixels were pure as a black and white PNG
    #[arg(long, value_name = "FILE.png", conflicts_with = "no_pure_pass")]
    mask: Option<PathBuf>,
    /// Storage of the network's matrices: f32 or f16
    #[arg(long, default_value = "f32", value_parser = parse_dtype)]
    dtype: Dtype,
    /// Pixels along a tile's side, a multiple of the network's window; larger ones need more memory
    #[arg(long, default_value_t = Tiling::default().tile)]
    tile: usize,
    #[command(flatten)]
    adapter: AdapterArgs,
}

/// A small network for twice the size, trained with Pure-Pass: scripts/atd.
pub const WEIGHTS: &[u8] = include_bytes!("../assets/atd-x2.safetensors");

/// Enlarges the picture; output files appear only when all went well.
pub fn upscale(args: &UpscaleArgs) -> Result<()> {
    check_output(&args.output, "png")?;
    if let Some(mask) = &args.mask {
        check_output(mask, "png")?;
    }
    let (photo, opacity) = Photo::load_with_opacity(&args.input)?;
    let name =
        || args.weights.as_ref().map_or("the built-in weights".into(), |path| path.display().to_string());
    let file;
    let bytes = match &args.weights {
        Some(path) => {
            file = std::fs::read(path).with_context(|| format!("cannot read {}", name()))?;
            &file
        }
        None => WEIGHTS,
    };
    let (mut config, weights) = atd_file(bytes).with_context(name)?;
    config.variant = args.adapter.variant;
    config.dtype = args.dtype;
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
    let png = match &opacity {
        None => large.png()?,
        Some(opacity) => transparent_png(&large, &photo, opacity)?,
    };
    let mask = result.mask.as_deref();
    if let (Some(mask), Some(path)) = (mask, &args.mask) {
        let bytes = mask.iter().map(|pure| 255 * *pure as u8).collect();
        let picture = GrayImage::from_raw(u32::try_from(photo.width)?, u32::try_from(photo.height)?, bytes);
        let mut png = Cursor::new(Vec::new());
        picture.context("a mask of another size")?.write_to(&mut png, ImageFormat::Png)?;
        write_whole(path, png.get_ref()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    write_whole(&args.output, &png).with_context(|| format!("cannot write {}", args.output.display()))?;
    let _ = gpu.save_pipeline_cache();
    println!(
        "{}: {} x {} pixels in {seconds:.1} s, {} tiles of {:.0} MiB (build {})",
        args.output.display(),
        large.width,
        large.height,
        result.tiles,
        result.report.bytes as f64 / (1 << 20) as f64,
        model.explain().kind
    );
    if let (Some(mask), Some(pure_pass)) = (mask, model.config().pure_pass) {
        let share = pure_share(mask);
        let saved = model.macs().saved(share, pure_pass.compensation);
        println!(
            "{:.0} % of the pixels pure: {:.1} % of the multiplications saved",
            100.0 * share,
            100.0 * saved
        );
    }
    Ok(())
}

/// Share of the pixels that are pure, 0 to 1.
pub fn pure_share(mask: &[bool]) -> f64 {
    mask.iter().filter(|pure| **pure).count() as f64 / mask.len() as f64
}

/// The enlarged picture, which is over black, with its opacity enlarged beside it (bicubic) and divided out of the colours.
fn transparent_png(large: &Photo, small: &Photo, opacity: &[f32]) -> Result<Vec<u8>> {
    let grey = opacity.iter().flat_map(|alpha| [*alpha; 3]).collect();
    let opacity = Photo::from_pixels(small.height, small.width, grey)?.resized(large.height, large.width)?;
    let byte = |value: f32| (value.clamp(0.0, 1.0) * 255.0).round() as u8;
    let pixels = large.pixels.chunks_exact(3).zip(opacity.pixels.chunks_exact(3));
    let rgba = pixels.flat_map(|(pixel, alpha)| {
        let alpha = alpha[0].clamp(0.0, 1.0);
        let color = |value: f32| if alpha > 0.0 { byte(value / alpha) } else { 0 };
        [color(pixel[0]), color(pixel[1]), color(pixel[2]), byte(alpha)]
    });
    let (width, height) = (u32::try_from(large.width)?, u32::try_from(large.height)?);
    let picture = RgbaImage::from_raw(width, height, rgba.collect()).context("a picture of another size")?;
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png)?;
    Ok(png.into_inner())
}
