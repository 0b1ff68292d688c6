//! One query token against a long cache by local linear attention: moments against the iteration and dense decode, and what
//! either roof of the adapter allows.

use super::Bench;
use super::flash_lla::{number, rounded, work_ratio};
use crate::record::{BenchRecord, figures, text_table};
use anyhow::Result;
use gristmill::Dtype;
use gristmill::kernels::flash_lla::{FlashLlaConfig, FlashLlaOutput};
use gristmill::measure::{self, AttentionCase};
use serde_json::json;

/// The baseline is the iteration on the same cache.
pub fn flash_lla_decode(bench: &Bench) -> Result<Vec<BenchRecord>> {
    let settings = &bench.settings;
    let defaults = FlashLlaConfig::default();
    let config = FlashLlaConfig {
        ridge: settings.number("ridge", defaults.ridge)?,
        rtol: settings.number("rtol", defaults.rtol)?,
        variant: bench.variant,
        ..defaults
    };
    let base = AttentionCase {
        batch: settings.count("batch", 1)?,
        query_tokens: 1,
        tokens: 0,
        query_heads: settings.count("query_heads", 16)?,
        kv_heads: settings.count("kv_heads", 4)?,
        head_dim: settings.count("head_dim", 64)?,
        causal: false,
        dtype: settings.dtype()?,
    };
    let mut records = Vec::new();
    for tokens in settings.counts("tokens", &[4096, 32768])? {
        bench.say(format!("flash_lla_decode, {tokens} tokens"));
        records.push(one(bench, AttentionCase { tokens, ..base }, &config)?);
    }
    Ok(records)
}

fn one(bench: &Bench, case: AttentionCase, config: &FlashLlaConfig) -> Result<BenchRecord> {
    let (chosen, output) = measure::flash_lla(&bench.gpu, case, config.clone())?;
    let (iterated, iterated_output) = measure::flash_lla_iterated(&bench.gpu, case, config.clone())?;
    let dense = measure::attention(&bench.gpu, case, bench.variant)?;
    let measured = bench.measure(&[chosen, iterated, dense])?;
    let summary = |output: &FlashLlaOutput| pollster::block_on(output.summary(&bench.gpu));
    let iterations = summary(&iterated_output)?.tile_iterations;
    let by_moments = summary(&output)?.most_iterations == 0;
    let shape = [
        ("batch", json!(case.batch)),
        ("tokens", json!(case.tokens)),
        ("query_heads", json!(case.query_heads)),
        ("kv_heads", json!(case.kv_heads)),
        ("head_dim", json!(case.head_dim)),
        ("ridge", json!(rounded(config.ridge))),
        ("rtol", json!(rounded(config.rtol))),
        ("by", json!(if by_moments { "moments" } else { "iteration" })),
        ("iterations", json!((iterations * 10.0).round() / 10.0)),
        ("dense_ms", json!((measured[2].ms * 1e4).round() / 1e4)),
    ];
    // For each key and query: half of k kᵀ, v kᵀ, and a logit. Keys and values once for all queries that share them.
    let d = case.head_dim as f64;
    let pairs = (case.batch * case.query_heads * case.tokens) as f64;
    let moments = (d * (d + 1.0) + 2.0 * d * d + 2.0 * d) * pairs;
    let flops = if by_moments { moments } else { measured[2].cost.flops * work_ratio(iterations) };
    let element = if case.dtype == Dtype::F16 { 2.0 } else { 4.0 };
    let bytes = 2.0 * element * (case.batch * case.kv_heads * case.tokens) as f64 * d;
    let record = bench
        .record("flash_lla_decode", case.dtype, &shape, &measured[0])
        .with_work(measured[0].ms, flops, bytes)
        .with_peaks(bench.peaks.gflops, bench.peaks.gbps);
    Ok(record.with_baseline("iteration", measured[1].ms))
}

/// Both roofs, and the three forms beside each other.
pub fn summary(records: &[BenchRecord]) -> String {
    let rows = records.iter().map(|record| {
        let percent = |rate: f64, peak: f64| format!("{:.1}%", 100.0 * rate / peak);
        let roof_ms = (record.gflops / record.peak_gflops).max(record.gbps / record.peak_gbps) * record.ms;
        let dense = number(record, "dense_ms");
        vec![
            number(record, "tokens").to_string(),
            record.shape["by"].as_str().unwrap_or("").into(),
            figures(record.ms),
            percent(record.gflops, record.peak_gflops),
            percent(record.gbps, record.peak_gbps),
            figures(roof_ms),
            format!("{:.1}", number(record, "iterations")),
            figures(record.baseline_ms.unwrap_or(0.0)),
            figures(dense),
            format!("{:.1}", record.ms / dense),
        ]
    });
    let headers = [
        "tokens",
        "by",
        "ms",
        "of FMA peak",
        "of copy rate",
        "ms at the lower roof",
        "iterations T",
        "iteration ms",
        "dense ms",
        "times dense",
    ];
    let rows: Vec<_> = rows.collect();
    format!(
        "each K and V read once per group of queries, against both roofs\n{}",
        text_table(&headers, &rows)
    )
}
