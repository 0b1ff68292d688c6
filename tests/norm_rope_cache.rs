//! The small kernels of a layer: norms, rotary embedding, the cache, conversion, and the scan for NaN.

mod common;

use common::{Random, assert_close, doubles, gpu, read, upload, variants};
use gristmill::kernels::cache::KvCache;
use gristmill::kernels::convert::record_cast;
use gristmill::kernels::finite::check_finite;
use gristmill::kernels::norm::{Norm, NormConfig};
use gristmill::kernels::rope::{Rope, RopeConfig, RopePosition};
use gristmill::twins::norm::{layer_norm, rms_norm};
use gristmill::twins::rope::rope;
use gristmill::{Dtype, Error, Result, Schedule, Tensor, VariantKind, no_progress};
use half::f16;

/// Records, runs over outputs full of NaN, and gives the tensor that was recorded.
fn run(record: impl FnOnce(&mut Schedule) -> Result<Tensor>) -> Tensor {
    let mut schedule = Schedule::new(gpu());
    let tensor = record(&mut schedule).unwrap();
    let plan = schedule.compile().unwrap();
    plan.poison();
    pollster::block_on(plan.run(no_progress)).unwrap();
    tensor
}

fn halves(values: &[f32]) -> Vec<f16> {
    values.iter().map(|&value| f16::from_f32(value)).collect()
}

