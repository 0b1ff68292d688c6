//! `gristmill bench`: kernels against a baseline and the adapter's own peaks, all in one run.

mod clustvit;
mod convolution;
pub mod flash_lla;
pub mod flash_lla_decode;
mod kernels;
mod lowrank_vq;
pub mod native_sparse;
mod pure_pass;
pub mod sqa;

use crate::AdapterArgs;
use crate::record::{BenchRecord, table, write_json};
use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use gristmill::measure::{Measured, Peaks, Prepared, measure, peaks};
use gristmill::{Dtype, Gpu, VariantKind};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct BenchArgs {
    /// attention, clustvit, convolution, decode, flash_lla, flash_lla_decode, linear, lowrank_vq, nsa, nsa_decode, nsa_long, pure_pass or sqa; without it all but nsa_long,
    /// which takes minutes
    kernel: Option<String>,
    /// Change a key of every shape, such as tokens=4096, head_dim=128, dtype=f16, causal=true
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Timed samples of each case; the median counts
    #[arg(long, default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    samples: usize,
    /// Write the records as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a plot: time against query heads (sqa), speedup (nsa, clustvit), time saved (pure_pass), time against keys (nsa_decode), times dense attention (flash_lla),
    /// shares of the adapter's peak (others)
    #[arg(long, value_name = "FILE.png")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    adapter: AdapterArgs,
}

/// Everything a benchmark needs.
pub struct Bench {
    pub gpu: Gpu,
    pub peaks: Peaks,
    pub samples: usize,
    pub variant: Option<VariantKind>,
    pub settings: Settings,
    progress: ProgressBar,
}

/// A benchmark by name, and the keys that `--set` may change.
struct Benchmark {
    name: &'static str,
    /// What it is called for short.
    alias: Option<&'static str>,
    /// Not run unless asked for.
    long: bool,
    keys: &'static [&'static str],
    run: fn(&Bench) -> Result<Vec<BenchRecord>>,
    /// What is said below the table of records.
    summary: fn(&Bench, &[BenchRecord]) -> Result<String>,
    plot: fn(&[BenchRecord], &Path) -> Result<()>,
}

const NO_SUMMARY: fn(&Bench, &[BenchRecord]) -> Result<String> = |_, _| Ok(String::new());

const SHARE_PLOT: fn(&[BenchRecord], &Path) -> Result<()> = |records, path| kernels::plot(records).save(path);

const BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "attention",
        alias: None,
        long: false,
        keys: &["batch", "tokens", "query_heads", "kv_heads", "head_dim", "causal", "dtype"],
        run: kernels::attention,
        summary: NO_SUMMARY,
        plot: SHARE_PLOT,
    },
    Benchmark {
        name: "clustvit",
        alias: None,
        long: false,
        keys: clustvit::KEYS,
        run: clustvit::clustvit,
        summary: |_, records| Ok(clustvit::summary(records)),
        plot: |records, path| clustvit::plot(records).save(path),
    },
    Benchmark {
        name: "convolution",
        alias: None,
        long: false,
        keys: convolution::KEYS,
        run: convolution::convolution,
        summary: |_, records| Ok(convolution::summary(records)),
        plot: SHARE_PLOT,
    },
    Benchmark {
        name: "decode",
        alias: None,
        long: false,
        keys: &["batch", "tokens", "query_heads", "kv_heads", "head_dim", "dtype"],
        run: kernels::decode,
        summary: NO_SUMMARY,
        plot: SHARE_PLOT,
    },
    Benchmark {
        name: "flash_lla",
        alias: None,
        long: false,
        keys: &[
            "batch",
            "tokens",
            "query_heads",
            "kv_heads",
            "head_dim",
            "causal",
            "ridge",
            "rtol",
            "max_iters",
            "dtype",
        ],
        run: flash_lla::flash_lla,
        summary: flash_lla::summary,
        plot: |records, path| flash_lla::plot(records).save(path),
    },
    Benchmark {
        name: "flash_lla_decode",
        alias: None,
        long: false,
        keys: &["batch", "tokens", "query_heads", "kv_heads", "head_dim", "ridge", "rtol", "dtype"],
        run: flash_lla_decode::flash_lla_decode,
        summary: |_, records| Ok(flash_lla_decode::summary(records)),
        plot: SHARE_PLOT,
    },
    Benchmark {
        name: "linear",
        alias: None,
        long: false,
        keys: &["rows", "inputs", "outputs", "dtype"],
        run: kernels::linear,
        summary: NO_SUMMARY,
        plot: SHARE_PLOT,
    },
    Benchmark {
        name: "lowrank_vq",
        alias: None,
        long: false,
        keys: lowrank_vq::KEYS,
        run: lowrank_vq::lowrank_vq,
        summary: lowrank_vq::summary,
        plot: SHARE_PLOT,
    },
    Benchmark {
        name: "native_sparse",
        alias: Some("nsa"),
        long: false,
        keys: native_sparse::KEYS,
        run: native_sparse::native_sparse,
        summary: |_, records| Ok(native_sparse::summary(records)),
        plot: |records, path| native_sparse::plot(records).save(path),
    },
    Benchmark {
        name: "native_sparse_decode",
        alias: Some("nsa_decode"),
        long: false,
        keys: native_sparse::KEYS,
        run: native_sparse::decode::native_sparse_decode,
        summary: |_, records| Ok(native_sparse::decode::summary(records)),
        plot: |records, path| native_sparse::decode::plot(records).save(path),
    },
    Benchmark {
        name: "native_sparse_long",
        alias: Some("nsa_long"),
        long: true,
        keys: native_sparse::KEYS,
        run: native_sparse::long::native_sparse_long,
        summary: |_, records| Ok(native_sparse::long::summary(records)),
        plot: SHARE_PLOT,
    },
    Benchmark {
        name: "pure_pass",
        alias: None,
        long: false,
        keys: pure_pass::KEYS,
        run: pure_pass::pure_pass,
        summary: |_, records| Ok(pure_pass::summary(records)),
        plot: |records, path| pure_pass::plot(records).save(path),
    },
    Benchmark {
        name: "sqa",
        alias: None,
        long: false,
        keys: &["tokens", "heads", "head_dim", "causal", "dtype"],
        run: sqa::sqa,
        summary: |_, records| Ok(sqa::summary(records)),
        plot: |records, path| sqa::plot(records).save(path),
    },
];

