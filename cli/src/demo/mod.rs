//! `gristmill demo`: the kernels at work on a real photo, measured and checked, in one page to look at.

mod codec;
mod larger;
mod lla_photo;
mod regression;
mod scenes;

use crate::AdapterArgs;
use crate::bench::{Bench, Settings, sqa};
use crate::denoise::bar;
use crate::pan::{INSERT, Pan};
use crate::photo::Photo;
use crate::record::{BenchRecord, columns, write_json};
use crate::report::Report;
use anyhow::{Context, Result};
use clap::Args;
use codec::Codec;
use gristmill::measure::Peaks;
use gristmill::models::frame_search::FrameSearchConfig;
use gristmill::models::non_local_means::{NonLocalMeans, NonLocalMeansConfig};
use gristmill::self_check::{Check, self_check};
use gristmill::{Gpu, Progress, Schedule, Tensor};
use larger::Larger;
use lla_photo::LlaPhoto;
use regression::Regression;
use scenes::Scenes;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Args)]
pub struct DemoArgs {
    /// Folder for the report and its pictures
    #[arg(long, value_name = "DIR", default_value = "demo-out")]
    output: PathBuf,
    /// Photo to denoise (PNG or JPEG); a bundled one without it
    #[arg(long, value_name = "FILE")]
    photo: Option<PathBuf>,
    /// Standard deviation of the noise that is added, of 255
    #[arg(long, default_value_t = 25.0)]
    sigma: f32,
    #[command(flatten)]
    adapter: AdapterArgs,
}

const BUNDLED: &[u8] = include_bytes!("../../assets/chelsea.png");

/// Writes `report.html` with its pictures and prints where it is.
pub fn demo(args: &DemoArgs) -> Result<()> {
    anyhow::ensure!(
        args.sigma > 0.0 && args.sigma <= 255.0,
        "--sigma {}: expected a number above 0, at most 255",
        args.sigma
    );
    let photo = match &args.photo {
        Some(path) => Photo::load(path)?,
        None => Photo::decode(BUNDLED)?,
    };
    let gpu = args.adapter.gpu()?;
    std::fs::create_dir_all(&args.output).with_context(|| format!("--output {}", args.output.display()))?;
    let start = Instant::now();

    println!("1/9 denoising a photo by attention over patches");
    let noisy = photo.with_noise(args.sigma / 255.0, 20);
    let denoised = denoise(&gpu, args, &photo, &noisy)?;
    println!("    PSNR {:.2} dB -> {:.2} dB in {:.0} ms", denoised.noisy_psnr, denoised.psnr, denoised.ms);

    println!("2/9 denoising it by local linear attention");
    let lla_photo = LlaPhoto::run(&gpu, args, &photo, &noisy)?;
    println!("    {}", lla_photo.summary());

    println!("3/9 learning a piecewise linear function while reading it");
    let regression = Regression::run(&gpu, args)?;
    println!("    {}", regression.summary());

    println!("4/9 letting the frames of a pan over it look for each other");
    let pan = Pan::fits(&photo).then(|| search_frames(&gpu, args, &photo)).transpose()?;

    println!("5/9 encoding it in low-rank code");
    let codec = Codec::run(&gpu, args, &photo)?;
    println!("    {}", codec.summary());

    println!("6/9 telling the pixels of scenes apart with few tokens");
    let scenes = Scenes::run(&gpu, args, &photo)?;
    println!("    {}", scenes.summary());

    println!("7/9 enlarging it from half its size");
    let larger = Larger::run(&gpu, args, &photo)?;
    println!("    {}", larger.summary());

    println!("8/9 measuring Sparse Query Attention");
    let bench = Bench::start(gpu.clone(), 3, args.adapter.variant, Settings::default())?;
    let records = sqa::sqa(&bench)?;
    bench.finish();
    print!("{}", sqa::summary(&records));
    sqa::plot(&records).save(&args.output.join("sqa.png"))?;
    sqa::plot_speedups(&records).save(&args.output.join("speedup.png"))?;
    write_json(&args.output.join("sqa.json"), &records)?;

    println!("9/9 checking every kernel against its f64 twin");
    let checks = pollster::block_on(self_check(&gpu, args.adapter.variant, |check| {
        println!("    {} {:<34} {}", if check.passed { "ok  " } else { "FAIL" }, check.name, check.detail);
    }))?;
    let _ = gpu.save_pipeline_cache();

    let failed = checks.iter().filter(|check| !check.passed).count();
    let count = checks.len();
    let parts = Parts {
        denoised,
        lla_photo,
        regression,
        pan,
        codec,
        scenes,
        larger,
        peaks: bench.peaks,
        records,
        checks,
    };
    let path = report(args, &gpu, &photo, &parts)?;
    println!("\nreport: {}", path.display());
    println!("({:.0} s in all)", start.elapsed().as_secs_f64());
    anyhow::ensure!(failed == 0, "{failed} of {count} checks failed; see the report");
    Ok(())
}

/// What the steps gave, in the order of the report.
struct Parts {
    denoised: Denoised,
    lla_photo: LlaPhoto,
    regression: Regression,
    /// None of a photo that is too small.
    pan: Option<Pan>,
    codec: Codec,
    scenes: Scenes,
    larger: Larger,
    peaks: Peaks,
    records: Vec<BenchRecord>,
    checks: Vec<Check>,
}

struct Denoised {
    noisy_psnr: f64,
    psnr: f64,
    ms: f64,
    megapixels: f64,
    keys: usize,
    variant: String,
}

