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

/// Time against query heads at each length, with the dashed line that is proportional to them.
pub fn plot(records: &[BenchRecord]) -> LineChart {
    let (names, lengths) = axes(records);
    let mut series = Vec::new();
    for (index, (length, row)) in lengths.iter().zip(records.chunks(names.len().max(1))).enumerate() {
        let heads = |r: &BenchRecord| r.shape["query_heads"].as_f64().unwrap_or(0.0);
        let mut points: Vec<_> = row.iter().map(|r| (heads(r), r.ms)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        series.push(Series::new(format!("{length} tokens"), points).color(index));
        let proportional = [(0.0, 0.0), (heads(&row[0]), row[0].ms)];
        series.push(Series::new("proportional", proportional).color(index).dashed());
    }
    LineChart {
        title: "Attention time follows the query heads".into(),
        x_label: "query heads".into(),
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
        let paper = PAPER_TIMES.iter().filter_map(|time| {
            Some((time.tokens as f64, time.seconds(SqaPreset::Mha)? / time.seconds(preset)?))
        });
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
