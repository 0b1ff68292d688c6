//! Indices to bytes, for whoever has no schedule of their own.

use super::{Codebook, Encoded};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::lowrank_vq::{LowRankVq, LowRankVqConfig, unpack_pixels};
use crate::schedule::{Schedule, no_progress};
use crate::tensor::Tensor;
use crate::variant::VariantKind;

/// Decodes an image into bytes `[height, width, channels]`, floor(255 x + 0.5). An app with frames of its own records
/// [`LowRankVq`] instead. Never blocks in a browser.
///
/// Errors: `Shape` where codebook or words don't fit, `Config`, `Limit` (an image is one tensor), `DeviceLost`.
pub async fn decode(
    gpu: &Gpu,
    encoded: &Encoded,
    codebook: &Codebook,
    variant: Option<VariantKind>,
) -> Result<Vec<u8>> {
    let config = LowRankVqConfig { variant, ..encoded.config.clone() };
    config.check_words(codebook.codewords(), &encoded.words)?;
    let words = Tensor::upload(gpu, "words", &[encoded.words.len()], &encoded.words)?;
    let codebook = codebook.upload(gpu)?;
    let mut schedule = Schedule::new(gpu);
    let image = LowRankVq::new(gpu, config.clone())?.record_u8(&mut schedule, &codebook, &words)?;
    schedule.compile()?.run(no_progress).await?;
    Ok(unpack_pixels(&image.read::<u32>(gpu).await?, config.width, config.channels))
}
