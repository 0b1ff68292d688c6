//! Few rows over many keys: local linear attention from moments, split over ranges of keys, against the f64 twin.

mod common;
#[allow(dead_code)]
#[path = "common/lla_case.rs"]
mod lla_case;

use common::{Random, assert_close, doubles, gpu, variants};
use gristmill::kernels::flash_lla::{FlashLla, FlashLlaInputs, status};
use gristmill::twins::attention::AttentionShape;
use gristmill::twins::flash_lla::{LlaOptions, lla_decode};
use gristmill::{Schedule, Tensor, no_progress};
use lla_case::{Case, Data, Found};

/// Documentation of `FlashLla`: 1e-5 for outputs of size 1 at a ridge of 0.1; these rows reach past the hull of their keys.
const TOLERANCE: f64 = 2e-5;

/// One query token over 300 keys.
fn step(query_heads: usize, kv_heads: usize) -> Case {
    Case { query_heads, kv_heads, ..Case::of(1, 1, 300) }
}

/// A mask of ones is nothing but a way to ask for the iteration.
fn iterated(case: &Case, data: &Data) -> (Case, Data) {
    let mask = Some(vec![true; case.query_tokens * case.tokens[0]]);
    (Case { mask: true, ..case.clone() }, Data { mask, ..data.clone() })
}

#[test]
fn queries_of_any_number_share_a_pass() {
    for group in [1, 3, 4, 7, 16] {
        step(2 * group, 2).check(TOLERANCE);
    }
}

/// Padded columns, several tiles of rows, more rows of values than of keys.
#[test]
fn every_head_dim_is_served() {
    for (head_dim, value_dim) in [(4, 4), (5, 3), (20, 33), (33, 8), (64, 64), (80, 80), (96, 40), (128, 128)]
    {
        let case = Case { head_dim, value_dim, ..step(2, 1) };
        case.check(TOLERANCE);
    }
}

#[test]
fn nothing_is_iterated() {
    let case = step(4, 2);
    let data = case.data();
    let (masked, masked_data) = iterated(&case, &data);
    for kind in variants() {
        let (found, iterated) = (case.run(&data, kind), masked.run_times(1, &masked_data, kind));
        assert!(found.iterations.iter().all(|&count| count == 0), "{kind}: {:?}", found.iterations);
        assert!(iterated.iterations.iter().all(|&count| count > 0), "{kind}: {:?}", iterated.iterations);
        assert_close(&format!("both ways by {kind}"), &found.out, &doubles(&iterated.out), TOLERANCE);
        assert_close(&format!("lse by {kind}"), &found.lse, &doubles(&iterated.lse), 4e-6);
    }
}

/// Sequences of a batch, NaN behind their lengths, several query tokens that see one key more each.
#[test]
fn caches_may_hold_anything_behind_their_lengths() {
    for (query_tokens, causal, q_offset, key_f16) in [
        (1, false, None, false),
        (3, true, None, false),
        (3, true, Some(100), true),
        (2, true, Some(-1), false),
    ] {
        let case = Case {
            tokens: vec![0, 1, 2, 17, 129, 256],
            query_tokens,
            capacity: Some(256),
            causal,
            q_offset,
            key_f16,
            key_bias: causal,
            ..Case::default()
        };
        case.check(TOLERANCE);
    }
}

/// A cache with room for more is cut into more ranges; the ranges of a short sequence are few, or one.
#[test]
fn any_number_of_ranges_gives_the_same_rows() {
    for tokens in [1, 16, 70, 1100] {
        let base = Case { tokens: vec![tokens], ..step(4, 1) };
        let data = base.data();
        let rows: Vec<Vec<Found>> = [tokens.max(128), 2048, 40_000]
            .into_iter()
            .map(|capacity| Case { capacity: Some(capacity), ..base.clone() })
            .map(|case| variants().into_iter().map(|kind| case.run(&data, kind)).collect())
            .collect();
        for other in &rows[1..] {
            for (found, first) in other.iter().zip(&rows[0]) {
                let what = format!("{tokens} keys in a larger cache");
                assert_close(&what, &found.out, &doubles(&first.out), 1e-5);
                assert_eq!(found.status, first.status, "{what}");
            }
        }
    }
}

/// The twin that merges ranges of its own.
#[test]
fn equals_the_twin_of_the_split_form() {
    let case = Case { causal: true, ..step(6, 2) };
    let data = case.data();
    let shape = AttentionShape { batch: 1, ..case.shape(300) };
    let options = LlaOptions { causal: true, ridge: 0.1f32.into(), ridge_floor: 0.0, ..Default::default() };
    let [q, k, v] = [&data.q, &data.k, &data.v].map(|tensor| doubles(tensor));
    let expected = lla_decode(&q, &k, &v, &shape, &options, 5);
    for kind in variants() {
        assert_close(&format!("{kind}"), &case.run(&data, kind).out, &expected.out, TOLERANCE);
    }
}

