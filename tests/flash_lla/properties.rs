//! What the estimator promises whatever the numbers: affine maps, constants, limits, symmetries, and causality to the bit.

use crate::common::{Random, assert_close, doubles, variants};
use crate::lla_case::{Case, Data};
use gristmill::kernels::flash_lla::status;
use gristmill::twins::flash_lla::{LlaOptions, flash_lla_cg};

/// Rows of `width` elements picked by index.
fn pick<T: Copy>(values: &[T], width: usize, rows: &[usize]) -> Vec<T> {
    rows.iter().flat_map(|row| values[row * width..][..width].to_vec()).collect()
}

fn largest_difference(a: &[f32], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (*a as f64 - b).abs()).fold(0.0, f64::max)
}

/// v = A k + c for keys of one head, and A q + c for queries of any number of heads.
struct Affine {
    data: Data,
    at_queries: Vec<f64>,
    /// `[value_dim, head_dim]`.
    slope: Vec<f64>,
}

impl Affine {
    fn new(case: &Case) -> Self {
        let Case { head_dim, value_dim, .. } = *case;
        let mut random = Random::new(case.seed + 100);
        let slope = doubles(&random.normal(value_dim * head_dim, (head_dim as f32).powf(-0.5)));
        let shift = doubles(&random.normal(value_dim, 1.0));
        let map = |x: &[f32]| -> Vec<f64> {
            let one = |x: &[f32], row: usize| -> f64 {
                let slope = &slope[row * head_dim..][..head_dim];
                shift[row] + x.iter().zip(slope).map(|(x, a)| *x as f64 * a).sum::<f64>()
            };
            x.chunks_exact(head_dim).flat_map(|x| (0..value_dim).map(move |row| one(x, row))).collect()
        };
        let mut data = case.data();
        data.v = map(&data.k).iter().map(|&value| value as f32).collect();
        let at_queries = map(&data.q);
        Self { data, at_queries, slope }
    }
}

/// The headline: a local line reproduces what is linear, where a local mean can't.
#[test]
fn affine_values_are_reproduced_where_softmax_is_off_by_more_than_2() {
    for (head_dim, value_dim, query_tokens, tokens) in
        [(16, 16, 90, 333), (32, 32, 90, 200), (64, 16, 40, 512)]
    {
        let case = Case { head_dim, value_dim, ridge: 0.0, ..Case::of(1, query_tokens, tokens) };
        let Affine { data, at_queries, .. } = Affine::new(&case);
        for kind in variants() {
            let found = case.run(&data, kind);
            assert_close(&format!("{case:?} by {kind}: A q + c"), &found.out, &at_queries, 2e-5);
            assert!(found.status.iter().all(|status| *status == 0), "{kind}: {:?}", found.status);
            let softmax = largest_difference(&case.softmax(&data, kind), &at_queries);
            assert!(softmax > 2.0, "softmax is off by {softmax} only: the task is too easy");
        }
    }
}

#[test]
fn a_ridge_moves_affine_values_by_lambda_a_beta() {
    let case = Case { query_heads: 3, ridge: 0.3, ..Case::of(1, 21, 130) };
    let Affine { data, at_queries, slope } = Affine::new(&case);
    let beta = case.twin(&data).beta;
    let bias = beta.chunks_exact(16).flat_map(|beta| {
        let row = |row: &[f64]| 0.3f32 as f64 * row.iter().zip(beta).map(|(a, b)| a * b).sum::<f64>();
        slope.chunks_exact(16).map(row).collect::<Vec<_>>()
    });
    let expected: Vec<f64> = at_queries.iter().zip(bias).map(|(value, bias)| value + bias).collect();
    for kind in variants() {
        let found = case.run(&data, kind);
        assert_close(&format!("{case:?} by {kind}"), &found.out, &expected, 2e-5);
    }
}

#[test]
fn constants_come_back_after_any_number_of_iterations() {
    for (query_tokens, tokens) in [(40, 71), (1, 300)] {
        for max_iters in [0, 1, 3, 64] {
            let case = Case { query_heads: 3, max_iters, causal: true, ..Case::of(1, query_tokens, tokens) };
            let mut data = case.data();
            let one = data.v[..16].to_vec();
            data.v = one.repeat(tokens);
            let expected = doubles(&one.repeat(3 * query_tokens));
            for kind in variants() {
                let found = case.run(&data, kind).out;
                assert_close(&format!("{case:?} by {kind}"), &found, &expected, 2e-6);
            }
        }
    }
}

