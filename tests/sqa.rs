//! Sparse Query Attention on the GPU: the properties of the published layer, in every build that runs here.

mod common;
#[path = "common/sqa_case.rs"]
mod sqa_case;

use common::{Random, assert_close, doubles, gpu, read, upload, variants};
use gristmill::kernels::attention::{Attention, AttentionConfig, AttentionInputs};
use gristmill::kernels::cache::KvCache;
use gristmill::kernels::linear_types::{Activation, WeightLayout::InOut};
use gristmill::models::sqa::{SqaConfig, SqaDecoder};
use gristmill::models::sqa_presets::SqaPreset;
use gristmill::twins::linear::linear;
use gristmill::{Dtype, Error, Schedule, no_progress};
use sqa_case::{Layer, take_heads};

/// The documentation of `SqaLayer`.
const TOLERANCE: f64 = 2e-5;
/// Two builds' results of size 1 that differ in the order of their sums.
const ROUNDING: f64 = 4e-6;

const BATCH: usize = 2;
const TOKENS: usize = 37;

/// 4 query heads on 2 kv heads.
fn config() -> SqaConfig {
    SqaConfig {
        model_dim: 40,
        query_heads: 4,
        kv_heads: 2,
        head_dim: 10,
        causal: true,
        window: None,
        rope: Some(10000.0),
        variant: None,
    }
}

fn full() -> SqaConfig {
    SqaConfig { causal: false, rope: None, ..config() }
}

#[test]
fn every_preset_in_every_build_equals_the_twin() {
    for (seed, preset) in SqaPreset::ALL.into_iter().enumerate() {
        let layer = Layer::new(SqaConfig::preset(preset, 80, 8, 2).unwrap(), seed as u64);
        for kind in variants() {
            layer.check(preset.name(), BATCH, TOKENS, kind, TOLERANCE);
        }
    }
}

#[test]
fn windows_full_attention_and_odd_heads_equal_the_twin() {
    let odd = SqaConfig { model_dim: 33, head_dim: 5, rope: None, ..config() };
    for (name, config) in [
        ("sliding window", SqaConfig { window: Some(7), ..config() }),
        ("bidirectional window", SqaConfig { window: Some(8), causal: false, ..config() }),
        ("full", full()),
        ("odd dims", odd),
    ] {
        let layer = Layer::new(config, 20);
        for kind in variants() {
            layer.check(name, BATCH, TOKENS, kind, TOLERANCE);
            layer.check(name, 1, 1, kind, TOLERANCE);
        }
    }
}

/// 1: SQA is the attention kernel with fewer heads, not another one.
#[test]
fn the_heads_are_those_of_the_attention_kernel_bit_for_bit() {
    let layer = Layer::new(SqaConfig { query_heads: 8, ..config() }, 21);
    for kind in variants() {
        let found = layer.run(&layer.x(BATCH, TOKENS), BATCH, kind);
        let q = upload("q", &[BATCH, TOKENS, 8, 10], &found.q);
        let k = upload("k", &[BATCH, TOKENS, 2, 10], &found.k);
        let v = upload("v", &[BATCH, TOKENS, 2, 10], &found.v);
        let attention = AttentionConfig { causal: true, variant: Some(kind), ..Default::default() };
        let mut schedule = Schedule::new(gpu());
        let inputs = AttentionInputs::new(&q, &k, &v);
        let out = Attention::new(gpu(), attention).unwrap().record(&mut schedule, inputs).unwrap().out;
        pollster::block_on(schedule.compile().unwrap().run(no_progress)).unwrap();
        assert_eq!(read(&out), found.heads, "by {kind}, seed {}", layer.seed);
    }
}

/// 2.
#[test]
fn sparse_queries_equal_multi_head_attention_with_repeated_keys_and_values() {
    let sparse = Layer::new(config(), 22);
    let repeated = sparse.with_heads(&[0, 1, 2, 3], &[0, 0, 1, 1]);
    let x = sparse.x(BATCH, TOKENS);
    for kind in variants() {
        let (found, expected) = (sparse.run(&x, BATCH, kind), repeated.run(&x, BATCH, kind));
        assert_close(&format!("by {kind}"), &found.out, &doubles(&expected.out), ROUNDING);
    }
}

