//! The paper's test-time regression: against the twins, and who learns what.

mod common;

use common::{assert_close, doubles, gpu, variants};
use gristmill::models::test_time_regression::{Regressor, TestTimeRegression, best};
use gristmill::twins::attention::{AttentionMask, AttentionShape, attention};
use gristmill::twins::flash_lla::{LlaOptions, flash_lla};

#[test]
fn predictions_equal_the_twins() {
    let task = TestTimeRegression { sequences: 2, tokens: 61, segment: 17, dim: 6, noise: 0.1, seed: 3 };
    let data = task.data().unwrap();
    let shape = AttentionShape {
        batch: 2,
        query_tokens: 61,
        tokens: 61,
        query_heads: 1,
        kv_heads: 1,
        head_dim: 6,
        value_dim: 6,
    };
    let (keys, values) = (doubles(&data.keys), doubles(&data.values));
    let softmax = AttentionMask { causal: true, q_offset: -1, ..Default::default() };
    let line = |scale, ridge| {
        let options =
            LlaOptions { causal: true, q_offset: Some(-1), scale: Some(scale), ridge, ..Default::default() };
        flash_lla(&keys, &keys, &values, &shape, &options).out
    };
    for (regressor, expected) in [
        (
            Regressor::Softmax { scale: 0.7 },
            attention(&keys, &keys, &values, &shape, &softmax, None, 0.7f32 as f64).out,
        ),
        (Regressor::Linear { ridge: 0.1 }, line(0.0, 0.1)),
        (Regressor::Lla { scale: 0.5, ridge: 0.1 }, line(0.5, 0.1)),
    ] {
        for kind in variants() {
            let found = pollster::block_on(data.predict(gpu(), regressor, Some(kind))).unwrap();
            assert_close(&format!("{regressor:?}, {kind}, seed 3"), &found, &expected, 5e-3);
        }
    }
}

/// As in the paper: local lines win overall and keep improving within every segment, a global line is as good in the first segment
/// alone, a local mean learns the regions but not their slopes.
#[test]
fn local_lines_learn_a_piecewise_linear_function() {
    let task = TestTimeRegression { sequences: 3, tokens: 512, ..Default::default() };
    let (data, other) = (task.data().unwrap(), TestTimeRegression { seed: 2, sequences: 1, ..task });
    let other = other.data().unwrap();
    // Mean error in the first segment, then in each quarter of the segments after it.
    let outcome = |regressor| {
        let errors = data.errors(&pollster::block_on(data.predict(gpu(), regressor, None)).unwrap());
        let later = errors[128..].chunks_exact(32);
        let quarter = |at: usize| later.clone().skip(at).step_by(4).flatten().sum::<f64>() / (3.0 * 32.0);
        (errors[..128].iter().sum::<f64>() / 128.0, [0, 1, 2, 3].map(quarter))
    };
    let [softmax, linear, lla] = Regressor::candidates().map(|candidates| {
        let chosen = pollster::block_on(best(gpu(), &other, &candidates, None)).unwrap();
        let (first, later) = outcome(chosen);
        println!("{chosen:?}: first segment {first:.4}, quarters of later ones {later:.4?}");
        (first, later)
    });
    let all = format!("{softmax:?} {linear:?} {lla:?}");
    assert!(linear.0 < 1.5 * lla.0 && lla.0 < 0.5 * softmax.0, "first segment: {all}");
    for quarter in 1..4 {
        assert!(lla.1[quarter] < 0.8 * lla.1[quarter - 1], "{all}");
        assert!(lla.1[quarter] < softmax.1[quarter] && softmax.1[quarter] < linear.1[quarter], "{all}");
    }
    assert!(lla.1[3] < 0.6 * softmax.1[3] && lla.1[3] < 0.4 * linear.1[3], "{all}");
}