fn normalise(config: NormConfig, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Vec<f32> {
    let norm = Norm::new(gpu(), config).unwrap();
    read(&run(|schedule| norm.record(schedule, x, weight, bias)))
}

#[test]
fn norms_of_any_width_equal_the_twin() {
    for (rows, width) in [(1, 1), (9, 3), (3, 4), (17, 45), (5, 256), (2, 1030), (11, 2052)] {
        let mut random = Random::new(width as u64);
        let [x, weight, bias] = [rows * width, width, width].map(|count| random.normal(count, 1.0));
        let (x64, weight64, bias64) = (doubles(&x), doubles(&weight), doubles(&bias));
        let x = upload("x", &[rows, width], &x);
        let (weight, bias) = (upload("weight", &[width], &weight), upload("bias", &[width], &bias));
        for kind in variants() {
            let config = |center| NormConfig { center, epsilon: 1e-5, variant: Some(kind) };
            let found = normalise(config(true), &x, &weight, Some(&bias));
            let expected = layer_norm(&x64, Some(&weight64), Some(&bias64), width, 1e-5f32 as f64);
            assert_close(&format!("LayerNorm of [{rows}, {width}] by {kind}"), &found, &expected, 1e-5);
            let found = normalise(config(false), &x, &weight, None);
            let expected = rms_norm(&x64, Some(&weight64), width, 1e-5f32 as f64);
            assert_close(&format!("RMSNorm of [{rows}, {width}] by {kind}"), &found, &expected, 1e-5);
        }
    }
}

/// The variance of x + 10000 as mean(x²) - mean(x)² would have no digit left.
#[test]
fn a_large_offset_loses_nothing() {
    for width in [45, 768] {
        let x: Vec<f32> = Random::new(1).normal(7 * width, 1.0).iter().map(|value| value + 1e4).collect();
        let expected = layer_norm(&doubles(&x), None, None, width, 1e-6f32 as f64);
        let x = upload("x", &[7, width], &x);
        let one = upload("weight", &[width], &vec![1.0; width]);
        for kind in variants() {
            let config = NormConfig { center: true, epsilon: 1e-6, variant: Some(kind) };
            let found = normalise(config, &x, &one, None);
            assert_close(&format!("width {width} by {kind}"), &found, &expected, 1e-5);
        }
    }
}

#[test]
fn constant_and_zero_rows_stay_finite() {
    let x = upload("x", &[2, 20], &[vec![3.0; 20], vec![0.0; 20]].concat());
    let weight = upload("weight", &[20], &[2.0; 20]);
    let bias = upload("bias", &[20], &[0.25; 20]);
    for kind in variants() {
        let config = |center| NormConfig { center, variant: Some(kind), ..NormConfig::default() };
        assert_eq!(normalise(config(true), &x, &weight, Some(&bias)), [0.25; 40], "LayerNorm by {kind}");
        let found = normalise(config(false), &x, &weight, None);
        let expected = [[2.0; 20], [0.0; 20]].concat();
        assert_close(&format!("RMSNorm by {kind}"), &found, &expected, 2e-6);
    }
}

#[test]
fn norms_of_halves_equal_the_twin_on_rounded_inputs() {
    for (rows, width) in [(5, 36), (3, 13)] {
        let x = halves(&Random::new(3).normal(rows * width, 2.0));
        let x64: Vec<f64> = x.iter().map(|half| half.to_f64()).collect();
        let x = Tensor::upload(gpu(), "x", &[rows, width], &x).unwrap();
        let one = upload("weight", &[width], &vec![1.0; width]);
        for kind in variants() {
            let config = NormConfig { variant: Some(kind), ..NormConfig::default() };
            let expected = rms_norm(&x64, None, width, 1e-6f32 as f64);
            assert_close(
                &format!("[{rows}, {width}] by {kind}"),
                &normalise(config, &x, &one, None),
                &expected,
                1e-5,
            );
        }
    }
}

#[test]
fn rotations_equal_the_twin_at_positions_to_two_billion() {
    let (batch, tokens, heads, dim) = (2, 5, 3, 10);
    let x = Random::new(4).normal(batch * tokens * heads * dim, 1.0);
    let tensor = upload("x", &[batch, tokens, heads, dim], &x);
    for (base, deinterleave) in [(1e4, true), (5e5, false), (1.0, true)] {
        let kernel = Rope::new(gpu(), RopeConfig { head_dim: dim, base, deinterleave }).unwrap();
        for offset in [0, 1, 4095, 131_071, 200_000, 2_000_000_000] {
            let found = read(&run(|schedule| kernel.record(schedule, &tensor, RopePosition::From(offset))));
            let expected = rope(&doubles(&x), tokens, heads, dim, base, offset as i64, deinterleave);
            // A pair has length up to 6; 2e9 radians have 4e-7 digits left in f64.
            let tolerance = if offset > 1 << 30 { 4e-6 } else { 3e-6 };
            assert_close(&format!("base {base} at {offset}, {deinterleave}"), &found, &expected, tolerance);
        }
    }
}

#[test]
fn rotations_start_behind_the_keys_of_each_cache() {
    let (tokens, heads, dim) = (3, 2, 6);
    let x = Random::new(5).normal(3 * tokens * heads * dim, 1.0);
    let tensor = upload("x", &[3, tokens, heads, dim], &x);
    let lengths = [0u32, 17, 199_999];
    let lengths_tensor = Tensor::upload(gpu(), "lengths", &[3], &lengths).unwrap();
    let kernel = Rope::new(gpu(), RopeConfig { head_dim: dim, base: 1e4, deinterleave: true }).unwrap();
    let found = read(&run(|schedule| kernel.record(schedule, &tensor, RopePosition::After(&lengths_tensor))));
    let rows = doubles(&x);
    let parts = rows.chunks_exact(tokens * heads * dim).zip(lengths);
    let expected: Vec<f64> =
        parts.flat_map(|(x, at)| rope(x, tokens, heads, dim, 1e4, at as i64, true)).collect();
    assert_close("lengths 0, 17, 199999", &found, &expected, 3e-6);
}

#[test]
fn a_rotation_refuses_odd_heads_and_positions_past_its_range() {
    let error = Rope::new(gpu(), RopeConfig { head_dim: 5, base: 1e4, deinterleave: true }).unwrap_err();
    assert_eq!(error.to_string(), "rope: `head_dim` = 5; expected an even number, at least 2");
    let kernel = Rope::new(gpu(), RopeConfig { head_dim: 4, base: 1e4, deinterleave: true }).unwrap();
    let x = upload("x", &[1, 2, 1, 4], &[0.0; 8]);
    let error = kernel.record(&mut Schedule::new(gpu()), &x, RopePosition::From((1 << 31) - 1)).unwrap_err();
    assert!(error.to_string().contains("`offset` = 2147483647; expected positions below 2^31"), "{error}");
}

/// Appends and gives what the cache holds: keys, values, lengths.
fn append(cache: &KvCache, key: &[f32], value: &[f32], tokens: usize) -> (Vec<f32>, Vec<f32>, Vec<u32>) {
    let [batch, _, heads, key_dim] = cache.key.shape().try_into().unwrap();
    let value_dim = cache.value.shape()[3];
    let key = upload("key", &[batch, tokens, heads, key_dim], key);
    let value = upload("value", &[batch, tokens, heads, value_dim], value);
    let mut schedule = Schedule::new(gpu());
    cache.record_append(&mut schedule, &key, &value).unwrap();
    let plan = schedule.compile().unwrap();
    pollster::block_on(plan.run(no_progress)).unwrap();
    let floats = |tensor: &Tensor| match tensor.dtype() {
        Dtype::F16 => {
            let halves = pollster::block_on(tensor.read::<f16>(gpu())).unwrap();
            halves.into_iter().map(f16::to_f32).collect()
        }
        _ => read(tensor),
    };
    (floats(&cache.key), floats(&cache.value), pollster::block_on(cache.lengths.read(gpu())).unwrap())
}

/// Widths 8 and 6 are whole and broken quads, 3 and 5 are odd: single elements.
#[test]
fn appended_tokens_lie_behind_the_earlier_ones_and_those_past_the_capacity_are_dropped() {
    for (heads, key_dim, value_dim, dtype) in
        [(2, 4, 3, Dtype::F32), (1, 3, 5, Dtype::F32), (2, 4, 3, Dtype::F16), (2, 5, 2, Dtype::F16)]
    {
        let (batch, capacity) = (3, 7);
        let cache = KvCache::new(gpu(), batch, capacity, heads, key_dim, value_dim, dtype).unwrap();
        cache.set_lengths(gpu(), &[0, 2, 5]).unwrap();
        let mut random = Random::new(6);
        let mut lengths = [0usize, 2, 5];
        let widths = [heads * key_dim, heads * value_dim];
        let mut expected = widths.map(|width| vec![0.0; batch * capacity * width]);
        for tokens in [1, 3, 2, 2] {
            let new = widths.map(|width| {
                let values = random.normal(batch * tokens * width, 1.0);
                if dtype == Dtype::F16 {
                    halves(&values).iter().map(|half| half.to_f32()).collect()
                } else {
                    values
                }
            });
            for (sequence, length) in lengths.iter_mut().enumerate() {
                for token in (0..tokens).take(capacity - *length) {
                    for ((width, new), expected) in widths.iter().zip(&new).zip(&mut expected) {
                        let row = &new[(sequence * tokens + token) * width..][..*width];
                        expected[(sequence * capacity + *length + token) * width..][..*width]
                            .copy_from_slice(row);
                    }
                }
                *length = (*length + tokens).min(capacity);
            }
            let (key, value, found_lengths) = append(&cache, &new[0], &new[1], tokens);
            let what = format!("{heads} heads of {key_dim} / {value_dim}, {dtype:?}, lengths {lengths:?}");
            assert_eq!(found_lengths, lengths.map(|length| length as u32), "{what}");
            assert_eq!(key, expected[0], "{what}: keys");
            assert_eq!(value, expected[1], "{what}: values");
        }
        assert_eq!(lengths, [7, 7, 7], "every sequence was filled");
    }
}

#[test]
fn a_cache_refuses_what_it_can_not_hold() {
    let error = KvCache::new(gpu(), 1, 8, 1, 3, 4, Dtype::F16).unwrap_err().to_string();
    assert!(error.contains("`dtype` = f16; expected f32, as kv_heads · dim is odd"), "{error}");
    let error = KvCache::new(gpu(), 1, 0, 1, 4, 4, Dtype::F32).unwrap_err().to_string();
    assert!(error.contains("no empty dimension"), "{error}");
    let cache = KvCache::new(gpu(), 1, 2, 1, 4, 4, Dtype::F32).unwrap();
    let [two, three] = [2, 3].map(|tokens| upload("rows", &[1, tokens, 1, 4], &vec![0.0; 4 * tokens]));
    let mut schedule = Schedule::new(gpu());
    let error = cache.record_append(&mut schedule, &three, &three).unwrap_err().to_string();
    assert!(error.contains("`key` has shape [1, 3, 1, 4]; expected [1, 1..=2, 1, 4]"), "{error}");
    let one = upload("rows", &[1, 1, 1, 4], &[0.0; 4]);
    let error = cache.record_append(&mut schedule, &two, &one).unwrap_err().to_string();
    assert!(error.contains("`value` has 1 tokens; expected 2, as key"), "{error}");
}

#[test]
fn casts_round_to_the_nearest_half_and_stay_finite() {
    for count in [1, 2, 7, 130] {
        let mut x = Random::new(7).normal(count, 100.0);
        let edges = [65504.0, 65519.0, 65520.0, -1e6, 3e38, 6e-8, 6.2e-5, -0.0];
        x.iter_mut().rev().zip(edges).for_each(|(x, edge)| *x = edge);
        let tensor = upload("x", &[count], &x);
        let narrow = run(|schedule| record_cast(schedule, &tensor, Dtype::F16));
        let found = pollster::block_on(narrow.read::<f16>(gpu())).unwrap();
        for (at, (found, x)) in found.iter().zip(&x).enumerate() {
            let expected = f16::from_f32(x.clamp(-65504.0, 65504.0));
            let subnormal = x.abs() < 6.2e-5;
            // An adapter may flush halves below 2^-14 to 0.
            let flushed = subnormal && found.to_f32() == 0.0;
            assert!(
                *found == expected || flushed,
                "{x} at {at} of {count}: found {found}, expected {expected}"
            );
        }
        let wide = read(&run(|schedule| record_cast(schedule, &narrow, Dtype::F32)));
        let expected: Vec<f32> = found.iter().map(|half| half.to_f32()).collect();
        for (found, expected) in wide.iter().zip(&expected) {
            let flushed = expected.abs() < 6.2e-5 && *found == 0.0;
            assert!(found == expected || flushed, "{found} instead of {expected}");
        }
    }
    let whole = Tensor::upload(gpu(), "ids", &[2], &[1u32, 2]).unwrap();
    let error = record_cast(&mut Schedule::new(gpu()), &whole, Dtype::F16).unwrap_err();
    assert_eq!(error.to_string(), "cast: tensor `source` is u32; expected f32 or f16");
}

#[test]
fn the_scan_finds_the_first_nan_or_infinity() {
    let scan = |tensor: &Tensor| pollster::block_on(check_finite(gpu(), tensor));
    let index = |result: Result<()>| match result {
        Ok(()) => None,
        Err(Error::NonFinite { tensor, index }) if tensor == "x" => Some(index),
        Err(other) => panic!("{other}"),
    };
    for count in [1, 2, 5, 511, 512, 513, 100_001] {
        let mut x = Random::new(8).normal(count, 1.0);
        x[count / 2] = f32::MAX;
        x[count / 3] = -0.0;
        let clean = upload("x", &[count], &x);
        assert_eq!(index(scan(&clean)), None, "{count} finite floats");
        let half: Vec<f16> = x.iter().map(|x| f16::from_f32(x.clamp(-65504.0, 65504.0))).collect();
        let clean = Tensor::upload(gpu(), "x", &[count], &half).unwrap();
        assert_eq!(index(scan(&clean)), None, "{count} finite halves");
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, count / 2, count - 1] {
                let mut x = x.clone();
                x[at] = bad;
                x[count - 1] = bad;
                let tensor = upload("x", &[count], &x);
                assert_eq!(index(scan(&tensor)), Some(at as u64), "{bad} at {at} of {count} floats");
                let mut half = half.clone();
                half[at] = f16::from_f32(bad);
                half[count - 1] = f16::from_f32(bad);
                let tensor = Tensor::upload(gpu(), "x", &[count], &half).unwrap();
                assert_eq!(index(scan(&tensor)), Some(at as u64), "{bad} at {at} of {count} halves");
            }
        }
    }
}

