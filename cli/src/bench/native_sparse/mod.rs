//! Native Sparse Attention against dense attention of the same shape: prefill at growing lengths, and where its time goes.

pub mod decode;
pub mod long;

use super::{Bench, Settings};
use crate::plot::{LineChart, Scale, Series};
use crate::record::{BenchRecord, figures, text_table};
use anyhow::Result;
use gristmill::kernels::native_sparse::NativeSparseConfig;
use gristmill::measure::{self, AttentionCase, BranchTimes};
use gristmill::models::native_sparse_cost::{NativeSparseCost, PAPER_FORWARD_SPEEDUPS};
use gristmill::{Dtype, VariantKind};
use serde_json::json;

/// What `--set` may change in each of these benchmarks.
pub const KEYS: &[&str] = &[
    "batch",
    "tokens",
    "query_heads",
    "kv_heads",
    "head_dim",
    "cmp_block",
    "cmp_stride",
    "sel_block",
    "top_n",
    "window",
    "n_init",
    "n_local",
    "dtype",
];

/// Names of the parts of [`BranchTimes`] in JSON and in tables, in the order in which they run.
const PARTS: [(&str, &str); 6] = [
    ("compress", "compress"),
    ("compressed", "compressed"),
    ("select", "score + top-n"),
    ("selected", "selected"),
    ("window", "window"),
    ("gates", "gates"),
];

fn parts(times: &BranchTimes) -> [f64; 6] {
    [times.compress, times.compressed, times.select, times.selected, times.window, times.gates]
}

/// 16 query heads of 64 on one, 8 blocks selected, a window of 128; what `--set` says instead.
fn configuration(settings: &Settings, variant: Option<VariantKind>) -> Result<NativeSparseConfig> {
    let default = NativeSparseConfig { top_n: 8, window: 128, ..Default::default() };
    Ok(NativeSparseConfig {
        cmp_block: settings.count("cmp_block", default.cmp_block)?,
        cmp_stride: settings.count("cmp_stride", default.cmp_stride)?,
        sel_block: settings.count("sel_block", default.sel_block)?,
        top_n: settings.count("top_n", default.top_n)?,
        window: settings.whole("window", default.window)?,
        n_init: settings.whole("n_init", default.n_init)?,
        n_local: settings.whole("n_local", default.n_local)?,
        variant,
        ..default
    })
}

/// The shape without its lengths.
fn heads(settings: &Settings) -> Result<AttentionCase> {
    Ok(AttentionCase {
        batch: settings.count("batch", 1)?,
        query_tokens: 0,
        tokens: 0,
        query_heads: settings.count("query_heads", 16)?,
        kv_heads: settings.count("kv_heads", 1)?,
        head_dim: settings.count("head_dim", 64)?,
        causal: true,
        dtype: settings.dtype()?,
    })
}

fn cost_of(case: &AttentionCase, config: &NativeSparseConfig) -> NativeSparseCost {
    NativeSparseCost::new(config, case.query_heads, case.kv_heads, case.head_dim, case.head_dim)
}

/// The shape as a record shows it.
fn shape(case: &AttentionCase, config: &NativeSparseConfig) -> Vec<(&'static str, serde_json::Value)> {
    let blocks = format!("{}/{}/{}", config.cmp_block, config.cmp_stride, config.sel_block);
    vec![
        ("batch", json!(case.batch)),
        ("tokens", json!(case.tokens)),
        ("query_heads", json!(case.query_heads)),
        ("kv_heads", json!(case.kv_heads)),
        ("head_dim", json!(case.head_dim)),
        ("blocks", json!(blocks)),
        ("top_n", json!(config.top_n)),
        ("window", json!(config.window)),
    ]
}

