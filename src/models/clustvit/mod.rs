//! ClustViT (arXiv 2510.01948): a vision transformer that merges the tokens of large regions half-way.
#![doc = include_str!("../../../docs/clustvit.md")]

mod block;
mod cost;
mod head;
mod rows;

pub use crate::models::named_tensors::NamedTensors;
#[cfg(feature = "diagnostics")]
pub(crate) use block::block_shapes;
pub use cost::{ClustVitCost, ClustVitSize};
pub use head::{SegmenterConfig, SegmenterHead};

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::cluster_merge::{
    ClusterMerge, ClusterMergeConfig, ClusterMergeOutput, ClusterWeights, Gate, Regenerate, RegenerateConfig,
    RegenerateOriginal, RegenerateWeights,
};
use crate::kernels::{dims, expect_dtype, expect_shape};
use crate::models::named_tensors::upload_part;
use crate::schedule::Schedule;
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};
use block::{Block, BlockOperators};
use rows::{record_patches, record_slice};

pub(crate) const NAME: &str = "clustvit";

/// Configuration of a [`ClustVit`]; width, depth and hidden sizes are those of the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct ClustVitConfig {
    /// Pixels along a patch's side.
    pub patch: usize,
    /// Heads of attention, a divisor of the width.
    pub heads: usize,
    /// Blocks over all tokens, before the merge: 0 to depth - 1. The paper has 3 or 4 of 12.
    pub full_blocks: usize,
    /// K, clusters of an image.
    pub clusters: usize,
    /// Of every LayerNorm.
    pub epsilon: f32,
    /// When tokens are merged at all.
    pub gate: Gate,
    /// Blocks whose outputs are features, rising; `None`: the last one. That one alone is normalised.
    pub outputs: Option<Vec<usize>>,
    /// Without it the model is the plain transformer: no merge, no regenerator, whose weights may then be missing.
    pub merge: bool,
    /// Storage of the matrices, f32 or f16.
    pub dtype: Dtype,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl Default for ClustVitConfig {
    /// The paper's ClustViT-b: patches of 16, 12 heads, 3 full blocks, 3 clusters.
    fn default() -> Self {
        Self {
            patch: 16,
            heads: 12,
            full_blocks: 3,
            clusters: 3,
            epsilon: 1e-6,
            gate: Gate::Image,
            outputs: None,
            merge: true,
            dtype: Dtype::F32,
            variant: None,
        }
    }
}

/// A pre-norm vision transformer with a class token, learned positions and a patch embedding without bias, whose blocks after the first
/// few see kept tokens and one representative for each cluster of the others ([`ClusterMerge`]). At each output, a
/// [`Regenerate`] gives every token a row again; the last output is normalised after that.
///
/// Shapes: img `[batch, channels, height, width]` f32, normalised as the model was trained, height and width multiples of the patch;
/// features `[batch, patches, width]` f32. How many rows are left after the merge stays on the GPU. Weights by name, see docs/clustvit.md. Error
/// bound: 5e-5 absolute (goldens `clustvit_net_*`), as long as no two logits of a token are closer than 1e-5. Errors: `Shape` naming
/// the tensor with both shapes, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct ClustVit {
    config: ClustVitConfig,
    width: usize,
    operators: BlockOperators,
    embedding: Tensor,
    /// On the host: the class token added to the first row, `[1 + patches, width]`.
    positions: Vec<f32>,
    blocks: Vec<Block>,
    norm: [Tensor; 2],
    merging: Option<Merging>,
}

/// The parts that a plain transformer doesn't have.
#[derive(Clone, Debug)]
struct Merging {
    merge: ClusterMerge,
    /// W1, b1, W2, b2.
    clusterer: [Tensor; 4],
    regenerate: Regenerate,
    /// V1 for originals, V1 for representatives, c1, V2, c2.
    regenerator: [Tensor; 5],
}

