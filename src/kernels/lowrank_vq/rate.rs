//! What an image costs: bits and multiplications in closed form, and the configurations that have a name.

use super::{Combine, LowRankVqConfig};
use crate::error::Result;

/// A configuration with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// A to D.
    pub name: &'static str,
    /// Pixels along a patch's side.
    pub patch: usize,
    /// Outer products of one iteration.
    pub rank: usize,
    /// Iterations.
    pub iterations: usize,
    /// Codewords of its codebook.
    pub codewords: usize,
}

impl Preset {
    /// 21.3 times smaller than 8 bits per sample: one outer product per patch of 8 x 8.
    pub const A: Preset = Preset { name: "A", patch: 8, rank: 1, iterations: 1, codewords: 4096 };
    /// 21.3 times smaller: two iterations of rank 2 per patch of 16 x 16.
    pub const B: Preset = Preset { name: "B", patch: 16, rank: 2, iterations: 2, codewords: 4096 };
    /// 78.8 times smaller: rank 4 per patch of 32 x 32.
    pub const C: Preset = Preset { name: "C", patch: 32, rank: 4, iterations: 1, codewords: 8192 };
    /// 16 times smaller, with a codebook small enough for tests.
    pub const D: Preset = Preset { name: "D", patch: 8, rank: 1, iterations: 2, codewords: 256 };
    /// All of them.
    pub const ALL: [Preset; 4] = [Preset::A, Preset::B, Preset::C, Preset::D];

    /// The preset for an image of this size, iterations summed.
    pub const fn config(self, height: usize, width: usize, channels: usize) -> LowRankVqConfig {
        LowRankVqConfig {
            height,
            width,
            channels,
            patch: self.patch,
            rank: self.rank,
            iterations: self.iterations,
            bits: None,
            combine: Combine::Sum,
            variant: None,
        }
    }
}

/// Size of an encoded image, its codebook not counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Codeword indices.
    pub indices: u64,
    /// Bits of all of them.
    pub bits: u64,
    /// `u32` words that hold them.
    pub words: u64,
    /// Bits per pixel; 0 of an image without any.
    pub bits_per_pixel: f64,
    /// How many times smaller than 8 bits per sample; 0 of an image without any.
    pub ratio: f64,
}

/// Bits that tell this many codewords apart, at least 1.
pub(super) fn least_bits(codewords: usize) -> usize {
    (usize::BITS - codewords.saturating_sub(1).leading_zeros()).max(1) as usize
}

impl LowRankVqConfig {
    /// Rows and columns of patches.
    pub fn grid(&self) -> [usize; 2] {
        [self.height.div_ceil(self.patch), self.width.div_ceil(self.patch)]
    }

    /// Outer products in each channel of a patch: rank · iterations.
    pub fn products(&self) -> usize {
        self.rank.saturating_mul(self.iterations)
    }

    /// Codeword indices of the image; 2^64 - 1 stands for that and more.
    pub fn indices(&self) -> u64 {
        let [rows, columns] = self.grid();
        let factors = [rows, columns, self.channels, 2, self.rank, self.iterations];
        factors.into_iter().fold(1, |product: u64, factor| product.saturating_mul(factor as u64))
    }

    /// Bits per image, pixel and sample with a codebook of this many codewords. Errors: `Config`.
    pub fn rate(&self, codewords: usize) -> Result<Rate> {
        self.check()?;
        let indices = self.indices();
        let bits = indices * self.bits_per_index(codewords)? as u64;
        let pixels = self.height as f64 * self.width as f64;
        let ratio = 8.0 * pixels * self.channels as f64 / bits as f64;
        let known = |value: f64| if pixels > 0.0 { value } else { 0.0 };
        Ok(Rate {
            indices,
            bits,
            words: bits.div_ceil(32),
            bits_per_pixel: known(bits as f64 / pixels),
            ratio: known(ratio),
        })
    }

    /// Multiply-adds of the decoder, those of cropped pixels included: rank · iterations per sample.
    pub fn macs(&self) -> u64 {
        let [rows, columns] = self.grid();
        let factors = [rows, columns, self.patch, self.patch, self.channels, self.products()];
        factors.into_iter().fold(1, |product: u64, factor| product.saturating_mul(factor as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_the_published_ratios() {
        for (preset, ratio, bits_per_pixel, macs) in [
            (Preset::A, 64.0 / 3.0, 1.125, 196_608),
            (Preset::B, 64.0 / 3.0, 1.125, 786_432),
            (Preset::C, 4096.0 / 52.0, 0.3047, 786_432),
            (Preset::D, 16.0, 1.5, 393_216),
        ] {
            let config = preset.config(256, 256, 3);
            let rate = config.rate(preset.codewords).unwrap();
            assert!((rate.ratio - ratio).abs() < 1e-9, "{}: {rate:?}", preset.name);
            assert!((rate.bits_per_pixel - bits_per_pixel).abs() < 1e-4, "{}: {rate:?}", preset.name);
            assert_eq!(config.macs(), macs, "{}", preset.name);
        }
    }

    #[test]
    fn an_index_has_as_many_bits_as_the_codebook_needs() {
        for (codewords, bits) in [(1, 1), (2, 1), (3, 2), (17, 5), (256, 8), (257, 9), (65536, 16)] {
            assert_eq!(least_bits(codewords), bits, "{codewords} codewords");
        }
    }

    #[test]
    fn sizes_past_all_limits_are_refused() {
        let huge = Preset::A.config(usize::MAX, usize::MAX, 3);
        assert!(huge.check().unwrap_err().to_string().contains("2^32 indices"));
        assert!(huge.rate(4096).is_err());
        let many = LowRankVqConfig { rank: usize::MAX, iterations: usize::MAX, ..Preset::A.config(1, 1, 1) };
        assert!(many.check().unwrap_err().to_string().contains("indices of a patch"));
        assert_eq!(Preset::A.config(0, 7, 3).rate(4096).unwrap().words, 0);
    }
}
