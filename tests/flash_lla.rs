//! Local linear attention on the GPU against its f64 twin, in every build that runs here.

mod common;
#[path = "flash_lla/edge_cases.rs"]
mod edge_cases;
#[path = "flash_lla/goldens.rs"]
mod goldens;
#[path = "common/lla_case.rs"]
mod lla_case;
#[path = "flash_lla/properties.rs"]
mod properties;

use common::{Random, assert_close, budget, doubles, gpu, read, variants};
use gristmill::kernels::flash_lla::status;
use gristmill::no_progress;
use gristmill::twins::flash_lla::{LlaOptions, flash_lla_rows};
use lla_case::{Case, Data};
use proptest::prelude::*;

/// Documentation of `FlashLla`: 1e-5 for outputs of size 1 at a ridge of 0.1, growing with 1 / ridge. Rows that leave the hull of their keys
/// have outputs several times that size.
fn tolerance(ridge: f32) -> f64 {
    1e-4 * (0.1 / ridge as f64).max(1.0)
}

/// Sizes that divide nothing. Dims and flags come from a short list, as each makes builds of its own that take a second to
/// compile on a software adapter.
fn cases() -> impl Strategy<Value = Case> {
    let sizes = (
        1usize..=2,
        prop::sample::select(vec![1usize, 1, 2, 5, 9, 33, 67]),
        prop::sample::select(vec![1usize, 3, 17, 64, 131, 203, 290]),
    );
    let heads = prop::sample::select(vec![(1usize, 1usize), (2, 2), (3, 1), (6, 2), (7, 1), (14, 2)]);
    let builds = prop::sample::select(vec![
        (4usize, 4usize, false, false),
        (5, 3, true, true),
        (16, 16, true, false),
        (20, 5, false, true),
    ]);
    let q_offset = prop_oneof![2 => Just(None), 1 => (-20i64..300).prop_map(Some)];
    let scale = prop::sample::select(vec![None, None, None, Some(0.0f32), Some(-0.5), Some(1.0)]);
    let ridge = prop::sample::select(vec![0.03f32, 0.1, 1.0, 10.0]);
    (sizes, heads, builds, any::<bool>(), q_offset, scale, ridge, any::<u64>()).prop_map(
        |(sizes, heads, builds, causal, q_offset, scale, ridge, seed)| Case {
            query_heads: heads.0,
            kv_heads: heads.1,
            head_dim: builds.0,
            value_dim: builds.1,
            mask: builds.2,
            key_bias: builds.3,
            causal,
            q_offset,
            scale,
            ridge,
            seed,
            ..Case::of(sizes.0, sizes.1, sizes.2)
        },
    )
}

proptest! {
    #![proptest_config(budget(24))]

    #[test]
    fn every_build_equals_the_twin(case in cases()) {
        case.check(tolerance(case.ridge));
    }
}

/// Those whose values are as wide are among the golden vectors.
#[test]
fn wide_heads_equal_the_twin() {
    for (head_dim, value_dim) in [(64, 16), (96, 33), (128, 20)] {
        for (query_tokens, tokens) in [(41, 41), (1, 300)] {
            let base = Case::of(1, query_tokens, tokens);
            Case { head_dim, value_dim, causal: true, ridge: 0.3, max_iters: 100, ..base }
                .check(tolerance(0.1));
        }
    }
}

#[test]
fn half_storage_equals_the_twin_on_rounded_inputs() {
    for (head_dim, value_dim, query_f16, key_f16) in
        [(20, 20, true, true), (5, 7, false, true), (16, 6, true, false)]
    {
        for (query_tokens, tokens) in [(37, 37), (2, 203)] {
            let case = Case {
                query_heads: 3,
                head_dim,
                value_dim,
                query_f16,
                key_f16,
                causal: true,
                ..Case::of(2, query_tokens, tokens)
            };
            case.check(tolerance(0.1));
        }
    }
}

/// Few rows on many keys.
#[test]
fn decode_steps_equal_the_twin() {
    for (query_tokens, heads, head_dim, mask, key_bias) in
        [(1, (7, 1), 16, false, false), (1, (4, 2), 20, false, true), (3, (2, 2), 20, true, true)]
    {
        let case = Case {
            query_heads: heads.0,
            kv_heads: heads.1,
            head_dim,
            value_dim: head_dim,
            causal: true,
            mask,
            key_bias,
            ..Case::of(2, query_tokens, 517)
        };
        case.check(tolerance(0.1));
    }
}

