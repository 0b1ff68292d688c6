//! A picture as blocks: one channel of one patch each, the unit that is encoded by itself.

use super::NAME;
use crate::error::{Error, Result};
use crate::models::picture::Picture;
use std::ops::Range;

/// A grid of patches over a picture; those at the right and lower edge repeat its last pixels.
#[derive(Clone, Copy, Debug)]
pub struct Grid<'a> {
    picture: Picture<'a>,
    side: usize,
    columns: usize,
    /// Blocks of the picture: patches times channels.
    pub blocks: usize,
}

impl<'a> Grid<'a> {
    /// Errors: `Config` for a picture without pixels.
    pub fn new(picture: Picture<'a>, side: usize) -> Result<Self> {
        let Picture { height, width, channels, .. } = picture;
        if height == 0 || width == 0 {
            let found = format!("{width} x {height} pixels");
            return Err(Error::config(NAME, "image", found, "at least one pixel"));
        }
        let columns = width.div_ceil(side);
        Ok(Self { picture, side, columns, blocks: height.div_ceil(side) * columns * channels })
    }

    /// Samples `[blocks, side, side]` of a range of blocks, in the order `[patch][channel]`, clamped to 0..1.
    pub fn samples(&self, blocks: Range<usize>) -> Vec<f32> {
        let Picture { pixels, height, width, channels } = self.picture;
        let side = self.side;
        let mut samples = Vec::with_capacity(blocks.len() * side * side);
        for block in blocks {
            let (patch, channel) = (block / channels, block % channels);
            let (top, left) = (patch / self.columns * side, patch % self.columns * side);
            for y in (top..top + side).map(|y| y.min(height - 1)) {
                let columns = (left..left + side).map(|x| x.min(width - 1));
                let sample = |x: usize| pixels[(y * width + x) * channels + channel].clamp(0.0, 1.0);
                samples.extend(columns.map(sample));
            }
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_repeated() {
        let pixels: Vec<f32> = (0..5 * 6 * 3).map(|at| at as f32 / 100.0).collect();
        let picture = Picture { pixels: &pixels, height: 5, width: 6, channels: 3 };
        let grid = Grid::new(picture, 4).unwrap();
        assert_eq!(grid.blocks, 2 * 2 * 3);
        let samples = grid.samples(9..12);
        assert_eq!(samples.len(), 3 * 16);
        // Patch 3 holds the pixels (4, 4) and (4, 5); everything else repeats them.
        let pixel = |x: usize, channel: usize| pixels[(4 * 6 + x) * 3 + channel];
        for channel in 0..3 {
            for (at, sample) in samples[channel * 16..][..16].iter().enumerate() {
                assert_eq!(*sample, pixel(4 + (at % 4).min(1), channel), "channel {channel}, sample {at}");
            }
        }
        assert!(Grid::new(Picture { height: 0, pixels: &[], ..picture }, 4).is_err());
    }
}
