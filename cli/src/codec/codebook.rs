//! `gristmill codebook train`: the codewords that suit pictures like the given ones.

use super::{PatchArgs, moves};
use crate::AdapterArgs;
use crate::denoise::bar;

use crate::photo::Photo;
use crate::run::{check_output, write_whole};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use gristmill::Gpu;
use gristmill::codec::{Codebook, Encoder, EncoderConfig, TrainingConfig, decode, train_codebook, write_gvq};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Args)]
pub struct CodebookArgs {
    #[command(subcommand)]
    command: CodebookCommand,
}

#[derive(Subcommand)]
enum CodebookCommand {
    /// Train a codebook on pictures
    Train(TrainArgs),
}

#[derive(Args)]
struct TrainArgs {
    /// Pictures to learn from (PNG or JPEG)
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
    /// Codebook to write (safetensors)
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    patch: PatchArgs,
    /// Codewords instead of the preset's
    #[arg(long, value_name = "COUNT")]
    codewords: Option<usize>,
    /// Pictures to measure the codebook on, none of those that it learns from
    #[arg(long, value_name = "FILE", num_args = 1..)]
    held_out: Vec<PathBuf>,
    /// Patches (of one channel) to learn from, taken at random places of all pictures alike
    #[arg(long, value_name = "COUNT")]
    blocks: Option<usize>,
    /// Updates of the codebook on encoded pictures
    #[arg(long, value_name = "COUNT")]
    rounds: Option<usize>,
    /// Decides what is taken at random
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    adapter: AdapterArgs,
}

pub fn codebook(args: &CodebookArgs) -> Result<()> {
    let CodebookCommand::Train(args) = &args.command;
    train(args)
}

fn train(args: &TrainArgs) -> Result<()> {
    check_output(&args.output, "safetensors")?;
    let load = |paths: &[PathBuf]| paths.iter().map(|path| Photo::load(path)).collect::<Result<Vec<_>>>();
    let (photos, held_out) = (load(&args.pictures)?, load(&args.held_out)?);
    let mut preset = args.patch.preset();
    preset.codewords = args.codewords.unwrap_or(preset.codewords);
    let mut config = TrainingConfig { seed: args.seed, ..TrainingConfig::preset(preset) };
    config.rounds = args.rounds.unwrap_or(config.rounds);
    config.blocks = args.blocks.unwrap_or(config.blocks);
    config.encoder.variant = args.adapter.variant;
    let gpu = args.adapter.gpu()?;

    let bar = bar("");
    bar.set_message("training");
    let start = Instant::now();
    let pictures: Vec<_> = photos.iter().map(Photo::picture).collect();
    let trained = pollster::block_on(train_codebook(&gpu, &pictures, &config, moves(&bar)))?;
    bar.finish_and_clear();
    let least = trained.errors.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{} codewords of {} in {:.0} s; mean squared error of the training patches {:.2e}, at first {:.2e}",
        trained.codebook.codewords(),
        trained.codebook.patch(),
        start.elapsed().as_secs_f64(),
        least,
        trained.errors[0],
    );
    let mut metadata = vec![
        ("patch", config.encoder.patch.to_string()),
        ("rank", config.encoder.rank.to_string()),
        ("iterations", config.encoder.iterations.to_string()),
        ("seed", config.seed.to_string()),
        ("blocks", config.blocks.to_string()),
        ("rounds", config.rounds.to_string()),
        ("pictures", names(&args.pictures)),
        ("training_mse", format!("{least:.3e}")),
    ];
    let encoder = EncoderConfig { variant: args.adapter.variant, ..EncoderConfig::preset(preset) };
    let mut errors = Vec::new();
    for (path, photo) in args.held_out.iter().zip(&held_out) {
        let (error, bits) = measure(&gpu, photo, &encoder, &trained.codebook)?;
        println!("{}: {error:.2e} ({:.2} dB) at {bits:.3} bits per pixel", name(path), -10.0 * error.log10());
        errors.push(error);
    }
    if !errors.is_empty() {
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        println!("held-out mean: {mean:.2e} ({:.2} dB)", -10.0 * mean.log10());
        metadata.push(("held_out", names(&args.held_out)));
        metadata.push(("held_out_mse", format!("{mean:.3e}")));
    }
    write_whole(&args.output, &trained.codebook.to_safetensors(&metadata)?)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    let _ = gpu.save_pipeline_cache();
    println!("{}", args.output.display());
    Ok(())
}

/// Mean squared error of the decoded bytes, and bits per pixel of the file.
fn measure(gpu: &Gpu, photo: &Photo, config: &EncoderConfig, codebook: &Codebook) -> Result<(f64, f64)> {
    let (file, decoded) = round_trip(gpu, photo, config, codebook)?;
    let error = 10f64.powf(-photo.psnr(&decoded)? / 10.0);
    Ok((error, file.len() as f64 * 8.0 / (photo.height * photo.width) as f64))
}

/// The file of a photo, its codebook named, and what is decoded from it.
pub fn round_trip(
    gpu: &Gpu,
    photo: &Photo,
    config: &EncoderConfig,
    codebook: &Codebook,
) -> Result<(Vec<u8>, Photo)> {
    let encoder = Encoder::new(gpu, config.clone(), codebook)?;
    let encoded = pollster::block_on(encoder.encode(photo.picture(), |_| ControlFlow::Continue(())))?;
    let bytes = pollster::block_on(decode(gpu, &encoded, codebook, config.variant))?;
    let decoded = Photo::from_bytes(photo.height, photo.width, &bytes)?;
    Ok((write_gvq(&encoded, codebook, false)?, decoded))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| name(path)).collect::<Vec<_>>().join(", ")
}
