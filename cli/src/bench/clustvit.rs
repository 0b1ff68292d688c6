//! ClustViT against the plain transformer by the share of tokens that it keeps, beside its FLOPs and the published figures.

use super::Bench;
use crate::plot::{LineChart, Scale, Series};
use crate::record::{BenchRecord, figures, text_table};
use anyhow::{Result, bail, ensure};
use gristmill::Cost;
use gristmill::measure::{ClustVitCase, Measured, clustvit as prepare, clustvit_merging};
use gristmill::models::clustvit::ClustVitSize;
use serde_json::{Value, json};

pub const KEYS: &[&str] = &["model", "size", "ip", "clusters", "kept", "dtype"];

/// Shares of tokens kept, in percent.
const KEPT: [usize; 5] = [100, 75, 50, 25, 10];

/// Images a second and GFLOPs of ViT and of ClustViT with the Segmenter head (the public README: RTX 4090, single scale).
const PUBLISHED: [(&str, [f64; 2], [f64; 2]); 5] = [
    ("ADE20K, ViT-t, k3 ip4", [96.55, 46.27], [91.39, 31.13]),
    ("ADE20K, ViT-b, k3 ip3", [36.06, 473.15], [47.56, 321.28]),
    ("ADE20K, ViT-l, k3 ip4", [8.48, 2455.0], [15.58, 1363.0]),
    ("SUIM, ViT-b, k4 ip4", [70.80, 252.33], [116.56, 132.94]),
    ("RumexWeeds, ViT-b, k3 ip4", [74.10, 252.07], [107.34, 135.54]),
];

/// The plain model, the model at each share, and what merging and regenerating alone take, all in turns.
pub fn clustvit(bench: &Bench) -> Result<Vec<BenchRecord>> {
    let model = bench.settings.text("model", "t");
    let size = match model.as_str() {
        "t" => ClustVitSize::TINY,
        "s" => ClustVitSize::SMALL,
        "b" => ClustVitSize::BASE,
        "l" => ClustVitSize::LARGE,
        other => bail!("--set model: `{other}`; expected t, s, b or l"),
    };
    let side = bench.settings.count("size", 512)?;
    ensure!(side.is_multiple_of(16), "--set size: {side}; expected a multiple of 16");
    let full_blocks = bench.settings.whole("ip", 3)?;
    ensure!(full_blocks < size.depth, "--set ip: {full_blocks}; expected 0 to {}", size.depth - 1);
    let clusters = bench.settings.count("clusters", 3)?;
    let dtype = bench.settings.dtype()?;
    let shares = bench.settings.counts("kept", &KEPT)?;
    ensure!(shares.iter().all(|share| *share <= 100), "--set kept: expected 1 to 100, percent of the tokens");
    let plain = ClustVitCase { size, side, full_blocks, clusters, kept: None, dtype };
    let tokens = plain.tokens();
    let cases: Vec<_> =
        shares.iter().map(|share| ClustVitCase { kept: Some(tokens * share / 100), ..plain }).collect();

    bench.say(format!("ViT-{model}, {side} x {side}: compiling"));
    let mut prepared = vec![prepare(&bench.gpu, &plain, bench.variant)?];
    for case in &cases {
        prepared.push(prepare(&bench.gpu, case, bench.variant)?);
        prepared.push(clustvit_merging(&bench.gpu, case, bench.variant)?);
    }
    bench.say(format!("ViT-{model}, {side} x {side}, {} runs in turns", prepared.len()));
    let measured = bench.measure(&prepared)?;
    let record = |kernel: &str, case: &ClustVitCase, measured: &Measured| {
        let flops = case.cost().total();
        let cost = Cost { flops, ..measured.cost };
        let share = case.kept.map_or(100, |kept| (100 * kept + tokens / 2) / tokens);
        let keys = [
            ("model", json!(model)),
            ("size", json!(side)),
            ("ip", json!(full_blocks)),
            ("kept", json!(share)),
        ];
        let mut record = bench.record(kernel, dtype, &keys, &Measured { cost, ..measured.clone() });
        record.details.insert("GFLOP".into(), flops * 1e-9);
        record
    };
    let (first, rest) = measured.split_first().expect("the plain model");
    let mut records = vec![record("vit", &plain, first)];
    for (case, pair) in cases.iter().zip(rest.chunks_exact(2)) {
        let mut one = record("clustvit", case, &pair[0]).with_baseline("vit", first.ms);
        one.details.insert("predicted".into(), plain.cost().total() / case.cost().total());
        one.details.insert("merging_ms".into(), pair[1].ms);
        records.push(one);
    }
    Ok(records)
}

/// Throughput and FLOPs by share of kept tokens, then the published figures.
pub fn summary(records: &[BenchRecord]) -> String {
    let detail = |record: &BenchRecord, key: &str| record.details.get(key).copied().unwrap_or(f64::NAN);
    let Some(plain) = records.first() else { return String::new() };
    let rows = records.iter().map(|record| {
        let (predicted, merging) = (detail(record, "predicted"), detail(record, "merging_ms"));
        let of = |value: f64, text: String| if value.is_finite() { text } else { String::new() };
        vec![
            record.kernel.clone(),
            format!("{}%", record.shape["kept"]),
            figures(1e3 / record.ms),
            figures(detail(record, "GFLOP")),
            record.speedup.map_or_else(String::new, |speedup| format!("{speedup:.2}x")),
            of(predicted, format!("{predicted:.2}x")),
            of(predicted, format!("{:.0}%", 100.0 * record.speedup.unwrap_or(0.0) / predicted)),
            of(merging, format!("{:.1}%", 100.0 * merging / plain.ms)),
        ]
    });
    let headers =
        ["", "kept", "img/s", "GFLOP", "speedup", "by FLOPs", "of that", "merge + regenerate, of vit"];
    let ours = text_table(&headers, &rows.collect::<Vec<_>>());
    let published = PUBLISHED.iter().map(|(name, vit, clustvit)| {
        let speedup = clustvit[0] / vit[0];
        let by_flops = vit[1] / clustvit[1];
        vec![
            name.to_string(),
            figures(vit[0]),
            figures(clustvit[0]),
            figures(vit[1]),
            figures(clustvit[1]),
            format!("{speedup:.2}x"),
            format!("{by_flops:.2}x"),
            format!("{:.0}%", 100.0 * speedup / by_flops),
        ]
    });
    let headers = ["published", "vit img/s", "img/s", "vit GFLOP", "GFLOP", "speedup", "by FLOPs", "of that"];
    format!(
        "{ours}\nRTX 4090 with the Segmenter head (the authors' README):\n{}",
        text_table(&headers, &published.collect::<Vec<_>>())
    )
}

/// Speedup against the share of kept tokens, and dashed what the FLOPs promise.
pub fn plot(records: &[BenchRecord]) -> LineChart {
    let kept = |record: &BenchRecord| record.shape.get("kept").and_then(Value::as_f64);
    let ours = records.iter().filter_map(|record| Some((kept(record)?, record.speedup?)));
    let promised =
        records.iter().filter_map(|record| Some((kept(record)?, *record.details.get("predicted")?)));
    LineChart {
        title: "ClustViT over the plain transformer".into(),
        x_label: "tokens kept, percent".into(),
        y_label: "times".into(),
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        series: vec![
            Series::new("measured", ours.collect::<Vec<_>>()).color(0),
            Series::new("by FLOPs", promised.collect::<Vec<_>>()).color(0).dashed(),
        ],
    }
}
