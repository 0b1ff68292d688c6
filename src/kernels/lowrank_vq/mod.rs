//! Low-rank vector quantisation: an image codec whose decoder is a few multiplications per pixel.

mod decode;
mod inputs;
mod nearest;
mod rate;
mod steps;
mod stream;

pub use decode::LowRankVq;
pub use nearest::{MOST_CODEWORDS, VqNearest, VqNearestConfig};
pub use rate::{Preset, Rate};
pub use steps::{LowRankVqSteps, VqSteps};
pub use stream::{pack_indices, unpack_indices, unpack_pixels};

use crate::error::{Error, Result};
use crate::variant::VariantKind;

pub(crate) const NAME: &str = "lowrank_vq";

/// How the iterations of a patch become its pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Combine {
    /// Their sum: each iteration encodes what the ones before left over.
    #[default]
    Sum,
    /// Their mean.
    Mean,
}

impl Combine {
    /// `sum` or `mean`.
    pub const fn name(self) -> &'static str {
        match self {
            Combine::Sum => "sum",
            Combine::Mean => "mean",
        }
    }
}

/// Configuration of a [`LowRankVq`]: the size of the image and how its patches are coded.
///
/// An image is a grid of square patches, row by row, cropped at its right and lower edge. Each channel of a patch is a sum of
/// `rank` outer products in each of `iterations`, every factor a codeword of one codebook `[codewords, patch]`.
/// Indices stand in the order `[patch][iteration][channel][2 rank]`, the vertical factors of the ranks before the horizontal
/// ones, index n in the bits n · b to (n + 1) · b of little-endian `u32` words, lowest bit first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowRankVqConfig {
    /// Rows of pixels. An image without pixels is fine: nothing runs.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Pixels along a patch's side, and elements of a codeword: 4, 8, 16 or 32.
    pub patch: usize,
    /// Outer products of one iteration.
    pub rank: usize,
    /// Iterations, each of this rank.
    pub iterations: usize,
    /// b: bits of an index, 1 to 32; `None`: as few as the codebook needs.
    pub bits: Option<usize>,
    /// What becomes of the iterations.
    pub combine: Combine,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl Default for LowRankVqConfig {
    /// [`Preset::B`] in RGB, without a size.
    fn default() -> Self {
        Preset::B.config(0, 0, 3)
    }
}

impl LowRankVqConfig {
    /// Every rule that needs neither device nor codebook. Errors: `Config`.
    pub fn check(&self) -> Result<()> {
        if self.channels != 1 && self.channels != 3 {
            return Err(Error::config(NAME, "channels", self.channels, "1 or 3"));
        }
        if ![4, 8, 16, 32].contains(&self.patch) {
            return Err(Error::config(NAME, "patch", self.patch, "4, 8, 16 or 32"));
        }
        for (key, value) in [("height", self.height), ("width", self.width)] {
            if value as u64 > u32::MAX as u64 {
                return Err(Error::config(NAME, key, value, "less than 2^32"));
            }
        }
        for (key, value) in [("rank", self.rank), ("iterations", self.iterations)] {
            if value == 0 {
                return Err(Error::config(NAME, key, value, "at least 1"));
            }
        }
        if let Some(bits) = self.bits.filter(|bits| !(1..=32).contains(bits)) {
            return Err(Error::config(NAME, "bits", bits, "1 to 32"));
        }
        let of_a_patch = LowRankVqConfig { height: 1, width: 1, ..self.clone() }.indices();
        if of_a_patch > u32::MAX as u64 {
            let found = format!("{} and {}", self.rank, self.iterations);
            let expected = format!("fewer than 2^32 indices of a patch, not {of_a_patch}");
            return Err(Error::config(NAME, "rank and iterations", found, expected));
        }
        if self.indices() > u32::MAX as u64 {
            let found = format!("{} x {} pixels", self.width, self.height);
            let expected = format!("fewer than 2^32 indices, not {}", self.indices());
            return Err(Error::config(NAME, "height and width", found, expected));
        }
        Ok(())
    }

    /// Bits of an index into this many codewords. Errors: `Config` where the configured ones are too few, or there is no
    /// codeword.
    pub fn bits_per_index(&self, codewords: usize) -> Result<usize> {
        if codewords == 0 || codewords as u64 > 1 << 32 {
            return Err(Error::config(NAME, "codewords", codewords, "1 to 2^32"));
        }
        let least = rate::least_bits(codewords);
        match self.bits {
            Some(bits) if bits < least => {
                let expected = format!("at least {least} for {codewords} codewords");
                Err(Error::config(NAME, "bits", bits, expected))
            }
            bits => Ok(bits.unwrap_or(least)),
        }
    }

    /// Checks the words of an image on the host: as many as it takes, and no index past the codebook. Bits behind the last
    /// index don't matter. (The kernels take a wrong index for the last codeword.)
    ///
    /// Errors: `Shape`, and those of [`check`](Self::check) and [`bits_per_index`](Self::bits_per_index).
    pub fn check_words(&self, codewords: usize, words: &[u32]) -> Result<()> {
        self.check()?;
        let bits = self.bits_per_index(codewords)?;
        self.check_length(bits, words.len())?;
        let wrong = (0..self.indices()).find(|&n| stream::index(words, n, bits) as usize >= codewords);
        let Some(n) = wrong else { return Ok(()) };
        let found = format!("has index {} at place {n}", stream::index(words, n, bits));
        Err(Error::shape(NAME, "words", found, format!("less than {codewords}, the number of codewords")))
    }

    fn check_length(&self, bits: usize, found: usize) -> Result<()> {
        let expected = stream::word_count(self.indices(), bits);
        if found as u64 == expected {
            return Ok(());
        }
        let expected = format!("{expected}: {} indices of {bits} bits", self.indices());
        Err(Error::shape(NAME, "words", format!("has {found} words"), expected))
    }
}
