//! `gristmill decode`: a `.gvq` file to a picture.

use super::{load_codebook, shipped};
use crate::AdapterArgs;

use crate::photo::Photo;
use crate::run::{check_output, write_whole};
use anyhow::{Context, Result};
use clap::Args;
use gristmill::codec::{decode as decode_image, read_gvq};
use std::path::PathBuf;
use std::time::Instant;

#[derive(Args)]
pub struct DecodeArgs {
    /// File to decode (.gvq)
    input: PathBuf,
    /// Picture to write (PNG)
    output: PathBuf,
    /// The codebook of the file (safetensors), where it is neither in the file nor in the program
    #[arg(long, value_name = "FILE")]
    codebook: Option<PathBuf>,
    #[command(flatten)]
    adapter: AdapterArgs,
}

pub fn decode(args: &DecodeArgs) -> Result<()> {
    check_output(&args.output, "png")?;
    let name = || args.input.display().to_string();
    let file = std::fs::read(&args.input).with_context(|| format!("cannot read {}", name()))?;
    let mut known = shipped();
    if let Some(path) = &args.codebook {
        known.push(load_codebook(path)?);
    }
    let (encoded, codebook) = read_gvq(&file, &known).with_context(name)?;
    let gpu = args.adapter.gpu()?;
    // The first run compiles the kernel; the second is what every further picture takes.
    let run = || pollster::block_on(decode_image(&gpu, &encoded, &codebook, args.adapter.variant));
    run()?;
    let start = Instant::now();
    let bytes = run()?;
    let seconds = start.elapsed().as_secs_f64();
    let config = &encoded.config;
    let rgb = match config.channels {
        1 => bytes.iter().flat_map(|&grey| [grey; 3]).collect(),
        _ => bytes,
    };
    let picture = Photo::from_bytes(config.height, config.width, &rgb)?;
    write_whole(&args.output, &picture.png()?)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    let _ = gpu.save_pipeline_cache();
    println!(
        "{} x {} pixels in patches of {}, rank {} x {}, {} codewords: {:.1} ms with upload and readback",
        config.width,
        config.height,
        config.patch,
        config.rank,
        config.iterations,
        codebook.codewords(),
        seconds * 1e3,
    );
    println!("{}", args.output.display());
    Ok(())
}
