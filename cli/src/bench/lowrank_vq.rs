//! The decoder of low-rank VQ against its own unfused form, and against a convolutional decoder.

use super::Bench;
use super::convolution::linear;
use crate::codec::compare::{self, Comparison, PRESETS};
use crate::photo::Photo;
use crate::record::{BenchRecord, figures, text_table};
use anyhow::{Result, ensure};
use gristmill::Dtype;
use gristmill::kernels::lowrank_vq::{LowRankVqConfig, Preset};
use gristmill::measure::{self, Measured};
use gristmill::models::vqvae_decoder::VqvaeDecoderConfig;
use serde_json::{Value, json};

pub const KEYS: &[&str] = &["size", "dtype"];

/// Side of the picture that the convolutional decoder makes, and of the one that it is compared with.
const SIDE: usize = 256;

/// Presets into an rgba8 texture by one kernel and by four; preset B and the convolutional decoder at the same small size.
pub fn lowrank_vq(bench: &Bench) -> Result<Vec<BenchRecord>> {
    let size = bench.settings.count("size", 2048)?;
    let most = bench.gpu.limits().max_texture_dimension_2d as usize;
    ensure!(size <= most, "--set size: {size}; expected at most {most}, the adapter's largest texture");
    let dtype = bench.settings.dtype()?;
    let mut records = Vec::new();
    for preset in [Preset::A, Preset::B, Preset::C] {
        bench.say(format!("preset {}, {size} x {size}", preset.name));
        let config = LowRankVqConfig { variant: bench.variant, ..preset.config(size, size, 3) };
        let (gpu, codewords) = (&bench.gpu, preset.codewords);
        let measured = bench.measure(&[
            measure::lowrank_vq(gpu, &config, codewords, dtype)?,
            measure::lowrank_vq_steps(gpu, &config, codewords, dtype)?,
        ])?;
        let of = |one: &Measured| record(bench, preset, &config, dtype, one);
        records.push(of(&measured[0]).with_baseline("four kernels", measured[1].ms));
        records.push(BenchRecord { kernel: "lowrank_vq, four kernels".into(), ..of(&measured[1]) });
    }
    records.push(linear(bench)?);
    let preset = Preset::B;
    bench.say(format!("preset {} and a convolutional decoder, {SIDE} x {SIDE}", preset.name));
    let config = LowRankVqConfig { variant: bench.variant, ..preset.config(SIDE, SIDE, 3) };
    let decoder = VqvaeDecoderConfig { variant: bench.variant, ..Default::default() };
    let measured = bench.measure(&[
        measure::lowrank_vq(&bench.gpu, &config, preset.codewords, dtype)?,
        measure::vqvae_decoder(&bench.gpu, &decoder, [SIDE / 4; 2])?,
    ])?;
    let first = record(bench, preset, &config, dtype, &measured[0]);
    records.push(first.with_baseline("vqvae_decoder", measured[1].ms));
    let keys = size_keys(SIDE, SIDE, measured[1].cost.flops / 2e6);
    records.push(bench.record("vqvae_decoder", Dtype::F32, &keys, &measured[1]));
    Ok(records)
}

fn size_keys(height: usize, width: usize, mmac: f64) -> [(&'static str, Value); 3] {
    [("height", json!(height)), ("width", json!(width)), ("MMAC", json!((mmac * 100.0).round() / 100.0))]
}

fn record(
    bench: &Bench,
    preset: Preset,
    config: &LowRankVqConfig,
    dtype: Dtype,
    measured: &Measured,
) -> BenchRecord {
    let mut keys = size_keys(config.height, config.width, config.macs() as f64 * 1e-6).to_vec();
    keys.push(("preset", json!(preset.name)));
    let mut record = bench.record("lowrank_vq", dtype, &keys, measured);
    // Output, words and codebook, against a copy: the multiplications are no bound here.
    record.peak_share = record.gbps / record.peak_gbps;
    record
}

/// Megapixels a second and shares of the copy rate; the comparison with the convolutional decoder; rate and PSNR beside JPEG.
pub fn summary(bench: &Bench, records: &[BenchRecord]) -> Result<String> {
    bench.say("a photo beside JPEG");
    let photo = Photo::decode(include_bytes!("../../assets/chelsea.png"))?;
    let compare = |preset| Comparison::run(&bench.gpu, &photo, preset, bench.variant);
    let comparisons = PRESETS.into_iter().map(compare).collect::<Result<Vec<_>>>()?;
    let heading = "A photo that the codebooks have not seen, in files of the same size (PSNR in dB):";
    Ok(speeds(records) + "\n" + heading + "\n" + &compare::table(&comparisons))
}

fn speeds(records: &[BenchRecord]) -> String {
    let number =
        |record: &BenchRecord, key: &str| record.shape.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let pixels = |record: &BenchRecord| number(record, "height") * number(record, "width");
    let of = |kernel: &'static str| records.iter().filter(move |record| record.kernel == kernel);
    let rows = of("lowrank_vq").map(|record| {
        vec![
            record.shape["preset"].as_str().unwrap_or("").into(),
            format!("{} x {}", record.shape["width"], record.shape["height"]),
            figures(number(record, "MMAC")),
            figures(record.ms),
            figures(pixels(record) / record.ms * 1e-3),
            format!("{:.0}%", 100.0 * record.peak_share),
            format!("{:.1}x {}", record.speedup.unwrap_or(0.0), record.baseline.as_deref().unwrap_or("")),
        ]
    });
    let headers = ["preset", "pixels", "MMAC", "ms", "MP/s", "of copy", "speedup over"];
    let mut text = text_table(&headers, &rows.collect::<Vec<_>>());
    let convolutional = of("vqvae_decoder").next().zip(of("linear").next());
    let fused = of("lowrank_vq").find(|record| record.baseline.as_deref() == Some("vqvae_decoder"));
    if let (Some((decoder, linear)), Some(fused)) = (convolutional, fused) {
        text += &format!(
            "\nThe convolutional decoder takes {} ms for {SIDE} x {SIDE} pixels with {} MMAC ({:.0} times as many). Its \
             convolutions run at {} GFLOP/s,\n{:.0}% of the {} of `linear` in this run.\n",
            figures(decoder.ms),
            figures(number(decoder, "MMAC")),
            number(decoder, "MMAC") / number(fused, "MMAC"),
            figures(decoder.gflops),
            100.0 * decoder.gflops / linear.gflops,
            figures(linear.gflops),
        );
    }
    text
}
