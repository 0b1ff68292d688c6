//! The decoder in four plain steps, one kernel each: to read, and to measure the one kernel against.

use super::LowRankVqConfig;
use super::inputs::{self, Target};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::{Constants, ELEMENTWISE, load_type};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};

/// [`LowRankVq`](super::LowRankVq) in four steps with everything between them in memory: unpack the indices, gather their
/// codewords, multiply, assemble the image. The same inputs, outputs and errors; one build for all adapters.
#[derive(Clone, Debug)]
pub struct LowRankVqSteps {
    config: LowRankVqConfig,
}

/// What lies between the steps. A tensor that is dropped at once may share its memory.
#[derive(Clone, Debug)]
pub struct VqSteps {
    /// `[patches, iterations, channels, 2 rank]` u32, none past the codebook.
    pub indices: Tensor,
    /// `[patches, iterations, channels, 2 rank, patch]` f32: a codeword for each index.
    pub factors: Tensor,
    /// `[patches, channels, patch, patch]` f32, neither cropped nor clamped.
    pub samples: Tensor,
}

impl LowRankVqSteps {
    /// Checks the configuration, whose `variant` doesn't matter. Errors: `Config`.
    pub fn new(_gpu: &Gpu, config: LowRankVqConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config })
    }

    /// Records the decoding into an image `[height, width, channels]` f32.
    ///
    /// Errors: `Shape`, `Config` for the bits, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(
        &self,
        schedule: &mut Schedule,
        codebook: &Tensor,
        words: &Tensor,
    ) -> Result<(Tensor, VqSteps)> {
        let target = Target::image(schedule, &self.config)?;
        let steps = self.record_into(schedule, codebook, words, &target)?;
        Ok((target.tensor().expect("an image is a tensor"), steps))
    }

    /// Records the decoding into the bytes of [`record_u8`](super::LowRankVq::record_u8). Errors: those of
    /// [`record`](Self::record).
    pub fn record_u8(
        &self,
        schedule: &mut Schedule,
        codebook: &Tensor,
        words: &Tensor,
    ) -> Result<(Tensor, VqSteps)> {
        let target = Target::bytes(schedule, &self.config)?;
        let steps = self.record_into(schedule, codebook, words, &target)?;
        Ok((target.tensor().expect("bytes are a tensor"), steps))
    }

    /// Records the decoding into a texture, as [`record_texture`](super::LowRankVq::record_texture) does. Errors: the same.
    pub fn record_texture(
        &self,
        schedule: &mut Schedule,
        codebook: &Tensor,
        words: &Tensor,
        texture: &wgpu::TextureView,
    ) -> Result<VqSteps> {
        let target = Target::texture(texture, &self.config)?;
        self.record_into(schedule, codebook, words, &target)
    }

    fn record_into(
        &self,
        schedule: &mut Schedule,
        codebook: &Tensor,
        words: &Tensor,
        target: &Target,
    ) -> Result<VqSteps> {
        let LowRankVqConfig { height, width, channels, patch, rank, iterations, .. } = self.config;
        let params = inputs::check(&self.config, codebook, words)?;
        let [rows, columns] = self.config.grid();
        let patches = rows * columns;
        let shape = [patches, iterations, channels, 2 * rank];
        let indices = schedule.tensor("indices", &shape, Dtype::U32)?;
        let factors = schedule.tensor("factors", &[&shape[..], &[patch]].concat(), Dtype::F32)?;
        let samples = schedule.tensor("samples", &[patches, channels, patch, patch], Dtype::F32)?;
        let moved = |from: f64, to: f64| Cost { flops: 0.0, bytes: from + to };
        let groups = |invocations: usize| invocations.div_ceil(ELEMENTWISE);
        let constants = Constants::new().set("WORKGROUP", ELEMENTWISE);

        schedule
            .kernel("unpack", "lowrank_vq/unpack", &constants.pairs())?
            .params(&params)
            .bind("words", words)?
            .bind("indices", &indices)?
            .dispatch(groups(indices.elements()), moved(words.bytes() as f64, indices.bytes() as f64))?;

        let constants = constants.set("PATCH", patch);
        let gather = constants
            .clone()
            .flag("CODEBOOK_F16", codebook.dtype() == Dtype::F16)
            .set("CODEBOOK_TYPE", load_type(codebook.dtype(), patch));
        schedule
            .kernel("gather", "lowrank_vq/gather", &gather.pairs())?
            .params(&params)
            .bind("codebook", codebook)?
            .bind("indices", &indices)?
            .bind("factors", &factors)?
            .dispatch(
                groups(factors.elements() / 4),
                moved(indices.bytes() as f64, factors.bytes() as f64),
            )?;

        let constants = constants.set("CHANNELS", channels);
        let flops = 2.0 * self.config.macs() as f64;
        schedule
            .kernel("product", "lowrank_vq/product", &constants.pairs())?
            .params(&params)
            .bind("factors", &factors)?
            .bind("samples", &samples)?
            .dispatch(
                groups(samples.elements()),
                Cost { flops, bytes: (factors.bytes() + samples.bytes()) as f64 },
            )?;

        let constants = target.constants(&self.config, constants);
        let recorder = schedule
            .kernel("assemble", "lowrank_vq/assemble", &constants.pairs())?
            .params(&params)
            .bind("samples", &samples)?;
        target.bind(recorder)?.dispatch(
            groups(height.saturating_mul(width.div_ceil(4))),
            moved(samples.bytes() as f64, target.size(&self.config)),
        )?;
        Ok(VqSteps { indices, factors, samples })
    }
}
