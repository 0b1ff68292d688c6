//! The `gristmill` command: run, measure and look at the kernels.

mod bench;
mod codec;
mod demo;
mod denoise;
mod info;
mod pan;
mod photo;
mod plot;
mod record;
mod report;
mod run;
mod segment;
mod upscale;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use gristmill::{Gpu, GpuOptions, VariantKind};
use std::process::ExitCode;

/// WGSL kernels for efficient inference: run them on any data, measure them, look at what they do.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The adapters of this machine, their features and limits, and which build of the kernels runs there
    Info(info::InfoArgs),
    /// Run a kernel on a safetensors file
    Run(run::RunArgs),
    /// Measure kernels against a baseline and the adapter's own peaks
    Bench(bench::BenchArgs),
    /// Denoise a picture of any size by attention between its own patches
    Denoise(denoise::DenoiseArgs),
    /// Encode a picture in low-rank code: a file whose decoder is a few multiplications per pixel
    Encode(codec::EncodeArgs),
    /// Decode such a file
    Decode(codec::DecodeArgs),
    /// Train the codebook that encoder and decoder share
    Codebook(codec::CodebookArgs),
    /// Enlarge a picture of any size by a super-resolution network
    Upscale(upscale::UpscaleArgs),
    /// Say which pixels of a picture show what, with few tokens; writes classes and clusters as a picture
    Segment(segment::SegmentArgs),
    /// Let the frames of a pan over a photo look for each other by native sparse attention; writes a report to look at
    Pan(pan::PanArgs),
    /// Every family at work on a photo, measured and checked; writes a report to look at
    Demo(demo::DemoArgs),
    /// Check every kernel on this adapter against its f64 twin
    Check(AdapterArgs),
}

/// Where to run.
#[derive(Args, Clone)]
struct AdapterArgs {
    /// Part of the adapter's name; the best adapter without it
    #[arg(long, value_name = "SUBSTRING")]
    adapter: Option<String>,
    /// Build of the kernels: portable, subgroup, cpu or cpu-plain; the one that fits the adapter without it
    #[arg(long, value_name = "NAME")]
    variant: Option<VariantKind>,
}

impl AdapterArgs {
    fn gpu(&self) -> Result<Gpu> {
        let options = GpuOptions {
            adapter: self.adapter.clone(),
            variant: self.variant,
            cache_directory: cache_directory(),
            ..Default::default()
        };
        Ok(pollster::block_on(Gpu::request(options))?)
    }
}

/// Where compiled pipelines are kept between runs.
fn cache_directory() -> Option<std::path::PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME").map(std::path::PathBuf::from);
    let home = home.or_else(|| Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(home.join("gristmill"))
}

fn main() -> ExitCode {
    // As every Unix command: `gristmill bench | head` ends quietly when `head` has seen enough.
    #[cfg(unix)]
    // SAFETY: the signal's default action is set before any thread starts; no handler of ours exists.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    // Mesa's device chooser asks the desktop which GPU it prefers and complains on stderr where there is no desktop.
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: nothing else runs yet that could read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version, also the help that a bare `gristmill` gives, have many lines on purpose.
        Err(error)
            if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
        {
            error.exit()
        }
        Err(error) => {
            eprintln!("{}", one_line(&error.to_string()));
            return ExitCode::from(2);
        }
    };
    let result = match cli.command {
        Command::Info(args) => info::info(&args),
        Command::Run(args) => run::run(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Denoise(args) => denoise::denoise(&args),
        Command::Encode(args) => codec::encode(&args),
        Command::Decode(args) => codec::decode(&args),
        Command::Codebook(args) => codec::codebook(&args),
        Command::Upscale(args) => upscale::upscale(&args),
        Command::Segment(args) => segment::segment(&args),
        Command::Pan(args) => pan::pan(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Check(args) => check(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: the message, then what lies behind it.
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// What clap says of a wrong command line, without its usage text: like every error, one line.
fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    lines.fold(String::new(), |text, line| match line {
        _ if text.is_empty() => line.into(),
        _ if line.starts_with("tip:") => text + "; " + line,
        _ => text + " " + line,
    })
}

fn check(args: &AdapterArgs) -> Result<()> {
    let gpu = args.gpu()?;
    println!("{} ({:?})", gpu.info().name, gpu.info().backend);
    let checks = pollster::block_on(gristmill::self_check::self_check(&gpu, args.variant, |check| {
        println!("{} {:<34} {}", if check.passed { "ok  " } else { "FAIL" }, check.name, check.detail);
    }))?;
    let failed = checks.iter().filter(|check| !check.passed).count();
    anyhow::ensure!(failed == 0, "{failed} of {} checks failed", checks.len());
    println!("{} kernels agree with their twins", checks.len());
    let _ = gpu.save_pipeline_cache();
    Ok(())
}
