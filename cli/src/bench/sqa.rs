//! Sparse Query Attention: every variant of the paper against MHA, beside the paper's own figures.

use super::Bench;
use crate::plot::{LineChart, Scale, Series};
use crate::record::{BenchRecord, text_table};
use anyhow::Result;
use gristmill::measure::{self, AttentionCase};
use gristmill::models::sqa_presets::{PAPER_TIMES, SqaPreset};
use serde_json::json;

/// The published variants and, between GQA and SQA, lSQA; MHA first.
const VARIANTS: [SqaPreset; 8] = [
    SqaPreset::Mha,
    SqaPreset::Gqa,
    SqaPreset::Mqa,
    SqaPreset::Lsqa,
    SqaPreset::Sqa,
    SqaPreset::Ssqa,
    SqaPreset::Xsqa,
    SqaPreset::Xsmqa,
];

/// Attention alone, H = 16 heads in the baseline, at growing lengths. The paper's speedup is that of its longest run
/// (200000 tokens, whole forward pass), where attention dominates.
pub fn sqa(bench: &Bench) -> Result<Vec<BenchRecord>> {
    let settings = &bench.settings;
    let heads = settings.count("heads", 16)?;
    let head_dim = settings.count("head_dim", 64)?;
    let causal = settings.flag("causal", false)?;
    let dtype = settings.dtype()?;
    let lengths: &[usize] = if bench.is_cpu() { &[512, 1024, 2048] } else { &[1024, 4096, 16384] };
    let mut records = Vec::new();
    for tokens in settings.counts("tokens", lengths)? {
        bench.say(format!("{} variants, {tokens} tokens", VARIANTS.len()));
        let heads_of =
            |preset: SqaPreset| preset.heads(heads, (heads / 4).max(1)).map_err(anyhow::Error::msg);
        let prepare = |preset: SqaPreset| {
            let (query_heads, kv_heads) = heads_of(preset)?;
            let case = AttentionCase {
                batch: 1,
                query_tokens: tokens,
                tokens,
                query_heads,
                kv_heads,
                head_dim,
                causal,
                dtype,
            };
            Ok(measure::attention(&bench.gpu, case, bench.variant)?)
        };
        let prepared = VARIANTS.into_iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let measured = bench.measure(&prepared)?;
        for (preset, one) in VARIANTS.into_iter().zip(&measured) {
            let (query_heads, kv_heads) = heads_of(preset)?;
            let shape = [
                ("preset", json!(preset.name())),
                ("tokens", json!(tokens)),
                ("query_heads", json!(query_heads)),
                ("kv_heads", json!(kv_heads)),
                ("head_dim", json!(head_dim)),
            ];
            let mut record = bench.record("sqa", dtype, &shape, one).with_baseline("MHA", measured[0].ms);
            record.paper_speedup = paper_speedup(preset);
            records.push(record);
        }
    }
    Ok(records)
}

/// The paper's speedup over MHA at its longest length.
fn paper_speedup(preset: SqaPreset) -> Option<f64> {
    PAPER_TIMES.last()?.speedup(preset)
}

/// Names of the variants with their head counts, and the lengths, in the records' order.
fn axes(records: &[BenchRecord]) -> (Vec<String>, Vec<u64>) {
    let tokens = |r: &BenchRecord| r.shape["tokens"].as_u64().unwrap_or(0);
    let mut lengths: Vec<_> = records.iter().map(tokens).collect();
    lengths.dedup();
    let first = lengths.first().copied().unwrap_or(0);
    let names = records.iter().filter(|r| tokens(r) == first);
    (
        names
            .map(|r| format!("{} {}/{}", text(r, "preset"), r.shape["query_heads"], r.shape["kv_heads"]))
            .collect(),
        lengths,
    )
}

fn text<'r>(record: &'r BenchRecord, key: &str) -> &'r str {
    record.shape[key].as_str().unwrap_or("")
}

