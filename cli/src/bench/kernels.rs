//! Dense attention, decode and linear layers.

use super::Bench;
use crate::plot::BarChart;
use crate::record::BenchRecord;
use anyhow::Result;
use gristmill::measure::{self, AttentionCase, Prepared};
use gristmill::{Dtype, VariantKind};
use serde_json::{Value, json};

/// Self-attention; the baseline is the portable build on the same adapter.
pub fn attention(bench: &Bench) -> Result<Vec<BenchRecord>> {
    let settings = &bench.settings;
    let query_heads = settings.count("query_heads", 4)?;
    let base = AttentionCase {
        batch: settings.count("batch", 1)?,
        query_tokens: 0,
        tokens: 0,
        query_heads,
        kv_heads: settings.count("kv_heads", query_heads)?,
        head_dim: settings.count("head_dim", 64)?,
        causal: false,
        dtype: settings.dtype()?,
    };
    let lengths: &[usize] = if bench.is_cpu() { &[1024] } else { &[1024, 4096, 16384] };
    let mut records = Vec::new();
    for tokens in settings.counts("tokens", lengths)? {
        let masks = if settings.flag("causal", false)? { vec![true] } else { vec![false, true] };
        for causal in masks {
            let case = AttentionCase { query_tokens: tokens, tokens, causal, ..base };
            records.push(one(bench, "attention", case)?);
        }
    }
    Ok(records)
}

/// One query token against a long cache.
pub fn decode(bench: &Bench) -> Result<Vec<BenchRecord>> {
    let settings = &bench.settings;
    let base = AttentionCase {
        batch: settings.count("batch", 1)?,
        query_tokens: 1,
        tokens: 0,
        query_heads: settings.count("query_heads", 16)?,
        kv_heads: settings.count("kv_heads", 4)?,
        head_dim: settings.count("head_dim", 64)?,
        causal: true,
        dtype: settings.dtype()?,
    };
    let mut records = Vec::new();
    for tokens in settings.counts("tokens", &[8192, 65536])? {
        records.push(one(bench, "decode", AttentionCase { tokens, ..base })?);
    }
    Ok(records)
}

fn one(bench: &Bench, kernel: &str, case: AttentionCase) -> Result<BenchRecord> {
    bench.say(format!("{kernel}, {} tokens", case.tokens));
    let shape = [
        ("batch", json!(case.batch)),
        ("tokens", json!(case.tokens)),
        ("query_heads", json!(case.query_heads)),
        ("kv_heads", json!(case.kv_heads)),
        ("head_dim", json!(case.head_dim)),
        ("causal", json!(case.causal)),
    ];
    let prepare = |variant| measure::attention(&bench.gpu, case, variant);
    against_portable(bench, kernel, case.dtype, &shape, prepare)
}

/// y = x W, square and with one row.
pub fn linear(bench: &Bench) -> Result<Vec<BenchRecord>> {
    let settings = &bench.settings;
    let size = if bench.is_cpu() { 512 } else { 4096 };
    let dtype: Dtype = settings.dtype()?;
    let mut records = Vec::new();
    for rows in settings.counts("rows", &[size, 1])? {
        let shape = [rows, settings.count("inputs", size)?, settings.count("outputs", size)?];
        bench.say(format!("linear, {shape:?}"));
        let keys = [("rows", json!(shape[0])), ("inputs", json!(shape[1])), ("outputs", json!(shape[2]))];
        let prepare = |variant| measure::linear(&bench.gpu, shape, dtype, variant);
        records.push(against_portable(bench, "linear", dtype, &keys, prepare)?);
    }
    Ok(records)
}

/// Measures the adapter's build and, where that is another, the portable one in turns with it.
pub fn against_portable(
    bench: &Bench,
    kernel: &str,
    dtype: Dtype,
    shape: &[(&str, Value)],
    prepare: impl Fn(Option<VariantKind>) -> gristmill::Result<Prepared>,
) -> Result<BenchRecord> {
    let mut prepared = vec![prepare(bench.variant)?];
    if prepared[0].variant != VariantKind::Portable {
        prepared.push(prepare(Some(VariantKind::Portable))?);
    }
    let measured = bench.measure(&prepared)?;
    let record = bench.record(kernel, dtype, shape, &measured[0]);
    Ok(match measured.get(1) {
        Some(portable) => record.with_baseline("portable", portable.ms),
        None => record,
    })
}

/// Share of the nearer peak, case by case.
pub fn plot(records: &[BenchRecord]) -> BarChart {
    BarChart {
        title: "Share of the adapter's measured peak".into(),
        value_label: "percent".into(),
        labels: records.iter().map(|record| label(record, records)).collect(),
        series: vec![("share".into(), records.iter().map(|r| 100.0 * r.peak_share).collect())],
    }
}

/// The kernel with what tells the record from the kernel's others.
fn label(record: &BenchRecord, all: &[BenchRecord]) -> String {
    let others = || all.iter().filter(|other| other.kernel == record.kernel);
    let mut telling = record.clone();
    telling.shape.retain(|key, value| others().any(|other| other.shape.get(key) != Some(&*value)));
    format!("{} {}", record.kernel, telling.shape_text()).trim_end().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_what_differs() {
        let record = |kernel: &str, tokens: usize| BenchRecord {
            kernel: kernel.into(),
            shape: [("head_dim".to_string(), json!(64)), ("tokens".to_string(), json!(tokens))].into(),
            ..Default::default()
        };
        let records = [record("attention", 512), record("attention", 1024), record("decode", 8192)];
        let labels: Vec<_> = records.iter().map(|one| label(one, &records)).collect();
        assert_eq!(labels, ["attention tokens=512", "attention tokens=1024", "decode"]);
    }
}
