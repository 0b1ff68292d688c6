//! Low-rank VQ to measure: the decoder in one kernel and in four, on random indices.

use super::{Prepared, noise};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::lowrank_vq::{LowRankVq, LowRankVqConfig, LowRankVqSteps};
use crate::schedule::Schedule;
use crate::tensor::{Dtype, Tensor};
use crate::variant::VariantKind;

/// Decoding of random indices into an `rgba8unorm` texture, ready to be timed.
///
/// Indices reach all of the codebook, as those of a photo nearly do: a decoder is no quicker on them.
pub fn lowrank_vq(gpu: &Gpu, config: &LowRankVqConfig, codewords: usize, dtype: Dtype) -> Result<Prepared> {
    let (codebook, words) = inputs(gpu, config, codewords, dtype)?;
    let operator = LowRankVq::new(gpu, config.clone())?;
    let mut schedule = Schedule::new(gpu);
    let picture = texture(gpu, config.height, config.width);
    operator.record_texture(&mut schedule, &codebook, &words, &picture)?;
    prepared(schedule, operator.explain().kind)
}

/// The same in four kernels.
pub fn lowrank_vq_steps(
    gpu: &Gpu,
    config: &LowRankVqConfig,
    codewords: usize,
    dtype: Dtype,
) -> Result<Prepared> {
    let (codebook, words) = inputs(gpu, config, codewords, dtype)?;
    let mut schedule = Schedule::new(gpu);
    let picture = texture(gpu, config.height, config.width);
    LowRankVqSteps::new(gpu, config.clone())?.record_texture(&mut schedule, &codebook, &words, &picture)?;
    prepared(schedule, VariantKind::Portable)
}

fn prepared(schedule: Schedule, variant: VariantKind) -> Result<Prepared> {
    let plan = schedule.compile()?;
    let extra_bytes = plan.report().bytes;
    Ok(Prepared { plan, variant, extra_bytes })
}

/// Codebook and words.
fn inputs(gpu: &Gpu, config: &LowRankVqConfig, codewords: usize, dtype: Dtype) -> Result<(Tensor, Tensor)> {
    let codebook = noise(gpu, "codebook", &[codewords, config.patch], dtype)?;
    // With a codebook of 2^bits codewords any bits are good; they are equally likely to be any index.
    let count = config.rate(codewords)?.words as usize;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words: Vec<u32> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    })
    .take(count)
    .collect();
    Ok((codebook, Tensor::upload(gpu, "words", &[count], &words)?))
}

fn texture(gpu: &Gpu, height: usize, width: usize) -> wgpu::TextureView {
    let descriptor = wgpu::TextureDescriptor {
        label: Some("picture"),
        size: wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8Unorm,
        usage: wgpu::TextureUsages::STORAGE_BINDING,
        view_formats: &[],
    };
    gpu.device().create_texture(&descriptor).create_view(&Default::default())
}
