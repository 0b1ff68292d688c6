//! The decoder in one kernel.

use super::inputs::{self, Target};
use super::{LowRankVqConfig, NAME};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::{Constants, load_type};
use crate::schedule::Schedule;
use crate::tensor::{Dtype, Tensor};
use crate::variant::Variant;

/// The decoder of a low-rank vector-quantised image (after arXiv 2510.01407): indices to pixels in one kernel.
///
/// ```text
/// pixel[c, y, x] = g · Σ_i Σ_r codebook[left(i, c, r), y] · codebook[right(i, c, r), x], clamped to 0..1
/// ```
///
/// within a patch, g = 1 for the sum of the iterations and 1 / iterations for their mean. Inputs: the codebook
/// `[codewords, patch]` f32 or f16, finite, its products as well; the bit stream `[words]` u32 in the order of
/// [`LowRankVqConfig`]. An index past the codebook is taken for its last codeword;
/// [`check_words`](LowRankVqConfig::check_words) finds it on the host. Sums are f32. Error bound: 1e-6 · rank · iterations for
/// products of size 1 (goldens `lrvq_*`: 1e-5); a byte may be one off where 255 x is within 1e-4 of a half. Errors: `Shape`,
/// `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct LowRankVq {
    config: LowRankVqConfig,
    variant: Variant,
}

impl LowRankVq {
    /// Checks the configuration. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: LowRankVqConfig) -> Result<Self> {
        config.check()?;
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records the decoding into an image `[height, width, channels]` f32.
    ///
    /// Errors: `Shape`, `Config` for the bits, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, codebook: &Tensor, words: &Tensor) -> Result<Tensor> {
        let target = Target::image(schedule, &self.config)?;
        self.record_into(schedule, codebook, words, &target)?;
        Ok(target.tensor().expect("an image is a tensor"))
    }

    /// Records the decoding into bytes, floor(255 x + 0.5), four to a word: `[height, ceil(width · channels / 4)]` u32, the
    /// first of each four lowest. A row starts at a word; bytes behind its last pixel are 0.
    /// [`unpack_pixels`](super::unpack_pixels) takes them apart.
    ///
    /// Errors: those of [`record`](Self::record).
    pub fn record_u8(&self, schedule: &mut Schedule, codebook: &Tensor, words: &Tensor) -> Result<Tensor> {
        let target = Target::bytes(schedule, &self.config)?;
        self.record_into(schedule, codebook, words, &target)?;
        Ok(target.tensor().expect("bytes are a tensor"))
    }

    /// Records the decoding into the upper left of an `rgba8unorm` texture with the usage `STORAGE_BINDING`: the bytes of
    /// [`record_u8`](Self::record_u8), grey in all three colours, alpha 1. Pixels of a larger texture stay as they are.
    ///
    /// Errors: those of [`record`](Self::record), `Shape` where the texture is smaller; [`compile`](Schedule::compile) gives
    /// `Validation` for a wrong usage or format.
    pub fn record_texture(
        &self,
        schedule: &mut Schedule,
        codebook: &Tensor,
        words: &Tensor,
        texture: &wgpu::TextureView,
    ) -> Result<()> {
        let target = Target::texture(texture, &self.config)?;
        self.record_into(schedule, codebook, words, &target)
    }

    fn record_into(
        &self,
        schedule: &mut Schedule,
        codebook: &Tensor,
        words: &Tensor,
        target: &Target,
    ) -> Result<()> {
        let config = &self.config;
        let mut params = inputs::check(config, codebook, words)?;
        let [rows, columns] = config.grid();
        let constants = Constants::new()
            .set("PATCH", config.patch)
            .set("CHANNELS", config.channels)
            .flag("CODEBOOK_F16", codebook.dtype() == Dtype::F16)
            .set("CODEBOOK_TYPE", load_type(codebook.dtype(), config.patch));
        let mut constants = target.constants(config, constants);
        let (kernel, strips, strip_rows) = if self.variant.kind.is_cpu() {
            let block = config.patch.min(MOST_ROWS_CPU);
            let shared = self.variant.kind.uses_subgroups() && config.patch >= 16;
            constants = constants.set("ROWS", block).flag("SUBGROUP", shared);
            let strips = columns.saturating_mul(config.patch).div_ceil(STRIP_CPU);
            ("lowrank_vq/decode_cpu", strips, config.height.div_ceil(block))
        } else {
            ("lowrank_vq/decode", columns.div_ceil(PIXELS / (config.patch * config.patch)), rows)
        };
        params.strips = strips as u32;
        let groups = strips.saturating_mul(strip_rows);
        let recorder = schedule
            .kernel(NAME, kernel, &constants.pairs())?
            .params(&params)
            .bind("codebook", codebook)?
            .bind("words", words)?;
        target.bind(recorder)?.dispatch(groups, inputs::cost(config, codebook, words, target))
    }
}

/// Pixels of a workgroup of `lowrank_vq/decode`.
const PIXELS: usize = 1024;
/// Columns, and most rows, of a workgroup of `lowrank_vq/decode_cpu`.
const STRIP_CPU: usize = 32;
const MOST_ROWS_CPU: usize = 16;
