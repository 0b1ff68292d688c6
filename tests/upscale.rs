//! The shipped super-resolution weights on a photo that they have not seen: against bicubic, and across the seams of tiles.

mod common;

use common::gpu;
use gristmill::Dtype;
use gristmill::models::atd::{Atd, Tiling, Upscaled, upscale};
use gristmill::models::picture::Picture;
use gristmill::run::atd_file;
use image::imageops::FilterType;
use image::{Rgb32FImage, imageops};
use pollster::block_on;
use std::ops::ControlFlow;

const WEIGHTS: &[u8] = include_bytes!("../cli/assets/atd-x2.safetensors");

/// A part of the photo, its sides in pixels even.
fn photo(height: u32, width: u32) -> Rgb32FImage {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/photos/astronaut.png");
    image::open(path).unwrap().crop_imm(150, 20, width, height).into_rgb32f()
}

fn model() -> Atd {
    let (config, weights) = atd_file(WEIGHTS).unwrap();
    Atd::new(gpu(), config, &weights).unwrap()
}

fn enlarge(model: &Atd, image: &Rgb32FImage, tile: usize) -> Upscaled {
    let picture = Picture {
        pixels: image.as_raw(),
        height: image.height() as usize,
        width: image.width() as usize,
        channels: 3,
    };
    let tiling = Tiling { tile, ..Default::default() };
    block_on(upscale(gpu(), model, picture, tiling, |_| ControlFlow::Continue(()))).unwrap()
}

/// Decibels between two pictures, clamped.
fn psnr(one: &[f32], other: &[f32]) -> f64 {
    assert_eq!(one.len(), other.len());
    let square = |(a, b): (&f32, &f32)| f64::from(a.clamp(0.0, 1.0) - b.clamp(0.0, 1.0)).powi(2);
    -10.0 * (one.iter().zip(other).map(square).sum::<f64>() / one.len() as f64).log10()
}

#[test]
fn the_network_beats_bicubic_with_and_without_pure_pass() {
    let whole = photo(160, 192);
    let small = imageops::resize(&whole, 96, 80, FilterType::CatmullRom);
    let bicubic = psnr(imageops::resize(&small, 192, 160, FilterType::CatmullRom).as_raw(), whole.as_raw());
    let with = model();
    let result = enlarge(&with, &small, 256);
    let pure = result.mask.as_ref().unwrap().iter().filter(|pure| **pure).count() as f64 / (96.0 * 80.0);
    let (config, weights) = atd_file(WEIGHTS).unwrap();
    let without = gristmill::models::atd::AtdConfig { pure_pass: None, ..config };
    let without = Atd::new(gpu(), without, &weights).unwrap();
    let found =
        [psnr(&result.pixels, whole.as_raw()), psnr(&enlarge(&without, &small, 256).pixels, whole.as_raw())];
    println!(
        "bicubic {bicubic:.2} dB, with Pure-Pass {:.2} dB ({:.0} % pure), without {:.2} dB",
        found[0],
        100.0 * pure,
        found[1]
    );
    assert!(found[0] > bicubic + 1.0, "{found:?}, bicubic {bicubic}");
    assert!((found[0] - found[1]).abs() < 0.2, "{found:?}");
    assert!(pure > 0.05 && pure < 0.95, "{pure}");

    // Storage as halves costs less than 0.02 dB.
    let (config, weights) = atd_file(WEIGHTS).unwrap();
    let halves = gristmill::models::atd::AtdConfig { dtype: Dtype::F16, ..config };
    let halves = Atd::new(gpu(), halves, &weights).unwrap();
    let found_halves = psnr(&enlarge(&halves, &small, 256).pixels, whole.as_raw());
    println!("stored as halves {found_halves:.3} dB");
    assert!((found_halves - found[0]).abs() < 0.02, "{found_halves}, {found:?}");
}

/// Two neighbouring tiles, each enlarged by itself, differ in their overlap by less than one step of a byte; and the blend of all is
/// near the picture in one piece.
#[test]
fn tiles_agree_where_they_overlap() {
    let model = model();
    let Tiling { overlap, .. } = Tiling::default();
    let tile = 64;
    let small = photo(64, (2 * tile - overlap) as u32);
    let part = |left: usize| imageops::crop_imm(&small, left as u32, 0, tile as u32, 64).to_image();
    let [left, right] = [0, tile - overlap].map(|at| enlarge(&model, &part(at), tile).pixels);
    let (wide, ramp) = (2 * tile, 2 * overlap);
    let (mut sum, mut weights) = (0.0, 0.0);
    for y in 0..2 * 64 {
        for x in 0..ramp {
            // Where both count alike, a step would show most.
            let share = (x as f64 + 0.5) / ramp as f64;
            let weight = share * (1.0 - share);
            for c in 0..3 {
                let one = left[(y * wide + wide - ramp + x) * 3 + c];
                let two = right[(y * wide + x) * 3 + c];
                sum += weight * f64::from((one - two).abs());
                weights += weight;
            }
        }
    }
    let step = 255.0 * sum / weights;
    let tiled = enlarge(&model, &small, tile);
    let whole = enlarge(&model, &small, 256);
    assert_eq!((tiled.tiles, whole.tiles), (2, 1));
    let apart = psnr(&tiled.pixels, &whole.pixels);
    println!("the step across a seam is {step:.3} of 255; tiled against untiled {apart:.1} dB");
    assert!(step < 1.0, "{step}");
    assert!(apart > 45.0, "{apart}");
}