/// Speedups over MHA, ours by length and below them the paper's in the same columns; a variant that the paper has not
/// measured is left out there, and so is its sliding window, which is a loop in Python.
pub fn summary_table(records: &[BenchRecord]) -> (Vec<String>, Vec<Vec<String>>) {
    let (names, lengths) = axes(records);
    let columns = names.len().max(1);
    let cell = |speedup: Option<f64>| speedup.map_or_else(String::new, |speedup| format!("{speedup:.2}"));
    let row = |place: &str, tokens: String, speedups: Vec<Option<f64>>| -> Vec<String> {
        [place.to_string(), tokens].into_iter().chain(speedups.into_iter().map(cell)).collect()
    };
    let ours = lengths.iter().zip(records.chunks(columns));
    let ours =
        ours.map(|(tokens, of)| row("here", tokens.to_string(), of.iter().map(|r| r.speedup).collect()));
    let paper = PAPER_TIMES.iter().map(|time| {
        let speedup = |r: &BenchRecord| time.speedup(text(r, "preset").parse().ok()?);
        let first = records.iter().take(columns);
        row("the paper", time.tokens.to_string(), first.map(speedup).collect())
    });
    ([vec![String::new(), "tokens".into()], names.clone()].concat(), ours.chain(paper).collect())
}

/// The table as text.
pub fn summary(records: &[BenchRecord]) -> String {
    let (header, rows) = summary_table(records);
    format!(
        "speedup over MHA: here of attention alone, in the paper (arXiv 2510.01817, table 3) of a forward pass on an A100\n{}",
        text_table(&header, &rows)
    )
}

/// Time against query heads at each length, at the same number of key and value heads, with the dashed line that is
/// proportional to them.
pub fn plot(records: &[BenchRecord]) -> LineChart {
    let number = |r: &BenchRecord, key: &str| r.shape[key].as_f64().unwrap_or(0.0);
    let kv_heads = records.iter().find(|r| text(r, "preset") == SqaPreset::Gqa.name());
    let kv_heads = kv_heads.map_or(0.0, |r| number(r, "kv_heads"));
    let (names, lengths) = axes(records);
    let mut series = Vec::new();
    for (index, (length, row)) in lengths.iter().zip(records.chunks(names.len().max(1))).enumerate() {
        let grouped = row.iter().filter(|r| number(r, "kv_heads") == kv_heads);
        let mut points: Vec<_> = grouped.map(|r| (number(r, "query_heads"), r.ms)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let last = points.last().copied();
        series.push(Series::new(format!("{length} tokens"), points).color(index));
        let proportional = [Some((0.0, 0.0)), last].into_iter().flatten();
        series.push(Series::new("proportional", proportional).color(index).dashed());
    }
    LineChart {
        title: "Attention time follows the query heads".into(),
        x_label: format!("query heads, on {kv_heads} key and value heads"),
        y_label: "milliseconds".into(),
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        series,
    }
}

/// Speedup over MHA against length: here, and dashed what the paper reports for the whole forward pass.
pub fn plot_speedups(records: &[BenchRecord]) -> LineChart {
    let mut series = Vec::new();
    for (index, preset) in [SqaPreset::Sqa, SqaPreset::Ssqa, SqaPreset::Xsqa].into_iter().enumerate() {
        let ours = records.iter().filter(|r| text(r, "preset") == preset.name());
        let point = |r: &BenchRecord| Some((r.shape["tokens"].as_f64()?, r.speedup?));
        series.push(Series::new(preset.name(), ours.filter_map(point)).color(index));
        let paper = PAPER_TIMES.iter().filter_map(|time| Some((time.tokens as f64, time.speedup(preset)?)));
        series.push(Series::new(format!("{}, paper", preset.name()), paper).color(index).dashed());
    }
    LineChart {
        title: "Speedup over MHA".into(),
        x_label: "tokens".into(),
        y_label: "times".into(),
        x_scale: Scale::Log10,
        y_scale: Scale::Linear,
        series,
    }
}
