//! ClustViT to measure: the whole model at a chosen share of kept tokens, the plain transformer, and what merging adds.

use super::{Prepared, noise, noise_values};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::cluster_merge::{
    ClusterMerge, ClusterMergeConfig, ClusterWeights, Regenerate, RegenerateConfig, RegenerateWeights,
};
use crate::models::clustvit::{
    ClustVit, ClustVitConfig, ClustVitCost, ClustVitSize, NamedTensors, block_shapes,
};
use crate::schedule::Schedule;
use crate::tensor::{Dtype, Tensor};
use crate::variant::VariantKind;

/// A model, its image and the share of tokens that it keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClustVitCase {
    /// Sizes of the model.
    pub size: ClustVitSize,
    /// Pixels along a side of the image, in patches of 16.
    pub side: usize,
    /// Blocks over all tokens.
    pub full_blocks: usize,
    /// K.
    pub clusters: usize,
    /// Tokens kept; `None`: the plain transformer.
    pub kept: Option<usize>,
    /// Storage of the matrices.
    pub dtype: Dtype,
}

const PATCH: usize = 16;

impl ClustVitCase {
    /// Patches of the image.
    pub fn tokens(&self) -> usize {
        (self.side / PATCH).pow(2)
    }

    /// FLOPs by the cost model.
    pub fn cost(&self) -> ClustVitCost {
        let (size, tokens) = (&self.size, self.tokens());
        match self.kept {
            None => ClustVitCost::plain(size, tokens, PATCH),
            Some(kept) => ClustVitCost::merged(size, tokens, PATCH, self.full_blocks, self.clusters, kept),
        }
    }

    /// Kept tokens spread evenly, the others in each cluster in turn.
    fn ids(&self, gpu: &Gpu) -> Result<Option<Tensor>> {
        let Some(kept) = self.kept else { return Ok(None) };
        let tokens = self.tokens();
        let is_kept = |token: usize| (token + 1) * kept / tokens > token * kept / tokens;
        let id = |token| if is_kept(token) { 0 } else { 1 + (token % self.clusters) as u32 };
        let ids: Vec<u32> = (0..tokens).map(id).collect();
        Tensor::upload(gpu, "ids", &[1, tokens], &ids).map(Some)
    }
}

/// The model on one image with random weights and given ids, ready to be timed. Its plan's cost counts every token as kept.
pub fn clustvit(gpu: &Gpu, case: &ClustVitCase, variant: Option<VariantKind>) -> Result<Prepared> {
    let config = ClustVitConfig {
        patch: PATCH,
        heads: case.size.heads,
        full_blocks: case.full_blocks,
        clusters: case.clusters,
        merge: case.kept.is_some(),
        dtype: case.dtype,
        variant,
        ..Default::default()
    };
    let model = ClustVit::new(gpu, config, &random_weights(case))?;
    let img = noise(gpu, "img", &[1, 3, case.side, case.side], Dtype::F32)?;
    let ids = case.ids(gpu)?;
    let mut schedule = Schedule::new(gpu);
    let output = match &ids {
        Some(ids) => model.record_ids(&mut schedule, &img, ids)?,
        None => model.record(&mut schedule, &img)?,
    };
    let plan = schedule.compile()?;
    let extra_bytes = plan.report().bytes - output.features[0].padded_bytes();
    Ok(Prepared { plan, variant: model.explain().kind, extra_bytes })
}

/// What merging adds to the blocks: logits, ids, merged rows, and the rows of all tokens at the end. Of a plain
/// transformer, that of keeping all.
pub fn clustvit_merging(gpu: &Gpu, case: &ClustVitCase, variant: Option<VariantKind>) -> Result<Prepared> {
    let ClustVitCase { size: ClustVitSize { width, clusterer, .. }, clusters, dtype, .. } = *case;
    let tokens = case.tokens();
    let matrix = |name, shape: &[usize]| noise(gpu, name, shape, dtype);
    let vector = |name, length| noise(gpu, name, &[length], Dtype::F32);
    let (w1, b1) = (matrix("w1", &[clusterer, width])?, vector("b1", clusterer)?);
    let (w2, b2) = (matrix("w2", &[clusters + 1, clusterer])?, vector("b2", clusters + 1)?);
    let square = |name| matrix(name, &[width, width]);
    let (original, representative, second) = (square("v1a")?, square("v1b")?, square("v2")?);
    let (c1, c2) = (vector("c1", width)?, vector("c2", width)?);
    let weights = RegenerateWeights {
        w1_original: &original,
        w1_representative: &representative,
        b1: &c1,
        w2: &second,
        b2: &c2,
    };
    let merge = ClusterMerge::new(gpu, ClusterMergeConfig { clusters, variant, ..Default::default() })?;
    let regenerate = Regenerate::new(gpu, RegenerateConfig { clusters, variant })?;
    let x = noise(gpu, "x", &[1, 1 + tokens, width], Dtype::F32)?;
    let ids = ClustVitCase { kept: case.kept.or(Some(tokens)), ..*case }.ids(gpu)?.expect("some are kept");

    let mut schedule = Schedule::new(gpu);
    merge.record_logits(&mut schedule, &x, ClusterWeights { w1: &w1, b1: &b1, w2: &w2, b2: &b2 })?;
    let merged = merge.record_ids(&mut schedule, &x, &ids)?;
    let part = regenerate.record_original(&mut schedule, &x, weights)?;
    let out = regenerate.record(&mut schedule, &part, &merged.packed, &merged.map, weights)?;
    drop((part, merged));
    let plan = schedule.compile()?;
    let extra_bytes = plan.report().bytes - out.padded_bytes();
    Ok(Prepared { plan, variant: merge.explain().kind, extra_bytes })
}

/// Matrices that neither grow nor shrink what they multiply.
fn random_weights(case: &ClustVitCase) -> NamedTensors {
    let ClustVitSize { width, depth, mlp, clusterer, .. } = case.size;
    let mut weights = NamedTensors::default();
    let mut add = |name: &str, shape: &[usize]| {
        let inputs: usize = if shape.len() > 1 { shape[1..].iter().product() } else { 100 };
        let limit = (3.0 / inputs as f32).sqrt();
        let offset = if name.ends_with("_g") { 1.0 } else { 0.0 };
        let data = noise_values(name, shape.iter().product(), limit).map(|value| value + offset);
        weights.insert(name, shape, data.collect());
    };
    add("cls", &[width]);
    add("pos", &[1 + case.tokens(), width]);
    add("pe_w", &[width, 3, PATCH, PATCH]);
    add("norm_g", &[width]);
    add("norm_b", &[width]);
    for index in 0..depth {
        let parts = block_shapes(width, mlp);
        parts.iter().for_each(|(name, shape)| add(&format!("blocks.{index}.{name}"), shape));
    }
    add("clusterer.w1", &[clusterer, width]);
    add("clusterer.b1", &[clusterer]);
    add("clusterer.w2", &[case.clusters + 1, clusterer]);
    add("clusterer.b2", &[case.clusters + 1]);
    add("regen.w1", &[width, 2 * width]);
    add("regen.b1", &[width]);
    add("regen.w2", &[width, width]);
    add("regen.b2", &[width]);
    weights
}
