//! `gristmill run`: a kernel on a safetensors file.

use crate::AdapterArgs;
use anyhow::{Context, Result, ensure};
use clap::Args;
use gristmill::Dtype;
use gristmill::run::{RunOptions, list, run as run_kernel, run_twin};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct RunArgs {
    /// Kernel to run; see --list
    #[arg(required_unless_present = "list")]
    kernel: Option<String>,
    /// List every kernel with its inputs, configuration keys and outputs
    #[arg(long)]
    list: bool,
    /// Safetensors file with the inputs
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    input: Option<PathBuf>,
    /// Safetensors file to write
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    output: Option<PathBuf>,
    /// JSON file with the configuration; goes over the input file's metadata
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One key of the configuration; goes over everything
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Storage of float inputs on the GPU: f32 or f16
    #[arg(long, default_value = "f32", value_parser = parse_dtype)]
    dtype: Dtype,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Run the f64 twin on the CPU instead
    #[arg(long)]
    twin: bool,
}

/// `f32` or `f16`.
pub fn parse_dtype(text: &str) -> Result<Dtype, String> {
    match text {
        "f32" => Ok(Dtype::F32),
        "f16" => Ok(Dtype::F16),
        _ => Err(format!("dtype `{text}`; expected f32 or f16")),
    }
}

/// Runs the kernel; the output file appears only when all went well.
pub fn run(args: &RunArgs) -> Result<()> {
    if args.list {
        print!("{}", list());
        return Ok(());
    }
    let (Some(kernel), Some(input), Some(output)) = (&args.kernel, &args.input, &args.output) else {
        unreachable!("clap asks for them");
    };
    gristmill::run::find(kernel)?;
    let bytes = std::fs::read(input).with_context(|| format!("--input {}", input.display()))?;
    let config = match &args.config {
        Some(path) => {
            Some(std::fs::read_to_string(path).with_context(|| format!("--config {}", path.display()))?)
        }
        None => None,
    };
    let options = RunOptions {
        config,
        set: args.set.clone(),
        dtype: args.dtype,
        variant: args.adapter.variant,
        ..RunOptions::default()
    };
    let result = if args.twin {
        run_twin(kernel, &bytes, &options)?
    } else {
        let gpu = args.adapter.gpu()?;
        let result = pollster::block_on(run_kernel(&gpu, kernel, &bytes, &options))?;
        // A cache that can't be written costs the next start a second, nothing else.
        let _ = gpu.save_pipeline_cache();
        result
    };
    write_whole(output, &result).with_context(|| format!("--output {}", output.display()))
}

/// Refuses a file that could not be written, before any work is done.
pub fn check_output(path: &Path, ending: &str) -> Result<()> {
    let ends = path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending));
    ensure!(ends, "{}: expected a name that ends in .{ending}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    ensure!(folder.is_none_or(Path::is_dir), "{}: there is no such folder", path.display());
    Ok(())
}

/// Writes beside the file and renames, so that half a file is never seen.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .inspect_err(|_| drop(std::fs::remove_file(&part)))
}
