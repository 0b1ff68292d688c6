//! Native sparse attention on the GPU against its f64 twin, in every build that runs here.

mod common;
#[path = "native_sparse/decode.rs"]
mod decode;
#[path = "native_sparse/goldens.rs"]
mod goldens;
#[path = "native_sparse/properties.rs"]
mod properties;
#[path = "native_sparse/selection.rs"]
mod selection;
#[path = "common/sparse_case.rs"]
mod sparse_case;
#[path = "native_sparse/video.rs"]
mod video;

use common::{Random, assert_close, budget, doubles, gpu, upload};
use gristmill::kernels::native_sparse::{
    Gates, NativeSparseAttention, NativeSparseConfig, NativeSparseInputs,
};
use gristmill::twins::attention::AttentionShape;
use gristmill::twins::native_sparse::{NativeSparseOptions, NativeSparseSources, native_sparse_rows};
use gristmill::{Schedule, no_progress};
use proptest::prelude::*;
use sparse_case::{Case, Found, GateKind, Layout, TOLERANCE, small_blocks};

/// Sizes that divide nothing. Dims and storage come from a short list, as each makes builds of its own that take a second to
/// compile on a software adapter.
fn cases() -> impl Strategy<Value = Case> {
    let sizes = (
        1usize..=2,
        prop::sample::select(vec![1usize, 1, 2, 5, 33, 67, 150]),
        prop::sample::select(vec![1usize, 3, 7, 8, 17, 64, 131, 203]),
    );
    let heads = prop::sample::select(vec![(1usize, 1usize), (3, 3), (6, 2), (8, 2), (7, 1), (16, 1)]);
    let builds = prop::sample::select(vec![(16usize, 16usize, false, false), (20, 5, false, true)]);
    // l, d, l'
    let blocks = prop::sample::select(vec![
        (8usize, 4usize, 16usize),
        (4, 4, 4),
        (16, 16, 16),
        (12, 4, 8),
        (32, 16, 64),
        (16, 4, 8),
        (1, 1, 3),
    ]);
    let counts = (1usize..=6, 0usize..=2, 0usize..=3);
    let window = prop::sample::select(vec![0usize, 1, 7, 20, 64, 1000]);
    let q_offset = prop_oneof![3 => Just(None), 1 => (-20i64..230).prop_map(Some)];
    let scale = prop::sample::select(vec![None, None, None, Some(0.0f32), Some(-0.5), Some(1.0)]);
    let gates = prop::sample::select(vec![GateKind::Values, GateKind::Logits, GateKind::Tempered(0.3)]);
    let flags = (any::<bool>(), any::<bool>());
    (sizes, heads, builds, blocks, counts, window, (q_offset, scale), gates, flags, any::<u64>()).prop_map(
        |(sizes, heads, builds, blocks, counts, window, (q_offset, scale), gates, flags, seed)| Case {
            sequences: vec![(sizes.1, sizes.2); sizes.0],
            query_heads: heads.0,
            kv_heads: heads.1,
            head_dim: builds.0,
            value_dim: builds.1,
            query_f16: builds.2,
            key_f16: builds.3,
            config: NativeSparseConfig {
                cmp_block: blocks.0,
                cmp_stride: blocks.1,
                sel_block: blocks.2,
                top_n: counts.0,
                n_init: counts.1,
                n_local: counts.2,
                window,
                q_offset,
                scale,
                variant: None,
            },
            gates,
            weighted: flags.0,
            own_branches: flags.1,
            seed,
            ..Case::default()
        },
    )
}

proptest! {
    #![proptest_config(budget(32))]

    #[test]
    fn every_build_equals_the_twin(case in cases()) {
        case.check();
    }
}

/// The head dims of the paper, of VideoNSA, the largest, and odd ones.
#[test]
fn every_head_dim_is_served() {
    for (head_dim, value_dim, query_heads) in [(192, 128, 16), (128, 128, 7), (256, 256, 2), (5, 3, 3)] {
        let case = Case { query_heads, kv_heads: 1, head_dim, value_dim, ..Case::of(70, 70) };
        case.check();
    }
}

#[test]
fn half_storage_equals_the_twin_on_rounded_inputs() {
    let case = Case { query_heads: 6, query_f16: true, key_f16: true, ..Case::of(83, 83) };
    case.check();
    Case { sequences: vec![(1, 131); 2], ..case }.check();
}

