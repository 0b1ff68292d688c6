//! A prefill that is too long for one tensor: the sequence goes through a cache in parts, by one plan, and rows all over it are
//! compared with the f64 twin.

use super::{configuration, cost_of, detail, heads, shape, tokens};
use crate::bench::Bench;
use crate::record::{BenchRecord, figures, text_table};
use anyhow::{Result, ensure};
use gristmill::kernels::attention::{Attention, AttentionConfig, AttentionInputs};
use gristmill::kernels::native_sparse::{
    CacheShape, EMPTY_SLOT, Gates, NativeSparseAttention, NativeSparseCache, NativeSparseConfig, NewTokens,
};
use gristmill::measure::AttentionCase;
use gristmill::twins::attention::AttentionShape;
use gristmill::twins::native_sparse::{NativeSparseOptions, NativeSparseSources, native_sparse_rows};
use gristmill::{Dtype, Progress, Schedule, Tensor, no_progress};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use std::ops::ControlFlow;
use std::time::Instant;

/// Tokens that go in at a time.
const PART: usize = 8192;

/// Rows that are compared with the twin.
const ROWS: usize = 40;

/// Rows that dense attention is timed on: the last ones.
const DENSE_ROWS: usize = 128;

/// The documented error bound of the operator.
const TOLERANCE: f64 = 2e-5;

/// Prefill of a long sequence.
pub fn native_sparse_long(bench: &Bench) -> Result<Vec<BenchRecord>> {
    let config = configuration(&bench.settings, bench.variant)?;
    let case = heads(&bench.settings)?;
    ensure!(case.batch == 1 && case.dtype == Dtype::F32, "native_sparse_long takes one sequence in f32");
    let lengths = bench.settings.counts("tokens", &[131_072])?;
    lengths.into_iter().map(|tokens| one(bench, AttentionCase { tokens, ..case }, &config)).collect()
}