/// NaN lies behind the last key: 0 times NaN would be NaN.
#[test]
fn a_cache_does_not_leak_what_lies_beyond_its_length() {
    for (query_tokens, key_f16, key_bias) in
        [(1, false, false), (1, true, true), (40, false, true), (40, true, false)]
    {
        let case = Case {
            tokens: vec![0, 1, 63, 130, 400],
            query_tokens,
            capacity: Some(410),
            query_heads: 4,
            kv_heads: 2,
            head_dim: 20,
            value_dim: 20,
            causal: true,
            key_f16,
            key_bias,
            ..Case::default()
        };
        case.check(tolerance(0.1));
    }
}

/// One row is solved from split statistics, many rows are iterated.
#[test]
fn the_last_row_alone_equals_the_last_row_of_many() {
    let many = Case { query_heads: 6, kv_heads: 2, causal: true, ..Case::of(1, 70, 333) };
    let one = Case { query_tokens: 1, ..many.clone() };
    let data = many.data();
    let (row, lse_row) = (6 * many.head_dim, 6);
    let last = Data { q: data.q[69 * row..].to_vec(), ..data.clone() };
    for kind in variants() {
        let (many, one) = (many.run(&data, kind), one.run(&last, kind));
        let what = format!("the last of 70 rows by {kind}");
        assert_close(&format!("{what}: out"), &one.out, &doubles(&many.out[69 * row..]), 2e-5);
        assert_close(&format!("{what}: lse"), &one.lse, &doubles(&many.lse[69 * lse_row..]), 4e-6);
        assert_eq!(one.status, many.status[69 * lse_row..]);
    }
}

#[test]
fn large_sizes_match_the_twin_on_sampled_rows() {
    let case = Case {
        query_heads: 4,
        kv_heads: 2,
        head_dim: 64,
        value_dim: 64,
        causal: true,
        ridge: 1.0,
        rtol: 1e-5,
        seed: 77,
        ..Case::of(1, 1024, 1024)
    };
    let data = case.data();
    let mut random = Random::new(78);
    let rows: Vec<usize> =
        [0, 1, 63, 64, 1023].into_iter().chain((0..8).map(|_| random.below(1024))).collect();
    let options = LlaOptions { causal: true, ridge: 1.0, ridge_floor: 0.0, ..Default::default() };
    let [q, k, v] = [&data.q, &data.k, &data.v].map(|tensor| doubles(tensor));
    let expected = flash_lla_rows(&q, &k, &v, &case.shape(1024), &options, &rows);
    for kind in variants() {
        let found = case.run_times(1, &data, kind);
        let sample = |all: &[f32], width: usize| -> Vec<f32> {
            rows.iter().flat_map(|row| all[row * width..][..width].to_vec()).collect()
        };
        let what = format!("1024 tokens by {kind}, seed {}, rows {rows:?}", case.seed);
        assert_close(&format!("{what}: out"), &sample(&found.out, 4 * 64), &expected.out, 2e-4);
        assert_close(&format!("{what}: lse"), &sample(&found.lse, 4), &expected.lse, 2e-5);
    }
}

/// What the summary counts is what the rows say.
#[test]
fn the_summary_counts_rows() {
    let case = Case { max_iters: 4, causal: true, q_offset: Some(-2), ..Case::of(2, 40, 40) };
    for kind in variants() {
        let (schedule, output) = case.record(&case.data(), kind);
        pollster::block_on(schedule.compile().unwrap().run(no_progress)).unwrap();
        let summary = pollster::block_on(output.summary(gpu())).unwrap();
        let status = pollster::block_on(output.status.read::<u32>(gpu())).unwrap();
        let count = |bit: u32| status.iter().filter(|&&bits| bits & bit != 0).count();
        assert_eq!((summary.rows, summary.empty), (160, 8), "{kind}");
        assert_eq!(summary.not_converged, count(status::NOT_CONVERGED), "{kind}");
        assert_eq!(summary.most_iterations, 4, "{kind}");
        assert!(summary.converged < 0.2 && summary.mean_iterations > 3.0, "{kind}: {summary:?}");
        assert!((3.5..=4.0).contains(&summary.tile_iterations), "{kind}: {summary:?}");
        assert!(read(&output.out).iter().all(|x| x.is_finite()), "{kind}");
    }
}
