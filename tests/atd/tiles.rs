//! Pictures of any size: whole ones, tiles that are blended, tiny ones, memory, progress and cancellation.

use crate::common::{assert_close, gpu, upload};
use crate::network::{random_weights, small};
use crate::run;
use gristmill::measure::{PurePassCase, atd_network};
use gristmill::models::atd::{Atd, Compensation, MEAN, NamedTensors, PurePass, Tiling, Upscaled, upscale};
use gristmill::models::picture::Picture;
use gristmill::{Error, Result, Schedule};
use std::ops::ControlFlow;

fn enlarge(model: &Atd, pixels: &[f32], [height, width]: [usize; 2], tiling: Tiling) -> Result<Upscaled> {
    let picture = Picture { pixels, height, width, channels: 3 };
    pollster::block_on(upscale(gpu(), model, picture, tiling, |_| ControlFlow::Continue(())))
}

fn model() -> Atd {
    let (config, sizes) = small();
    let weights = random_weights(&config, &sizes, 7);
    let config = gristmill::models::atd::AtdConfig { pure_pass: Some(PurePass::default()), ..config };
    Atd::new(gpu(), config, &weights).unwrap()
}

/// Every output is the network's constant, the mean, so every blend of tiles must be.
fn constant() -> Atd {
    let (config, sizes) = small();
    let mut weights = random_weights(&config, &sizes, 7);
    for name in ["up_w", "up_b"] {
        let (shape, data) = weights.get(name).map(|(s, d)| (s.to_vec(), vec![0.0; d.len()])).unwrap();
        weights.insert(name, &shape, data);
    }
    Atd::new(gpu(), config, &weights).unwrap()
}

fn gradient(height: usize, width: usize) -> Vec<f32> {
    (0..height * width * 3).map(|i| ((i / 3 % width + i / 3 / width) % 29) as f32 / 29.0).collect()
}

#[test]
fn a_picture_of_one_tile_is_what_the_network_gives() {
    let model = model();
    let (size, pixels) = ([21, 30], gradient(21, 30));
    let tiled = enlarge(&model, &pixels, size, Tiling { tile: 64, overlap: 16 }).unwrap();
    let tensor = upload("img", &[21, 30, 3], &pixels);
    let mut schedule = Schedule::new(gpu());
    let output = model.record(&mut schedule, &tensor).unwrap();
    run(schedule);
    assert_eq!((tiled.tiles, tiled.height, tiled.width), (1, 63, 90));
    assert_eq!(tiled.pixels, crate::common::read(&output.out));
    assert_eq!(tiled.mask.unwrap().len(), 21 * 30);
}

#[test]
fn weights_of_overlapping_tiles_add_up_to_one() {
    let model = constant();
    for (size @ [height, width], tile, overlap) in
        [([40, 70], 32, 8), ([33, 32], 32, 0), ([100, 9], 16, 15), ([17, 64], 64, 16)]
    {
        let tiled = enlarge(&model, &gradient(height, width), size, Tiling { tile, overlap }).unwrap();
        let expected: Vec<f64> = (0..9 * height * width * 3).map(|i| MEAN[i % 3] as f64).collect();
        assert_close(&format!("{size:?} in tiles of {tile}"), &tiled.pixels, &expected, 1e-6);
    }
}

#[test]
fn tiny_pictures_work() {
    let model = model();
    for size @ [height, width] in [[1, 1], [1, 9], [3, 5], [9, 9], [2, 40]] {
        let tiled = enlarge(&model, &gradient(height, width), size, Tiling { tile: 32, overlap: 8 }).unwrap();
        assert_eq!([tiled.height, tiled.width], [3 * height, 3 * width]);
        assert_eq!(tiled.pixels.len(), 9 * height * width * 3);
        assert!(tiled.pixels.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn memory_does_not_grow_with_the_picture() {
    let model = constant();
    let tiling = Tiling { tile: 32, overlap: 8 };
    let small = enlarge(&model, &gradient(33, 33), [33, 33], tiling).unwrap();
    let large = enlarge(&model, &gradient(90, 140), [90, 140], tiling).unwrap();
    assert!(large.tiles > small.tiles);
    assert_eq!(small.report.bytes, large.report.bytes);
    // ATD-light in the default tiles: well below 1 GiB for any picture.
    let side = Tiling::default().tile;
    let case = PurePassCase { side, scale: 4, pure: Some(50), compensation: Compensation::Value };
    let bytes = atd_network(gpu(), &case, None).unwrap().plan.report().bytes;
    assert!(bytes < 512 << 20, "{bytes} bytes");
}

#[test]
fn progress_rises_and_may_stop_the_work() {
    let model = constant();
    let pixels = gradient(40, 70);
    let picture = Picture { pixels: &pixels, height: 40, width: 70, channels: 3 };
    let tiling = Tiling { tile: 32, overlap: 8 };
    let mut seen = vec![0.0];
    let watch = |share: f64| {
        assert!(share >= *seen.last().unwrap() && share <= 1.0);
        seen.push(share);
        ControlFlow::Continue(())
    };
    pollster::block_on(upscale(gpu(), &model, picture, tiling, watch)).unwrap();
    assert!(seen.len() > 6 && *seen.last().unwrap() > 0.999, "{seen:?}");
    let stop = |share: f64| if share > 0.3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let stopped = pollster::block_on(upscale(gpu(), &model, picture, tiling, stop));
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
}

#[test]
fn pictures_and_tiles_are_checked() {
    let model = constant();
    let pixels = gradient(20, 20);
    let refused = |size: [usize; 2], tiling: Tiling, words: &[&str]| {
        let error = enlarge(&model, &pixels, size, tiling).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let plain = Tiling { tile: 16, overlap: 4 };
    refused([20, 21], plain, &["`picture`", "1200 values", "20 x 21 x 3"]);
    refused([0, 20], plain, &["`picture`", "none of them 0"]);
    refused([20, 20], Tiling { tile: 20, ..plain }, &["`tile` = 20", "multiple of the window, 8"]);
    refused([20, 20], Tiling { tile: 0, ..plain }, &["`tile` = 0"]);
    refused([20, 20], Tiling { overlap: 16, ..plain }, &["`overlap` = 16", "less than tile = 16"]);
    let error = Atd::new(gpu(), small().0, &NamedTensors::with_prefix("model.")).unwrap_err().to_string();
    assert!(error.contains("`model.first_w` is missing"), "{error}");
}