/// 3: within a group, and whole groups with their kv heads.
#[test]
fn permuted_heads_permute_the_head_outputs_only() {
    let layer = Layer::new(config(), 23);
    let x = layer.x(BATCH, TOKENS);
    for kind in variants() {
        let original = layer.run(&x, BATCH, kind);
        for (queries, kvs) in [([1, 0, 3, 2], [0, 1]), ([2, 3, 0, 1], [1, 0])] {
            let permuted = layer.with_heads(&queries, &kvs).run(&x, BATCH, kind);
            let heads = take_heads(&original.heads, 4, 10, &queries);
            let what = format!("query heads {queries:?} by {kind}");
            assert_close(&format!("heads of {what}"), &permuted.heads, &doubles(&heads), ROUNDING);
            assert_close(&format!("out of {what}"), &permuted.out, &doubles(&original.out), ROUNDING);
        }
    }
}

/// 4.
#[test]
fn full_attention_follows_a_permutation_of_the_tokens() {
    let layer = Layer::new(full(), 24);
    let x = layer.x(1, TOKENS);
    let rotate = |rows: &[f32]| [&rows[11 * 40..], &rows[..11 * 40]].concat();
    for kind in variants() {
        let (original, permuted) = (layer.run(&x, 1, kind), layer.run(&rotate(&x), 1, kind));
        assert_close(&format!("by {kind}"), &permuted.out, &doubles(&rotate(&original.out)), ROUNDING);
    }
}

/// 5.
#[test]
fn a_sequence_does_not_see_the_others_of_its_batch() {
    let layer = Layer::new(config(), 25);
    let x = layer.x(3, TOKENS);
    let length = TOKENS * 40;
    let mut other = x.clone();
    other[..length].iter_mut().for_each(|value| *value *= -3.0);
    other[2 * length..].fill(0.0);
    for kind in variants() {
        let [first, second] = [&x, &other].map(|x| layer.run(x, 3, kind).out[length..2 * length].to_vec());
        assert_eq!(first, second, "by {kind}");
        let alone = layer.run(&x[length..2 * length], 1, kind).out;
        assert_close(&format!("alone, by {kind}"), &alone, &doubles(&first), ROUNDING);
    }
}

/// 6: one plan serves every token; room for 30 keys is served by the prefill kernel, for 200 by the one that splits keys.
#[test]
fn decoded_tokens_equal_the_rows_of_prefill() {
    for (capacity, dtype, window, tolerance) in [
        (30, Dtype::F32, None, TOLERANCE),
        (200, Dtype::F32, Some(9), TOLERANCE),
        (200, Dtype::F16, None, 3e-3),
    ] {
        let layer = Layer::new(SqaConfig { window, ..config() }, 26);
        let x = layer.x(BATCH, 25);
        let expected = layer.twin(&x, BATCH).out;
        for kind in variants() {
            let built = layer.build(kind);
            let mut decoder =
                SqaDecoder::new(gpu(), &built, &layer.weights(), BATCH, capacity, dtype).unwrap();
            for token in 0..25 {
                let found = pollster::block_on(decoder.step(&token_of(&x, token, 25))).unwrap();
                let row = token_of(&expected, token, 25);
                let what = format!("token {token}, capacity {capacity}, {dtype:?}, {window:?} by {kind}");
                assert_close(&what, &found, &row, tolerance);
            }
            assert_eq!(decoder.tokens(), 25);
        }
    }
}

/// One token of every sequence of [BATCH, tokens, 40].
fn token_of<T: Copy>(x: &[T], token: usize, tokens: usize) -> Vec<T> {
    (0..BATCH).flat_map(|b| x[(b * tokens + token) * 40..][..40].to_vec()).collect()
}