#[test]
fn lengths_that_divide_nothing_equal_the_twin() {
    let blocks = |cmp_block, cmp_stride, sel_block| NativeSparseConfig {
        cmp_block,
        cmp_stride,
        sel_block,
        ..small_blocks()
    };
    for (tokens, config, heads) in [
        (100, blocks(16, 16, 16), (4, 2)),
        (53, blocks(8, 4, 8), (6, 2)),
        (333, blocks(32, 16, 64), (3, 1)),
        (129, NativeSparseConfig { top_n: 40, n_init: 3, n_local: 7, ..blocks(4, 2, 4) }, (7, 7)),
    ] {
        Case { query_heads: heads.0, kv_heads: heads.1, config, ..Case::of(tokens, tokens) }.check();
    }
}

/// Lengths of 0 and of less than a block among them.
#[test]
fn packed_sequences_equal_the_twin() {
    let lengths = [37, 0, 5, 16, 93, 8, 1];
    let case = Case {
        sequences: lengths.map(|length| (length, length)).to_vec(),
        layout: Layout::Packed,
        query_heads: 6,
        ..Case::default()
    };
    case.check();
    Case { own_branches: true, weighted: true, gates: GateKind::Logits, ..case }.check();
}

/// Too long for every row of the twin: rows near block edges, and some at random.
#[test]
fn rows_of_a_long_sequence_equal_the_twin() {
    let (tokens, query_heads, dim) = (8192, 4, 16);
    let mut random = Random::new(77);
    let mut normal = |count: usize, deviation| random.normal(count, deviation);
    let q = normal(tokens * query_heads * dim, 1.5);
    let (k, v) = (normal(tokens * dim, 1.0), normal(tokens * dim, 1.0));
    let gates = normal(tokens * query_heads * 3, 1.0);
    let config = NativeSparseConfig { top_n: 8, window: 128, ..Default::default() };
    let shape = AttentionShape {
        batch: 1,
        query_tokens: tokens,
        tokens,
        query_heads,
        kv_heads: 1,
        head_dim: dim,
        value_dim: dim,
    };
    let mut rows = vec![0, 30, 31, 32, 63, 64, 127, 128, 511, 512, 4095, 4096, 8127, 8128, 8190, 8191];
    rows.extend((0..48).map(|_| random.below(tokens)));

    let tensor = |name, heads, data: &[f32]| upload(name, &[1, tokens, heads, dim], data);
    let (q_tensor, k_tensor, v_tensor) =
        (tensor("q", query_heads, &q), tensor("k", 1, &k), tensor("v", 1, &v));
    let gate_tensor = upload("gates", &[1, tokens, query_heads, 3], &gates);
    let mut schedule = Schedule::new(gpu());
    let inputs = NativeSparseInputs::new(&q_tensor, &k_tensor, &v_tensor, Gates::Values(&gate_tensor));
    let operator = NativeSparseAttention::new(gpu(), config.clone()).unwrap();
    let outputs = operator.record(&mut schedule, &inputs).unwrap();
    let plan = schedule.compile().unwrap();
    plan.poison();
    pollster::block_on(plan.run(no_progress)).unwrap();
    let all = Found::read(&outputs);
    assert!(all.out.iter().all(|value| value.is_finite()), "a row was not written");

    let pick = |tensor: &[f32]| -> Vec<f32> {
        let width = tensor.len() / tokens;
        rows.iter().flat_map(|row| tensor[row * width..][..width].to_vec()).collect()
    };
    let lists = rows.iter().flat_map(|row| all.blocks[row * config.top_n..][..config.top_n].to_vec());
    let found = Found {
        out: pick(&all.out),
        branches: all.branches.each_ref().map(|branch| pick(branch)),
        lse: all.lse.each_ref().map(|lse| pick(lse)),
        blocks: lists.collect(),
    };
    let [q, k, v, gates] = [&q, &k, &v, &gates].map(|data| doubles(data));
    let options = NativeSparseOptions::from(&config);
    let free = NativeSparseSources::new(&q, &k, &v, &gates);
    let expected = native_sparse_rows(&free, &shape, &options, &rows);
    let case = Case { query_heads, kv_heads: 1, config, ..Case::of(tokens, tokens) };
    case.compare_lists((tokens, tokens), &rows, &found.blocks, &expected, "long");
    // The twin reads the same blocks, so that a choice between equals makes no difference further on.
    let given = NativeSparseSources { blocks: Some(&all.blocks), ..free };
    let expected = native_sparse_rows(&given, &shape, &options, &rows);
    let parts = [&expected.o_cmp, &expected.o_slc, &expected.o_swa];
    for (name, found, expected) in ["o_cmp", "o_slc", "o_swa"]
        .iter()
        .zip(&found.branches)
        .zip(parts)
        .map(|((name, found), expected)| (name, found, expected))
    {
        assert_close(name, found, expected, TOLERANCE);
    }
    assert_close("lse_cmp", &found.lse[0], &expected.lse_cmp, TOLERANCE);
    assert_close("out", &found.out, &expected.out, TOLERANCE);
}