/// A row on one key, on two, far from all of them, and with logits of hundreds: the covariance is a small part of the keys'
/// squares there.
#[test]
fn peaked_rows_keep_their_digits() {
    for (gain, offset, tolerance) in
        [(4.0, 0.0, 2e-3), (16.0, 0.0, 4e-3), (64.0, 0.0, 4e-3), (1.0, 8.0, 1e-3)]
    {
        let case = Case { head_dim: 64, value_dim: 64, ..step(4, 1) };
        let mut data = case.data();
        data.q.iter_mut().for_each(|q| *q = *q * gain + offset);
        data.k.iter_mut().for_each(|k| *k += offset);
        let expected = case.twin(&data);
        for kind in variants() {
            let found = case.run(&data, kind);
            let what = format!("queries times {gain}, all plus {offset}, by {kind}");
            assert_close(&what, &found.out, &expected.out, tolerance);
            assert!(found.status.iter().all(|&status| status == 0), "{what}: {:?}", found.status);
        }
    }
}

/// What the first key is: 50 times longer than the others, as in sinks of attention.
#[test]
fn a_far_first_key_costs_no_digits() {
    let case = Case { head_dim: 64, value_dim: 64, ..step(2, 1) };
    let mut data = case.data();
    data.k[..64].iter_mut().for_each(|k| *k *= 50.0);
    let expected = case.twin(&data);
    for kind in variants() {
        assert_close(&format!("{kind}"), &case.run(&data, kind).out, &expected.out, 2e-4);
    }
}

/// A NaN in a key or a value is told by the rows that see it, of those that share a pass.
#[test]
fn a_nan_is_told_by_the_rows_that_see_it() {
    let case = Case { query_tokens: 4, causal: true, ..step(2, 1) };
    let clean = case.data();
    for in_key in [true, false] {
        let mut data = clean.clone();
        let tensor = if in_key { &mut data.k } else { &mut data.v };
        tensor[298 * 16 + 3] = if in_key { f32::NAN } else { f32::INFINITY };
        let expected = case.twin(&data);
        for kind in variants() {
            let found = case.run(&data, kind);
            case.compare(&found, &expected, kind, TOLERANCE);
            let told: Vec<bool> = found.status.iter().map(|&bits| bits == status::NON_FINITE).collect();
            assert_eq!(told, [false, false, false, false, true, true, true, true], "{kind}");
        }
    }
    let mut data = clean;
    data.q[5] = f32::NEG_INFINITY;
    let expected = case.twin(&data);
    for kind in variants() {
        case.compare(&case.run(&data, kind), &expected, kind, TOLERANCE);
    }
}

/// Later keys don't touch earlier rows of the same pass, to the bit.
#[test]
fn causality_holds_to_the_bit() {
    let case = Case { query_tokens: 3, causal: true, ..step(4, 2) };
    let data = case.data();
    let mut changed = data.clone();
    let fresh = Random::new(9).normal(2 * 2 * 16, 5.0);
    changed.k[298 * 2 * 16..].copy_from_slice(&fresh);
    changed.v[298 * 2 * 16..].copy_from_slice(&fresh);
    for kind in variants() {
        let (before, after) = (case.run(&data, kind), case.run(&changed, kind));
        let first = 4 * 16;
        assert_eq!(before.out[..first], after.out[..first], "{kind}");
        assert_ne!(before.out[first..], after.out[first..], "{kind}");
    }
}

/// A token at a time, appended and attended to by one plan, gives the rows of the whole sequence.
#[test]
fn steps_over_a_cache_equal_the_rows_of_a_prefill() {
    use gristmill::kernels::cache::KvCache;
    let case = Case { query_heads: 4, kv_heads: 2, causal: true, ..Case::of(1, 140, 140) };
    let data = case.data();
    let row = |tensor: &[f32], token: usize, width: usize| tensor[token * width..][..width].to_vec();
    for kind in variants() {
        let whole = case.run_times(1, &data, kind);
        let cache = KvCache::new(gpu(), 1, 140, 2, 16, 16, gristmill::Dtype::F32).unwrap();
        let zeros =
            |heads: usize| Tensor::upload(gpu(), "new", &[1, 1, heads, 16], &vec![0.0f32; heads * 16]);
        let [q, k, v] = [zeros(4).unwrap(), zeros(2).unwrap(), zeros(2).unwrap()];
        let mut schedule = Schedule::new(gpu());
        cache.record_append(&mut schedule, &k, &v).unwrap();
        let inputs = FlashLlaInputs {
            lengths: Some(&cache.lengths),
            ..FlashLlaInputs::new(&q, &cache.key, &cache.value)
        };
        let output = FlashLla::new(gpu(), case.config(kind)).unwrap().record(&mut schedule, inputs).unwrap();
        let plan = schedule.compile().unwrap();
        for token in 0..140 {
            q.write(gpu(), &row(&data.q, token, 4 * 16)).unwrap();
            k.write(gpu(), &row(&data.k, token, 2 * 16)).unwrap();
            v.write(gpu(), &row(&data.v, token, 2 * 16)).unwrap();
            pollster::block_on(plan.run(no_progress)).unwrap();
            let out = common::read(&output.out);
            let expected = doubles(&row(&whole.out, token, 4 * 16));
            assert_close(&format!("token {token} by {kind}"), &out, &expected, 1e-4);
        }
    }
}