/// 6: chunks whose tokens stand behind those in the cache.
#[test]
fn a_prefill_in_chunks_equals_the_whole() {
    let layer = Layer::new(config(), 27);
    let chunks = [1, 19, 2, 15];
    let x = layer.x(BATCH, TOKENS);
    let expected = layer.twin(&x, BATCH).out;
    for kind in variants() {
        let cache = KvCache::new(gpu(), BATCH, 150, 2, 10, 10, Dtype::F32).unwrap();
        let (built, weights) = (layer.build(kind), layer.weights());
        let mut first = 0;
        for chunk in chunks {
            let part = |all: usize| all * TOKENS * 40 + first * 40..all * TOKENS * 40 + (first + chunk) * 40;
            let rows: Vec<f32> = (0..BATCH).flat_map(|b| x[part(b)].to_vec()).collect();
            let rows = upload("x", &[BATCH, chunk, 40], &rows);
            let mut schedule = Schedule::new(gpu());
            let out = built.record_decode(&mut schedule, &rows, &weights, &cache).unwrap();
            let plan = schedule.compile().unwrap();
            plan.poison();
            pollster::block_on(plan.run(no_progress)).unwrap();
            let wanted: Vec<f64> = (0..BATCH).flat_map(|b| expected[part(b)].to_vec()).collect();
            assert_close(
                &format!("{chunk} tokens behind {first} by {kind}"),
                &read(&out),
                &wanted,
                TOLERANCE,
            );
            first += chunk;
        }
        assert_eq!(pollster::block_on(cache.lengths.read::<u32>(gpu())).unwrap(), [TOKENS as u32; BATCH]);
    }
}

#[test]
fn a_full_cache_refuses_the_next_token_and_keeps_its_own() {
    let layer = Layer::new(config(), 28);
    let built = layer.build(variants()[0]);
    let mut decoder = SqaDecoder::new(gpu(), &built, &layer.weights(), 1, 3, Dtype::F32).unwrap();
    let x = layer.x(1, 1);
    for _ in 0..3 {
        pollster::block_on(decoder.step(&x)).unwrap();
    }
    let error = pollster::block_on(decoder.step(&x)).unwrap_err();
    assert!(matches!(error, Error::Config { .. }), "{error:?}");
    assert_eq!(error.to_string(), "sqa_layer: `tokens` = 3; expected fewer than the cache's capacity, 3");
    assert_eq!(decoder.tokens(), 3);
}

/// 7: later tokens have weight 0, which leaves no trace.
#[test]
fn later_tokens_change_no_bit_of_earlier_rows() {
    let layer = Layer::new(config(), 29);
    let x = layer.x(1, TOKENS);
    let mut changed = x.clone();
    changed[20 * 40..].copy_from_slice(&Random::new(1).normal((TOKENS - 20) * 40, 5.0));
    for kind in variants() {
        let [original, changed] = [&x, &changed].map(|x| layer.run(x, 1, kind).out);
        assert_eq!(original[..20 * 40], changed[..20 * 40], "by {kind}");
        assert_ne!(original[20 * 40..21 * 40], changed[20 * 40..21 * 40], "by {kind}");
    }
}

/// 8.
#[test]
fn a_long_window_equals_none_and_a_window_of_one_gives_the_own_value() {
    let dense = Layer::new(config(), 30);
    let x = dense.x(BATCH, TOKENS);
    let window = |window| Layer { config: SqaConfig { window: Some(window), ..config() }, ..dense.clone() };
    for kind in variants() {
        let expected = dense.run(&x, BATCH, kind);
        assert_eq!(window(TOKENS).run(&x, BATCH, kind).out, expected.out, "by {kind}");
        let own = take_heads(&expected.v, 2, 10, &[0, 0, 1, 1]);
        let found = window(1).run(&x, BATCH, kind);
        assert_close(&format!("heads of window 1 by {kind}"), &found.heads, &doubles(&own), ROUNDING);
        let projected = linear(
            &doubles(&own),
            &doubles(&dense.wo),
            Some(&doubles(&dense.bo)),
            40,
            40,
            InOut,
            Activation::None,
        );
        assert_close(&format!("out of window 1 by {kind}"), &found.out, &projected, TOLERANCE);
    }
}

