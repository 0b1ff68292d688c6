//! Local linear attention against dense attention: time by iterations, and memory against length.

use super::Bench;
use crate::plot::{LineChart, Scale, Series};
use crate::record::{BenchRecord, byte_size, figures, text_table};
use anyhow::Result;
use gristmill::kernels::flash_lla::FlashLlaConfig;
use gristmill::measure::{self, AttentionCase};
use serde_json::{Value, json};

/// Many rows at growing lengths; the baseline is dense attention of the same shape by the same build.
pub fn flash_lla(bench: &Bench) -> Result<Vec<BenchRecord>> {
    let settings = &bench.settings;
    let heads = settings.count("query_heads", 4)?;
    let base = AttentionCase {
        batch: settings.count("batch", 1)?,
        query_tokens: 0,
        tokens: 0,
        query_heads: heads,
        kv_heads: settings.count("kv_heads", heads)?,
        head_dim: settings.count("head_dim", 64)?,
        causal: false,
        dtype: settings.dtype()?,
    };
    let defaults = FlashLlaConfig::default();
    let ridge = settings.number("ridge", defaults.ridge)?;
    let max_iters = settings.count("max_iters", defaults.max_iters)?;
    let lengths: &[usize] = if bench.is_cpu() { &[512, 1024] } else { &[1024, 4096, 16384] };
    let masks = if settings.flag("causal", false)? { vec![true] } else { vec![false, true] };
    let mut records = Vec::new();
    for tokens in settings.counts("tokens", lengths)? {
        for &causal in &masks {
            for rtol in settings.numbers("rtol", &[1e-3, 1e-5])? {
                bench.say(format!("flash_lla, {tokens} tokens, rtol {rtol:e}"));
                let case = AttentionCase { query_tokens: tokens, tokens, causal, ..base };
                let config = FlashLlaConfig {
                    causal,
                    ridge,
                    rtol,
                    max_iters,
                    variant: bench.variant,
                    ..FlashLlaConfig::default()
                };
                records.push(one(bench, case, config)?);
            }
        }
    }
    Ok(records)
}

fn one(bench: &Bench, case: AttentionCase, config: FlashLlaConfig) -> Result<BenchRecord> {
    let (lla, output) = measure::flash_lla(&bench.gpu, case, config.clone())?;
    let dense = measure::attention(&bench.gpu, case, bench.variant)?;
    let measured = bench.measure(&[lla, dense])?;
    let summary = pollster::block_on(output.summary(&bench.gpu))?;
    let iterations = summary.tile_iterations;
    let shape = [
        ("batch", json!(case.batch)),
        ("tokens", json!(case.tokens)),
        ("query_heads", json!(case.query_heads)),
        ("kv_heads", json!(case.kv_heads)),
        ("head_dim", json!(case.head_dim)),
        ("causal", json!(case.causal)),
        ("ridge", json!(rounded(config.ridge))),
        ("rtol", json!(rounded(config.rtol))),
        ("iterations", json!((iterations * 10.0).round() / 10.0)),
        ("converged", json!((summary.converged * 1e4).round() / 1e4)),
    ];
    let mut record = bench.record("flash_lla", case.dtype, &shape, &measured[0]);
    // The work that was done: 12 + 6 T FLOPs for each pair and element of a head, 4 in dense attention. Bytes as there: inputs and
    // output once.
    let flops = measured[1].cost.flops * work_ratio(iterations);
    record = record
        .with_work(measured[0].ms, flops, measured[1].cost.bytes)
        .with_peaks(bench.peaks.gflops, bench.peaks.gbps);
    Ok(record.with_baseline("dense attention", measured[1].ms))
}

/// An f32 without the digits that f64 adds to it.
pub fn rounded(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(value as f64)
}

/// FLOPs of local linear attention over those of dense attention, for keys and values of one dim.
pub fn work_ratio(iterations: f64) -> f64 {
    3.0 + 1.5 * iterations
}