#[test]
fn a_norm_refuses_an_epsilon_that_is_not_positive() {
    for epsilon in [0.0, -1e-6, f32::NAN, f32::INFINITY] {
        let config = NormConfig { epsilon, variant: Some(VariantKind::Portable), ..NormConfig::default() };
        let error = Norm::new(gpu(), config).unwrap_err().to_string();
        assert!(error.contains("`epsilon`") && error.contains("a positive number"), "{error}");
    }
}

#[test]
fn norms_of_counted_rows_equal_those_of_all() {
    let (rows, width) = (70, 45);
    let mut random = Random::new(78);
    let x = upload("x", &[rows, width], &random.normal(rows * width, 1.0));
    let (weight, bias) = (random.normal(width, 1.0), random.normal(width, 1.0));
    let (weight, bias) = (upload("weight", &[width], &weight), upload("bias", &[width], &bias));
    for kind in variants() {
        let config = NormConfig { center: true, epsilon: 1e-5, variant: Some(kind) };
        let all = normalise(config.clone(), &x, &weight, Some(&bias));
        let norm = Norm::new(gpu(), config).unwrap();
        for count in [0, 1, 9, 70, 99] {
            let row_count = upload("row_count", &[1], &[count as u32]);
            let counted =
                read(&run(|schedule| norm.record_rows(schedule, &x, &weight, Some(&bias), &row_count)));
            let there = count.min(rows) * width;
            assert_eq!(counted[..there], all[..there], "{count} rows by {kind}");
            assert!(counted[there..].iter().all(|value| value.is_nan()), "{count} rows by {kind}");
        }
    }
}
