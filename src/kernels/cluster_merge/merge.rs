//! From tokens to merged sequences.

use super::row_map::record_bounds;
use super::{CHUNK, MergeParams, NAME, RowMap, check_clusters, reading, row_constants, row_groups};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::linear::{Linear, LinearConfig};
use crate::kernels::linear_types::{Activation, WeightLayout};
use crate::kernels::{Constants, ELEMENTWISE, FLOATS, dims, expect_dtype, expect_shape};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};

/// When tokens are merged at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// Always: K representatives stand in every sequence.
    None,
    /// In an image that has two different ids. Another keeps its tokens and has no representatives.
    #[default]
    Image,
    /// In every image, where two different ids occur in the batch; else in none (the published code).
    Batch,
}

impl Gate {
    /// All gates.
    pub const ALL: [Gate; 3] = [Gate::None, Gate::Image, Gate::Batch];

    /// `none`, `image` or `batch`.
    pub const fn name(self) -> &'static str {
        match self {
            Gate::None => "none",
            Gate::Image => "image",
            Gate::Batch => "batch",
        }
    }
}

/// Configuration of a [`ClusterMerge`].
#[derive(Clone, Debug)]
pub struct ClusterMergeConfig {
    /// K, clusters of an image beside id 0: 1 to [`MOST_CLUSTERS`](super::MOST_CLUSTERS).
    pub clusters: usize,
    /// When tokens are merged at all.
    pub gate: Gate,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl Default for ClusterMergeConfig {
    /// The paper's K = 3, and the gate per image.
    fn default() -> Self {
        Self { clusters: 3, gate: Gate::Image, variant: None }
    }
}

/// The two layers that give a token's logits: hidden `[hidden, width]` and out `[K + 1, hidden]`, f32 or f16, with biases in f32.
#[derive(Clone, Copy, Debug)]
pub struct ClusterWeights<'a> {
    /// W1 `[hidden, width]`.
    pub w1: &'a Tensor,
    /// b1 `[hidden]`.
    pub b1: &'a Tensor,
    /// W2 `[K + 1, hidden]`.
    pub w2: &'a Tensor,
    /// b2 `[K + 1]`.
    pub b2: &'a Tensor,
}

/// Merges the tokens of each cluster into their mean (ClustViT, arXiv 2510.01948).
///
/// Every token has an id, the argmax of W2 relu(W1 x + b1) + b2, the smallest of equals, 0 where a logit is a NaN. Id 0 keeps its row, the
/// ids 1 to K give way to one representative each, the mean of the members; without members it is a row of zeros, which takes part
/// in attention all the same. A merged sequence is the class token, the kept tokens in their order, the K representatives.
///
/// Shapes: x `[batch, 1 + tokens, width]` f32 or f16, the class token first; results as in [`ClusterMergeOutput`]. Ids, map and kept rows are
/// exact; logits have the error bound of [`Linear`]; a mean is the f32 sum of chunks of 64 tokens in their order, divided
/// once: within 4 units in the last place of that, the same bits in every run. Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct ClusterMerge {
    config: ClusterMergeConfig,
    hidden: Linear,
    logits: Linear,
    variant: Variant,
}

/// What [`ClusterMerge`] gives.
#[derive(Clone, Debug)]
pub struct ClusterMergeOutput {
    /// `[batch, 1 + tokens, K + 1]` f32, the class token's row first; none where ids were given.
    pub logits: Option<Tensor>,
    /// `[batch, tokens]` u32.
    pub ids: Tensor,
    /// `[batch, K + 1]` u32: tokens of each id.
    pub counts: Tensor,
    /// `[batch, tokens]` u32: tokens with id 0 before this one.
    pub keep_rank: Tensor,
    /// `[batch, K, width]` f32: the mean of each cluster, of images that the gate leaves alone too.
    pub means: Tensor,
    /// `[batch · (1 + tokens + K), width]` f32: the merged sequences behind each other, [`RowMap::row_count`] rows in all. Those past
    /// them hold anything.
    pub packed: Tensor,
    /// Where the rows of a sequence are, and which stands for each token.
    pub map: RowMap,
}

