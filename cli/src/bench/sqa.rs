//! Sparse Query Attention: every variant of the paper against MHA, beside the paper's own figures.

use super::Bench;
use crate::plot::{LineChart, Scale, Series};
use crate::record::{BenchRecord, text_table};
use anyhow::Result;
use gristmill::measure::{self, AttentionCase};
use gristmill::models::sqa_presets::{PAPER_COLUMNS, PAPER_TIMES, SqaPreset};
use serde_json::json;

/// The published variants, MHA first.
const VARIANTS: [SqaPreset; 7] = [
    SqaPreset::Mha,
    SqaPreset::Gqa,
    SqaPreset::Mqa,
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
        let mut baseline_ms = None;
        for preset in VARIANTS {
            let (query_heads, kv_heads) =
                preset.heads(heads, (heads / 4).max(1)).map_err(anyhow::Error::msg)?;
            bench.say(format!("{} {query_heads}/{kv_heads}, {tokens} tokens", preset.name()));
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
            let run = measure::attention(&bench.gpu, case, bench.variant, bench.samples);
            let measured = pollster::block_on(run)?;
            let shape = [
                ("preset", json!(preset.name())),
                ("tokens", json!(tokens)),
                ("query_heads", json!(query_heads)),
                ("kv_heads", json!(kv_heads)),
                ("head_dim", json!(head_dim)),
            ];
            let ms = *baseline_ms.get_or_insert(measured.ms);
            let mut record = bench.record("sqa", dtype, &shape, &measured).with_baseline("MHA", ms);
            record.paper_speedup = paper_speedup(preset);
            records.push(record);
        }
    }
    Ok(records)
}

/// The paper's speedup over MHA at its longest length.
fn paper_speedup(preset: SqaPreset) -> Option<f64> {
    let last = PAPER_TIMES.last()?;
    Some(last.seconds(SqaPreset::Mha)? / last.seconds(preset)?)
}

/// Names of the variants with their head counts, and the lengths, in the records' order.
fn axes(records: &[BenchRecord]) -> (Vec<String>, Vec<u64>) {
    let tokens = |r: &BenchRecord| r.shape["tokens"].as_u64().unwrap_or(0);
    let mut lengths: Vec<_> = records.iter().map(tokens).collect();
    lengths.dedup();
    let first = lengths.first().copied().unwrap_or(0);
    let names = records.iter().filter(|r| tokens(r) == first);
    (names.map(|r| format!("{} {}/{}", text(r, "preset"), r.shape["query_heads"], r.shape["kv_heads"])).collect(), lengths)
}

fn text<'r>(record: &'r BenchRecord, key: &str) -> &'r str {
    record.shape[key].as_str().unwrap_or("")
}

/// Our speedups by length, then the paper's.
pub fn summary_tables(records: &[BenchRecord]) -> [(Vec<String>, Vec<Vec<String>>); 2] {
    let (names, lengths) = axes(records);
    let header = |names: &[String]| [vec!["tokens".to_string()], names.to_vec()].concat();
    let ours = lengths.iter().zip(records.chunks(names.len().max(1))).map(|(length, row)| {
        let cells = row.iter().map(|r| format!("{:.2}", r.speedup.unwrap_or(0.0)));
        [length.to_string()].into_iter().chain(cells).collect()
    });
    let paper = PAPER_TIMES.iter().map(|time| {
        let cells = time.speedups().iter().map(|speedup| format!("{speedup:.2}")).collect();
        [vec![time.tokens.to_string()], cells].concat()
    });
    let paper_names: Vec<String> = PAPER_COLUMNS.iter().map(|name| name.to_string()).collect();
    [(header(&names), ours.collect()), (header(&paper_names), paper.collect())]
}

/// Both tables as text.
pub fn summary(records: &[BenchRecord]) -> String {
    let [(ours_header, ours), (paper_header, paper)] = summary_tables(records);
    format!(
        "speedup over MHA here, attention alone\n{}\nspeedup over MHA in the paper (arXiv 2510.01817, table 3), forward pass on an A100\n{}",
        text_table(&ours_header, &ours),
        text_table(&paper_header, &paper)
    )
}

/// Time against query heads at each length: straight lines through the origin where attention is all.
pub fn plot(records: &[BenchRecord]) -> LineChart {
    let (names, lengths) = axes(records);
    let series = lengths.iter().zip(records.chunks(names.len().max(1))).map(|(length, row)| {
        let mut points: Vec<_> =
            row.iter().map(|r| (r.shape["query_heads"].as_f64().unwrap_or(0.0), r.ms)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series::new(format!("{length} tokens"), points)
    });
    LineChart {
        title: "Attention time follows the query heads".into(),
        x_label: "query heads".into(),
        y_label: "milliseconds".into(),
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        series: series.collect(),
    }
}
