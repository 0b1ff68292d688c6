//! Token by token: a cache grows on the GPU, and one plan serves every step.

use crate::common::{assert_close, doubles, gpu, variants};
use crate::sparse_case::{Case, Data, Found, TOLERANCE, small_blocks};
use gristmill::kernels::native_sparse::{
    CacheShape, Gates, NativeSparseAttention, NativeSparseCache, NativeSparseConfig, NewTokens,
};
use gristmill::{Dtype, Schedule, Tensor, VariantKind, no_progress};

/// Rows of the tokens `first..first + count` of every sequence.
fn part(tensor: &[f32], batch: usize, tokens: usize, first: usize, count: usize) -> Vec<f32> {
    let width = tensor.len() / (batch * tokens);
    let of_sequence = |b: usize| tensor[(b * tokens + first) * width..][..count * width].to_vec();
    (0..batch).flat_map(of_sequence).collect()
}

/// Attends to `pieces` of the sequences one after the other; the rows of each piece.
fn decode(case: &Case, data: &Data, pieces: &[usize], capacity: usize, kind: VariantKind) -> Vec<Found> {
    let (batch, tokens) = (case.sequences.len(), case.sequences[0].1);
    let config = NativeSparseConfig { variant: Some(kind), ..case.config.clone() };
    let operator = NativeSparseAttention::new(gpu(), config).unwrap();
    let shape = CacheShape {
        batch,
        capacity,
        kv_heads: case.kv_heads,
        head_dim: case.head_dim,
        value_dim: case.value_dim,
        dtype: Dtype::F32,
        own_compressed: case.own_branches,
        own_window: case.own_branches,
    };
    let cache = NativeSparseCache::new(gpu(), &operator, shape).unwrap();
    let mut first = 0;
    let mut found = Vec::new();
    let mut plans: Vec<(usize, Step)> = Vec::new();
    for &count in pieces {
        if !plans.iter().any(|(size, _)| *size == count) {
            plans.push((count, Step::new(case, &operator, &cache, count)));
        }
        let (_, step) = plans.iter().find(|(size, _)| *size == count).unwrap();
        let piece = |tensor: &[f32]| part(tensor, batch, tokens, first, count);
        step.query.write(gpu(), &piece(&data.q)).unwrap();
        step.gates.write(gpu(), &piece(&data.gates)).unwrap();
        for (tensors, values) in step.kv.iter().zip(&data.kv) {
            for (tensor, values) in tensors.iter().zip(values) {
                tensor.write(gpu(), &piece(values)).unwrap();
            }
        }
        step.plan.poison();
        pollster::block_on(step.plan.run(no_progress)).unwrap();
        found.push(Found::read(&step.outputs));
        first += count;
    }
    found
}

/// A plan that appends so many tokens and attends to them.
struct Step {
    query: Tensor,
    gates: Tensor,
    kv: Vec<[Tensor; 2]>,
    outputs: gristmill::kernels::native_sparse::NativeSparseOutput,
    plan: gristmill::Plan,
}

impl Step {
    fn new(case: &Case, operator: &NativeSparseAttention, cache: &NativeSparseCache, count: usize) -> Self {
        let batch = case.sequences.len();
        let zeros =
            |heads, dim| Tensor::zeros(gpu(), "piece", &[batch, count, heads, dim], Dtype::F32).unwrap();
        let (query, gates) = (zeros(case.query_heads, case.head_dim), zeros(case.query_heads, 3));
        let pair = || [zeros(case.kv_heads, case.head_dim), zeros(case.kv_heads, case.value_dim)];
        let kv: Vec<[Tensor; 2]> = (0..if case.own_branches { 3 } else { 1 }).map(|_| pair()).collect();
        let mut schedule = Schedule::new(gpu());
        let own = |branch: usize| kv.get(branch).map(|[key, value]| (key, value));
        let new = NewTokens { compressed: own(1), window: own(2), ..NewTokens::new(&kv[0][0], &kv[0][1]) };
        operator.record_append(&mut schedule, cache, &new).unwrap();
        let outputs = operator.record_attend(&mut schedule, cache, &query, Gates::Values(&gates)).unwrap();
        let plan = schedule.compile().unwrap();
        Self { query, gates, kv, outputs, plan }
    }
}

/// One token at a time, pieces that end within blocks, and pieces that complete several.
#[test]
fn decode_rows_equal_prefill_rows() {
    let case = Case { sequences: vec![(53, 53); 2], ..Case::default() };
    for (case, pieces) in [
        (case.clone(), vec![1; 53]),
        (case.clone(), vec![30, 1, 1, 1, 5, 14, 1]),
        (Case { own_branches: true, ..case }, vec![7, 1, 1, 30, 13, 1]),
    ] {
        let data = case.data();
        for kind in variants() {
            let whole = case.run(&data, kind);
            let mut first = 0;
            for (found, &count) in decode(&case, &data, &pieces, 61, kind).iter().zip(&pieces) {
                let what = format!("{case:?} by {kind}: tokens {first}..{}", first + count);
                let rows = |tensor: &[f32]| doubles(&part(tensor, 2, 53, first, count));
                assert_close(&what, &found.out, &rows(&whole.out), TOLERANCE);
                assert_close(&what, &found.lse[0], &rows(&whole.lse[0]), TOLERANCE);
                let width = case.kv_heads * case.config.top_n;
                let lists =
                    (0..2).flat_map(|b| whole.blocks[(b * 53 + first) * width..][..count * width].to_vec());
                assert_eq!(found.blocks, lists.collect::<Vec<i32>>(), "{what}");
                first += count;
            }
        }
    }
}

/// As many groups and keys as an integrator has, with the paper's blocks; one row of the twin.
#[test]
fn a_step_on_a_long_context_equals_the_twin() {
    let config = NativeSparseConfig { top_n: 8, window: 128, ..Default::default() };
    for (query_heads, kv_heads) in [(16, 1), (14, 2)] {
        Case { query_heads, kv_heads, config: config.clone(), ..Case::of(1, 3001) }.check();
    }
    Case { query_heads: 8, config: NativeSparseConfig { top_n: 40, ..small_blocks() }, ..Case::of(2, 2050) }
        .check();
}
