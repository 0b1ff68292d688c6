//! Rows where the fit has nothing to hold on to: no key, one key, equal keys, huge logits, far keys, and no numbers at all.

use crate::common::{assert_close, doubles, variants};
use crate::lla_case::{Case, Data};
use gristmill::kernels::flash_lla::status;

#[test]
fn sizes_from_one_on_equal_the_twin() {
    for (query_tokens, tokens) in [(1, 1), (1, 2), (3, 1), (33, 7), (7, 33), (32, 32), (65, 64), (8, 257)] {
        let case = Case { head_dim: 5, value_dim: 3, causal: true, ..Case::of(1, query_tokens, tokens) };
        case.check(1e-4);
    }
}

/// Rows 3 and 11 see nothing, row 5 sees key 9 alone.
#[test]
fn a_masked_row_is_zero_and_leaves_its_tile_alone() {
    for (causal, key_bias) in [(false, false), (true, true)] {
        let case = Case { mask: true, key_bias, causal, ..Case::of(2, 20, 37) };
        let mut data = case.data();
        let mask = data.mask.as_mut().unwrap();
        for row in [3, 5, 11] {
            mask[row * 37..][..37].fill(false);
        }
        mask[5 * 37 + 9] = true;
        let expected = case.twin(&data);
        for kind in variants() {
            let found = case.run(&data, kind);
            case.compare(&found, &expected, kind, 1e-4);
            for row in [3, 11].into_iter().flat_map(|token| [2 * token, 2 * token + 1]) {
                assert_eq!(found.status[row], status::EMPTY, "{kind}");
                assert_eq!((found.lse[row], found.iterations[row]), (f32::NEG_INFINITY, 0), "{kind}");
                assert!(found.out[row * 16..][..16].iter().all(|out| *out == 0.0), "{kind}");
            }
            let alone = doubles(&data.v[9 * 16..][..16]);
            assert_close(&format!("key 9 alone by {kind}"), &found.out[10 * 16..][..16], &alone, 2e-6);
        }
    }
}

#[test]
fn rows_without_a_visible_key_are_zero_with_an_lse_of_minus_infinity() {
    for (query_tokens, tokens) in [(40, 40), (2, 300)] {
        let base = Case { causal: true, ..Case::of(1, query_tokens, tokens) };
        let before_all_keys = Case { q_offset: Some(-1000), ..base.clone() };
        let all_masked = Case { causal: false, mask: true, ..base };
        for case in [before_all_keys, all_masked] {
            let mut data = case.data();
            data.mask = data.mask.map(|mask| vec![false; mask.len()]);
            for kind in variants() {
                let found = case.run(&data, kind);
                let what = format!("{case:?} by {kind}");
                assert!(found.out.iter().all(|out| *out == 0.0), "{what}: {:?}", found.out);
                assert!(found.lse.iter().all(|lse| *lse == f32::NEG_INFINITY), "{what}: {:?}", found.lse);
                assert!(found.status.iter().all(|&status| status == status::EMPTY), "{what}");
                assert!(found.iterations.iter().all(|&count| count == 0), "{what}");
            }
        }
    }
}

#[test]
fn one_key_gives_its_value() {
    for ridge in [0.0, 1e-4, 0.1] {
        let case = Case { query_heads: 3, ridge, ..Case::of(1, 9, 1) };
        let data = case.data();
        let expected = doubles(&data.v).repeat(27);
        for kind in variants() {
            assert_close(&format!("{case:?} by {kind}"), &case.run(&data, kind).out, &expected, 2e-6);
        }
    }
}

