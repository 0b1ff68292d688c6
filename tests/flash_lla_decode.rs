//! Local linear attention of few rows over many keys, against closed forms in f64.

mod common;
#[path = "common/decode_case.rs"]
mod decode_case;

use common::variants;
use decode_case::Case;

/// The documentation of `FlashLla`: 1e-5 for outputs of size 1 at a ridge of 0.1.
const TOLERANCE: f64 = 2e-5;

#[track_caller]
fn every_build(case: Case, tolerance: f64) {
    for kind in variants() {
        case.check(kind, tolerance);
    }
}

#[test]
fn equals_the_closed_form() {
    every_build(Case::default(), TOLERANCE);
    every_build(Case { key_bias: true, causal: true, query_tokens: 3, ..Case::default() }, TOLERANCE);
}

#[test]
fn grouped_queries_share_a_pass() {
    for group in [1, 3, 4, 7, 16] {
        every_build(
            Case { group, kv_heads: 2, lengths: vec![200], capacity: 200, ..Case::default() },
            TOLERANCE,
        );
    }
}

#[test]
fn every_head_dim_is_served() {
    for (head_dim, value_dim) in [(4, 4), (5, 3), (20, 33), (32, 8), (64, 64), (80, 80), (96, 40), (128, 128)]
    {
        every_build(Case { head_dim, value_dim, group: 2, ..Case::default() }, TOLERANCE);
    }
}

#[test]
fn caches_may_hold_anything_behind_their_length() {
    let lengths = vec![0, 1, 2, 17, 129, 256];
    every_build(Case { lengths: lengths.clone(), capacity: 256, kv_heads: 2, ..Case::default() }, TOLERANCE);
    let causal = Case { causal: true, query_tokens: 3, group: 2, ..Case::default() };
    every_build(Case { lengths: lengths.clone(), capacity: 256, ..causal.clone() }, TOLERANCE);
    every_build(Case { lengths, capacity: 256, q_offset: Some(100), ..causal.clone() }, TOLERANCE);
    every_build(Case { lengths: vec![130, 131], capacity: 140, half: true, ..causal }, TOLERANCE);
}
