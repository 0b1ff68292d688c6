//! One query token against a long cache by local linear attention: moments against the iteration and dense decode, and what
//! either roof of the adapter allows.

use super::Bench;
use super::flash_lla::{number, rounded, work_ratio};
use crate::record::{BenchRecord, figures, text_table};
use anyhow::Result;
use gristmill::kernels::attention::{Attention, AttentionConfig, AttentionInputs};
use gristmill::kernels::flash_lla::{FlashLla, FlashLlaConfig, FlashLlaInputs, FlashLlaOutput};
use gristmill::measure::{AttentionCase, Prepared};
use gristmill::{Dtype, Schedule, Tensor};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::json;

/// Where the keys lie: the iteration takes few rounds on normal ones, more on those of a trained model, which are nearer to clusters.
const KEYS: [&str; 2] = ["normal", "clustered"];

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
        for keys in KEYS {
            bench.say(format!("flash_lla_decode, {tokens} {keys} keys"));
            records.push(one(bench, AttentionCase { tokens, ..base }, keys, &config)?);
        }
    }
    Ok(records)
}

fn one(bench: &Bench, case: AttentionCase, keys: &str, config: &FlashLlaConfig) -> Result<BenchRecord> {
    let cache = Cache::new(bench, case, keys)?;
    let (chosen, chosen_output) = cache.lla(bench, config, false)?;
    let (iterated, iterated_output) = cache.lla(bench, config, true)?;
    let measured = bench.measure(&[chosen, iterated, cache.dense(bench)?])?;
    let [chosen, iterated] =
        [chosen_output, iterated_output].map(|output| pollster::block_on(output.summary(&bench.gpu)));
    let (by_moments, iterations) = (chosen?.most_iterations == 0, iterated?.tile_iterations);
    let shape = [
        ("batch", json!(case.batch)),
        ("tokens", json!(case.tokens)),
        ("keys", json!(keys)),
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
    let bytes = (cache.key.bytes() + cache.value.bytes()) as f64;
    let record = bench
        .record("flash_lla_decode", case.dtype, &shape, &measured[0])
        .with_work(measured[0].ms, flops, bytes)
        .with_peaks(bench.peaks.gflops, bench.peaks.gbps);
    Ok(record.with_baseline("iteration", measured[1].ms))
}

/// Queries and the keys and values that they attend to.
struct Cache {
    query: Tensor,
    key: Tensor,
    value: Tensor,
    /// All visible: with a mask few rows are iterated too.
    mask: Tensor,
}

impl Cache {
    fn new(bench: &Bench, case: AttentionCase, keys: &str) -> Result<Cache> {
        let AttentionCase { batch, tokens, query_heads, kv_heads, head_dim, dtype, .. } = case;
        let mut random = Pcg64::seed_from_u64(1);
        let shape = [batch, tokens, kv_heads, head_dim];
        let mut key = normal(&mut random, shape.iter().product());
        if keys == "clustered" {
            let centers = normal(&mut random, 16 * head_dim);
            for key in key.chunks_exact_mut(head_dim) {
                let center = &centers[random.random_range(0..16usize) * head_dim..][..head_dim];
                key.iter_mut().zip(center).for_each(|(key, center)| *key = center + 0.1 * *key);
            }
        }
        let query = normal(&mut random, batch * query_heads * head_dim);
        let value = normal(&mut random, key.len());
        let mask = [1, tokens.div_ceil(32)];
        let upload = |label: &str, shape: &[usize], data: &[f32]| match dtype {
            Dtype::F16 => {
                let halves: Vec<_> = data.iter().map(|&value| half::f16::from_f32(value)).collect();
                Tensor::upload(&bench.gpu, label, shape, &halves)
            }
            _ => Tensor::upload(&bench.gpu, label, shape, data),
        };
        Ok(Cache {
            query: upload("q", &[batch, 1, query_heads, head_dim], &query)?,
            key: upload("k", &shape, &key)?,
            value: upload("v", &shape, &value)?,
            mask: Tensor::upload(&bench.gpu, "mask", &mask, &vec![u32::MAX; mask[1]])?,
        })
    }

    fn lla(
        &self,
        bench: &Bench,
        config: &FlashLlaConfig,
        iterated: bool,
    ) -> Result<(Prepared, FlashLlaOutput)> {
        let operator = FlashLla::new(&bench.gpu, config.clone())?;
        let mut schedule = Schedule::new(&bench.gpu);
        let inputs = FlashLlaInputs {
            mask: iterated.then_some(&self.mask),
            ..FlashLlaInputs::new(&self.query, &self.key, &self.value)
        };
        let output = operator.record(&mut schedule, inputs)?;
        let plan = schedule.compile()?;
        let results = [&output.out, &output.lse, &output.iterations, &output.status];
        let extra_bytes = plan.report().bytes - results.iter().map(|tensor| tensor.bytes()).sum::<u64>();
        Ok((Prepared { plan, variant: operator.explain().kind, extra_bytes }, output))
    }

    fn dense(&self, bench: &Bench) -> Result<Prepared> {
        let config = AttentionConfig { variant: bench.variant, ..Default::default() };
        let operator = Attention::new(&bench.gpu, config)?;
        let mut schedule = Schedule::new(&bench.gpu);
        operator.record(&mut schedule, AttentionInputs::new(&self.query, &self.key, &self.value))?;
        let plan = schedule.compile()?;
        let extra_bytes = plan.report().bytes;
        Ok(Prepared { plan, variant: operator.explain().kind, extra_bytes })
    }
}

/// Values of deviation 1.
fn normal(random: &mut Pcg64, count: usize) -> Vec<f32> {
    (0..count).map(|_| (0..3).map(|_| random.random_range(-1.0..1.0f32)).sum()).collect()
}

/// Both roofs, and the three forms beside each other.
pub fn summary(records: &[BenchRecord]) -> String {
    let rows = records.iter().map(|record| {
        let percent = |rate: f64, peak: f64| format!("{:.1}%", 100.0 * rate / peak);
        let roof_ms = (record.gflops / record.peak_gflops).max(record.gbps / record.peak_gbps) * record.ms;
        let dense = number(record, "dense_ms");
        vec![
            number(record, "tokens").to_string(),
            record.shape["keys"].as_str().unwrap_or("").into(),
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
        "keys",
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