/// Fewer keys than dimensions and no ridge: solved with a thousandth of the mean variance, and said so. Rows of a causal case go
/// from one key on; those with more keys than dimensions are fitted without a ridge.
#[test]
fn a_row_of_few_keys_without_a_ridge_is_singular_and_finite() {
    for (query_tokens, tokens) in [(12, 12), (1, 9)] {
        let case = Case { ridge: 0.0, ..Case::of(1, query_tokens, tokens) };
        let data = case.data();
        let expected = case.twin(&data);
        assert!(expected.status.iter().all(|&status| status == status::SINGULAR));
        for kind in variants() {
            case.compare(&case.run(&data, kind), &expected, kind, 1e-2);
        }
    }
    let case = Case { causal: true, ridge: 0.0, max_iters: 100, ..Case::of(1, 60, 60) };
    let data = case.data();
    for kind in variants() {
        let found = case.run(&data, kind);
        for (row, status) in found.status.iter().enumerate() {
            let what = format!("{case:?} by {kind}: {} keys, status {status}", row / 2 + 1);
            match row / 2 + 1 {
                1 => assert_eq!(status & !status::SINGULAR, 0, "{what}"),
                2..=16 => assert_eq!(status & status::SINGULAR, status::SINGULAR, "{what}"),
                _ => assert_eq!(status & status::SINGULAR, 0, "{what}"),
            }
        }
        assert!(found.out.iter().all(|out| out.abs() < 1e3), "{kind}");
    }
}

/// The covariance of equal keys is 0 and their mean value the answer, whatever the ridge; that of two kinds of keys has rank 1,
/// however many there are. Without a ridge f32 can't solve the latter, and says so.
#[test]
fn equal_keys_end_finite_and_keep_constants() {
    for (kinds, ridge, ridge_floor) in
        [(1, 0.0, 0.0), (1, 0.1, 0.0), (2, 0.1, 0.0), (2, 0.0, 1e-3), (2, 0.0, 1e-6), (2, 0.0, 0.0)]
    {
        for (query_tokens, tokens) in [(20, 50), (1, 300)] {
            let case = Case { query_heads: 1, ridge, ridge_floor, ..Case::of(1, query_tokens, tokens) };
            let mut data = case.data();
            data.k = (0..tokens).flat_map(|s| data.k[s % kinds * 16..][..16].to_vec()).collect();
            let expected = case.twin(&data);
            let constant = Data { v: vec![0.75; data.v.len()], ..data.clone() };
            let solvable = ridge > 0.0 || ridge_floor > 1e-4;
            for kind in variants() {
                let what = format!("{case:?} of {kinds} keys by {kind}");
                let found = case.run(&data, kind);
                assert!(found.out.iter().all(|out| out.is_finite()), "{what}");
                let solved = found.status.iter().filter(|&&status| status & status::NOT_CONVERGED == 0);
                let told = solved.count() == if solvable { query_tokens } else { 0 };
                assert!(told || (kinds, ridge) == (1, 0.0), "{what}: {:?}", found.status);
                if solvable || kinds == 1 {
                    let tolerance = if ridge_floor > 0.0 { 1e-2 } else { 1e-4 };
                    assert_close(&what, &found.out, &expected.out, tolerance);
                }
                if solvable || kinds == 1 || ridge_floor > 0.0 {
                    let kept = case.run(&constant, kind).out;
                    assert_close(&format!("{what}: constants"), &kept, &vec![0.75; kept.len()], 1e-5);
                }
            }
        }
    }
}

/// Logits of several hundred; their own rounding is 3e-5, which moves weights by as much.
#[test]
fn large_logits_neither_overflow_nor_vanish() {
    for (query_tokens, tokens) in [(40, 131), (1, 300)] {
        let case = Case { scale: Some(30.0), ..Case::of(1, query_tokens, tokens) };
        let data = case.data();
        let expected = case.twin(&data);
        for kind in variants() {
            let found = case.run(&data, kind);
            assert_close(&format!("{case:?} by {kind}: out"), &found.out, &expected.out, 5e-3);
            assert_close(&format!("{case:?} by {kind}: lse"), &found.lse, &expected.lse, 1e-3);
        }
    }
}