/// What [`ClustVit`] gives.
#[derive(Clone, Debug)]
pub struct ClustVitOutput {
    /// One for each output block, `[batch, patches, width]` f32, without the class token.
    pub features: Vec<Tensor>,
    /// `[batch, patches]` u32: each token's cluster, 0 = kept; none without a merge.
    pub ids: Option<Tensor>,
}

/// Sees intermediate tensors by name: `embed`, `block0` .., `logits`, `ids`, `merged_in`, `merged_out`, `regen_out`.
type Observer<'a> = &'a mut dyn FnMut(&str, &Tensor);

/// Tokens that were merged, and what is needed to give them their rows back.
struct Merged {
    output: ClusterMergeOutput,
    original: RegenerateOriginal,
}

impl ClustVit {
    /// Checks configuration and weights, and copies these to the GPU. `weights` has the names of docs/clustvit.md without a prefix.
    ///
    /// Errors: `Config`, `Shape`, `Limit`, `OutOfMemory`.
    pub fn new(gpu: &Gpu, config: ClustVitConfig, weights: &NamedTensors) -> Result<Self> {
        let [width] = weights.dims("cls", "[D]")?;
        let depth = config.check_weights(weights, width)?;
        let [_, channels, ..] = weights.dims::<4>("pe_w", "[D, channels, patch, patch]")?;
        let patch = config.patch;
        let embedding = weights.floats("pe_w", &[width, channels, patch, patch])?;
        let embedding = upload_part(gpu, "pe_w", [width, channels * patch * patch], embedding, config.dtype)?;
        let [rows, _] = weights.dims("pos", "[1 + patches, D]")?;
        let mut positions = weights.floats("pos", &[rows.max(2), width])?.to_vec();
        let class = weights.floats("cls", &[width])?;
        positions.iter_mut().zip(class).for_each(|(position, class)| *position += class);
        let block = |i| Block::new(gpu, weights, &format!("blocks.{i}."), width, config.dtype);
        Ok(Self {
            width,
            operators: BlockOperators::new(gpu, config.heads, config.epsilon, config.variant)?,
            embedding,
            positions,
            blocks: (0..depth).map(block).collect::<Result<_>>()?,
            norm: [weights.upload(gpu, "norm_g", &[width])?, weights.upload(gpu, "norm_b", &[width])?],
            merging: config.merge.then(|| Merging::new(gpu, &config, weights, width)).transpose()?,
            config,
        })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        self.operators.linear().explain()
    }