/// Runs one benchmark or all of them.
pub fn bench(args: &BenchArgs) -> Result<()> {
    let names: Vec<_> = BENCHMARKS.iter().map(|b| b.alias.unwrap_or(b.name)).collect();
    let asked_for = |b: &&Benchmark| match args.kernel.as_deref() {
        Some(name) => name == b.name || Some(name) == b.alias,
        None => !b.long,
    };
    let chosen: Vec<_> = BENCHMARKS.iter().filter(asked_for).collect();
    if chosen.is_empty() {
        let name = args.kernel.as_deref().unwrap_or("");
        bail!("no benchmark `{name}`; expected one of {}", names.join(", "));
    }
    let settings = Settings::parse(&args.set)?;
    for key in settings.0.keys() {
        if !chosen.iter().any(|b| b.keys.contains(&key.as_str())) {
            let known: Vec<_> = chosen.iter().flat_map(|b| b.keys).copied().collect();
            bail!("--set {key}: unknown key; expected one of {}", known.join(", "));
        }
    }
    let bench = Bench::start(args.adapter.gpu()?, args.samples, args.adapter.variant, settings)?;
    let mut records = Vec::new();
    for benchmark in &chosen {
        let some = (benchmark.run)(&bench)?;
        let summary = (benchmark.summary)(&bench, &some)?;
        bench.progress.suspend(|| println!("\n{}\n{}\n{summary}", benchmark.name, table(&some)));
        records.extend(some);
    }
    bench.finish();
    let _ = bench.gpu.save_pipeline_cache();
    if let Some(path) = &args.json {
        write_json(path, &records)?;
    }
    if let Some(path) = &args.plot {
        let plot = if let [one] = chosen.as_slice() { one.plot } else { SHARE_PLOT };
        plot(&records, path)?;
    }
    Ok(())
}

impl Bench {
    /// Measures the adapter's peaks and says what it is.
    pub fn start(gpu: Gpu, samples: usize, variant: Option<VariantKind>, settings: Settings) -> Result<Self> {
        let progress = ProgressBar::new_spinner().with_style(spinner());
        progress.enable_steady_tick(std::time::Duration::from_millis(120));
        progress.set_message("peak rates");
        let peaks = pollster::block_on(peaks(&gpu))?;
        let chosen = gpu.variant(variant)?;
        progress.suspend(|| {
            println!("{} ({:?}, {})", gpu.info().name, gpu.info().backend, gpu.info().driver_info);
            println!("kernels: {} ({})", chosen.kind, chosen.reason);
            println!("peaks:   {:.1} GFLOP/s FMA, {:.1} GB/s copy", peaks.gflops, peaks.gbps);
        });
        Ok(Self { gpu, peaks, samples, variant, settings, progress })
    }

    /// Takes the progress line away.
    pub fn finish(&self) {
        self.progress.finish_and_clear();
    }