/// Covariances of keys around a far mean.
#[test]
fn a_large_common_mean_of_the_keys_does_not_cancel() {
    for (query_tokens, tokens) in [(40, 131), (1, 300)] {
        let case = Case { query_heads: 1, ..Case::of(1, query_tokens, tokens) };
        let mut data = case.data();
        data.k.iter_mut().enumerate().for_each(|(i, k)| *k += if i % 2 == 0 { 8.0 } else { -8.0 });
        let expected = case.twin(&data);
        for kind in variants() {
            let found = case.run(&data, kind);
            assert_close(&format!("{case:?} by {kind}: out"), &found.out, &expected.out, 1e-3);
            assert!(found.status.iter().all(|&status| status == 0), "{kind}: {:?}", found.status);
        }
    }
}

/// Opposite keys and a query of 0: the mean key is the query, to the bit.
#[test]
fn a_query_at_the_mean_key_needs_no_iteration() {
    let case = Case { query_heads: 1, ..Case::of(1, 9, 64) };
    let mut data = case.data();
    data.q.fill(0.0);
    let halves: Vec<f32> = data.k[..32 * 16].iter().map(|k| (k * 64.0).round() / 64.0).collect();
    data.k = halves.iter().copied().chain(halves.iter().map(|k| -k)).collect();
    let mean: Vec<f64> =
        (0..16).map(|c| (0..64).map(|s| data.v[s * 16 + c] as f64).sum::<f64>() / 64.0).collect();
    for kind in variants() {
        let found = case.run(&data, kind);
        assert_eq!(
            (found.iterations.as_slice(), found.status.as_slice()),
            (&[0; 9][..], &[0; 9][..]),
            "{kind}"
        );
        assert_close(&format!("mean value by {kind}"), &found.out, &mean.repeat(9), 2e-6);
    }
}

/// A NaN makes the rows that see it 0 with a status, and only those.
#[test]
fn a_nan_is_told_by_exactly_the_rows_that_see_it() {
    for (query_tokens, in_key) in [(40, true), (40, false), (1, true), (1, false)] {
        let tokens = if query_tokens == 1 { 300 } else { 40 };
        let case = Case { mask: true, causal: true, ..Case::of(1, query_tokens, tokens) };
        let clean = case.data();
        let mut data = clean.clone();
        if in_key {
            data.k[21 * 16 + 7] = f32::NAN
        } else {
            data.v[21 * 16 + 15] = f32::NEG_INFINITY
        };
        for sees in [true, false] {
            let mask = data.mask.as_mut().unwrap();
            (0..query_tokens)
                .filter(|row| !sees || row % 3 == 0)
                .for_each(|row| mask[row * tokens + 21] = sees);
            let expected = case.twin(&data);
            for kind in variants() {
                let found = case.run(&data, kind);
                case.compare(&found, &expected, kind, 1e-4);
                let broken = found.status.iter().filter(|&&status| status == status::NON_FINITE).count();
                assert_eq!(broken > 0, sees, "{case:?} by {kind}, seen: {sees}");
            }
        }
    }
    let case = Case::of(1, 33, 33);
    let mut data = case.data();
    data.q[(5 * 2 + 1) * 16 + 3] = f32::NAN;
    let expected = case.twin(&data);
    assert_eq!(expected.status.iter().filter(|&&status| status == status::NON_FINITE).count(), 1);
    for kind in variants() {
        case.compare(&case.run(&data, kind), &expected, kind, 1e-4);
    }
}

/// Ended early, the weights still sum to 1, and the row says so.
#[test]
fn the_cap_on_iterations_is_told() {
    let case = Case { max_iters: 3, ridge: 0.01, ..Case::of(1, 40, 71) };
    let data = case.data();
    let constant = Data { v: vec![-1.5; data.v.len()], ..data.clone() };
    for kind in variants() {
        let found = case.run(&data, kind);
        assert!(found.status.iter().all(|&status| status == status::NOT_CONVERGED), "{:?}", found.status);
        assert!(found.iterations.iter().all(|&count| count == 3), "{:?}", found.iterations);
        let kept = case.run(&constant, kind).out;
        assert_close(&format!("constants by {kind}"), &kept, &vec![-1.5; kept.len()], 2e-6);
    }
}