    /// Blocks of the model.
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// Records the model over normalised images. Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, img: &Tensor) -> Result<ClustVitOutput> {
        self.record_observed(schedule, img, None, &mut |_, _| {})
    }

    /// The same by given ids `[batch, patches]` u32 instead of the clusterer's, to measure at a chosen share of kept tokens.
    /// The clusterer's logits are computed all the same, so that the time is that of the whole model.
    ///
    /// Errors: `Config` for a plain transformer, and those of [`record`](Self::record).
    pub fn record_ids(&self, schedule: &mut Schedule, img: &Tensor, ids: &Tensor) -> Result<ClustVitOutput> {
        self.record_observed(schedule, img, Some(ids), &mut |_, _| {})
    }

    /// Either, showing every intermediate tensor to `see`: `embed`, `block0` and so on, `logits`, `ids`, `merged_in`, `merged_out`,
    /// `regen_out`. Those that `see` keeps have memory of their own.
    ///
    /// Errors: those of [`record`](Self::record).
    pub fn record_observed(
        &self,
        schedule: &mut Schedule,
        img: &Tensor,
        ids: Option<&Tensor>,
        see: Observer<'_>,
    ) -> Result<ClustVitOutput> {
        if ids.is_some() && self.merging.is_none() {
            return Err(Error::config(NAME, "merge", false, "true where ids are given"));
        }
        let mut x = self.record_embedding(schedule, img)?;
        see("embed", &x);
        let depth = self.blocks.len();
        let outputs = self.config.outputs.clone().unwrap_or_else(|| vec![depth - 1]);
        let mut features = Vec::new();
        let mut merged: Option<Merged> = None;
        for (index, block) in self.blocks.iter().enumerate() {
            if let Some(merging) = self.merging.as_ref().filter(|_| index == self.config.full_blocks) {
                let output = merging.merge(schedule, &x, ids)?;
                let original = merging.original(schedule, &x)?;
                output.logits.iter().for_each(|logits| see("logits", logits));
                see("ids", &output.ids);
                see("merged_in", &output.packed);
                see("cu_seqlens", &output.map.bounds);
                x = output.packed.clone();
                merged = Some(Merged { output, original });
            }
            x = block.record(schedule, &self.operators, &x, merged.as_ref().map(|m| &m.output.map), None)?;
            see(&format!("block{index}"), &x);
            let is_last = index + 1 == depth;
            if !is_last && !outputs.contains(&index) {
                continue;
            }
            let mut rows = match (&merged, &self.merging) {
                (Some(merged), Some(merging)) => merging.regenerate(schedule, merged, &x)?,
                _ => x.clone(),
            };
            if is_last {
                merged.iter().for_each(|_| see("merged_out", &x));
                see("regen_out", &rows);
                rows = self.operators.norm(schedule, &rows, &self.norm, None)?;
            }
            if outputs.contains(&index) {
                let tokens = rows.shape()[1];
                features.push(record_slice(schedule, "features", &rows, 1..tokens)?);
            }
        }
        Ok(ClustVitOutput { features, ids: merged.map(|merged| merged.output.ids) })
    }

    /// Patches times the embedding, plus positions: `[batch, 1 + patches, width]`. The class token's patch is 0, and its
    /// position has the class token in it.
    fn record_embedding(&self, schedule: &mut Schedule, img: &Tensor) -> Result<Tensor> {
        let [batch, channels, height, width] = dims(NAME, "img", img, "[B, 3, H, W]")?;
        let patch = self.config.patch;
        if channels * patch * patch != self.embedding.shape()[1] {
            let expected = self.embedding.shape()[1] / (patch * patch);
            return Err(Error::shape(NAME, "img", format!("has {channels} channels"), expected.to_string()));
        }
        let rows = record_patches(schedule, img, patch)?;
        let tokens = rows.shape()[1];
        if tokens * self.width != self.positions.len() {
            let found = format!("has {} patches ({height} x {width} pixels)", tokens - 1);
            let expected = format!("{}, as there are positions", self.positions.len() / self.width - 1);
            return Err(Error::shape(NAME, "img", found, expected));
        }
        let positions = self.positions.repeat(batch);
        let positions =
            Tensor::upload(schedule.gpu(), "positions", &[batch, tokens, self.width], &positions)?;
        self.operators.linear().record(schedule, &rows, &self.embedding, None, Some(&positions))
    }
}

impl ClustVitConfig {
    /// The number of blocks, once the settings fit the weights. Errors: `Shape`, `Config`.
    pub(crate) fn check_weights(&self, weights: &NamedTensors, width: usize) -> Result<usize> {
        let depth = (0..).take_while(|i| weights.get(&format!("blocks.{i}.wqkv")).is_some()).count();
        if depth == 0 {
            return Err(weights.wrong("blocks.0.wqkv", "is missing", &format!("[{}, {width}]", 3 * width)));
        }
        self.check(width, depth)?;
        Ok(depth)
    }

