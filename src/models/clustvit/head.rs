//! The Segmenter head: classes as tokens beside the patches.

use super::NamedTensors;
use super::block::{Block, BlockOperators};
use super::rows::{record_copy, record_slice};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::norm::{Norm, NormConfig};
use crate::kernels::{Constants, ELEMENTWISE, dims, load_type};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::VariantKind;

/// Configuration of a [`SegmenterHead`].
#[derive(Clone, Debug, PartialEq)]
pub struct SegmenterConfig {
    /// Heads of attention, a divisor of the width.
    pub heads: usize,
    /// Of every LayerNorm.
    pub epsilon: f32,
    /// Storage of the matrices, f32 or f16.
    pub dtype: Dtype,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl Default for SegmenterConfig {
    /// 12 heads, epsilon 1e-5, as published.
    fn default() -> Self {
        Self { heads: 12, epsilon: 1e-5, dtype: Dtype::F32, variant: None }
    }
}

/// Segmenter's mask transformer (arXiv 2105.05633, section 3.2): learned class tokens behind the patches, a few blocks, then the
/// cosine of every patch with every class, normalised over the classes.
///
/// Shapes: features `[batch, patches, width]` f32, result `[batch, patches, classes]` f32, one score for a class; the largest wins. Error bound: 5e-5
/// absolute (golden `clustvit_net_a`). Errors: `Shape` naming the tensor with both shapes, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct SegmenterHead {
    operators: BlockOperators,
    unit: Norm,
    width: usize,
    decode: [Tensor; 2],
    classes: Tensor,
    blocks: Vec<Block>,
    norm: [Tensor; 2],
    patch_weight: Tensor,
    class_weight: Tensor,
    /// 1 / sqrt(width) in every column: a row over its root mean square, times this, has length 1.
    unit_weight: Tensor,
    mask: [Tensor; 2],
}

#[derive(encase::ShaderType)]
struct ScoreParams {
    batch: u32,
    patches: u32,
    classes: u32,
    width: u32,
}

impl SegmenterHead {
    /// Checks the weights, which have the names of docs/clustvit.md without a prefix, and copies them to the GPU.
    ///
    /// Errors: `Config`, `Shape`, `Limit`, `OutOfMemory`.
    pub fn new(gpu: &Gpu, config: SegmenterConfig, weights: &NamedTensors) -> Result<Self> {
        let SegmenterConfig { heads, epsilon, dtype, variant } = config;
        let [classes, width] = weights.dims("cls", "[classes, D]")?;
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(Error::config("segmenter", "heads", heads, format!("a divisor of D = {width}")));
        }
        let depth = (0..).take_while(|i| weights.get(&format!("blocks.{i}.wqkv")).is_some()).count();
        let vector = |name: &str, length: usize| weights.upload(gpu, name, &[length]);
        let square = |name: &str| weights.upload_matrix(gpu, name, [width, width], dtype);
        let block = |i| Block::new(gpu, weights, &format!("blocks.{i}."), width, dtype);
        let unit = vec![(width as f32).powf(-0.5); width];
        Ok(Self {
            operators: BlockOperators::new(gpu, heads, epsilon, variant)?,
            // Far below any square that f32 holds beside it: only a row of zeros stays one.
            unit: Norm::new(gpu, NormConfig { center: false, epsilon: 1e-30, variant })?,
            width,
            decode: [square("dec_w")?, vector("dec_b", width)?],
            classes: weights.upload(gpu, "cls", &[classes, width])?,
            blocks: (0..depth).map(block).collect::<Result<_>>()?,
            norm: [vector("norm_g", width)?, vector("norm_b", width)?],
            patch_weight: square("patch_w")?,
            class_weight: square("class_w")?,
            unit_weight: Tensor::upload(gpu, "unit", &[width], &unit)?,
            mask: [vector("mask_g", classes)?, vector("mask_b", classes)?],
        })
    }

    /// Classes that it tells apart.
    pub fn classes(&self) -> usize {
        self.classes.shape()[0]
    }

    /// Records the head. Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, features: &Tensor) -> Result<Tensor> {
        const NAME: &str = "segmenter";
        let [batch, patches, width] = dims(NAME, "features", features, "[batch, patches, width]")?;
        if width != self.width {
            let found = format!("has width {width}");
            return Err(Error::shape(NAME, "features", found, format!("{}, as the weights", self.width)));
        }
        let (operators, classes) = (&self.operators, self.classes());
        let linear = operators.linear();

        // 1. Patches, then class tokens, through the blocks.
        let [weight, bias] = &self.decode;
        let decoded = linear.record(schedule, features, weight, Some(bias), None)?;
        let mut x = schedule.tensor("tokens", &[batch, patches + classes, width], Dtype::F32)?;
        record_copy(schedule, &decoded, 0..patches, &x, 0)?;
        record_copy(schedule, &self.classes, 0..classes, &x, patches)?;
        drop(decoded);
        for block in &self.blocks {
            x = block.record(schedule, operators, &x, None, None)?;
        }
        let x = operators.norm(schedule, &x, &self.norm, None)?;

        // 2. Rows of length 1 of both kinds.
        let mut part = |rows, weight| {
            let rows = record_slice(schedule, "part", &x, rows)?;
            let product = linear.record(schedule, &rows, weight, None, None)?;
            self.unit.record(schedule, &product, &self.unit_weight, None)
        };
        let patch_rows = part(0..patches, &self.patch_weight)?;
        let class_rows = part(patches..patches + classes, &self.class_weight)?;

        // 3. Every patch times every class, normalised over the classes.
        let scores = schedule.tensor("class scores", &[batch, patches, classes], Dtype::F32)?;
        let constants = Constants::new()
            .set("X_TYPE", load_type(Dtype::F32, width))
            .flag("ALIGNED", width.is_multiple_of(4))
            .set("WORKGROUP", ELEMENTWISE);
        schedule
            .kernel("class scores", "vit/class_scores", &constants.pairs())?
            .params(&ScoreParams {
                batch: batch as u32,
                patches: patches as u32,
                classes: classes as u32,
                width: width as u32,
            })
            .bind("patches", &patch_rows)?
            .bind("classes", &class_rows)?
            .bind("scores", &scores)?
            .dispatch(
                scores.elements().div_ceil(ELEMENTWISE),
                Cost {
                    flops: 2.0 * (scores.elements() * width) as f64,
                    bytes: (patch_rows.bytes() + class_rows.bytes() + scores.bytes()) as f64,
                },
            )?;
        operators.norm(schedule, &scores, &self.mask, None)
    }
}
