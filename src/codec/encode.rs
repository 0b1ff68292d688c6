//! Pictures to indices.

use super::blocks::Grid;
use super::factors::{Factors, Side};
use super::search::Searcher;
use super::{Codebook, NAME, check_picture, report};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::lowrank_vq::{Combine, LowRankVqConfig, Preset, Rate, pack_indices};
use crate::models::picture::Picture;
use crate::variant::VariantKind;
use std::ops::ControlFlow;

/// Samples of a band, the blocks that are encoded together: enough rows for a search to fill a GPU, few enough that the
/// host's part is short.
const BAND_SAMPLES: usize = 1 << 18;

/// How an [`Encoder`] codes patches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderConfig {
    /// Pixels along a patch's side: 4, 8, 16 or 32, the length of the codewords.
    pub patch: usize,
    /// Outer products of one iteration, 1 to `patch`.
    pub rank: usize,
    /// Iterations: each encodes what the ones before left over.
    pub iterations: usize,
    /// How often every factor is improved, 0 for never. No sweep makes an image worse.
    pub sweeps: usize,
    /// The build of the search, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl EncoderConfig {
    /// A preset's patches, four sweeps: more change no photo's error by a hundredth.
    pub const fn preset(preset: Preset) -> Self {
        let Preset { patch, rank, iterations, .. } = preset;
        Self { patch, rank, iterations, sweeps: 4, variant: None }
    }

    /// How the decoder puts together an image of this size.
    pub fn decoder(&self, height: usize, width: usize, channels: usize) -> LowRankVqConfig {
        let &Self { patch, rank, iterations, .. } = self;
        let combine = Combine::Sum;
        LowRankVqConfig {
            height,
            width,
            channels,
            patch,
            rank,
            iterations,
            bits: None,
            combine,
            variant: None,
        }
    }

    /// Errors: `Config`.
    pub(super) fn check(&self) -> Result<()> {
        self.decoder(1, 1, 3).check()?;
        if self.rank > self.patch {
            let expected = format!("at most the patch's side, {}", self.patch);
            return Err(Error::config(NAME, "rank", self.rank, expected));
        }
        Ok(())
    }

    /// Blocks of a band.
    pub(super) fn band(&self, blocks: usize) -> usize {
        blocks.min(BAND_SAMPLES / (self.patch * self.patch)).max(1)
    }
}

/// An encoded image: all that a decoder needs beside the codebook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Size, patches and order of the image.
    pub config: LowRankVqConfig,
    /// The bit stream of the indices.
    pub words: Vec<u32>,
}

impl Encoded {
    /// Bits per pixel and size, the codebook and the file's header not counted. Errors: `Config`.
    pub fn rate(&self, codebook: &Codebook) -> Result<Rate> {
        self.config.rate(codebook.codewords())
    }
}

/// Encodes pictures with one codebook.
///
/// Patches are independent of each other: memory is that of a band of blocks, whatever the picture's size. The result is the same
/// for the same adapter, build and codebook; another adapter may round a search differently where two codewords are equally near.
#[derive(Debug)]
pub struct Encoder<'a> {
    gpu: &'a Gpu,
    config: EncoderConfig,
    codebook: &'a Codebook,
}

impl<'a> Encoder<'a> {
    /// Errors: `Config`; `Shape` where the codewords have another length than the patch's side.
    pub fn new(gpu: &'a Gpu, config: EncoderConfig, codebook: &'a Codebook) -> Result<Self> {
        config.check()?;
        gpu.variant(config.variant)?;
        if codebook.patch() != config.patch {
            let found = format!("has codewords of {} elements", codebook.patch());
            return Err(Error::shape(NAME, "codebook", found, format!("{}, the patch's side", config.patch)));
        }
        Ok(Self { gpu, config, codebook })
    }

    /// Encodes a picture of 1 or 3 channels; values outside 0..1 count as 0 or 1. `progress` is told the share done, 0 to 1, and
    /// may stop it. Never blocks in a browser.
    ///
    /// Errors: `Config` for a picture without pixels or of too many, `Shape`, `NonFinite`, `Limit`, `Cancelled`, `DeviceLost`.
    pub async fn encode(
        &self,
        picture: Picture<'_>,
        mut progress: impl FnMut(f64) -> ControlFlow<()>,
    ) -> Result<Encoded> {
        check_picture(picture)?;
        let config = self.config.decoder(picture.height, picture.width, picture.channels);
        config.check()?;
        let bits = config.bits_per_index(self.codebook.codewords())?;
        let grid = Grid::new(picture, self.config.patch)?;
        let band = self.config.band(grid.blocks);
        let &EncoderConfig { patch, rank, iterations, sweeps, variant } = &self.config;
        let search = Searcher::new(self.gpu, variant, self.codebook, band, rank)?;

        let mut indices = vec![0; config.indices() as usize];
        for first in (0..grid.blocks).step_by(band) {
            let end = (first + band).min(grid.blocks);
            let share = |part: f64| (first as f64 + part * (end - first) as f64) / grid.blocks as f64;
            report(&mut progress, share(0.0))?;
            let mut factors = Factors::new(grid.samples(first..end), patch, rank, iterations);
            factors.start(&search).await?;
            for sweep in 0..sweeps {
                report(&mut progress, share((1 + sweep) as f64 / (1 + sweeps) as f64))?;
                factors.sweep(&search).await?;
            }
            for block in 0..factors.blocks() {
                place(&mut indices, &factors, block, first + block, picture.channels, rank);
            }
        }
        report(&mut progress, 1.0)?;
        Ok(Encoded { config, words: pack_indices(&indices, bits) })
    }
}

/// Writes a block's indices in the order `[patch][iteration][channel][left ranks, right ranks]`.
fn place(indices: &mut [u32], factors: &Factors, block: usize, at: usize, channels: usize, rank: usize) {
    let (patch, channel) = (at / channels, at % channels);
    let iterations = factors.products() / rank;
    for product in 0..factors.products() {
        let (iteration, slot) = (product / rank, product % rank);
        let start = ((patch * iterations + iteration) * channels + channel) * 2 * rank;
        indices[start + slot] = factors.index(block, product, Side::Left);
        indices[start + rank + slot] = factors.index(block, product, Side::Right);
    }
}
