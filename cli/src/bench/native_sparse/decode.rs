//! One query token against a cache: time follows the keys that are read, not those that are there.

use super::{configuration, cost_of, detail, heads, median, shape, tokens};
use crate::bench::Bench;
use crate::plot::{LineChart, Scale, Series};
use crate::record::{BenchRecord, figures, text_table};
use anyhow::{Result, ensure};
use gristmill::kernels::attention::{Attention, AttentionConfig, AttentionInputs};
use gristmill::kernels::native_sparse::{
    CacheShape, Gates, NativeSparseAttention, NativeSparseCache, NativeSparseConfig, NewTokens,
};
use gristmill::measure::{self, AttentionCase, Prepared};
use gristmill::{Dtype, Schedule, Tensor, VariantKind, no_progress};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// Tokens that are put into the cache at a time.
const APPEND: usize = 1024;

/// One cache for all lengths, as in use: its plan is compiled once, and how long the sequence is stands on the GPU.
pub fn native_sparse_decode(bench: &Bench) -> Result<Vec<BenchRecord>> {
    let config = configuration(&bench.settings, bench.variant)?;
    let case = AttentionCase { query_tokens: 1, ..heads(&bench.settings)? };
    let lengths = bench.settings.counts("tokens", &[4096, 8192, 16384, 32768, 65536])?;
    let capacity = lengths.iter().copied().max().unwrap_or(1).next_multiple_of(APPEND);
    bench.say(format!("native_sparse_decode, filling a cache of {capacity} tokens"));
    let step = Step::new(bench, case, &config, capacity)?;
    let mut records = Vec::new();
    for tokens in lengths {
        bench.say(format!("native_sparse_decode, {tokens} keys"));
        step.cache.tokens.set_lengths(&bench.gpu, &vec![tokens as u32; case.batch])?;
        let measured = bench.measure(&step.prepared)?;
        let cost = cost_of(&case, &config);
        let case = AttentionCase { tokens, ..case };
        let element = if case.dtype == Dtype::F16 { 2 } else { 4 };
        let batch = case.batch as f64;
        let bytes = batch * cost.decode_bytes(tokens, element) as f64;
        let mut record = bench
            .record("native_sparse_decode", case.dtype, &shape(&case, &config), &measured[0])
            .with_work(measured[0].ms, batch * cost.decode_flops(tokens), bytes)
            .with_peaks(bench.peaks.gflops, bench.peaks.gbps)
            .with_baseline("dense attention", measured[1].ms);
        let read = cost.decode_keys(tokens);
        let per_key = |ms: f64, keys: usize| 1e6 * ms / (keys * case.kv_heads * case.batch) as f64;
        record.details.insert("keys_read".into(), read as f64);
        record.details.insert("ns_per_key".into(), per_key(measured[0].ms, read));
        record.details.insert("dense_ns_per_key".into(), per_key(measured[1].ms, tokens));
        record.details.insert("append_ms".into(), step.append_ms);
        records.push(record);
    }
    ensure!(!records.is_empty(), "no length to measure");
    Ok(records)
}

/// A full cache with the plans of both kinds of attention over it.
struct Step {
    cache: NativeSparseCache,
    /// Sparse, then dense.
    prepared: [Prepared; 2],
    /// Putting one token into the cache and pooling the block that it completes.
    append_ms: f64,
}

