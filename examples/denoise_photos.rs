//! How the settings of the denoising filter were chosen, and how good they are: leave-one-out over a folder of photos.
//!
//! `cargo run --release --example denoise_photos -- FOLDER`
//!
//! Two crops of 128 x 128 pixels of every photo, with Gaussian noise of 15 and 25 of 255. The settings for a photo are those with the
//! best mean PSNR over the crops of the *other* photos; the table shows what they give on its own. Crops lie around the points at one
//! and at two thirds of height and width. docs/local_linear_attention.md has the result for five photos of scikit-image.

use gristmill::models::denoise::{DenoiseConfig, DenoiseMethod, PatchBasis, Picture, denoise};
use gristmill::{Gpu, GpuOptions};
use image::RgbImage;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

const SIDE: usize = 128;

/// A crop with its noise.
struct Case {
    photo: usize,
    name: String,
    sigma: f32,
    clean: Vec<f32>,
    noisy: Vec<f32>,
    basis: PatchBasis,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("expected a folder of photos")?;
    let gpu = pollster::block_on(Gpu::request(GpuOptions::default()))?;
    let cases = cases(Path::new(&folder))?;
    let photos = cases.last().map_or(0, |case| case.photo + 1);
    if photos < 2 {
        return Err("expected at least two photos (PNG or JPEG, in colour)".into());
    }

    let softmax: Vec<_> = [0.7, 0.8, 0.9, 1.0, 1.1, 1.25].map(|h| DenoiseMethod::Softmax { h }).into();
    let lla: Vec<_> = [1.4, 1.7, 2.0, 2.4, 2.8]
        .iter()
        .flat_map(|&h| [3.0, 4.0, 5.0, 7.0, 10.0].map(|ridge| DenoiseMethod::Lla { h, ridge }))
        .collect();
    let [softmax_psnr, lla_psnr] = [&softmax, &lla].map(|methods| {
        let rows = methods.iter().map(|&method| {
            let config = DenoiseConfig { method, ..Default::default() };
            cases.iter().map(|case| case.psnr(&gpu, &config)).collect::<Result<Vec<f64>, _>>()
        });
        rows.collect::<Result<Vec<_>, _>>()
    });
    let (softmax_psnr, lla_psnr) = (softmax_psnr?, lla_psnr?);

    println!(
        "| crop | σ | noisy | softmax | h | LLA | h | ridge | gain |\n|---|---|---|---|---|---|---|---|---|"
    );
    let mut sums = [0.0; 3];
    for (index, case) in cases.iter().enumerate() {
        let others = |other: usize| cases[other].photo != case.photo;
        let (s, l) = (best(&softmax_psnr, others), best(&lla_psnr, others));
        let psnr = [psnr(&case.noisy, &case.clean), softmax_psnr[s][index], lla_psnr[l][index]];
        let (DenoiseMethod::Softmax { h: width }, DenoiseMethod::Lla { h, ridge }) = (softmax[s], lla[l])
        else {
            unreachable!("each list has one kind");
        };
        sums.iter_mut().zip(psnr).for_each(|(sum, psnr)| *sum += psnr / cases.len() as f64);
        let rounded = |psnr: f64| (psnr * 100.0).round() / 100.0;
        println!(
            "| {} | {:.0} | {:.2} | {:.2} | {width} | {:.2} | {h} | {ridge} | {:+.2} |",
            case.name,
            case.sigma * 255.0,
            psnr[0],
            psnr[1],
            psnr[2],
            rounded(psnr[2]) - rounded(psnr[1])
        );
    }
    let [noisy, mean, line] = sums;
    println!("| mean | | {noisy:.2} | {mean:.2} | | {line:.2} | | | {:+.2} |", line - mean);

    println!(
        "\nbest over all: {:?}, {:?}",
        softmax[best(&softmax_psnr, |_| true)],
        lla[best(&lla_psnr, |_| true)]
    );
    for method in [DenoiseMethod::SOFTMAX, DenoiseMethod::LLA] {
        for rtol in [0.3, 0.1, 0.03, 0.01, 0.001] {
            let config = DenoiseConfig { method, rtol, ..Default::default() };
            let start = Instant::now();
            let psnr: Vec<f64> =
                cases.iter().map(|case| case.psnr(&gpu, &config)).collect::<Result<_, _>>()?;
            let ms = start.elapsed().as_secs_f64() * 1e3 / cases.len() as f64;
            let mean = psnr.iter().sum::<f64>() / psnr.len() as f64;
            println!("{}, rtol {rtol}: {mean:.3} dB, {ms:.0} ms a crop", method.name());
            if method == DenoiseMethod::SOFTMAX {
                break;
            }
        }
    }
    Ok(())
}

/// The row with the best mean over the columns that `counts`.
fn best(psnr: &[Vec<f64>], counts: impl Fn(usize) -> bool) -> usize {
    let sum =
        |row: usize| -> f64 { (0..psnr[row].len()).filter(|&at| counts(at)).map(|at| psnr[row][at]).sum() };
    (0..psnr.len()).max_by(|&a, &b| sum(a).total_cmp(&sum(b))).unwrap_or(0)
}

impl Case {
    fn psnr(&self, gpu: &Gpu, config: &DenoiseConfig) -> gristmill::Result<f64> {
        let picture = Picture { pixels: &self.noisy, height: SIDE, width: SIDE, channels: 3 };
        let go_on = |_| ControlFlow::Continue(());
        let run = denoise(gpu, picture, &self.basis, self.sigma, config.clone(), go_on);
        Ok(psnr(&pollster::block_on(run)?, &self.clean))
    }
}

fn psnr(found: &[f32], clean: &[f32]) -> f64 {
    let squares: f64 = found.iter().zip(clean).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    -10.0 * (squares / clean.len() as f64).log10()
}

/// Every photo in colour, in the order of the names.
fn cases(folder: &Path) -> Result<Vec<Case>, Box<dyn Error>> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    paths.sort();
    let mut cases: Vec<Case> = Vec::new();
    for path in paths {
        let Ok(picture) = image::open(&path) else { continue };
        let large = picture.width() as usize >= SIDE && picture.height() as usize >= SIDE;
        if !picture.color().has_color() || !large {
            continue;
        }
        let picture = picture.into_rgb8();
        let photo = cases.last().map_or(0, |case| case.photo + 1);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        for third in [1, 2] {
            let clean = crop(&picture, third);
            for sigma in [15.0 / 255.0, 25.0 / 255.0] {
                let noisy = with_noise(&clean, sigma, (10 * photo + third) as u64);
                let basis = PatchBasis::new(&noisy, SIDE, SIDE, 3)?;
                let name = format!("{stem} {third}");
                cases.push(Case { photo, name, sigma, clean: clean.clone(), noisy, basis });
            }
        }
    }
    Ok(cases)
}

fn crop(picture: &RgbImage, third: usize) -> Vec<f32> {
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    let first = |size: usize| (size * third / 3).saturating_sub(SIDE / 2).min(size - SIDE);
    let (top, left) = (first(height), first(width));
    let line = |y: usize| &picture.as_raw()[(y * width + left) * 3..][..SIDE * 3];
    (top..top + SIDE).flat_map(line).map(|&byte| f32::from(byte) / 255.0).collect()
}

/// Gaussian noise, not clamped.
fn with_noise(clean: &[f32], sigma: f32, seed: u64) -> Vec<f32> {
    let mut random = Pcg64::seed_from_u64(seed);
    let mut normal = || {
        let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * random.random::<f64>()).cos()) as f32
    };
    clean.iter().map(|value| value + sigma * normal()).collect()
}