#[derive(encase::ShaderType)]
struct AssignParams {
    batch: u32,
    tokens: u32,
    rows: u32,
    choices: u32,
}

#[derive(encase::ShaderType)]
struct MapParams {
    batch: u32,
    tokens: u32,
    gate: u32,
}

impl ClusterMerge {
    /// Checks the configuration against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: ClusterMergeConfig) -> Result<Self> {
        check_clusters(NAME, config.clusters)?;
        let layer = |activation| {
            let layout = WeightLayout::OutIn;
            Linear::new(
                gpu,
                LinearConfig { layout, activation, variant: config.variant, ..Default::default() },
            )
        };
        let (hidden, logits) = (layer(Activation::Relu)?, layer(Activation::None)?);
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, hidden, logits, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records everything from the logits on. Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        weights: ClusterWeights<'_>,
    ) -> Result<ClusterMergeOutput> {
        let logits = self.record_logits(schedule, x, weights)?;
        let [batch, tokens, _] = check_tokens(x)?;
        let ids = schedule.tensor("cluster ids", &[batch, tokens], Dtype::U32)?;
        let constants = Constants::new().set("WORKGROUP", ELEMENTWISE);
        schedule
            .kernel("assign clusters", "cluster_merge/assign", &constants.pairs())?
            .params(&AssignParams {
                batch: batch as u32,
                tokens: tokens as u32,
                rows: tokens as u32 + 1,
                choices: self.config.clusters as u32 + 1,
            })
            .bind("logits", &logits)?
            .bind("ids", &ids)?
            .dispatch(
                (batch * tokens).div_ceil(ELEMENTWISE),
                Cost { flops: 0.0, bytes: (logits.bytes() + ids.bytes()) as f64 },
            )?;
        let output = self.record_ids(schedule, x, &ids)?;
        Ok(ClusterMergeOutput { logits: Some(logits), ..output })
    }

    /// Records the logits alone, `[batch, 1 + tokens, K + 1]` f32. Errors: those of [`record`](Self::record).
    pub fn record_logits(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        weights: ClusterWeights<'_>,
    ) -> Result<Tensor> {
        let [_, _, width] = check_tokens(x)?;
        let choices = self.config.clusters + 1;
        let [hidden, _] = dims(NAME, "w1", weights.w1, "[hidden, width]")?;
        expect_shape(NAME, "w1", weights.w1, &[hidden, width])?;
        expect_shape(NAME, "b1", weights.b1, &[hidden])?;
        expect_shape(NAME, "w2", weights.w2, &[choices, hidden])?;
        expect_shape(NAME, "b2", weights.b2, &[choices])?;
        let hidden = self.hidden.record(schedule, x, weights.w1, Some(weights.b1), None)?;
        self.logits.record(schedule, &hidden, weights.w2, Some(weights.b2), None)
    }

    /// Records the merge by ids that are there already, `[batch, tokens]` u32; one past K counts as 0.
    ///
    /// Errors: those of [`record`](Self::record).
    pub fn record_ids(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        ids: &Tensor,
    ) -> Result<ClusterMergeOutput> {
        let [batch, tokens, width] = check_tokens(x)?;
        expect_dtype(NAME, "ids", ids, &[Dtype::U32])?;
        expect_shape(NAME, "ids", ids, &[batch, tokens])?;
        let clusters = self.config.clusters;
        let params = MergeParams::new(batch, tokens, clusters, width);

        let (map, counts, keep_rank) = self.record_map(schedule, ids)?;

        let chunks = tokens.div_ceil(CHUNK);
        let sums = [batch, chunks, clusters, width.div_ceil(4) * 4];
        let sums = schedule.tensor("chunk sums", &sums, Dtype::F32)?;
        schedule
            .kernel("chunk sums", "cluster_merge/chunk_sums", &reading(x.dtype(), width).pairs())?
            .params(&params)
            .bind("x", x)?
            .bind("ids", ids)?
            .bind("sums", &sums)?
            .dispatch(
                row_groups(batch * chunks * clusters, width),
                Cost { flops: x.elements() as f64, bytes: (x.bytes() + sums.bytes()) as f64 },
            )?;

        let means = schedule.tensor("means", &[batch, clusters, width], Dtype::F32)?;
        let packed = schedule.tensor("merged rows", &[batch * map.most_rows, width], Dtype::F32)?;
        schedule
            .kernel("merge rows", "cluster_merge/merge_rows", &row_constants(x.dtype(), width).pairs())?
            .params(&params)
            .bind("x", x)?
            .bind("row_map", &map.rows)?
            .bind("own_rows", &map.own_rows)?
            .bind("bounds", &map.bounds)?
            .bind("counts", &counts)?
            .bind("sums", &sums)?
            .bind("means", &means)?
            .bind("packed", &packed)?
            .dispatch(
                row_groups(batch * map.most_rows, width),
                Cost { flops: sums.elements() as f64, bytes: (sums.bytes() + 2 * packed.bytes()) as f64 },
            )?;
        Ok(ClusterMergeOutput { logits: None, ids: ids.clone(), counts, keep_rank, means, packed, map })
    }

    /// Where every token's row goes, the number of tokens of each id, and the kept tokens before each.
    fn record_map(&self, schedule: &mut Schedule, ids: &Tensor) -> Result<(RowMap, Tensor, Tensor)> {
        let &[batch, tokens] = ids.shape() else { unreachable!("checked") };
        let clusters = self.config.clusters;
        let counts = schedule.tensor("cluster counts", &[batch, clusters + 1], Dtype::U32)?;
        let keep_rank = schedule.tensor("keep rank", &[batch, tokens], Dtype::U32)?;
        let rows = schedule.tensor("row map", &[batch, tokens], Dtype::U32)?;
        let own_rows = schedule.tensor("own rows", &[batch], Dtype::U32)?;
        let lengths = schedule.tensor("lengths", &[batch], Dtype::U32)?;
        let gate = match self.config.gate {
            Gate::None => 0,
            Gate::Image => 1,
            Gate::Batch => 2,
        };
        // Barriers are dear on software adapters, more so the more invocations they wait for.
        let lanes = if self.variant.kind.is_cpu() { 8 } else { 256 };
        let constants = Constants::new().set("CLUSTERS", clusters).set("WORKGROUP", lanes);
        schedule
            .kernel("map rows", "cluster_merge/map_rows", &constants.pairs())?
            .params(&MapParams { batch: batch as u32, tokens: tokens as u32, gate })
            .bind("ids", ids)?
            .bind("counts", &counts)?
            .bind("keep_rank", &keep_rank)?
            .bind("row_map", &rows)?
            .bind("own_rows", &own_rows)?
            .bind("lengths", &lengths)?
            .dispatch(batch, Cost { flops: 0.0, bytes: 4.0 * ids.bytes() as f64 })?;
        let (bounds, row_count) = record_bounds(schedule, &lengths)?;
        let most_rows = 1 + tokens + clusters;
        let map = RowMap { rows, own_rows, bounds, row_count, class_token: true, most_rows };
        Ok((map, counts, keep_rank))
    }
}

/// Images, tokens without the class token, and width of x. Errors: `Shape`.
fn check_tokens(x: &Tensor) -> Result<[usize; 3]> {
    let [batch, rows, width] = dims(NAME, "x", x, "[batch, 1 + tokens, width]")?;
    expect_dtype(NAME, "x", x, &FLOATS)?;
    if batch == 0 || rows < 2 || width == 0 {
        let found = format!("has shape {:?}", x.shape());
        return Err(Error::shape(NAME, "x", found, "a class token and at least one more, nothing empty"));
    }
    Ok([batch, rows - 1, width])
}