#[test]
fn no_iteration_and_a_huge_ridge_give_softmax_attention() {
    for (query_tokens, tokens) in [(40, 71), (2, 300)] {
        let base = Case { query_heads: 4, kv_heads: 2, causal: true, ..Case::of(1, query_tokens, tokens) };
        let none = Case { max_iters: 0, ..base.clone() };
        let huge = Case { ridge: 1e9, ..base };
        for (case, status) in [(none, status::NOT_CONVERGED), (huge, 0)] {
            let data = case.data();
            for kind in variants() {
                let (found, softmax) = (case.run(&data, kind), case.softmax(&data, kind));
                assert_close(&format!("{case:?} by {kind}"), &found.out, &doubles(&softmax), 4e-6);
                assert!(found.status.iter().all(|&found| found == status || found == 0), "{kind}");
            }
        }
    }
}

/// Each row stops by itself, where f64 stops, and `rtol` is about the error that it asks for.
#[test]
fn iterations_are_those_of_the_row_and_rtol_bounds_the_error() {
    for rtol in [1e-2f32, 1e-3, 1e-4] {
        let case = Case { query_heads: 2, causal: true, rtol, seed: 8, ..Case::of(1, 90, 90) };
        let data = case.data();
        let exact = case.twin(&data).out;
        let [q, k, v] = [&data.q, &data.k, &data.v].map(|tensor| doubles(tensor));
        let options =
            LlaOptions { causal: true, ridge: 0.1f32 as f64, ridge_floor: 0.0, ..Default::default() };
        let steps = flash_lla_cg(&q, &k, &v, &case.shape(90), &options, rtol as f64, 64).iterations;
        let (least, most) = (steps.iter().min(), steps.iter().max());
        assert!(most > least.map(|least| least + 5).as_ref(), "all rows take as long: {steps:?}");
        for kind in variants() {
            let found = case.run(&data, kind);
            let pairs = found.iterations.iter().zip(&steps);
            let off: Vec<u32> = pairs.map(|(found, steps)| found.abs_diff(*steps)).collect();
            // Rows with about as many keys as dimensions end a few steps later in f32, whose directions lose their orthogonality.
            let equal = off.iter().filter(|off| **off <= 1).count();
            let what = format!("{case:?} by {kind}: {:?}, not {steps:?}", found.iterations);
            assert!(equal * 4 >= 3 * off.len() && off.iter().all(|off| *off <= 8), "{what}");
            let squares = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
            let pairs = found.out.iter().zip(&exact);
            let error = squares(&mut pairs.map(|(a, b)| *a as f64 - b)) / squares(&mut exact.iter().copied());
            assert!(error.sqrt() < rtol as f64, "{case:?} by {kind}: RMS error {:e}", error.sqrt());
        }
    }
}

#[test]
fn out_is_linear_in_the_values_and_follows_their_shift() {
    for (query_tokens, tokens) in [(40, 71), (1, 300)] {
        let case = Case { query_heads: 2, seed: 3, ..Case::of(1, query_tokens, tokens) };
        let data = case.data();
        let other = Random::new(4).normal(data.v.len(), 1.0);
        let shift = Random::new(5).normal(16, 3.0);
        let with = |v: Vec<f32>| Data { v, ..data.clone() };
        let sum = data.v.iter().zip(&other).map(|(a, b)| a + b).collect();
        let shifted = data.v.iter().enumerate().map(|(i, v)| v + shift[i % 16]).collect();
        let [sum, other, shifted] = [with(sum), with(other), with(shifted)];
        for kind in variants() {
            let run = |data: &Data| case.run_times(1, data, kind).out;
            let (first, second) = (run(&data), run(&other));
            let both: Vec<f64> = first.iter().zip(&second).map(|(a, b)| *a as f64 + *b as f64).collect();
            assert_close(&format!("{case:?} by {kind}: v1 + v2"), &run(&sum), &both, 2e-5);
            let moved: Vec<f64> =
                first.iter().enumerate().map(|(i, o)| *o as f64 + shift[i % 16] as f64).collect();
            assert_close(&format!("{case:?} by {kind}: v + c"), &run(&shifted), &moved, 2e-5);
        }
    }
}

