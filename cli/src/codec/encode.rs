//! `gristmill encode`: a picture to a `.gvq` file.

use super::{PatchArgs, load_codebook, moves};
use crate::AdapterArgs;
use crate::denoise::bar;

use crate::photo::Photo;
use crate::run::{check_output, write_whole};
use anyhow::{Context, Result};
use clap::Args;
use gristmill::codec::{Codebook, Encoder, EncoderConfig, decode, write_gvq};
use std::path::PathBuf;
use std::time::Instant;

#[derive(Args)]
pub struct EncodeArgs {
    /// Picture to encode (PNG or JPEG)
    input: PathBuf,
    /// File to write (.gvq)
    output: PathBuf,
    #[command(flatten)]
    patch: PatchArgs,
    /// Codebook to encode with (safetensors); the preset's own without it
    #[arg(long, value_name = "FILE")]
    codebook: Option<PathBuf>,
    /// Put the codebook into the file, so that any reader can decode it
    #[arg(long)]
    inline: bool,
    /// How often every factor is improved
    #[arg(long, value_name = "COUNT")]
    sweeps: Option<usize>,
    #[command(flatten)]
    adapter: AdapterArgs,
}

pub fn encode(args: &EncodeArgs) -> Result<()> {
    check_output(&args.output, "gvq")?;
    let photo = Photo::load(&args.input)?;
    let codebook = match &args.codebook {
        Some(path) => load_codebook(path)?,
        None => Codebook::shipped(args.patch.preset()).with_context(|| {
            "no codebook comes with the program for these patches; train one with `gristmill codebook train` and \
             give it with --codebook"
        })?,
    };
    let mut config = EncoderConfig { variant: args.adapter.variant, ..args.patch.encoder() };
    config.sweeps = args.sweeps.unwrap_or(config.sweeps);
    let gpu = args.adapter.gpu()?;
    let bar = bar("");
    bar.set_message("encoding");
    let start = Instant::now();
    let encoder = Encoder::new(&gpu, config, &codebook)?;
    let encoded = pollster::block_on(encoder.encode(photo.picture(), moves(&bar)))?;
    let seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let file = write_gvq(&encoded, &codebook, args.inline)?;
    let bytes = pollster::block_on(decode(&gpu, &encoded, &codebook, args.adapter.variant))?;
    let decoded = Photo::from_bytes(photo.height, photo.width, &bytes)?;
    write_whole(&args.output, &file).with_context(|| format!("cannot write {}", args.output.display()))?;
    let _ = gpu.save_pipeline_cache();

    let pixels = (photo.height * photo.width) as f64;
    println!(
        "{} x {} pixels: {} bytes, {:.3} bits per pixel, {:.1} times smaller than 8 bits per sample{}",
        photo.width,
        photo.height,
        file.len(),
        file.len() as f64 * 8.0 / pixels,
        pixels * 3.0 / file.len() as f64,
        if args.inline {
            format!(" ({} of them the codebook)", codebook.bytes().len())
        } else {
            String::new()
        },
    );
    let psnr = photo.psnr(&decoded)?;
    println!("PSNR {psnr:.2} dB (mean squared error {:.2e})", 10f64.powf(-psnr / 10.0));
    println!("{} in {seconds:.1} s", args.output.display());
    Ok(())
}
