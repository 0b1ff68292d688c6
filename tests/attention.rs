//! Attention on the GPU against its f64 twin, in every build that runs here.

#[path = "common/attention_case.rs"]
mod attention_case;
mod common;

use attention_case::{Case, Data, Layout};
use common::{Random, assert_close, budget, doubles, variants};
use gristmill::twins::attention::{AttentionMask, AttentionShape, attention_rows};
use proptest::prelude::*;

/// Golden files `sqa_attn_*` and the documentation of `Attention`: absolute, for outputs of size 1.
const TOLERANCE: f64 = 2e-5;

/// Sizes that divide nothing. Dims and flags come from a short list, as each makes builds of its own that take a second to
/// compile on a software adapter.
fn cases() -> impl Strategy<Value = Case> {
    let sizes = (
        1usize..=2,
        prop::sample::select(vec![1usize, 1, 2, 5, 9, 33, 67]),
        prop::sample::select(vec![1usize, 3, 17, 64, 131, 203, 290]),
    );
    let heads = prop::sample::select(vec![
        (1usize, 1usize),
        (2, 2),
        (3, 1),
        (6, 2),
        (7, 1),
        (14, 2),
        (16, 1),
        (1, 3),
        (2, 4),
    ]);
    let builds = prop::sample::select(vec![
        (4usize, 4usize, false, false),
        (5, 5, true, true),
        (16, 16, true, false),
        (20, 5, false, true),
    ]);
    let window =
        prop_oneof![2 => Just(None), 1 => (0usize..8).prop_map(Some), 2 => (8usize..400).prop_map(Some)];
    let q_offset = prop_oneof![2 => Just(None), 1 => (-20i64..300).prop_map(Some)];
    let scale = prop::sample::select(vec![None, None, None, Some(0.0f32), Some(-0.5), Some(1.0)]);
    (sizes, heads, builds, any::<bool>(), window, q_offset, scale, any::<u64>()).prop_map(
        |(sizes, heads, builds, causal, window, q_offset, scale, seed)| Case {
            sequences: vec![(sizes.1, sizes.2); sizes.0],
            query_heads: heads.0,
            kv_heads: heads.1,
            head_dim: builds.0,
            value_dim: builds.1,
            key_mask: builds.2,
            key_bias: builds.3,
            causal,
            window,
            q_offset,
            scale,
            seed,
            ..Case::default()
        },
    )
}

proptest! {
    #![proptest_config(budget(24))]

    #[test]
    fn every_build_equals_the_twin(case in cases()) {
        case.check(TOLERANCE);
    }
}

/// Wide heads take other tiles. The widest take a software adapter seconds to compile, so there are few cases.
#[test]
fn wide_heads_equal_the_twin() {
    for (dim, sequence) in WIDE_HEADS {
        wide_head(dim, sequence).check(TOLERANCE);
    }
}

const WIDE_HEADS: [(usize, (usize, usize)); 6] =
    [(80, (35, 35)), (80, (1, 200)), (128, (35, 35)), (128, (3, 200)), (256, (35, 35)), (256, (2, 200))];

fn wide_head(dim: usize, sequence: (usize, usize)) -> Case {
    Case {
        sequences: vec![sequence],
        head_dim: dim,
        value_dim: dim,
        causal: true,
        seed: 9,
        ..Case::default()
    }
}

#[test]
fn half_storage_equals_the_twin_on_rounded_inputs() {
    for (head_dim, value_dim, query_f16, key_f16) in
        [(20, 20, true, true), (5, 7, false, true), (16, 6, true, false)]
    {
        for sequences in [vec![(37, 37); 2], vec![(2, 203)]] {
            let case = Case {
                query_heads: 3,
                head_dim,
                value_dim,
                query_f16,
                key_f16,
                causal: true,
                ..Case { sequences, ..Case::default() }
            };
            case.check(TOLERANCE);
        }
    }
}

#[test]
fn packed_sequences_equal_each_sequence_alone() {
    let ragged = vec![(5, 5), (0, 9), (70, 131), (1, 1), (3, 0), (0, 0), (33, 20)];
    let few_rows = vec![(1, 200), (3, 0), (0, 17), (2, 131), (1, 1)];
    for (sequences, causal, key_mask, head_dim, value_dim) in [
        (ragged.clone(), true, false, 20, 5),
        (ragged, false, true, 16, 16),
        (few_rows.clone(), true, true, 20, 5),
        (few_rows, false, false, 16, 16),
    ] {
        let case = Case {
            sequences,
            layout: Layout::Packed,
            query_heads: 6,
            kv_heads: 2,
            head_dim,
            value_dim,
            causal,
            key_mask,
            key_bias: key_mask,
            window: causal.then_some(50),
            ..Case::default()
        };
        case.check(TOLERANCE);
    }
}

