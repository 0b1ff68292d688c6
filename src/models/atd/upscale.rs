//! Pictures of any size, tile by tile: the memory on the GPU is that of one tile.

use super::{Atd, NAME};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::models::picture::Picture;
use crate::schedule::{PlanReport, Progress, Schedule};
use crate::tensor::{Dtype, Tensor};
use std::ops::ControlFlow;

/// How [`upscale`] cuts a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Pixels along a tile's side, at most; more than `overlap`.
    pub tile: usize,
    /// Pixels that neighbours share at least; they are blended there.
    pub overlap: usize,
}

impl Default for Tiling {
    /// Tiles of 256 pixels, 16 of them shared.
    fn default() -> Self {
        Self { tile: 256, overlap: 16 }
    }
}

/// What [`upscale`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Upscaled {
    /// `[height, width, 3]`, not clamped.
    pub pixels: Vec<f32>,
    /// Rows.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Which pixels of the given picture were pure, with Pure-Pass.
    pub mask: Option<Vec<bool>>,
    /// Tiles.
    pub tiles: usize,
    /// What a tile needed on the GPU.
    pub report: PlanReport,
}

/// Enlarges a picture of any size, 3 channels. A picture larger than a tile is cut into tiles of one size that overlap, and blended where
/// they do; the memory on the GPU doesn't grow with it. Each tile refines its own dictionary, and categories are those of its pixels: the
/// result is not that of one run over all, but the tiles' seams don't show. A picture smaller than half a window of attention is
/// continued by its mirror image first.
///
/// `progress` is told the share of the work done, 0 to 1, and may stop it. Errors: `Shape` for an empty picture or one of other channels,
/// `Config` for tiles that don't fit, `Cancelled`, those of [`Atd::record`] and [`Plan::run`](crate::Plan::run).
pub async fn upscale(
    gpu: &Gpu,
    model: &Atd,
    picture: Picture<'_>,
    tiling: Tiling,
    mut progress: impl FnMut(f64) -> ControlFlow<()>,
) -> Result<Upscaled> {
    let Picture { pixels, height, width, channels } = picture;
    if channels != 3 || height == 0 || width == 0 || pixels.len() != height * width * channels {
        let found = format!("has {} values for {height} x {width} x {channels}", pixels.len());
        return Err(Error::shape(NAME, "picture", found, "height x width x 3, none of them 0"));
    }
    let window = model.config().window;
    if tiling.tile < window || !tiling.tile.is_multiple_of(window) {
        let expected = format!("a multiple of the window, {window}");
        return Err(Error::config(NAME, "tile", tiling.tile, expected));
    }
    if tiling.overlap >= tiling.tile {
        return Err(Error::config(
            NAME,
            "overlap",
            tiling.overlap,
            format!("less than tile = {}", tiling.tile),
        ));
    }
    let scale = model.config().scale;
    let [rows, columns] = [height, width].map(|side| Axis::new(side, window / 2, tiling));
    let size = [rows.tile, columns.tile];
    let input = Tensor::zeros(gpu, "tile", &[size[0], size[1], 3], Dtype::F32)?;
    let mut schedule = Schedule::new(gpu);
    let output = model.record(&mut schedule, &input)?;
    let plan = schedule.compile()?;

    let mut sum = vec![0.0; height * width * 3 * scale * scale];
    let mut mask = output.pure.as_ref().map(|_| vec![false; height * width]);
    let (row_total, column_total) = (rows.total(height, scale), columns.total(width, scale));
    let tiles = rows.starts.len() * columns.starts.len();
    let places = rows.starts.iter().flat_map(|&top| columns.starts.iter().map(move |&left| (top, left)));
    for (done, (top, left)) in places.enumerate() {
        let mut seen = Vec::with_capacity(size[0] * size[1] * 3);
        for y in 0..size[0] {
            for x in 0..size[1] {
                let (y, x) = (mirrored(top + y, height), mirrored(left + x, width));
                seen.extend_from_slice(&pixels[(y * width + x) * 3..][..3]);
            }
        }
        input.write(gpu, &seen)?;
        let share = |at: Progress| (done as f64 + at.fraction) / tiles as f64;
        plan.run(|at| progress(share(at))).await?;
        let large = output.out.read::<f32>(gpu).await?;
        let (top, left) = (top * scale, left * scale);
        for (y, line) in large.chunks_exact(size[1] * scale * 3).enumerate().take(height * scale - top) {
            let row_weight = rows.weight(y, scale) / row_total[top + y];
            for (x, color) in line.chunks_exact(3).enumerate().take(width * scale - left) {
                let weight = row_weight * columns.weight(x, scale) / column_total[left + x];
                let to = &mut sum[((top + y) * width * scale + left + x) * 3..][..3];
                to.iter_mut().zip(color).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        if let (Some(mask), Some(pure)) = (&mut mask, &output.pure) {
            let found = pure.mask.read::<u32>(gpu).await?;
            let pitch = pure.mask.shape()[1];
            let (top, left) = (top / scale, left / scale);
            for y in 0..size[0].min(height - top) {
                for x in 0..size[1].min(width - left) {
                    mask[(top + y) * width + left + x] = found[y * pitch + x] == 1;
                }
            }
        }
    }
    let [height, width] = [height, width].map(|side| side * scale);
    Ok(Upscaled { pixels: sum, height, width, mask, tiles, report: plan.report() })
}

/// Where tiles lie along one side of a picture.
#[derive(Clone, Debug, PartialEq)]
struct Axis {
    tile: usize,
    /// Weights rise over so many pixels from a tile's ends.
    ramp: usize,
    starts: Vec<usize>,
}

impl Axis {
    fn new(side: usize, least: usize, tiling: Tiling) -> Self {
        let ramp = tiling.overlap.max(1);
        if side <= tiling.tile {
            return Self { tile: side.max(least), ramp, starts: vec![0] };
        }
        let count = (side - tiling.overlap).div_ceil(tiling.tile - tiling.overlap);
        let start = |i: usize| i * (side - tiling.tile) / (count - 1);
        Self { tile: tiling.tile, ramp, starts: (0..count).map(start).collect() }
    }

    /// Of a pixel of an enlarged tile: rises from both ends to 1.
    fn weight(&self, place: usize, scale: usize) -> f32 {
        if self.starts.len() == 1 {
            return 1.0;
        }
        let from_end = place.min(self.tile * scale - 1 - place) as f32 + 0.5;
        (from_end / (self.ramp * scale) as f32).min(1.0)
    }

    /// The sum of all tiles' weights at each pixel of the enlarged side.
    fn total(&self, side: usize, scale: usize) -> Vec<f32> {
        let mut total = vec![0.0; side * scale];
        for start in &self.starts {
            let places = total[start * scale..].iter_mut().take(self.tile * scale);
            places.enumerate().for_each(|(place, sum)| *sum += self.weight(place, scale));
        }
        total
    }
}

/// The place in a picture that is continued by its mirror image, again and again, the edge repeated.
fn mirrored(place: usize, side: usize) -> usize {
    let place = place % (2 * side);
    if place < side { place } else { 2 * side - 1 - place }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_every_side_and_overlap() {
        for (tile, overlap) in [(64, 16), (64, 0), (256, 16), (16, 15)] {
            for side in (1..700).step_by(7) {
                let axis = Axis::new(side, 8, Tiling { tile, overlap });
                assert_eq!(axis.starts[0], 0);
                assert!(
                    axis.starts
                        .windows(2)
                        .all(|pair| pair[0] < pair[1] && pair[1] + overlap <= pair[0] + tile)
                );
                let end = axis.starts.last().unwrap() + axis.tile;
                assert!(end == side || (axis.starts.len() == 1 && end == side.max(8)), "{side}: {axis:?}");
                assert!(axis.total(side, 2).iter().all(|weight| *weight > 0.0));
            }
        }
    }

    #[test]
    fn mirrors_repeat_the_edge() {
        let places: Vec<_> = (0..8).map(|place| mirrored(place, 3)).collect();
        assert_eq!(places, [0, 1, 2, 2, 1, 0, 0, 1]);
        assert!((0..9).all(|place| mirrored(place, 1) == 0));
    }
}
