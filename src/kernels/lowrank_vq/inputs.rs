//! What the decoders share: checks of the inputs, parameters, and where pixels go.

use super::{Combine, LowRankVqConfig, NAME};
use crate::error::{Error, Result};
use crate::kernels::image::check_size;
use crate::kernels::{Constants, FLOATS, dims, expect_dtype};
use crate::schedule::{Cost, Recorder, Schedule};
use crate::tensor::{Dtype, Tensor};

/// `VqParams` of the kernels.
#[derive(Clone, encase::ShaderType)]
pub(super) struct VqParams {
    height: u32,
    width: u32,
    patches: u32,
    patches_x: u32,
    pub strips: u32,
    rank: u32,
    iterations: u32,
    count: u32,
    bits: u32,
    index_mask: u32,
    codewords: u32,
    gain: f32,
}

/// Checks the tensors against the configuration. Errors: `Shape`, `Config` for the bits.
pub(super) fn check(config: &LowRankVqConfig, codebook: &Tensor, words: &Tensor) -> Result<VqParams> {
    let [codewords, length] = dims(NAME, "codebook", codebook, "[codewords, patch]")?;
    expect_dtype(NAME, "codebook", codebook, &FLOATS)?;
    if length != config.patch || codewords == 0 {
        let found = format!("has shape {:?}", codebook.shape());
        let expected = format!("[codewords, {}], at least one codeword", config.patch);
        return Err(Error::shape(NAME, "codebook", found, expected));
    }
    let bits = config.bits_per_index(codewords)?;
    let [count] = dims(NAME, "words", words, "[words]")?;
    expect_dtype(NAME, "words", words, &[Dtype::U32])?;
    config.check_length(bits, count)?;
    let [rows, columns] = config.grid();
    Ok(VqParams {
        height: config.height as u32,
        width: config.width as u32,
        patches: (rows * columns) as u32,
        patches_x: columns as u32,
        strips: 0,
        rank: config.rank as u32,
        iterations: config.iterations as u32,
        count: config.indices() as u32,
        bits: bits as u32,
        index_mask: u32::MAX >> (32 - bits),
        codewords: u32::try_from(codewords).unwrap_or(u32::MAX),
        gain: if config.combine == Combine::Mean { 1.0 / config.iterations as f32 } else { 1.0 },
    })
}

/// Where the pixels go.
pub(super) enum Target<'a> {
    Image(Tensor),
    Bytes(Tensor),
    Texture(&'a wgpu::TextureView),
}

impl<'a> Target<'a> {
    pub fn image(schedule: &mut Schedule, config: &LowRankVqConfig) -> Result<Self> {
        let shape = [config.height, config.width, config.channels];
        Ok(Target::Image(schedule.tensor("image", &shape, Dtype::F32)?))
    }

    pub fn bytes(schedule: &mut Schedule, config: &LowRankVqConfig) -> Result<Self> {
        let shape = [config.height, config.width.saturating_mul(config.channels).div_ceil(4)];
        Ok(Target::Bytes(schedule.tensor("image_u8", &shape, Dtype::U32)?))
    }

    pub fn texture(view: &'a wgpu::TextureView, config: &LowRankVqConfig) -> Result<Self> {
        check_size(NAME, view, config.height, config.width)?;
        Ok(Target::Texture(view))
    }

    /// `TARGET` and `ALIGNED` of `target.wgsl`.
    pub fn constants(&self, config: &LowRankVqConfig, constants: Constants) -> Constants {
        let target = match self {
            Target::Image(_) => 0,
            Target::Bytes(_) => 1,
            Target::Texture(_) => 2,
        };
        constants.set("TARGET", target).flag("ALIGNED", config.width.is_multiple_of(4))
    }

    pub fn bind<'s>(&self, recorder: Recorder<'s>) -> Result<Recorder<'s>> {
        match self {
            Target::Image(tensor) | Target::Bytes(tensor) => recorder.bind("image", tensor),
            Target::Texture(view) => recorder.bind_texture("picture", view),
        }
    }

    pub fn size(&self, config: &LowRankVqConfig) -> f64 {
        match self {
            Target::Image(tensor) | Target::Bytes(tensor) => tensor.bytes() as f64,
            Target::Texture(_) => 4.0 * config.height as f64 * config.width as f64,
        }
    }

    /// The tensor, of a target that is one.
    pub fn tensor(self) -> Option<Tensor> {
        match self {
            Target::Image(tensor) | Target::Bytes(tensor) => Some(tensor),
            Target::Texture(_) => None,
        }
    }
}

/// Words and pixels once, and of the codebook what the indices can reach.
pub(super) fn cost(config: &LowRankVqConfig, codebook: &Tensor, words: &Tensor, target: &Target) -> Cost {
    let reached = config.indices() as f64 * (config.patch as u64 * codebook.dtype().size()) as f64;
    let bytes = words.bytes() as f64 + reached.min(codebook.bytes() as f64) + target.size(config);
    Cost { flops: 2.0 * config.macs() as f64, bytes }
}