    /// Whether shapes should suit a software adapter.
    pub fn is_cpu(&self) -> bool {
        self.gpu.info().device_type == gristmill::wgpu::DeviceType::Cpu
    }

    /// A bar of thousandths instead of the progress line, for work that takes minutes.
    pub fn bar(&self, what: String) -> Bar<'_> {
        let style = "{elapsed} {bar:40} {percent}%, {eta} left  {wide_msg}";
        self.progress.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        self.progress.set_length(1000);
        self.progress.set_position(0);
        self.progress.reset_eta();
        self.progress.set_message(what);
        Bar(&self.progress)
    }

    /// Shows what is being measured.
    pub fn say(&self, what: impl Into<String>) {
        self.progress.set_message(what.into());
    }

    /// Times operators in turns.
    pub fn measure(&self, prepared: &[Prepared]) -> Result<Vec<Measured>> {
        Ok(pollster::block_on(measure(&self.gpu, prepared, self.samples))?)
    }

    /// A record of what was measured.
    pub fn record(
        &self,
        kernel: &str,
        dtype: Dtype,
        shape: &[(&str, Value)],
        measured: &Measured,
    ) -> BenchRecord {
        BenchRecord {
            kernel: kernel.into(),
            variant: measured.variant.name().into(),
            dtype: dtype.name().into(),
            shape: shape.iter().map(|(key, value)| (key.to_string(), value.clone())).collect(),
            extra_bytes: measured.extra_bytes,
            ..Default::default()
        }
        .with_work(measured.ms, measured.cost.flops, measured.cost.bytes)
        .with_peaks(self.peaks.gflops, self.peaks.gbps)
    }
}

/// The progress line as a bar, until it is dropped.
pub struct Bar<'b>(&'b ProgressBar);

impl Bar<'_> {
    /// Thousandths done.
    pub fn set_position(&self, thousandths: u64) {
        self.0.set_position(thousandths);
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.0.set_style(spinner());
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}").expect("a valid template")
}

/// `--set` pairs.
#[derive(Default)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    fn parse(pairs: &[String]) -> Result<Self> {
        let pairs = pairs.iter().map(|pair| {
            let (key, value) =
                pair.split_once('=').with_context(|| format!("--set takes key=value, found `{pair}`"))?;
            Ok((key.to_string(), value.to_string()))
        });
        Ok(Self(pairs.collect::<Result<_>>()?))
    }

    /// A count, or the default.
    pub fn count(&self, key: &str, default: usize) -> Result<usize> {
        match self.0.get(key) {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(value) if value > 0 => Ok(value),
                _ => bail!("--set {key}: `{text}`; expected a positive integer"),
            },
        }
    }

    /// A whole number, 0 too, or the default.
    pub fn whole(&self, key: &str, default: usize) -> Result<usize> {
        match self.0.get(key) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .with_context(|| format!("--set {key}: `{text}`; expected a whole number, at least 0")),
        }
    }

    /// Whether a key is given.
    pub fn is_set(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// A count that replaces a list of defaults.
    pub fn counts(&self, key: &str, defaults: &[usize]) -> Result<Vec<usize>> {
        if self.0.contains_key(key) { Ok(vec![self.count(key, 0)?]) } else { Ok(defaults.to_vec()) }
    }

    /// A finite number, at least 0, or the default.
    pub fn number(&self, key: &str, default: f32) -> Result<f32> {
        match self.0.get(key) {
            None => Ok(default),
            Some(text) => match text.parse::<f32>() {
                Ok(value) if value >= 0.0 && value.is_finite() => Ok(value),
                _ => bail!("--set {key}: `{text}`; expected a finite number, at least 0"),
            },
        }
    }

    /// A number that replaces a list of defaults.
    pub fn numbers(&self, key: &str, defaults: &[f32]) -> Result<Vec<f32>> {
        if self.0.contains_key(key) { Ok(vec![self.number(key, 0.0)?]) } else { Ok(defaults.to_vec()) }
    }

    /// true or false, or the default.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.0.get(key).map(String::as_str) {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(text) => bail!("--set {key}: `{text}`; expected true or false"),
        }
    }

    /// A word, or the default.
    pub fn text(&self, key: &str, default: &str) -> String {
        self.0.get(key).map_or(default, String::as_str).to_string()
    }

    /// f32 or f16.
    pub fn dtype(&self) -> Result<Dtype> {
        let parse = |text: &String| crate::run::parse_dtype(text).map_err(anyhow::Error::msg);
        self.0.get("dtype").map_or(Ok(Dtype::F32), parse)
    }
}
