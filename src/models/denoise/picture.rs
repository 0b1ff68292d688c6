//! Pictures of any size: block by block, with memory that doesn't depend on the size.

use super::basis::{check_picture, check_sigma};
use super::{Denoise, DenoiseConfig, NAME, Part, PatchBasis, RADIUS};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::models::picture::Picture;
use crate::schedule::{Progress, Schedule};
use crate::tensor::Tensor;
use std::ops::{ControlFlow, Range};

/// Pixels along the side of a block, at most.
const BLOCK: usize = 256;

/// Denoises a picture of any size, in blocks of about 256 x 256 pixels that see their surroundings: the result is that of one
/// [`Denoise::record`] over the whole picture, the memory on the GPU stays below 100 MiB.
///
/// `basis` is that of the picture, `sigma` the deviation of its noise in the unit of the pixels ([`PatchBasis::noise`] estimates
/// it). The picture has at least 5 rows and columns and 1 to 4 channels.
/// `progress` is told the share of the work done, 0 to 1, and may stop it. Errors: `Shape`, `Config`, `Cancelled`, those of
/// [`Plan::run`](crate::Plan::run).
pub async fn denoise(
    gpu: &Gpu,
    picture: Picture<'_>,
    basis: &PatchBasis,
    sigma: f32,
    config: DenoiseConfig,
    mut progress: impl FnMut(f64) -> ControlFlow<()>,
) -> Result<Vec<f32>> {
    let Picture { pixels, height, width, channels } = picture;
    check_picture(height, width, channels)?;
    check_sigma(sigma)?;
    if pixels.len() != height * width * channels {
        let found = format!("has {} values", pixels.len());
        return Err(Error::shape(NAME, "image", found, format!("{height} x {width} x {channels}")));
    }
    if basis.channels != channels {
        let found = format!("is of a picture with {} channels", basis.channels);
        return Err(Error::shape(NAME, "basis", found, channels.to_string()));
    }
    let filter = Denoise::new(gpu, config)?;
    let basis = basis.upload(gpu, sigma)?;
    let mut result = vec![0.0; pixels.len()];
    let mut pixels_done = 0;
    for block in blocks(height, width, filter.config.tile) {
        // What the windows of the block and the patches in them reach, also where a border moves a window inwards.
        let reach = filter.side() + RADIUS;
        let around =
            |from: usize, size: usize, end: usize| from.saturating_sub(reach)..(from + size + reach).min(end);
        let (rows, columns) =
            (around(block.top, block.height, height), around(block.left, block.width, width));
        let seen = cut(picture, rows.clone(), columns.clone());
        let image = Tensor::upload(gpu, "image", &[rows.len(), columns.len(), channels], &seen)?;
        let part = Part { top: block.top - rows.start, left: block.left - columns.start, ..block };
        let mut schedule = Schedule::new(gpu);
        let denoised = filter.record_part(&mut schedule, &image, &basis, part)?;
        let plan = schedule.compile()?;
        let area = block.height * block.width;
        let share = |of_block: f64| (pixels_done as f64 + of_block * area as f64) / (height * width) as f64;
        plan.run(|at: Progress| progress(share(at.fraction))).await?;
        pixels_done += area;
        let denoised = denoised.read::<f32>(gpu).await?;
        for (row, line) in denoised.chunks_exact(block.width * channels).enumerate() {
            let from = ((block.top + row) * width + block.left) * channels;
            result[from..from + line.len()].copy_from_slice(line);
        }
    }
    Ok(result)
}

/// Blocks that cover the picture once; they begin where tiles begin.
fn blocks(height: usize, width: usize, tile: usize) -> impl Iterator<Item = Part> {
    let side = (BLOCK / tile).max(1) * tile;
    let tops = (0..height).step_by(side);
    tops.flat_map(move |top| (0..width).step_by(side).map(move |left| (top, left))).map(move |(top, left)| {
        Part { top, left, height: side.min(height - top), width: side.min(width - left) }
    })
}

/// A rectangle of the picture.
fn cut(picture: Picture<'_>, rows: Range<usize>, columns: Range<usize>) -> Vec<f32> {
    let Picture { pixels, width, channels, .. } = picture;
    let line = |row: usize| {
        &pixels[(row * width + columns.start) * channels..(row * width + columns.end) * channels]
    };
    rows.flat_map(line).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_pixel_once() {
        for (height, width, tile) in [(5, 5, 8), (256, 257, 8), (700, 300, 7), (513, 40, 64)] {
            let mut seen = vec![0; height * width];
            for Part { top, left, height: rows, width: columns } in blocks(height, width, tile) {
                assert!(top % tile == 0 && left % tile == 0 && rows > 0 && columns > 0);
                for y in top..top + rows {
                    seen[y * width + left..][..columns].iter_mut().for_each(|count| *count += 1);
                }
            }
            assert!(seen.iter().all(|count| *count == 1), "{height} x {width}, tile {tile}");
        }
    }
}