    fn check(&self, width: usize, depth: usize) -> Result<()> {
        let wrong =
            |key: &str, found: String, expected: String| Err(Error::config(NAME, key, found, expected));
        if self.patch == 0 {
            return wrong("patch", "0".into(), "at least 1".into());
        }
        if self.heads == 0 || !width.is_multiple_of(self.heads) {
            return wrong("heads", self.heads.to_string(), format!("a divisor of D = {width}"));
        }
        if self.merge && self.full_blocks >= depth {
            let expected = format!("0 to {}, less than the {depth} blocks", depth - 1);
            return wrong("ip", self.full_blocks.to_string(), expected);
        }
        if ![Dtype::F32, Dtype::F16].contains(&self.dtype) {
            return wrong("dtype", self.dtype.name().into(), "f32 or f16".into());
        }
        if let Some(outputs) = &self.outputs {
            let rises = outputs.windows(2).all(|pair| pair[0] < pair[1]);
            if outputs.is_empty() || !rises || outputs.iter().any(|index| *index >= depth) {
                let expected = format!("rising numbers of blocks, 0 to {}", depth - 1);
                return wrong("outputs", format!("{outputs:?}"), expected);
            }
        }
        Ok(())
    }
}

impl Merging {
    fn new(gpu: &Gpu, config: &ClustVitConfig, weights: &NamedTensors, width: usize) -> Result<Self> {
        let ClustVitConfig { clusters, gate, dtype, variant, .. } = *config;
        let merge = ClusterMerge::new(gpu, ClusterMergeConfig { clusters, gate, variant })?;
        let regenerate = Regenerate::new(gpu, RegenerateConfig { clusters, variant })?;
        let [hidden, _] = weights.dims("clusterer.w1", "[hidden, D]")?;
        let matrix = |name: &str, shape| weights.upload_matrix(gpu, name, shape, dtype);
        let vector = |name: &str, length: usize| weights.upload(gpu, name, &[length]);
        let first = weights.floats("regen.w1", &[width, 2 * width])?;
        let half = |half: usize| {
            let columns = |row: &[f32]| row[half * width..(half + 1) * width].to_vec();
            let data: Vec<f32> = first.chunks_exact(2 * width).flat_map(columns).collect();
            upload_part(gpu, "regen.w1", [width, width], &data, dtype)
        };
        Ok(Self {
            merge,
            clusterer: [
                matrix("clusterer.w1", [hidden, width])?,
                vector("clusterer.b1", hidden)?,
                matrix("clusterer.w2", [clusters + 1, hidden])?,
                vector("clusterer.b2", clusters + 1)?,
            ],
            regenerate,
            regenerator: [
                half(0)?,
                half(1)?,
                vector("regen.b1", width)?,
                matrix("regen.w2", [width, width])?,
                vector("regen.b2", width)?,
            ],
        })
    }

    fn merge(&self, schedule: &mut Schedule, x: &Tensor, ids: Option<&Tensor>) -> Result<ClusterMergeOutput> {
        let [w1, b1, w2, b2] = &self.clusterer;
        let weights = ClusterWeights { w1, b1, w2, b2 };
        let Some(ids) = ids else { return self.merge.record(schedule, x, weights) };
        expect_dtype(NAME, "ids", ids, &[Dtype::U32])?;
        expect_shape(NAME, "ids", ids, &[x.shape()[0], x.shape()[1] - 1])?;
        let logits = self.merge.record_logits(schedule, x, weights)?;
        let output = self.merge.record_ids(schedule, x, ids)?;
        Ok(ClusterMergeOutput { logits: Some(logits), ..output })
    }

    fn weights(&self) -> RegenerateWeights<'_> {
        let [w1_original, w1_representative, b1, w2, b2] = &self.regenerator;
        RegenerateWeights { w1_original, w1_representative, b1, w2, b2 }
    }

    fn original(&self, schedule: &mut Schedule, x: &Tensor) -> Result<RegenerateOriginal> {
        self.regenerate.record_original(schedule, x, self.weights())
    }

    fn regenerate(&self, schedule: &mut Schedule, merged: &Merged, x: &Tensor) -> Result<Tensor> {
        self.regenerate.record(schedule, &merged.original, x, &merged.output.map, self.weights())
    }
}