fn one(bench: &Bench, case: AttentionCase, config: &NativeSparseConfig) -> Result<BenchRecord> {
    let tokens = case.tokens;
    bench.say(format!("native_sparse_long, {tokens} tokens: drawing"));
    let part = PART.min(tokens);
    ensure!(tokens.is_multiple_of(part), "tokens = {tokens}: expected a multiple of {part}");
    let data = Sequence::new(case, config.sel_block);
    let prefill = Prefill::new(bench, case, config, part)?;
    let rows = sample(tokens, config);
    let mut found = Vec::with_capacity(rows.len());
    // The first run compiles the pipelines.
    prefill.load(bench, &data, 0)?;
    pollster::block_on(prefill.plan.run(no_progress))?;
    prefill.cache.clear(&bench.gpu)?;
    let bar = bench.bar(format!("native_sparse_long, {tokens} tokens"));
    let mut seconds = 0.0;
    for first in (0..tokens).step_by(part) {
        prefill.load(bench, &data, first)?;
        let start = Instant::now();
        pollster::block_on(prefill.plan.run(|progress: Progress| {
            bar.set_position((1e3 * (first as f64 + progress.fraction * part as f64) / tokens as f64) as u64);
            ControlFlow::Continue(())
        }))?;
        seconds += start.elapsed().as_secs_f64();
        let inside: Vec<usize> = rows.iter().copied().filter(|row| row / part == first / part).collect();
        found.extend(prefill.rows(bench, &inside, first)?);
    }
    drop(bar);

    bench.say(format!("native_sparse_long, {tokens} tokens: {} rows by the twin", rows.len()));
    let compared = compare(case, config, &data, &found);
    bench.say(format!("native_sparse_long, {tokens} tokens: dense attention of the last rows"));
    let dense_ms = prefill.dense_rows(bench, &data, case)?;

    let cost = cost_of(&case, config);
    let ms = seconds * 1e3;
    let bytes = 4.0 * (tokens * case.head_dim * 2 * (case.query_heads + case.kv_heads)) as f64;
    let mut record = BenchRecord {
        kernel: "native_sparse_long".into(),
        variant: prefill.operator.explain().kind.name().into(),
        dtype: case.dtype.name().into(),
        shape: shape(&case, config).into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        extra_bytes: prefill.plan.report().bytes,
        ..Default::default()
    }
    .with_work(ms, cost.prefill_flops(tokens).total(), bytes)
    .with_peaks(bench.peaks.gflops, bench.peaks.gbps);
    // In proportion to the pairs of a query and a key.
    let measured = cost.dense_flops(tokens) - cost.dense_flops(tokens - DENSE_ROWS.min(tokens));
    let dense_estimate = dense_ms * cost.dense_flops(tokens) / measured;
    record.details = [
        ("rows", compared.rows as f64),
        ("rows_with_equal_blocks", compared.equal_blocks as f64),
        ("rows_that_found_their_block", compared.needles as f64),
        ("worst_error", compared.worst_error),
        ("flop_ratio", cost.ratio(tokens)),
        ("flop_ratio_with_rescoring", cost.ratio_with_rescoring(tokens)),
        ("dense_estimate_ms", dense_estimate),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    ensure!(
        compared.worst_error < TOLERANCE && compared.wrong_blocks == 0,
        "{tokens} tokens: worst error {:.1e} (bound {TOLERANCE:.0e}), {} rows with other blocks than the twin's",
        compared.worst_error,
        compared.wrong_blocks
    );
    Ok(record)
}

/// Row numbers: where lists and windows fill up, around the seams of two parts, and others drawn at random.
fn sample(tokens: usize, config: &NativeSparseConfig) -> Vec<usize> {
    let edges = [
        0,
        config.cmp_block - 1,
        config.sel_block,
        config.window,
        config.top_n * config.sel_block,
        PART - 1,
        PART,
        tokens / 2,
        tokens - 1,
    ];
    let mut random = Pcg64::seed_from_u64(3);
    let drawn = std::iter::repeat_with(|| random.random_range(0..tokens));
    let mut rows: Vec<usize> =
        edges.into_iter().chain(drawn).filter(|row| *row < tokens).take(ROWS).collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// A sequence in which every row looks for one block: keys of a block lie around a centre, queries of a row around the centre
/// of an earlier block, the same for all heads.
struct Sequence {
    case: AttentionCase,
    block: usize,
    centres: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
}

impl Sequence {
    fn new(case: AttentionCase, block: usize) -> Self {
        let AttentionCase { tokens, kv_heads, head_dim, .. } = case;
        let mut random = Pcg64::seed_from_u64(1);
        let width = kv_heads * head_dim;
        let centres: Vec<f32> = (0..tokens.div_ceil(block) * width).map(|_| normal(&mut random)).collect();
        let key = |index: usize| {
            let (token, at) = (index / width, index % width);
            0.7 * (centres[token / block * width + at] + normal(&mut random))
        };
        let key = (0..tokens * width).map(key).collect();
        let value = (0..tokens * width).map(|_| normal(&mut random)).collect();
        Self { case, block, centres, key, value }
    }

    /// The block that row `row` looks for.
    fn needle(&self, row: usize) -> usize {
        Pcg64::seed_from_u64(row as u64 ^ 0x5eed).random_range(0..=row / self.block)
    }

    /// Query and gates of a row, the same at every call.
    fn row(&self, row: usize) -> (Vec<f32>, Vec<f32>) {
        let AttentionCase { query_heads, kv_heads, head_dim, .. } = self.case;
        let mut random = Pcg64::seed_from_u64(row as u64);
        let centre = &self.centres[self.needle(row) * kv_heads * head_dim..][..kv_heads * head_dim];
        let group = query_heads / kv_heads;
        let query = (0..query_heads * head_dim).map(|at| {
            let (head, element) = (at / head_dim, at % head_dim);
            centre[head / group * head_dim + element] + normal(&mut random)
        });
        let query = query.collect();
        (query, (0..query_heads * 3).map(|_| random.random_range(0.0..1.0f32)).collect())
    }

    fn rows(&self, rows: impl Iterator<Item = usize>) -> (Vec<f32>, Vec<f32>) {
        let (mut queries, mut gates) = (Vec::new(), Vec::new());
        for (query, weights) in rows.map(|row| self.row(row)) {
            queries.extend(query);
            gates.extend(weights);
        }
        (queries, gates)
    }
}

fn normal(random: &mut Pcg64) -> f32 {
    (0..3).map(|_| random.random_range(-1.0..1.0f32)).sum()
}

/// One plan for all parts: put a part into the cache, and attend from it.
struct Prefill {
    operator: NativeSparseAttention,
    cache: NativeSparseCache,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    gates: Tensor,
    out: Tensor,
    blocks: Tensor,
    plan: gristmill::Plan,
}

impl Prefill {
    fn new(bench: &Bench, case: AttentionCase, config: &NativeSparseConfig, part: usize) -> Result<Self> {
        let AttentionCase { tokens, query_heads, kv_heads, head_dim, dtype, .. } = case;
        let gpu = &bench.gpu;
        let operator = NativeSparseAttention::new(gpu, config.clone())?;
        let sizes = CacheShape {
            batch: 1,
            capacity: tokens,
            kv_heads,
            head_dim,
            value_dim: head_dim,
            dtype,
            own_compressed: false,
            own_window: false,
        };
        let cache = NativeSparseCache::new(gpu, &operator, sizes)?;
        let tensor = |label, heads, dim| Tensor::zeros(gpu, label, &[1, part, heads, dim], Dtype::F32);
        let (query, gates) = (tensor("q", query_heads, head_dim)?, tensor("gates", query_heads, 3)?);
        let (key, value) = (tensor("k", kv_heads, head_dim)?, tensor("v", kv_heads, head_dim)?);
        let mut schedule = Schedule::new(gpu);
        operator.record_append(&mut schedule, &cache, &NewTokens::new(&key, &value))?;
        let output = operator.record_attend(&mut schedule, &cache, &query, Gates::Values(&gates))?;
        let (out, blocks) = (output.out.clone(), output.blocks.clone());
        drop(output);
        let plan = schedule.compile()?;
        Ok(Self { operator, cache, query, key, value, gates, out, blocks, plan })
    }

    /// Writes the part that begins at token `first`.
    fn load(&self, bench: &Bench, data: &Sequence, first: usize) -> Result<()> {
        let part = self.query.shape()[1];
        let (query, gates) = data.rows(first..first + part);
        self.query.write(&bench.gpu, &query)?;
        self.gates.write(&bench.gpu, &gates)?;
        for (tensor, all) in [(&self.key, &data.key), (&self.value, &data.value)] {
            let width = tensor.elements() / part;
            tensor.write(&bench.gpu, &all[first * width..][..part * width])?;
        }
        Ok(())
    }

    /// What the GPU made of these rows of the part that begins at `first`.
    fn rows(&self, bench: &Bench, rows: &[usize], first: usize) -> Result<Vec<Row>> {
        if rows.is_empty() {
            return Ok(vec![]);
        }
        let part = self.query.shape()[1];
        let out = pollster::block_on(self.out.read::<f32>(&bench.gpu))?;
        let blocks = pollster::block_on(self.blocks.read::<u32>(&bench.gpu))?;
        let rows = rows.iter().map(|&row| Row {
            row,
            out: out[(row - first) * out.len() / part..][..out.len() / part].to_vec(),
            blocks: blocks[(row - first) * blocks.len() / part..][..blocks.len() / part].to_vec(),
        });
        Ok(rows.collect())
    }

    /// Milliseconds of dense attention of the last rows against all keys.
    fn dense_rows(&self, bench: &Bench, data: &Sequence, case: AttentionCase) -> Result<f64> {
        let gpu = &bench.gpu;
        let rows = DENSE_ROWS.min(case.tokens);
        let (query, _) = data.rows(case.tokens - rows..case.tokens);
        let query = Tensor::upload(gpu, "q", &[1, rows, case.query_heads, case.head_dim], &query)?;
        let config = AttentionConfig { causal: true, variant: bench.variant, ..Default::default() };
        let mut schedule = Schedule::new(gpu);
        let inputs = AttentionInputs::new(&query, &self.cache.tokens.key, &self.cache.tokens.value);
        Attention::new(gpu, config)?.record(&mut schedule, inputs)?;
        let plan = schedule.compile()?;
        pollster::block_on(plan.run(no_progress))?;
        Ok(pollster::block_on(gristmill::measure::time(gpu, &[&plan], 1))?[0])
    }
}

/// A row as the GPU gave it.
struct Row {
    row: usize,
    /// `[query_heads, head_dim]`.
    out: Vec<f32>,
    /// `[kv_heads, n]`.
    blocks: Vec<u32>,
}

#[derive(Default)]
struct Compared {
    rows: usize,
    equal_blocks: usize,
    /// Other blocks than the twin's though the twin is sure.
    wrong_blocks: usize,
    /// Rows whose list holds the block that they look for.
    needles: usize,
    worst_error: f64,
}

/// Every row by the twin, over the tokens up to its own.
fn compare(case: AttentionCase, config: &NativeSparseConfig, data: &Sequence, found: &[Row]) -> Compared {
    let AttentionCase { query_heads, kv_heads, head_dim, .. } = case;
    let wide = |data: &[f32]| -> Vec<f64> { data.iter().map(|value| f64::from(*value)).collect() };
    let (key, value) = (wide(&data.key), wide(&data.value));
    let width = kv_heads * head_dim;
    let mut compared = Compared { rows: found.len(), ..Default::default() };
    for Row { row, out, blocks } in found {
        let (query, gates) = data.row(*row);
        let (query, gates) = (wide(&query), wide(&gates));
        let shape = AttentionShape {
            batch: 1,
            query_tokens: 1,
            tokens: row + 1,
            query_heads,
            kv_heads,
            head_dim,
            value_dim: head_dim,
        };
        let seen = (row + 1) * width;
        let listed: Vec<i32> = blocks.iter().map(|block| *block as i32).collect();
        let options = NativeSparseOptions::from(config);
        let sources = NativeSparseSources {
            // The values are compared over the same blocks; whether they are the right ones is another question.
            blocks: Some(&listed),
            ..NativeSparseSources::new(&query, &key[..seen], &value[..seen], &gates)
        };
        let twin = native_sparse_rows(&sources, &shape, &options, &[0]);
        let equal = twin.selection.blocks == listed;
        // Scores that differ by less are rounding.
        let sure = 1e-5 * (query_heads / kv_heads) as f64;
        let certain = twin.selection.margin.iter().all(|margin| *margin > sure);
        compared.equal_blocks += usize::from(equal);
        compared.wrong_blocks += usize::from(!equal && certain);
        let needle = data.needle(*row) as u32;
        let lists = blocks.chunks(config.top_n);
        compared.needles += usize::from(lists.into_iter().all(|list| list.contains(&needle)));
        debug_assert!(
            blocks.iter().all(|block| *block == EMPTY_SLOT || *block as usize <= row / config.sel_block)
        );
        let errors = out.iter().zip(&twin.out).map(|(a, b)| (f64::from(*a) - b).abs());
        // A NaN is the worst of all.
        compared.worst_error =
            errors.fold(compared.worst_error, |worst, error| if error <= worst { worst } else { error });
    }
    compared
}

/// Time, the work's ratios, and how far the rows are from the twin's.
pub fn summary(records: &[BenchRecord]) -> String {
    let headers = [
        "tokens",
        "seconds",
        "dense seconds, estimated",
        "speedup",
        "FLOP ratio",
        "with re-scoring",
        "rows compared",
        "blocks equal",
        "found their block",
        "worst error",
    ];
    let rows = records.iter().map(|record| {
        let whole = |value: f64| format!("{value:.0}");
        let plain = |value: f64| format!("{value:.2}");
        vec![
            whole(tokens(record)),
            figures(record.ms * 1e-3),
            detail(record, "dense_estimate_ms", |ms| figures(ms * 1e-3)),
            detail(record, "dense_estimate_ms", |ms| plain(ms / record.ms)),
            detail(record, "flop_ratio", plain),
            detail(record, "flop_ratio_with_rescoring", plain),
            detail(record, "rows", whole),
            detail(record, "rows_with_equal_blocks", whole),
            detail(record, "rows_that_found_their_block", whole),
            detail(record, "worst_error", |error| format!("{error:.1e}")),
        ]
    });
    let rows: Vec<_> = rows.collect();
    format!(
        "prefill through a cache, {PART} tokens at a time; rows all over it against the f64 twin (bound {TOLERANCE:.0e})\n\
         dense: the last {DENSE_ROWS} rows timed, the whole triangle estimated from them\n{}",
        text_table(&headers, &rows)
    )
}