/// Uniform weights need no look back: mean and moments of the keys so far are all the state there is.
#[test]
fn scale_0_is_the_recurrent_form() {
    let (dim, width, tokens, ridge) = (5, 7, 60, 0.2f32);
    let case = Case {
        query_heads: 1,
        head_dim: dim,
        value_dim: width,
        causal: true,
        scale: Some(0.0),
        ridge,
        ..Case::of(1, tokens, tokens)
    };
    let data = case.data();
    let [q, k, v] = [&data.q, &data.k, &data.v].map(|tensor| doubles(tensor));
    let (mut mean_key, mut mean_value) = (vec![0.0; dim], vec![0.0; width]);
    let (mut key_key, mut value_key) = (vec![0.0; dim * dim], vec![0.0; width * dim]);
    let mut expected = Vec::new();
    for t in 0..tokens {
        let count = (t + 1) as f64;
        let key: Vec<f64> = (0..dim).map(|i| k[t * dim + i] - mean_key[i]).collect();
        let value: Vec<f64> = (0..width).map(|i| v[t * width + i] - mean_value[i]).collect();
        (0..dim).for_each(|i| mean_key[i] += key[i] / count);
        (0..width).for_each(|i| mean_value[i] += value[i] / count);
        let gain = (count - 1.0) / count;
        (0..dim * dim).for_each(|i| key_key[i] += gain * key[i / dim] * key[i % dim]);
        (0..width * dim).for_each(|i| value_key[i] += gain * value[i / dim] * key[i % dim]);
        let system: Vec<f64> = (0..dim * dim)
            .map(|i| key_key[i] / count + if i % (dim + 1) == 0 { ridge as f64 } else { 0.0 })
            .collect();
        let beta = solve(system, (0..dim).map(|i| mean_key[i] - q[t * dim + i]).collect());
        expected.extend((0..width).map(|i| {
            mean_value[i] - (0..dim).map(|j| value_key[i * dim + j] / count * beta[j]).sum::<f64>()
        }));
    }
    for kind in variants() {
        assert_close(&format!("{case:?} by {kind}"), &case.run(&data, kind).out, &expected, 3e-5);
    }
}

/// Gauss-Jordan on a positive definite system.
fn solve(mut matrix: Vec<f64>, mut right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    for pivot in 0..size {
        for row in (0..size).filter(|row| *row != pivot) {
            let factor = matrix[row * size + pivot] / matrix[pivot * size + pivot];
            (0..size).for_each(|i| matrix[row * size + i] -= factor * matrix[pivot * size + i]);
            right[row] -= factor * right[pivot];
        }
    }
    (0..size).map(|i| right[i] / matrix[i * size + i]).collect()
}

#[test]
fn the_order_of_the_keys_does_not_matter() {
    for (query_tokens, tokens) in [(40, 131), (1, 300)] {
        let case = Case { query_heads: 2, ..Case::of(1, query_tokens, tokens) };
        let data = case.data();
        let order: Vec<usize> = (0..tokens).map(|s| s * 77 % tokens).collect();
        let shuffled = Data { k: pick(&data.k, 16, &order), v: pick(&data.v, 16, &order), ..data.clone() };
        for kind in variants() {
            let expected = doubles(&case.run(&data, kind).out);
            let found = case.run(&shuffled, kind).out;
            assert_close(&format!("{case:?} by {kind}"), &found, &expected, 3e-5);
        }
    }
}