/// NaN lies behind the last key: 0 times NaN would be NaN.
#[test]
fn a_cache_does_not_leak_what_lies_beyond_its_length() {
    let lengths = [0, 1, 63, 130, 200];
    for (query_tokens, key_f16, key_bias) in
        [(1, false, false), (1, true, true), (40, false, true), (40, true, false)]
    {
        let case = Case {
            sequences: lengths.map(|tokens| (query_tokens, tokens)).to_vec(),
            layout: Layout::Cache(210),
            query_heads: 4,
            kv_heads: 2,
            head_dim: 20,
            value_dim: 20,
            causal: true,
            key_f16,
            key_bias,
            key_mask: key_bias,
            ..Case::default()
        };
        case.check(TOLERANCE);
    }
}

#[test]
fn rows_without_a_visible_key_are_zero_with_an_lse_of_minus_infinity() {
    for (query_tokens, tokens) in [(40, 40), (2, 300)] {
        let sequences = vec![(query_tokens, tokens)];
        let base = Case { sequences, value_dim: 6, causal: true, ..Case::default() };
        let before_all_keys = Case { q_offset: Some(-1000), ..base.clone() };
        let behind_the_window = Case { q_offset: Some(100_000), window: Some(7), ..base.clone() };
        let window_of_nothing = Case { window: Some(0), ..base.clone() };
        let all_masked = Case { causal: false, key_mask: true, ..base };
        for case in [before_all_keys, behind_the_window, window_of_nothing, all_masked] {
            let mut data = case.data();
            data.key_mask = data.key_mask.map(|mask| vec![0; mask.len()]);
            for kind in variants() {
                let found = case.run(&data, kind);
                assert!(
                    found.out.iter().all(|value| *value == 0.0),
                    "{case:?} by {kind}: out {:?}",
                    found.out
                );
                let empty = found.lse.iter().all(|value| *value == f32::NEG_INFINITY);
                assert!(empty, "{case:?} by {kind}: lse {:?}", found.lse);
            }
        }
    }
}

/// One row is served by splitting its keys, many rows are not.
#[test]
fn the_last_row_alone_equals_the_last_row_of_many() {
    for (head_dim, key_mask) in [(16, false), (20, true)] {
        let many = Case {
            sequences: vec![(70, 333)],
            query_heads: 6,
            kv_heads: 2,
            head_dim,
            value_dim: head_dim,
            causal: true,
            key_mask,
            ..Case::default()
        };
        let one = Case { sequences: vec![(1, 333)], ..many.clone() };
        let data = many.data();
        let (row, lse_row) = (6 * head_dim, 6);
        let last = Data { q: data.q[69 * row..].to_vec(), ..data.clone() };
        for kind in variants() {
            let (many, one) = (many.run(&data, kind), one.run(&last, kind));
            let what = format!("head_dim {head_dim} by {kind}, the last of 70 rows");
            assert_close(&format!("{what}: out"), &one.out, &doubles(&many.out[69 * row..]), 2e-6);
            assert_close(&format!("{what}: lse"), &one.lse, &doubles(&many.lse[69 * lse_row..]), 4e-6);
        }
    }
}

#[test]
fn large_sizes_match_the_twin_on_sampled_rows() {
    let case = Case {
        sequences: vec![(2048, 2048)],
        query_heads: 4,
        kv_heads: 2,
        head_dim: 64,
        value_dim: 64,
        causal: true,
        seed: 77,
        ..Case::default()
    };
    let data = case.data();
    let mut random = Random::new(78);
    let rows: Vec<usize> =
        [0, 1, 63, 64, 2047].into_iter().chain((0..8).map(|_| random.below(2048))).collect();
    let shape = AttentionShape {
        batch: 1,
        query_tokens: 2048,
        tokens: 2048,
        query_heads: 4,
        kv_heads: 2,
        head_dim: 64,
        value_dim: 64,
    };
    let mask = AttentionMask { causal: true, ..Default::default() };
    let [q, k, v] = [&data.q, &data.k, &data.v].map(|tensor| doubles(tensor));
    let expected = attention_rows(&q, &k, &v, &shape, &mask, None, 0.125, &rows);
    for kind in variants() {
        let found = case.run_times(1, &data, kind);
        let sample = |all: &[f32], width: usize| -> Vec<f32> {
            rows.iter().flat_map(|row| all[row * width..][..width].to_vec()).collect()
        };
        let what = format!("2048 tokens by {kind}, seed {}, rows {rows:?}", case.seed);
        assert_close(&format!("{what}: out"), &sample(&found.out, 4 * 64), &expected.out, TOLERANCE);
        assert_close(&format!("{what}: lse"), &sample(&found.lse, 4), &expected.lse, TOLERANCE);
    }
}

