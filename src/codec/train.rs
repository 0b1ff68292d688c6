//! A codebook for pictures like the given ones: k-means whose error is that of the decoded image.
//!
//! First the factors of singular value decompositions are clustered. Then pictures are encoded, and every codeword moves to the
//! weighted mean of the best factors (of any values) of all places where it stands, w = |other factor|²: as the error of one factor is
//! w |codeword - best factor|², that is Lloyd's algorithm on the image's own error.

use super::cluster::Points;
use super::encode::EncoderConfig;
use super::factors::Factors;
use super::search::Searcher;
use super::{Codebook, NAME, check_picture, report};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::lowrank_vq::{MOST_CODEWORDS, Preset};
use crate::models::picture::Picture;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use std::ops::ControlFlow;

/// How a codebook is trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingConfig {
    /// What the codebook is for. Its sweeps are those between two updates.
    pub encoder: EncoderConfig,
    /// Codewords, 1 to 65536.
    pub codewords: usize,
    /// Blocks (one channel of one patch) to learn from, taken at random places of all pictures alike, mirrored at random.
    pub blocks: usize,
    /// Updates of the clustering of factors.
    pub clusterings: usize,
    /// Updates of the codebook on encoded pictures.
    pub rounds: usize,
    /// Decides what is taken at random. The same seed, pictures and adapter give the same codebook.
    pub seed: u64,
}

impl TrainingConfig {
    /// What the codebooks of the library were made with.
    pub const fn preset(preset: Preset) -> Self {
        // Half a million factors, 64 and more for every codeword: with a quarter of them codewords fit the training pictures alone.
        let Preset { codewords, rank, iterations, .. } = preset;
        let encoder = EncoderConfig { sweeps: 1, ..EncoderConfig::preset(preset) };
        let products = if rank * iterations == 0 { 1 } else { rank * iterations };
        Self { encoder, codewords, blocks: (1 << 18) / products, clusterings: 10, rounds: 10, seed: 1 }
    }
}

/// A codebook and how well it fits what it was trained on.
#[derive(Clone, Debug)]
pub struct Trained {
    /// f16.
    pub codebook: Codebook,
    /// Mean squared error of the training blocks before each update on encoded pictures, with the codebook as it was then.
    pub errors: Vec<f64>,
}

/// Trains a codebook. `progress` is told the share done, 0 to 1, and may stop it. Never blocks in a browser.
///
/// Errors: `Config`, also where the pictures have fewer pixels than a patch; `Shape` and `NonFinite` of a picture;
/// `Limit`, `Cancelled`, `DeviceLost`.
pub async fn train_codebook(
    gpu: &Gpu,
    pictures: &[Picture<'_>],
    config: &TrainingConfig,
    mut progress: impl FnMut(f64) -> ControlFlow<()>,
) -> Result<Trained> {
    check(pictures, config)?;
    let mut random = Pcg64::seed_from_u64(config.seed);
    let samples = draw_blocks(pictures, config, &mut random);
    let mut steps = 0.0;
    let all_steps = (config.clusterings + (config.rounds + 1) * ROUND_STEPS) as f64;
    let mut step = |count: usize| {
        steps += count as f64;
        report(&mut progress, (steps / all_steps).min(1.0))
    };

    let &EncoderConfig { patch, rank, iterations, sweeps, variant } = &config.encoder;
    let points = Points::of_factors(&samples, patch, rank * iterations);
    let mut codewords = points.draw(config.codewords, &mut random);
    for _ in 0..config.clusterings {
        step(1)?;
        let nearest = points.nearest(gpu, variant, &codewords).await?;
        points.update(&mut codewords, &nearest, &mut random);
    }

    let band = config.encoder.band(config.blocks);
    let mut bands: Vec<(&[f32], Factors)> = samples
        .chunks(band * patch * patch)
        .map(|part| (part, Factors::new(part.to_vec(), patch, rank, iterations)))
        .collect();
    let mut trained = Trained { codebook: Codebook::from_floats(patch, &codewords)?, errors: Vec::new() };
    let mut least = f64::INFINITY;
    for round in 0..=config.rounds {
        let codebook = Codebook::from_floats(patch, &codewords)?;
        let search = Searcher::new(gpu, variant, &codebook, band, rank)?;
        let mut points = Points::new(patch);
        let mut places = Vec::new();
        let mut error = 0.0;
        for (part, factors) in &mut bands {
            match round {
                0 => factors.start(&search).await?,
                _ => factors.restart(part, &search),
            }
            for _ in 0..sweeps {
                factors.sweep(&search).await?;
            }
            error += (0..factors.blocks()).map(|block| factors.error(block)).sum::<f64>();
            points.add_targets(factors, &search, &mut places);
        }
        step(ROUND_STEPS)?;
        let error = error / samples.len() as f64;
        trained.errors.push(error);
        if error < least {
            least = error;
            trained.codebook = codebook;
        }
        points.update(&mut codewords, &places, &mut random);
    }
    Ok(trained)
}

/// Steps of progress that a round counts for.
const ROUND_STEPS: usize = 4;

/// Errors: `Config`, `Shape`, `NonFinite`.
fn check(pictures: &[Picture<'_>], config: &TrainingConfig) -> Result<()> {
    config.encoder.check()?;
    if config.codewords == 0 || config.codewords > MOST_CODEWORDS {
        return Err(Error::config(NAME, "codewords", config.codewords, format!("1 to {MOST_CODEWORDS}")));
    }
    if config.blocks == 0 {
        return Err(Error::config(NAME, "blocks", 0, "at least 1"));
    }
    if pictures.is_empty() {
        return Err(Error::config(NAME, "pictures", 0, "at least 1"));
    }
    let side = config.encoder.patch;
    for &picture in pictures {
        check_picture(picture)?;
        let Picture { height, width, .. } = picture;
        if height < side || width < side {
            let found = format!("one of {width} x {height} pixels");
            return Err(Error::config(NAME, "pictures", found, format!("at least {side} x {side}")));
        }
    }
    Ok(())
}

/// Blocks `[blocks, side, side]` at random places of all pictures in turn, mirrored at random.
fn draw_blocks(pictures: &[Picture<'_>], config: &TrainingConfig, random: &mut Pcg64) -> Vec<f32> {
    let side = config.encoder.patch;
    let mut samples = Vec::with_capacity(config.blocks * side * side);
    for &picture in pictures.iter().cycle().take(config.blocks) {
        let Picture { pixels, height, width, channels } = picture;
        let top = random.random_range(0..=height - side);
        let left = random.random_range(0..=width - side);
        let channel = random.random_range(0..channels);
        let [flip_y, flip_x] = [random.random_bool(0.5), random.random_bool(0.5)];
        let mirrored = |flip: bool, at: usize| if flip { side - 1 - at } else { at };
        for y in 0..side {
            for x in 0..side {
                let (row, column) = (top + mirrored(flip_y, y), left + mirrored(flip_x, x));
                samples.push(pixels[(row * width + column) * channels + channel].clamp(0.0, 1.0));
            }
        }
    }
    samples
}