/// Whatever later keys and values hold, NaN included: not by a bit.
#[test]
fn later_keys_do_not_change_earlier_rows_by_a_bit() {
    for (head_dim, key_f16, query_tokens) in [(16, false, 75), (20, true, 75), (16, false, 2)] {
        let tokens = 75;
        let case = Case {
            query_heads: 2,
            head_dim,
            value_dim: head_dim,
            key_f16,
            causal: true,
            ..Case::of(1, query_tokens, tokens)
        };
        let data = case.data();
        let kept = if query_tokens == 2 { 74 } else { 41 };
        let rows = (kept + query_tokens - tokens) * 2;
        for kind in variants() {
            let before = case.run(&data, kind);
            for later in [0.0, 2.5, 60000.0, f32::NAN, f32::INFINITY] {
                let mut changed = data.clone();
                changed.k[kept * head_dim..].fill(later);
                changed.v[kept * head_dim..].fill(later);
                let after = case.run(&changed, kind);
                let bits = |out: &[f32]| out.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                let what = format!("{case:?} by {kind}: keys from {kept} on are {later}");
                let width = rows * head_dim;
                assert_eq!(bits(&before.out[..width]), bits(&after.out[..width]), "{what}: out");
                assert_eq!(bits(&before.lse[..rows]), bits(&after.lse[..rows]), "{what}: lse");
                assert_eq!(before.status[..rows], after.status[..rows], "{what}");
                assert_eq!(before.iterations[..rows], after.iterations[..rows], "{what}");
                if !later.is_finite() {
                    let broken = after.status[rows..].iter().all(|&status| status == status::NON_FINITE);
                    assert!(broken, "{what}: {:?}", &after.status[rows..]);
                    assert!(after.out[width..].iter().all(|&out| out == 0.0), "{what}");
                }
            }
        }
    }
}

#[test]
fn a_common_shift_of_queries_and_keys_drops_out_at_scale_0() {
    let case = Case { query_heads: 2, scale: Some(0.0), ..Case::of(1, 40, 71) };
    let data = case.data();
    let shift = Random::new(6).normal(16, 2.0);
    let moved = |x: &[f32]| x.iter().enumerate().map(|(i, x)| x + shift[i % 16]).collect();
    let shifted = Data { q: moved(&data.q), k: moved(&data.k), ..data.clone() };
    for kind in variants() {
        let expected = doubles(&case.run(&data, kind).out);
        assert_close(&format!("{case:?} by {kind}"), &case.run(&shifted, kind).out, &expected, 1e-4);
    }
}

#[test]
fn grouped_heads_are_repeated_kv_heads() {
    for (query_tokens, tokens) in [(33, 50), (1, 300)] {
        let grouped = Case { query_heads: 6, kv_heads: 2, causal: true, ..Case::of(1, query_tokens, tokens) };
        let repeated = Case { kv_heads: 6, ..grouped.clone() };
        let data = grouped.data();
        let rows: Vec<usize> =
            (0..tokens).flat_map(|s| [0, 0, 0, 1, 1, 1].map(|head| s * 2 + head)).collect();
        let wide = Data { k: pick(&data.k, 16, &rows), v: pick(&data.v, 16, &rows), ..data.clone() };
        for kind in variants() {
            let (found, expected) = (grouped.run(&data, kind), repeated.run(&wide, kind));
            let what = format!("{grouped:?} by {kind}");
            assert_close(&what, &found.out, &doubles(&expected.out), 2e-5);
            assert_close(&what, &found.lse, &doubles(&expected.lse), 4e-6);
            assert_eq!(found.status, expected.status, "{what}");
        }
    }
}

/// NaN in one sequence and head stays there.
#[test]
fn sequences_and_heads_do_not_see_each_other() {
    for (query_tokens, tokens) in [(33, 50), (1, 300)] {
        let case = Case { query_heads: 4, kv_heads: 2, ..Case::of(2, query_tokens, tokens) };
        let data = case.data();
        let mut broken = data.clone();
        // Every key of sequence 1, head 0.
        (tokens * 2..tokens * 4).step_by(2).for_each(|row| broken.k[row * 16..][..16].fill(f32::NAN));
        for kind in variants() {
            let (before, after) = (case.run(&data, kind), case.run(&broken, kind));
            for row in 0..case.rows() {
                let hit = row >= case.rows() / 2 && row % 4 < 2;
                let what = format!("{case:?} by {kind}: row {row}");
                if hit {
                    assert_eq!(after.status[row], status::NON_FINITE, "{what}");
                    continue;
                }
                let own = |out: &[f32]| out[row * 16..][..16].iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(own(&after.out), own(&before.out), "{what}");
                assert_eq!(after.status[row], before.status[row], "{what}");
            }
        }
    }
}