/// A softmax sums to 1, so a value that all keys share comes back; equal logits give the mean of the visible values.
#[test]
fn equal_values_come_back_and_equal_logits_give_the_mean() {
    for sequences in [vec![(40, 71)], vec![(1, 300)]] {
        let case =
            Case { sequences, query_heads: 3, scale: Some(2.0), causal: true, seed: 5, ..Case::default() };
        let (query_tokens, tokens) = case.sequences[0];
        let mut equal_values = case.data();
        let one = equal_values.v[..case.value_dim].to_vec();
        equal_values.v = one.repeat(tokens);
        let mut equal_logits = case.data();
        equal_logits.k.fill(0.0);
        let mean = |row: usize| -> Vec<f64> {
            let visible = tokens - query_tokens + row / 3 + 1;
            let column = |c: usize| (0..visible).map(|s| equal_logits.v[s * 16 + c] as f64).sum::<f64>();
            (0..16).map(|c| column(c) / visible as f64).collect()
        };
        let means: Vec<f64> = (0..3 * query_tokens).flat_map(mean).collect();
        for kind in variants() {
            let found = case.run(&equal_values, kind).out;
            assert_close(
                &format!("{case:?} by {kind}: equal values"),
                &found,
                &doubles(&one.repeat(3 * query_tokens)),
                2e-6,
            );
            let found = case.run(&equal_logits, kind);
            assert_close(&format!("{case:?} by {kind}: equal logits"), &found.out, &means, 2e-6);
        }
    }
}

#[test]
fn a_window_longer_than_the_sequence_equals_none() {
    for sequences in [vec![(90, 90)], vec![(2, 200)]] {
        for causal in [true, false] {
            let dense = Case { sequences: sequences.clone(), causal, ..Case::default() };
            let data = dense.data();
            for kind in variants() {
                let expected = dense.run(&data, kind);
                for window in [450, 1 << 31, usize::MAX] {
                    let windowed = Case { window: Some(window), ..dense.clone() };
                    let found = windowed.run(&data, kind);
                    assert_eq!(found, expected, "{windowed:?} by {kind}");
                }
            }
        }
    }
}

/// Biases are any finite numbers: log-sizes of merged tokens, or a poor man's mask.
#[test]
fn a_huge_bias_picks_or_hides_its_key() {
    for sequences in [vec![(40, 131)], vec![(2, 203)]] {
        let case = Case { sequences, key_bias: true, ..Case::default() };
        let (_, tokens) = case.sequences[0];
        for kind in variants() {
            let mut data = case.data();
            data.key_bias.as_mut().unwrap()[77] = f32::MAX;
            let found = case.run(&data, kind).out;
            let expected = doubles(&data.v[77 * 16..][..16]).repeat(found.len() / 16);
            assert_close(&format!("{case:?} by {kind}: key 77 alone"), &found, &expected, 0.0);

            let hidden = |s: usize| s == 3 || s >= tokens - 2;
            let bias = data.key_bias.as_mut().unwrap();
            bias.iter_mut().enumerate().for_each(|(s, bias)| *bias = if hidden(s) { f32::MIN } else { 0.5 });
            let expected = case.twin(&data);
            let found = case.run(&data, kind);
            assert_close(
                &format!("{case:?} by {kind}: three keys hidden"),
                &found.out,
                &expected.out,
                TOLERANCE,
            );
        }
    }
}

/// Logits in the hundreds overflow exp without the running maximum.
#[test]
fn large_logits_neither_overflow_nor_vanish() {
    for sequences in [vec![(40, 131)], vec![(2, 203)]] {
        let case = Case { sequences, scale: Some(40.0), ..Case::default() };
        let data = case.data();
        let expected = case.twin(&data);
        for kind in variants() {
            let found = case.run(&data, kind);
            // Logits of size 500 have a rounding of 3e-5, which moves weights and lse by as much.
            assert_close(&format!("{case:?} by {kind}: out"), &found.out, &expected.out, 1e-3);
            assert_close(&format!("{case:?} by {kind}: lse"), &found.lse, &expected.lse, 1e-3);
        }
    }
}