/// Adds noise, takes it away again, and writes the three pictures.
fn denoise(gpu: &Gpu, args: &DemoArgs, photo: &Photo, noisy: &Photo) -> Result<Denoised> {
    let (height, width) = (photo.height, photo.width);
    let sigma = args.sigma / 255.0;
    let config = NonLocalMeansConfig {
        variant: args.adapter.variant,
        ..NonLocalMeansConfig::for_noise(height, width, 3, sigma)
    };
    let keys = (config.tile + 2 * config.margin).pow(2);
    let filter = NonLocalMeans::new(gpu, config)?;
    let mut schedule = Schedule::new(gpu);
    let image = Tensor::upload(gpu, "image", &[height, width, 3], &noisy.pixels)?;
    let result = filter.record(&mut schedule, &image)?;
    let plan = schedule.compile()?;
    let bar = bar("    ");
    // The first run compiles the pipelines; the second is timed.
    let mut ms = 0.0;
    for what in ["compiling and filtering", "filtering"] {
        bar.set_message(what);
        let start = Instant::now();
        pollster::block_on(plan.run(|progress: Progress| {
            bar.set_position((progress.fraction * 1000.0) as u64);
            ControlFlow::Continue(())
        }))?;
        ms = start.elapsed().as_secs_f64() * 1e3;
    }
    bar.finish_and_clear();
    let pixels = pollster::block_on(result.read::<f32>(gpu))?;
    let denoised = Photo::from_pixels(height, width, pixels)?;
    for (name, picture) in [("clean.png", photo), ("noisy.png", noisy), ("denoised.png", &denoised)] {
        picture.save_png(&args.output.join(name))?;
    }
    Ok(Denoised {
        noisy_psnr: photo.psnr(noisy)?,
        psnr: photo.psnr(&denoised)?,
        ms,
        megapixels: (height * width) as f64 * 1e-6,
        keys,
        variant: filter.explain().kind.to_string(),
    })
}

/// Pans over the photo and lets the frames look for each other. With the bundled photo the planted frame must be found.
fn search_frames(gpu: &Gpu, args: &DemoArgs, photo: &Photo) -> Result<Pan> {
    let config = FrameSearchConfig { variant: args.adapter.variant, ..Default::default() };
    let pan = Pan::run(gpu, photo, &Photo::decode(INSERT)?, &config, &args.output)?;
    println!("    {}", pan.summary().replace('\n', "\n    "));
    anyhow::ensure!(pan.found() || args.photo.is_some(), "the frame with the inserted picture was not found");
    Ok(pan)
}

fn report(args: &DemoArgs, gpu: &Gpu, photo: &Photo, parts: &Parts) -> Result<PathBuf> {
    let Parts { denoised, lla_photo, regression, pan, codec, scenes, larger, peaks, records, checks } = parts;
    let variant = gpu.variant(args.adapter.variant)?;
    let subtitle = format!("{} · {:?} · kernels: {}", gpu.info().name, gpu.info().backend, variant.kind);
    let mut report = Report::new("Gristmill", subtitle);
    report
        .section("A photo, denoised by attention")
        .paragraph(&format!(
            "Non-local means is attention: the 3 x 3 patch around a pixel is its token, the weights are the softmax of \
             -|q - k|²/h² over the {} keys of a window, and the values are the pixels. The squared norm of a key goes \
             into the per-key bias, so this is the dense attention kernel as it stands (build `{}`).",
            denoised.keys, denoised.variant
        ))
        .pictures(&[
            ("noisy.png", &format!("with noise of σ = {}: {:.2} dB", args.sigma, denoised.noisy_psnr)),
            ("denoised.png", &format!("denoised in {:.0} ms: {:.2} dB", denoised.ms, denoised.psnr)),
            ("clean.png", "the photo"),
        ])
        .paragraph(&format!(
            "{} x {} pixels, {:.2} megapixels a second.",
            photo.width,
            photo.height,
            denoised.megapixels / denoised.ms * 1e3
        ));
    if args.photo.is_none() {
        report.paragraph("Photo: Chelsea the cat, by Stéfan van der Walt, CC0.");
    }
    lla_photo.report(&mut report);
    regression.report(&mut report);
    if let Some(pan) = pan {
        pan.report(&mut report);
    }
    codec.report(&mut report);
    scenes.report(&mut report);
    larger.report(&mut report);
    let (speedup_header, speedups) = sqa::summary_table(records);
    let (headers, rows) = columns(records);
    report
        .section("Sparse Query Attention")
        .paragraph(
            "Attention costs what its query heads cost. Each name is a pair of head counts, query / key-value, of a \
             model whose full form has 16 / 16. Speedup over MHA: here of attention alone, in the paper (arXiv \
             2510.01817, table 3) of a forward pass of 8 layers on an A100:",
        )
        .table(&speedup_header, &speedups)
        .pictures(&[("sqa.png", "time against query heads: at a fixed length, a straight line")])
        .pictures(&[("speedup.png", "attention alone here (solid), a whole forward pass in the paper (dashed)")])
        .paragraph(&format!(
            "Every case in full. This adapter's measured peaks: {:.1} GFLOP/s of multiply-adds in registers, {:.1} GB/s \
             of copying; `peak` is the share of the nearer one.",
            peaks.gflops, peaks.gbps
        ))
        .table(&headers, &rows)
        .paragraph("The same again, with other sizes:")
        .code("gristmill bench sqa --set tokens=4096 --set head_dim=128 --plot sqa.png");
    let listed: Vec<_> = checks.iter().map(|c| (c.name.as_str(), c.passed, c.detail.as_str())).collect();
    report
        .section("Every kernel against its twin")
        .paragraph(&format!(
            "Random data on this adapter, compared with the f64 CPU implementation. {}",
            variant.reason
        ))
        .checks(&listed);
    report.write(Path::new(&args.output))
}