/// 9.
#[test]
fn equal_values_come_back_and_keys_of_zero_give_the_mean() {
    let layer = Layer::new(full(), 31);
    let blind = Layer { wk: vec![0.0; layer.wk.len()], ..layer.clone() };
    let x = layer.x(1, TOKENS);
    // Values that read element 0 of a token alone, which is 1 in all of them; queries and keys read what differs.
    let mut constant = layer.clone();
    constant.wv[20..].fill(0.0);
    let mut marked = x.clone();
    marked.iter_mut().step_by(40).for_each(|element| *element = 1.0);
    for kind in variants() {
        let same = constant.run(&marked, 1, kind);
        assert_ne!(same.q[..40], same.q[40..80], "the scores differ");
        let values = take_heads(&constant.wv[..20], 2, 10, &[0, 0, 1, 1]).repeat(TOKENS);
        assert_close(&format!("equal values by {kind}"), &same.heads, &doubles(&values), ROUNDING);
        let found = blind.run(&x, 1, kind);
        let mean =
            |c: usize| found.v.iter().skip(c).step_by(20).map(|v| *v as f64).sum::<f64>() / TOKENS as f64;
        let mean: Vec<f64> = (0..40).map(|c| mean(c / 20 * 10 + c % 10)).collect();
        assert_close(&format!("keys of zero by {kind}"), &found.heads, &mean.repeat(TOKENS), ROUNDING);
    }
}

/// 10: structural sparsity.
#[test]
fn dropped_heads_equal_zeroed_rows_of_the_output_weight() {
    let all = Layer::new(SqaConfig { kv_heads: 4, ..config() }, 32);
    let kept = all.with_heads(&[1, 3], &[1, 3]);
    let mut zeroed = all.clone();
    for dropped in [0, 2] {
        zeroed.wo[dropped * 400..][..400].fill(0.0);
    }
    let x = all.x(BATCH, TOKENS);
    for kind in variants() {
        let (found, expected) = (kept.run(&x, BATCH, kind), zeroed.run(&x, BATCH, kind));
        assert_close(&format!("by {kind}"), &found.out, &doubles(&expected.out), ROUNDING);
    }
}

/// 11: fewer query heads than kv heads are tiled over them.
#[test]
fn reverse_sparse_queries_are_tiled_over_the_kv_heads() {
    for (query_heads, tiled) in [(1, [0, 0, 0, 0]), (2, [0, 1, 0, 1]), (4, [0, 1, 2, 3])] {
        let reverse = Layer::new(SqaConfig { query_heads, kv_heads: 4, ..config() }, 33);
        let symmetric = Layer {
            config: SqaConfig { query_heads: 4, ..reverse.config.clone() },
            wq: take_heads(&reverse.wq, query_heads, 10, &tiled),
            ..reverse.clone()
        };
        let x = reverse.x(BATCH, TOKENS);
        for kind in variants() {
            let (found, expected) = (reverse.run(&x, BATCH, kind), symmetric.run(&x, BATCH, kind));
            let what = format!("{query_heads} query heads by {kind}");
            assert_close(&format!("heads of {what}"), &found.heads, &doubles(&expected.heads), ROUNDING);
            assert_close(&format!("out of {what}"), &found.out, &doubles(&expected.out), ROUNDING);
        }
    }
}

#[test]
fn only_a_causal_layer_decodes() {
    let layer = Layer::new(full(), 34);
    let x = upload("x", &[1, 1, 40], &layer.x(1, 1));
    let cache = KvCache::new(gpu(), 1, 8, 2, 10, 10, Dtype::F32).unwrap();
    let mut schedule = Schedule::new(gpu());
    let error =
        layer.build(variants()[0]).record_decode(&mut schedule, &x, &layer.weights(), &cache).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, Error::Config { .. }) && text.contains("`causal` = false; expected true"),
        "{text}"
    );
}
