//! The whole network on pictures of awkward sizes, with and without Pure-Pass, against its twin; what a mask of all or no pixels does.

use crate::common::{Random, assert_close, doubles, gpu, read, upload, variants};
use crate::{run, words};
use gristmill::kernels::pure_pass::PurePassConfig;
use gristmill::models::atd::{Atd, AtdConfig, AtdLayer, AtdSizes, Compensation, NamedTensors, PurePass};
use gristmill::twins::atd::AtdTwin;
use gristmill::{Schedule, VariantKind};

/// A network of 12 channels with random weights; sizes that are no multiples of four among them.
pub fn small() -> (AtdConfig, AtdSizes) {
    let config = AtdConfig { scale: 3, window: 8, group: 50, heads: 2, ..Default::default() };
    let sizes = AtdSizes { channels: 12, tokens: 9, reduced: 3, hidden: 10, kernel: 5, layers: vec![2, 1] };
    (config, sizes)
}

pub fn random_weights(config: &AtdConfig, sizes: &AtdSizes, seed: u64) -> NamedTensors {
    let mut random = Random::new(seed);
    let mut weights = NamedTensors::with_prefix("model.");
    for (name, shape) in sizes.shapes(config.heads, config.window, config.scale) {
        let inputs: usize = if shape.len() > 1 { shape[1..].iter().product() } else { 100 };
        let count = shape.iter().product();
        let mut data = random.normal(count, 1.0 / (inputs as f32).sqrt());
        if name.ends_with("_g") {
            data.iter_mut().for_each(|value| *value += 1.0);
        }
        if name.ends_with(".td") {
            data = random.normal(count, 1.0);
        }
        weights.insert(&name, &shape, data);
    }
    weights
}

fn with_pure_pass(config: AtdConfig, colors: usize, compensation: Compensation) -> AtdConfig {
    let mask = PurePassConfig { colors, window: 4 };
    AtdConfig { pure_pass: Some(PurePass { mask, compensation }), ..config }
}

/// The network's picture and how many of its pixels in whole windows are pure.
fn enlarge(
    config: &AtdConfig,
    weights: &NamedTensors,
    kind: VariantKind,
    picture: &[f32],
    [height, width]: [usize; 2],
) -> (Vec<f32>, u32) {
    let config = AtdConfig { variant: Some(kind), ..config.clone() };
    let model = Atd::new(gpu(), config, weights).unwrap();
    let tensor = upload("img", &[height, width, 3], picture);
    let mut schedule = Schedule::new(gpu());
    let output = model.record(&mut schedule, &tensor).unwrap();
    run(schedule);
    let scale = model.config().scale;
    assert_eq!(output.out.shape(), [scale * height, scale * width, 3]);
    (read(&output.out), output.pure.map_or(0, |pure| words(&pure.mask).iter().sum()))
}

/// Noise to the left, one colour to the right.
fn half_plain(height: usize, width: usize, seed: u64) -> Vec<f32> {
    let noise = Random::new(seed).normal(height * width * 3, 0.3);
    let value =
        |(i, v): (usize, f32)| if i / 3 % width < width / 2 { (0.5 + v).clamp(0.0, 1.0) } else { 0.4 };
    noise.into_iter().enumerate().map(value).collect()
}

#[test]
fn any_size_equals_the_twin() {
    let (config, sizes) = small();
    let weights = random_weights(&config, &sizes, 3);
    let cases = [
        ([4, 4], None),
        ([9, 9], Some(Compensation::Value)),
        ([8, 24], Some(Compensation::ProjectedValue)),
        ([23, 13], Some(Compensation::Zero)),
        ([16, 16], None),
    ];
    for (size @ [height, width], compensation) in cases {
        let config = match compensation {
            None => config.clone(),
            Some(compensation) => with_pure_pass(config.clone(), 6, compensation),
        };
        let picture = half_plain(height, width, 11);
        let twin = AtdTwin { config: &config, sizes: &sizes, weights: &weights };
        let expected = twin.network(&doubles(&picture), size);
        let pure = twin.mask(&doubles(&picture), size).map_or(0, |mask| mask.iter().filter(|p| **p).count());
        assert!(compensation.is_none() || pure > 0, "{size:?}");
        for kind in variants() {
            let (out, count) = enlarge(&config, &weights, kind, &picture, size);
            assert_eq!(count as usize, pure);
            assert_close(&format!("{size:?} {compensation:?} by {kind}"), &out, &expected, 1e-4);
        }
    }
}

#[test]
fn plain_and_busy_pictures_work() {
    let (config, sizes) = small();
    let weights = random_weights(&config, &sizes, 5);
    let size = [16, 24];
    let config = with_pure_pass(config, 16, Compensation::Value);
    for (name, picture, expected) in [
        ("plain", vec![0.7; 16 * 24 * 3], 16 * 24),
        ("busy", (0..16 * 24 * 3).map(|i| [0.9, 0.1, 0.1, 0.1, 0.1, 0.9][i % 6]).collect::<Vec<f32>>(), 0),
    ] {
        let twin = AtdTwin { config: &config, sizes: &sizes, weights: &weights };
        let wanted = twin.network(&doubles(&picture), size);
        for kind in variants() {
            let (out, count) = enlarge(&config, &weights, kind, &picture, size);
            assert_eq!(count, expected, "{name}");
            assert_close(&format!("{name} by {kind}"), &out, &wanted, 1e-4);
            if expected == 0 {
                let plain = AtdConfig { pure_pass: None, ..config.clone() };
                assert_eq!(out, enlarge(&plain, &weights, kind, &picture, size).0, "{name} by {kind}");
            }
        }
    }
}

/// Rows that are no whole quads, and so few rows that they have a kernel of their own.
#[test]
fn rows_of_any_number_and_length_are_compensated() {
    const PREFIX: &str = "blocks.0.layers.0.";
    for (channels, window, size) in [(10, 4, [4, 4]), (12, 2, [2, 4])] {
        let (config, sizes) = small();
        let config = with_pure_pass(AtdConfig { window, ..config }, 6, Compensation::Value);
        let sizes = AtdSizes { channels, layers: vec![1], ..sizes };
        let weights = random_weights(&config, &sizes, 7);
        let pixels = size[0] * size[1];
        let mut random = Random::new(13);
        let (x, dictionary) = (random.normal(pixels * channels, 1.0), random.normal(9 * channels, 1.0));
        let mask: Vec<u32> = (0..pixels).map(|pixel| (pixel % 3 == 0) as u32).collect();
        let hidden: Vec<bool> = mask.iter().map(|&pure| pure == 1).collect();
        let twin = AtdTwin { config: &config, sizes: &sizes, weights: &weights };
        let expected = twin.layer(PREFIX, &doubles(&x), &doubles(&dictionary), size, false, Some(&hidden));
        for kind in variants() {
            let config = AtdConfig { variant: Some(kind), ..config.clone() };
            let layer = AtdLayer::new(gpu(), &config, &sizes, &weights, PREFIX, false).unwrap();
            let mut schedule = Schedule::new(gpu());
            let x = upload("x", &[pixels, channels], &x);
            let dictionary = upload("dictionary", &[9, channels], &dictionary);
            let mask = upload("mask", &[pixels], &mask);
            let output = layer.record(&mut schedule, &x, &dictionary, size, Some(&mask)).unwrap();
            run(schedule);
            assert_close(&format!("{channels} channels by {kind}"), &read(&output.out), &expected.out, 2e-5);
        }
    }
}
