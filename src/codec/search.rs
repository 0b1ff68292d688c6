//! The nearest codewords of many rows, on the GPU.

use super::Codebook;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::lowrank_vq::{VqNearest, VqNearestConfig};
use crate::schedule::{Plan, Schedule, no_progress};
use crate::tensor::{Dtype, Tensor};
use crate::variant::VariantKind;

/// A compiled search with a fixed codebook and at most `rows` rows.
#[derive(Debug)]
pub struct Search {
    z: Tensor,
    indices: Tensor,
    plan: Plan,
}

impl Search {
    pub fn new(gpu: &Gpu, variant: Option<VariantKind>, codebook: &Tensor, rows: usize) -> Result<Self> {
        let nearest = VqNearest::new(gpu, VqNearestConfig { variant })?;
        let z = Tensor::zeros(gpu, "z", &[rows, codebook.shape()[1]], Dtype::F32)?;
        let mut schedule = Schedule::new(gpu);
        let indices = nearest.record(&mut schedule, &z, codebook)?;
        Ok(Self { z, indices, plan: schedule.compile()? })
    }

    /// The index of each row's codeword. Fewer rows than compiled are filled up with zeros.
    pub async fn nearest(&self, gpu: &Gpu, mut rows: Vec<f32>) -> Result<Vec<u32>> {
        let count = rows.len() / self.z.shape()[1];
        rows.resize(self.z.elements(), 0.0);
        self.z.write(gpu, &rows)?;
        self.plan.run(no_progress).await?;
        let mut indices = self.indices.read::<u32>(gpu).await?;
        indices.truncate(count);
        Ok(indices)
    }
}

/// The codebook on both sides, and searches for a band of blocks.
#[derive(Debug)]
pub struct Searcher<'a> {
    gpu: &'a Gpu,
    /// `[codewords, patch]`.
    codebook: Vec<f32>,
    patch: usize,
    /// One row of every block.
    single: Search,
    /// `rank` rows of every block; `None` where that is the same.
    ranked: Option<Search>,
}

impl<'a> Searcher<'a> {
    /// Errors: `Limit`, `OutOfMemory`.
    pub fn new(
        gpu: &'a Gpu,
        variant: Option<VariantKind>,
        codebook: &Codebook,
        blocks: usize,
        rank: usize,
    ) -> Result<Self> {
        let tensor = codebook.upload(gpu)?;
        let search = |rows| Search::new(gpu, variant, &tensor, rows);
        let ranked = if rank > 1 { Some(search(blocks * rank)?) } else { None };
        Ok(Self {
            gpu,
            codebook: codebook.floats(),
            patch: codebook.patch(),
            single: search(blocks)?,
            ranked,
        })
    }

    pub fn codeword(&self, index: u32) -> &[f32] {
        &self.codebook[index as usize * self.patch..][..self.patch]
    }

    /// `rows` holds one row of every block.
    pub async fn single(&self, rows: Vec<f32>) -> Result<Vec<u32>> {
        self.single.nearest(self.gpu, rows).await
    }

    /// `rows` holds `rank` rows of every block.
    pub async fn ranked(&self, rows: Vec<f32>) -> Result<Vec<u32>> {
        self.ranked.as_ref().unwrap_or(&self.single).nearest(self.gpu, rows).await
    }
}