/// Prefill with every branch and the selection; the baseline is dense causal attention by the same build.
pub fn native_sparse(bench: &Bench) -> Result<Vec<BenchRecord>> {
    let config = configuration(&bench.settings, bench.variant)?;
    let base = heads(&bench.settings)?;
    let lengths: &[usize] =
        if bench.is_cpu() { &[2048, 4096, 8192, 16384] } else { &[2048, 4096, 8192, 16384, 32768] };
    let mut records = Vec::new();
    for tokens in bench.settings.counts("tokens", lengths)? {
        bench.say(format!("native_sparse, {tokens} tokens"));
        let case = AttentionCase { query_tokens: tokens, tokens, ..base };
        records.push(one(bench, case, &config)?);
    }
    Ok(records)
}

fn one(bench: &Bench, case: AttentionCase, config: &NativeSparseConfig) -> Result<BenchRecord> {
    let sparse = measure::native_sparse(&bench.gpu, case, config.clone())?;
    let dense = measure::attention(&bench.gpu, case, bench.variant)?;
    let prepared = [sparse, dense];
    let measured = bench.measure(&prepared)?;
    let profile =
        || -> Result<BranchTimes> { Ok(BranchTimes::new(&pollster::block_on(prepared[0].plan.profile())?)) };
    let profiles = (0..bench.samples.min(5)).map(|_| profile()).collect::<Result<Vec<_>>>()?;

    let cost = cost_of(&case, config);
    let batch = case.batch as f64;
    let flops = cost.prefill_flops(case.tokens);
    let dense_flops = cost.dense_flops(case.tokens);
    let element = if case.dtype == Dtype::F16 { 2 } else { 4 };
    let rows = case.query_heads * (case.head_dim * (element + 4) + 3 * element);
    let keys = 2 * case.kv_heads * case.head_dim * element;
    let bytes = (case.batch * case.tokens * (rows + keys)) as f64;
    let mut record = bench
        .record("native_sparse", case.dtype, &shape(&case, config), &measured[0])
        .with_work(measured[0].ms, batch * flops.total(), bytes)
        .with_peaks(bench.peaks.gflops, bench.peaks.gbps)
        .with_baseline("dense attention", measured[1].ms);
    record.paper_speedup =
        PAPER_FORWARD_SPEEDUPS.iter().find(|(tokens, _)| *tokens == case.tokens).map(|(_, speedup)| *speedup);
    let mut detail = |name: &str, value: f64| record.details.insert(name.to_owned(), value);
    detail("flop_ratio", cost.ratio(case.tokens));
    detail("flop_ratio_with_rescoring", cost.ratio_with_rescoring(case.tokens));
    detail("dense_gflops", batch * dense_flops / measured[1].ms * 1e-6);
    let work = [0.0, flops.compressed, flops.rescoring, flops.selected, flops.window, 0.0];
    for (index, ((name, _), flops)) in PARTS.into_iter().zip(work).enumerate() {
        let ms = median(profiles.iter().map(|times| parts(times)[index]));
        detail(&format!("{name}_ms"), ms);
        if flops > 0.0 && ms > 0.0 {
            detail(&format!("{name}_gflops"), batch * flops / ms * 1e-6);
        }
    }
    detail("select_over_compressed", median(profiles.iter().map(|times| times.select / times.compressed)));
    Ok(record)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// A figure of the record, or a dash.
fn detail(record: &BenchRecord, name: &str, format: impl Fn(f64) -> String) -> String {
    record.details.get(name).map_or_else(|| "–".into(), |value| format(*value))
}

fn tokens(record: &BenchRecord) -> f64 {
    record.shape.get("tokens").and_then(serde_json::Value::as_f64).unwrap_or(0.0)
}

type Table = (Vec<String>, Vec<Vec<String>>);

/// Speedup over dense attention beside the ratios of the work, without and with the second pass over the scores.
pub fn speedup_table(records: &[BenchRecord]) -> Table {
    let headers = [
        "tokens",
        "dense ms",
        "NSA ms",
        "speedup",
        "FLOP ratio",
        "quotient",
        "with re-scoring",
        "quotient",
        "the paper",
    ];
    let rows = records.iter().map(|record| {
        let speedup = record.speedup.unwrap_or(0.0);
        let plain = |value: f64| format!("{value:.2}");
        let quotient = |ratio: f64| plain(speedup / ratio);
        vec![
            tokens(record).to_string(),
            figures(record.baseline_ms.unwrap_or(0.0)),
            figures(record.ms),
            plain(speedup),
            detail(record, "flop_ratio", plain),
            detail(record, "flop_ratio", quotient),
            detail(record, "flop_ratio_with_rescoring", plain),
            detail(record, "flop_ratio_with_rescoring", quotient),
            record.paper_speedup.map_or_else(|| "–".into(), |paper| format!("{paper:.1}")),
        ]
    });
    (headers.map(str::to_owned).into(), rows.collect())
}

/// Milliseconds of each part, and the selection over the branch that it follows.
pub fn parts_table(records: &[BenchRecord]) -> Table {
    let headers =
        ["tokens"].into_iter().chain(PARTS.map(|part| part.1)).chain(["score + top-n / compressed"]);
    let rows = records.iter().map(|record| {
        let parts = PARTS.iter().map(|(name, _)| detail(record, &format!("{name}_ms"), figures));
        let split = detail(record, "select_over_compressed", |split| format!("{split:.2}"));
        [tokens(record).to_string()].into_iter().chain(parts).chain([split]).collect()
    });
    (headers.map(str::to_owned).collect(), rows.collect())
}

/// GFLOP/s of each part that multiplies, with its share of the adapter's peak.
pub fn rates_table(records: &[BenchRecord]) -> Table {
    let names = [PARTS[1], PARTS[2], PARTS[3], PARTS[4]];
    let headers =
        ["tokens"].into_iter().chain(names.map(|part| part.1)).chain(["all of it", "dense attention"]);
    let rows = records.iter().map(|record| {
        let rate = |gflops: f64| match record.peak_gflops {
            peak if peak > 0.0 => format!("{} ({:.0}%)", figures(gflops), 100.0 * gflops / peak),
            _ => figures(gflops),
        };
        let parts = names.iter().map(|(name, _)| detail(record, &format!("{name}_gflops"), rate));
        let whole = [rate(record.gflops), detail(record, "dense_gflops", rate)];
        [tokens(record).to_string()].into_iter().chain(parts).chain(whole).collect()
    });
    (headers.map(str::to_owned).collect(), rows.collect())
}

/// What the paper's column holds.
pub const PAPER_NOTE: &str = "the paper: forward pass over FlashAttention-2 on an A100, 64 query heads on 4, keys of 192, values of \
     128, 16 blocks, a window of 512 (arXiv 2502.11089, figure 6)";

/// The three tables as text.
pub fn summary(records: &[BenchRecord]) -> String {
    let [speedups, parts, rates] =
        [speedup_table(records), parts_table(records), rates_table(records)].map(|(h, r)| text_table(&h, &r));
    format!(
        "speedup over dense causal attention, timed in turns; its quotient by the ratio of the work\n({PAPER_NOTE})\n{speedups}\n\
         milliseconds by part (a profiled run)\n{parts}\nGFLOP/s by part (share of the multiply-add peak)\n{rates}"
    )
}

/// Speedup against length, with dashed lines for the work's ratios and the paper's figures.
pub fn plot(records: &[BenchRecord]) -> LineChart {
    let of = |name: &'static str| {
        records.iter().filter_map(move |record| Some((tokens(record), *record.details.get(name)?)))
    };
    let measured = records.iter().filter_map(|record| Some((tokens(record), record.speedup?)));
    let paper = PAPER_FORWARD_SPEEDUPS.iter().map(|&(tokens, speedup)| (tokens as f64, speedup));
    LineChart {
        title: "Speedup of native sparse attention over dense attention".into(),
        x_label: "tokens".into(),
        y_label: "times".into(),
        x_scale: Scale::Log2,
        y_scale: Scale::Linear,
        series: vec![
            Series::new("measured", measured).color(0),
            Series::new("ratio of the work", of("flop_ratio_with_rescoring")).color(0).dashed(),
            Series::new("ratio without re-scoring", of("flop_ratio")).color(2).dashed(),
            Series::new("the paper, its own sizes, A100", paper).color(1).dashed(),
        ],
    }
}
