//! What the tests share: one device, random data, and comparisons that say what differs.
#![allow(dead_code)]

use gristmill::{Element, Gpu, GpuOptions, Tensor, VariantKind};
use half::f16;
use proptest::prelude::ProptestConfig;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The device of all tests. `WGPU_STRICT_WEBGPU_COMPLIANCE=1` tests what a browser offers: default limits, no feature.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        let strict = std::env::var("WGPU_STRICT_WEBGPU_COMPLIANCE").is_ok_and(|value| value == "1");
        let options = GpuOptions { webgpu_defaults: strict, ..Default::default() };
        pollster::block_on(Gpu::request(options)).expect("the tests need an adapter: run `cargo xtask test`")
    })
}

/// The builds that run on this adapter.
pub fn variants() -> Vec<VariantKind> {
    let runs = |kind: &VariantKind| gpu().variant(Some(*kind)).is_ok_and(|variant| variant.kind == *kind);
    VariantKind::ALL.into_iter().filter(runs).collect()
}

/// A property's number of cases, unless `PROPTEST_CASES` says another. Shrinking is short: each new build takes a second.
pub fn budget(cases: u32) -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: wanted.unwrap_or(cases),
        failure_persistence: None,
        max_shrink_iters: 40,
        ..ProptestConfig::default()
    }
}

/// Fresh random numbers; a failing test prints the seed.
pub struct Random(Pcg64Mcg);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }

    /// Roughly normal values with this deviation.
    pub fn normal(&mut self, count: usize, deviation: f32) -> Vec<f32> {
        let mut one = || -> f32 { (0..4).map(|_| self.0.random_range(-1.0..1.0f32)).sum() };
        (0..count).map(|_| one() * deviation * 0.866).collect()
    }

    /// 0 or 1, 1 with this probability.
    pub fn mask(&mut self, count: usize, visible: f64) -> Vec<u32> {
        (0..count).map(|_| self.0.random_bool(visible) as u32).collect()
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

pub fn upload<T: Element>(label: &str, shape: &[usize], data: &[T]) -> Tensor {
    Tensor::upload(gpu(), label, shape, data).unwrap()
}

/// Floats as f32, or rounded to halves.
pub fn upload_floats(label: &str, shape: &[usize], data: &[f32], half: bool) -> Tensor {
    if !half {
        return upload(label, shape, data);
    }
    let halves: Vec<f16> = data.iter().map(|&value| f16::from_f32(value)).collect();
    upload(label, shape, &halves)
}

/// What a half keeps of each value.
pub fn round_to_half(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&value| f16::from_f32(value).to_f32()).collect()
}

/// A file of golden vectors.
pub fn golden_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The `count` golden files whose names start so, sorted.
pub fn golden_names(prefix: &str, count: usize) -> Vec<String> {
    let names = std::fs::read_dir(golden_path("")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(prefix)).collect();
    assert_eq!(names.len(), count, "{names:?}");
    names.sort();
    names
}

pub fn doubles(data: &[f32]) -> Vec<f64> {
    data.iter().map(|&value| value as f64).collect()
}

pub fn read(tensor: &Tensor) -> Vec<f32> {
    pollster::block_on(tensor.read::<f32>(gpu())).unwrap()
}

/// Every element within `tolerance` of the expected one; -inf equals -inf.
#[track_caller]
pub fn assert_close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let error = |i: usize| match (found[i] as f64, expected[i]) {
        (a, b) if a == b => 0.0,
        (a, b) if a.is_finite() && b.is_finite() => (a - b).abs(),
        _ => f64::INFINITY,
    };
    let Some(worst) = (0..found.len()).max_by(|&a, &b| error(a).total_cmp(&error(b))) else { return };
    let info = gpu().info();
    assert!(
        error(worst) <= tolerance,
        "{what} on {} ({:?}): index {worst} of {}: found {}, expected {}, off by {:e}, tolerance {tolerance:e}",
        info.name,
        info.backend,
        found.len(),
        found[worst],
        expected[worst],
        error(worst)
    );
}