impl Step {
    fn new(bench: &Bench, case: AttentionCase, config: &NativeSparseConfig, capacity: usize) -> Result<Self> {
        let AttentionCase { batch, query_heads, kv_heads, head_dim, dtype, .. } = case;
        let gpu = &bench.gpu;
        let operator = NativeSparseAttention::new(gpu, config.clone())?;
        let sizes = CacheShape {
            batch,
            capacity,
            kv_heads,
            head_dim,
            value_dim: head_dim,
            dtype,
            own_compressed: false,
            own_window: false,
        };
        let cache = NativeSparseCache::new(gpu, &operator, sizes)?;
        let mut random = Pcg64::seed_from_u64(1);
        let mut noise =
            |count: usize| -> Vec<f32> { (0..count).map(|_| random.random_range(-1.7..1.7f32)).collect() };
        let mut tensor = |label: &str, shape: [usize; 4]| {
            Tensor::upload(gpu, label, &shape, &noise(shape.iter().product()))
        };
        let query = tensor("q", [batch, 1, query_heads, head_dim])?;
        let [one, many] = [1, APPEND].map(|tokens| [batch, tokens, kv_heads, head_dim]);
        let (one_key, one_value) = (tensor("k", one)?, tensor("v", one)?);
        let (key, value) = (tensor("k", many)?, tensor("v", many)?);
        let appending = |key: &Tensor, value: &Tensor| {
            let mut schedule = Schedule::new(gpu);
            operator.record_append(&mut schedule, &cache, &NewTokens::new(key, value))?;
            schedule.compile()
        };

        let append = appending(&one_key, &one_value)?;
        let append_ms = pollster::block_on(measure::time(gpu, &[&append], bench.samples))?[0];
        cache.clear(gpu)?;
        let fill = appending(&key, &value)?;
        for _ in 0..capacity / APPEND {
            pollster::block_on(fill.run(no_progress))?;
            for tensor in [&key, &value] {
                tensor.write(gpu, &noise(tensor.elements()))?;
            }
        }

        let third = vec![1.0 / 3.0; batch * query_heads * 3];
        let gates = Tensor::upload(gpu, "gates", &[batch, 1, query_heads, 3], &third)?;
        let mut schedule = Schedule::new(gpu);
        operator.record_attend(&mut schedule, &cache, &query, Gates::Values(&gates))?;
        let sparse = prepared(schedule, operator.explain().kind)?;

        let config = AttentionConfig { causal: true, variant: bench.variant, ..Default::default() };
        let operator = Attention::new(gpu, config)?;
        let mut schedule = Schedule::new(gpu);
        let inputs = AttentionInputs {
            lengths: Some(&cache.tokens.lengths),
            ..AttentionInputs::new(&query, &cache.tokens.key, &cache.tokens.value)
        };
        operator.record(&mut schedule, inputs)?;
        let dense = prepared(schedule, operator.explain().kind)?;
        Ok(Self { cache, prepared: [sparse, dense], append_ms })
    }
}

fn prepared(schedule: Schedule, variant: VariantKind) -> Result<Prepared> {
    let plan = schedule.compile()?;
    let extra_bytes = plan.report().bytes;
    Ok(Prepared { plan, variant, extra_bytes })
}

/// Time per key that is read, sparse and dense.
pub fn summary(records: &[BenchRecord]) -> String {
    let headers = [
        "keys",
        "read",
        "NSA ms",
        "ns per key read",
        "dense ms",
        "ns per key",
        "speedup",
        "keys / read",
        "append ms",
    ];
    let rows = records.iter().map(|record| {
        let whole = |value: f64| format!("{value:.0}");
        let ratio = |read: f64| format!("{:.2}", tokens(record) / read);
        vec![
            whole(tokens(record)),
            detail(record, "keys_read", whole),
            figures(record.ms),
            detail(record, "ns_per_key", figures),
            figures(record.baseline_ms.unwrap_or(0.0)),
            detail(record, "dense_ns_per_key", figures),
            record.speedup.map_or_else(String::new, |speedup| format!("{speedup:.2}")),
            detail(record, "keys_read", ratio),
            detail(record, "append_ms", figures),
        ]
    });
    let rows: Vec<_> = rows.collect();
    format!(
        "one token against a cache: keys read are compressed, selected and window ones; the scores are computed twice\n{}",
        text_table(&headers, &rows)
    )
}

/// Time against keys, with dashed lines in proportion to the keys that are read.
pub fn plot(records: &[BenchRecord]) -> LineChart {
    let sparse = records.iter().map(|record| (tokens(record), record.ms));
    let dense = records.iter().filter_map(|record| Some((tokens(record), record.baseline_ms?)));
    let per_key = median(records.iter().filter_map(|record| record.details.get("ns_per_key").copied()));
    let in_proportion = records.iter().filter_map(|record| {
        let kv = record.shape.get("kv_heads")?.as_f64()? * record.shape.get("batch")?.as_f64()?;
        Some((tokens(record), record.details.get("keys_read")? * per_key * kv * 1e-6))
    });
    LineChart {
        title: "One decode step of native sparse attention".into(),
        x_label: "keys in the cache".into(),
        y_label: "milliseconds".into(),
        x_scale: Scale::Log2,
        y_scale: Scale::Log10,
        series: vec![
            Series::new("native sparse attention", sparse).color(0),
            Series::new("in proportion to the keys it reads", in_proportion).color(0).dashed(),
            Series::new("dense attention", dense).color(1),
        ],
    }
}