/// A number of the shape.
pub fn number(record: &BenchRecord, key: &str) -> f64 {
    record.shape.get(key).and_then(Value::as_f64).unwrap_or(0.0)
}

/// Time over dense attention beside the ratio of the work.
pub fn summary_table(records: &[BenchRecord]) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let rows = records.iter().map(|record| {
        let iterations = number(record, "iterations");
        let (dense, ratio) = (record.baseline_ms.unwrap_or(0.0), work_ratio(iterations));
        let times = record.ms / dense;
        vec![
            number(record, "tokens").to_string(),
            (record.shape["causal"] == true).to_string(),
            format!("{:e}", number(record, "rtol")),
            format!("{iterations:.1}"),
            format!("{:.1}%", 100.0 * number(record, "converged")),
            figures(dense),
            figures(record.ms),
            format!("{times:.1}"),
            format!("{ratio:.1}"),
            format!("{:.2}", times / ratio),
        ]
    });
    let headers = vec![
        "tokens",
        "causal",
        "rtol",
        "iterations T",
        "solved",
        "dense ms",
        "LLA ms",
        "times dense",
        "3 + 1.5 T",
        "quotient",
    ];
    (headers, rows.collect())
}

/// Both tables as text: time, and memory at growing lengths.
pub fn summary(bench: &Bench, records: &[BenchRecord]) -> Result<String> {
    let (headers, rows) = summary_table(records);
    let (memory_headers, memory) = memory_table(bench)?;
    Ok(format!(
        "time over dense attention, T = iterations of the tiles weighted by their keys\n{}\nmemory beside inputs and output, 4 heads of 64\n{}",
        text_table(&headers, &rows),
        text_table(&memory_headers, &memory)
    ))
}

/// Bytes of intermediates at growing lengths, beside two naive forms: scores of all pairs, and a covariance for each query.
fn memory_table(bench: &Bench) -> Result<(Vec<&'static str>, Vec<Vec<String>>)> {
    let (heads, head_dim) = (4, 64);
    let mut rows = Vec::new();
    for tokens in [1024, 2048, 4096, 8192] {
        bench.say(format!("memory, {tokens} tokens"));
        let case = AttentionCase {
            batch: 1,
            query_tokens: tokens,
            tokens,
            query_heads: heads,
            kv_heads: heads,
            head_dim,
            causal: true,
            dtype: gristmill::Dtype::F32,
        };
        let config = FlashLlaConfig { causal: true, variant: bench.variant, ..Default::default() };
        let (lla, _) = measure::flash_lla(&bench.gpu, case, config)?;
        let dense = measure::attention(&bench.gpu, case, bench.variant)?;
        let size = |bytes: usize| byte_size(bytes as u64);
        rows.push(vec![
            tokens.to_string(),
            byte_size(lla.extra_bytes),
            format!("{:.0}", lla.extra_bytes as f64 / (tokens * heads) as f64),
            byte_size(dense.extra_bytes),
            size(4 * heads * tokens * tokens),
            size(4 * heads * tokens * head_dim * head_dim),
        ]);
    }
    let headers = vec![
        "tokens",
        "LLA",
        "bytes per row",
        "dense attention",
        "naive: all scores",
        "naive: a covariance per query",
    ];
    Ok((headers, rows))
}

/// Time over dense attention against iterations, with the dashed line of the work.
pub fn plot(records: &[BenchRecord]) -> LineChart {
    let mut points: Vec<(f64, f64)> = records
        .iter()
        .map(|record| (number(record, "iterations"), record.ms / record.baseline_ms.unwrap_or(record.ms)))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let most = points.last().map_or(1.0, |point| point.0);
    LineChart {
        title: "Time of local linear attention over dense attention".into(),
        x_label: "iterations".into(),
        y_label: "times dense attention".into(),
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        series: vec![
            Series::new("measured", points).color(0),
            Series::new("3 + 1.5 T, the work", [(0.0, work_ratio(0.0)), (most, work_ratio(most))])
                .color(0)
                .dashed(),
        ],
    }
}
