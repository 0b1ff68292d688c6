//! Denoising by local linear and softmax attention: against its twin, at every size, and what it is good for.

mod common;

use common::{Random, assert_close, doubles, gpu, read, upload, variants};
use gristmill::models::denoise::{
    Denoise, DenoiseConfig, DenoiseMethod, PatchBasis, Picture, denoise as denoise_picture,
};
use gristmill::twins::denoise::{DenoiseShape, denoise};
use gristmill::{Error, Schedule, no_progress};
use std::ops::ControlFlow;

const SIGMA: f32 = 0.08;

/// Slopes, edges and a texture in 0.2..0.8.
fn clean(height: usize, width: usize, channels: usize) -> Vec<f32> {
    let value = |index: usize| {
        let (pixel, channel) = (index / channels, index % channels);
        let (y, x) = (pixel / width, pixel % width);
        let texture = 0.1 * ((x as f32 * 0.9).sin() * (y as f32 * 0.4).cos());
        0.3 + 0.2 * ((y / 13 + x / 17) % 2) as f32 + 0.2 * x as f32 / width as f32 + texture
            - 0.05 * channel as f32
    };
    (0..height * width * channels).map(value).collect()
}

fn noisy(height: usize, width: usize, channels: usize, seed: u64) -> Vec<f32> {
    let noise = Random::new(seed).normal(height * width * channels, SIGMA);
    clean(height, width, channels).iter().zip(&noise).map(|(value, noise)| value + noise).collect()
}

fn filter(pixels: &[f32], height: usize, width: usize, channels: usize, config: &DenoiseConfig) -> Vec<f32> {
    let basis = PatchBasis::new(pixels, height, width, channels).unwrap().upload(gpu(), SIGMA).unwrap();
    let image = upload("image", &[height, width, channels], pixels);
    let mut schedule = Schedule::new(gpu());
    let result = Denoise::new(gpu(), config.clone()).unwrap().record(&mut schedule, &image, &basis).unwrap();
    let plan = schedule.compile().unwrap();
    plan.poison();
    pollster::block_on(plan.run(no_progress)).unwrap();
    read(&result)
}

fn whole(
    pixels: &[f32],
    [height, width, channels]: [usize; 3],
    sigma: f32,
    config: &DenoiseConfig,
    progress: impl FnMut(f64) -> ControlFlow<()>,
) -> Result<Vec<f32>, Error> {
    let basis = PatchBasis::new(pixels, height, width, channels)?;
    let picture = Picture { pixels, height, width, channels };
    pollster::block_on(denoise_picture(gpu(), picture, &basis, sigma, config.clone(), progress))
}

fn squared_error(found: &[f32], expected: &[f32]) -> f64 {
    let sum: f64 = found.iter().zip(expected).map(|(a, b)| ((a - b) as f64).powi(2)).sum();
    sum / found.len() as f64
}

/// Sides that divide nothing, one pixel past a tile, a single tile, and pictures smaller than a window.
#[test]
fn pictures_of_any_size_equal_the_twin() {
    for (height, width, channels, tile, margin) in
        [(23, 38, 3, 8, 6), (17, 9, 1, 8, 3), (5, 6, 3, 8, 8), (11, 40, 4, 7, 5), (26, 5, 2, 3, 0)]
    {
        let pixels = noisy(height, width, channels, 1);
        let image = doubles(&pixels);
        let basis = PatchBasis::new(&pixels, height, width, channels).unwrap();
        let tokens = basis.project(&image, height, width, SIGMA as f64);
        let shape = DenoiseShape { height, width, channels, tile, margin };
        for method in [DenoiseMethod::LLA, DenoiseMethod::SOFTMAX, DenoiseMethod::Lla { h: 1.0, ridge: 0.3 }]
        {
            let expected = denoise(&tokens, &image, &shape, method);
            for kind in variants() {
                let config = DenoiseConfig { method, tile, margin, rtol: 1e-6, variant: Some(kind) };
                let found = filter(&pixels, height, width, channels, &config);
                assert_close(&format!("{height} x {width}, {config:?}, seed 1"), &found, &expected, 5e-5);
            }
        }
    }
}

/// The accuracy that the default asks of the solver costs nothing that an eye could see.
#[test]
fn the_default_accuracy_is_far_below_the_noise() {
    let (height, width) = (41, 47);
    let pixels = noisy(height, width, 3, 2);
    let coarse = filter(&pixels, height, width, 3, &DenoiseConfig::default());
    let fine = filter(&pixels, height, width, 3, &DenoiseConfig { rtol: 1e-6, ..Default::default() });
    let error = squared_error(&coarse, &fine).sqrt();
    assert!(error < 0.02 * SIGMA as f64, "{error}");
}

