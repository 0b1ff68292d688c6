//! The low-rank vector-quantised decoder and the search of its encoder.

use super::{Check, Checker, doubles};
use crate::error::Result;
use crate::kernels::lowrank_vq::{
    LowRankVq, LowRankVqConfig, Preset, VqNearest, VqNearestConfig, pack_indices, unpack_pixels,
};
use crate::schedule::{Schedule, no_progress};
use crate::tensor::Tensor;
use crate::twins::lowrank_vq::{VqShape, lowrank_vq, to_bytes, vq_nearest};

impl<F: FnMut(&Check)> Checker<'_, F> {
    pub(super) async fn lowrank_vq(&mut self) -> Result<()> {
        for (name, preset, codewords, channels) in
            [("low-rank VQ", Preset::B, 300, 3), ("low-rank VQ, grey", Preset::D, 256, 1)]
        {
            let preset = preset.config(45, 78, channels);
            let config = LowRankVqConfig { variant: self.variant, ..preset };
            let bits = config.bits_per_index(codewords)?;
            let codebook: Vec<f32> =
                self.values(codewords * config.patch).iter().map(|value| 0.3 + 0.3 * value).collect();
            let indices: Vec<u32> = self
                .values(config.indices() as usize)
                .iter()
                .map(|value| ((value + 1.0) * 0.5 * codewords as f32) as u32 % codewords as u32)
                .collect();
            let words = pack_indices(&indices, bits);
            let codebook_tensor = self.upload("codebook", &[codewords, config.patch], &codebook)?;
            let words_tensor = Tensor::upload(self.gpu, "words", &[words.len()], &words)?;
            let decoder = LowRankVq::new(self.gpu, config.clone())?;
            let mut schedule = Schedule::new(self.gpu);
            let image = decoder.record(&mut schedule, &codebook_tensor, &words_tensor)?;
            let bytes = decoder.record_u8(&mut schedule, &codebook_tensor, &words_tensor)?;
            let found = self.run(schedule, &image).await?;
            let bytes = unpack_pixels(&bytes.read::<u32>(self.gpu).await?, config.width, channels);
            let LowRankVqConfig { height, width, patch, rank, iterations, .. } = config;
            let shape = VqShape { height, width, channels, patch, rank, iterations, bits, mean: false };
            let raw = lowrank_vq(&doubles(codebook), &words, &shape);
            let clamped: Vec<f64> = raw.iter().map(|value| value.clamp(0.0, 1.0)).collect();
            self.compare(name, &found, &clamped, 1e-5);
            let off = bytes.iter().zip(to_bytes(&raw)).map(|(a, b)| a.abs_diff(b)).max();
            let detail = format!("bytes off by {} at most, tolerance 1", off.unwrap_or(0));
            self.push(&format!("{name}, bytes"), off <= Some(1) && bytes.len() == raw.len(), detail);
        }
        Ok(())
    }

    pub(super) async fn vq_nearest(&mut self) -> Result<()> {
        let (rows, codewords, length) = (203, 517, 16);
        let (z, codebook) = (self.values(rows * length), self.values(codewords * length));
        let operator = VqNearest::new(self.gpu, VqNearestConfig { variant: self.variant })?;
        let mut schedule = Schedule::new(self.gpu);
        let indices = operator.record(
            &mut schedule,
            &self.upload("z", &[rows, length], &z)?,
            &self.upload("codebook", &[codewords, length], &codebook)?,
        )?;
        let plan = schedule.compile()?;
        plan.poison();
        plan.run(no_progress).await?;
        let found = indices.read::<u32>(self.gpu).await?;
        let (expected, margins) = vq_nearest(&doubles(z), &doubles(codebook), length);
        let differs = |row: &usize| found[*row] != expected[*row] && margins[*row] > 1e-4;
        let wrong = (0..rows).filter(differs).count();
        let detail = format!("{wrong} of {rows} rows have another codeword");
        self.push("nearest codeword", wrong == 0 && found.len() == rows, detail);
        Ok(())
    }
}
