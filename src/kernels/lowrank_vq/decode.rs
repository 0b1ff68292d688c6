//! The decoder in one kernel.

use super::LowRankVqConfig;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::schedule::Schedule;
use crate::tensor::Tensor;
use crate::variant::Variant;

/// The decoder of a low-rank vector-quantised image (after arXiv 2510.01407): indices to pixels in one kernel.
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

    /// Records the decoding of `words` u32 with a `codebook` `[codewords, patch]` f32 or f16 into an image
    /// `[height, width, channels]` f32, clamped to 0..1.
    ///
    /// Errors: `Shape`, `Config` for the bits, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, _schedule: &mut Schedule, _codebook: &Tensor, _words: &Tensor) -> Result<Tensor> {
        let _ = &self.config;
        todo!()
    }

    /// The same in bytes, floor(255 x + 0.5), four to a word: `[height, ceil(width · channels / 4)]` u32. A row starts at a
    /// word; the bytes behind its last are 0. [`unpack_pixels`](super::unpack_pixels) takes them apart.
    pub fn record_u8(&self, _schedule: &mut Schedule, _codebook: &Tensor, _words: &Tensor) -> Result<Tensor> {
        todo!()
    }

    /// The same into the upper left of an `rgba8unorm` texture with the usage `STORAGE_BINDING`.
    pub fn record_texture(
        &self,
        _schedule: &mut Schedule,
        _codebook: &Tensor,
        _words: &Tensor,
        _texture: &wgpu::TextureView,
    ) -> Result<()> {
        todo!()
    }
}