#[test]
fn local_lines_keep_what_means_flatten() {
    let (height, width) = (72, 80);
    let pixels = noisy(height, width, 3, 3);
    let wanted = clean(height, width, 3);
    let errors = [DenoiseMethod::LLA, DenoiseMethod::SOFTMAX].map(|method| {
        squared_error(
            &filter(&pixels, height, width, 3, &DenoiseConfig { method, ..Default::default() }),
            &wanted,
        )
    });
    let before = squared_error(&pixels, &wanted);
    assert!(errors[0] < 0.9 * errors[1] && errors[1] < 0.3 * before, "{errors:?} of {before}");
}

/// Blocks see enough of their surroundings: the whole picture at once gives the same bits.
#[test]
fn blocks_of_a_large_picture_leave_no_trace() {
    let (height, width) = (265, 281);
    let pixels = noisy(height, width, 1, 4);
    let config = DenoiseConfig { method: DenoiseMethod::SOFTMAX, ..Default::default() };
    let mut seen = Vec::new();
    let in_blocks = whole(&pixels, [height, width, 1], SIGMA, &config, |share| {
        seen.push(share);
        ControlFlow::Continue(())
    });
    let at_once = filter(&pixels, height, width, 1, &config);
    assert_close("blocks", &in_blocks.unwrap(), &doubles(&at_once), 1e-6);
    assert!(seen.windows(2).all(|pair| pair[0] <= pair[1]) && seen.len() > 4, "{seen:?}");
    assert!((seen.last().unwrap() - 1.0).abs() < 1e-9, "{seen:?}");
}

/// Several batches of tiles, each with the memory of the one before.
#[test]
fn batches_share_memory() {
    let (height, width) = (250, 260);
    let pixels = noisy(height, width, 3, 5);
    let image = upload("image", &[height, width, 3], &pixels);
    let basis = PatchBasis::new(&pixels, height, width, 3).unwrap().upload(gpu(), SIGMA).unwrap();
    let mut schedule = Schedule::new(gpu());
    let config = DenoiseConfig { margin: 16, ..Default::default() };
    let _result = Denoise::new(gpu(), config).unwrap().record(&mut schedule, &image, &basis).unwrap();
    let report = schedule.compile().unwrap().report();
    assert!(report.bytes < 100 << 20 && 2 * report.bytes < report.bytes_unshared, "{report:?}");
}

#[test]
fn a_picture_can_be_cancelled() {
    let pixels = noisy(40, 40, 3, 6);
    let config = DenoiseConfig::default();
    let result = whole(&pixels, [40, 40, 3], SIGMA, &config, |_| ControlFlow::Break(()));
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
}

#[test]
fn settings_and_pictures_out_of_range_are_refused_by_name() {
    let good = DenoiseConfig::default();
    let method = |h, ridge| DenoiseMethod::Lla { h, ridge };
    for (config, words) in [
        (DenoiseConfig { tile: 0, ..good.clone() }, "denoise: `tile` = 0; expected 1 to 64"),
        (DenoiseConfig { margin: 65, ..good.clone() }, "denoise: `margin` = 65; expected 0 to 64"),
        (
            DenoiseConfig { method: method(0.0, 1.0), ..good.clone() },
            "denoise: `h` = 0; expected a positive number",
        ),
        (
            DenoiseConfig { method: method(1.0, -1.0), ..good.clone() },
            "flash_lla: `ridge` = -1; expected a finite number, at least 0",
        ),
    ] {
        assert_eq!(Denoise::new(gpu(), config).unwrap_err().to_string(), words);
    }
    let go = |_| ControlFlow::Continue(());
    let pixels = noisy(8, 9, 3, 7);
    for (shape, sigma, words) in [
        ([8, 9, 3], 0.0, "denoise: `sigma` = 0; expected a positive number"),
        ([8, 9, 3], f32::NAN, "denoise: `sigma` = NaN; expected a positive number"),
        ([72, 3, 1], 0.1, "denoise: tensor `image` has 72 x 3 pixels; expected 5 x 5 to 1048576 x 1048576"),
        ([9, 4, 6], 0.1, "denoise: `channels` = 6; expected 1 to 4"),
        ([8, 10, 3], 0.1, "denoise: tensor `image` has 216 values; expected 8 x 10 x 3"),
    ] {
        assert_eq!(whole(&pixels, shape, sigma, &good, go).unwrap_err().to_string(), words);
    }
    let mut broken = pixels.clone();
    broken[100] = f32::INFINITY;
    let error = whole(&broken, [8, 9, 3], 0.1, &good, go).unwrap_err().to_string();
    assert_eq!(error, "tensor `image` is not finite at index 100");

    let basis = PatchBasis::new(&pixels, 8, 9, 3).unwrap().upload(gpu(), 0.1).unwrap();
    let grey = upload("grey", &[12, 18, 1], &pixels);
    let filter = Denoise::new(gpu(), good).unwrap();
    let error = filter.record(&mut Schedule::new(gpu()), &grey, &basis).unwrap_err().to_string();
    assert_eq!(error, "denoise: tensor `basis` has shape [76, 12]; expected [26, 12]");
}
