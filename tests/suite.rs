//! The kernels that `measure::suite` times: each runs on this adapter and on one with WebGPU's default limits, and says what it is.

mod common;

use common::gpu;
use gristmill::measure::{SuiteCase, suite, suite_kernels};
use gristmill::{Error, no_progress};
use pollster::block_on;
use std::collections::BTreeSet;

#[test]
fn every_kernel_runs_and_counts_its_work() {
    let mut shapes = BTreeSet::new();
    for name in suite_kernels() {
        let SuiteCase { kernel, shape, prepared, done } = suite(gpu(), name).unwrap();
        assert_eq!(kernel, name);
        assert!(shapes.insert(format!("{kernel} {shape}")), "{kernel} {shape} is there twice");
        assert!(done.is_none_or(|part| part > 0.0 && part <= 1.0), "{kernel}: {done:?}");
        block_on(prepared.plan.run(no_progress)).unwrap();
        let cost = prepared.plan.cost();
        assert!(cost.flops >= 0.0 && cost.bytes > 0.0, "{kernel}: {cost:?}");
    }
    assert!(shapes.len() >= 12, "{shapes:?}");
}

#[test]
fn an_unknown_kernel_is_refused_with_the_names_there_are() {
    let error = suite(gpu(), "atention").unwrap_err();
    assert!(matches!(error, Error::Input(_)), "{error}");
    let message = error.to_string();
    assert!(message.contains("`atention`") && message.contains("flash_lla"), "{message}");
}
