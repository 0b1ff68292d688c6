//! From merged sequences back to a row for every token.

use super::{MergeParams, RowMap, check_clusters, row_constants, row_groups};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::linear::{Linear, LinearConfig};
use crate::kernels::linear_types::{Activation, WeightLayout};
use crate::kernels::{Constants, ELEMENTWISE, FLOATS, dims, expect_dtype, expect_shape, load_type};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};

const NAME: &str = "cluster_regenerate";

/// Configuration of a [`Regenerate`].
#[derive(Clone, Debug)]
pub struct RegenerateConfig {
    /// K, representatives of an image.
    pub clusters: usize,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

/// The two layers of the regenerator, the first one split: V1 `[width, 2 · width]` takes an original token before the
/// representative. Matrices are `[out, in]`, f32 or f16, biases f32.
#[derive(Clone, Copy, Debug)]
pub struct RegenerateWeights<'a> {
    /// V1's columns of the original, `[width, width]`.
    pub w1_original: &'a Tensor,
    /// V1's columns of the representative, `[width, width]`.
    pub w1_representative: &'a Tensor,
    /// c1 `[width]`.
    pub b1: &'a Tensor,
    /// V2 `[width, width]`.
    pub w2: &'a Tensor,
    /// c2 `[width]`.
    pub b2: &'a Tensor,
}

/// Gives every token a row again (ClustViT, arXiv 2510.01948): a kept token and the class token their own, a member of a cluster
/// V2 gelu(V1 [original ; representative] + c1) + c2, without a residual.
///
/// Shapes: original `[batch, 1 + tokens, width]` with the class token first, which is not read, or `[batch, tokens, width]`; merged rows
/// `[rows, width]`; result `[batch, 1 + tokens, width]` f32. f32 or f16 inputs. Error bound: 1e-5 absolute at |out| of about 1 (goldens
/// `cluster_regenerate_*`); kept rows are exact. Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct Regenerate {
    config: RegenerateConfig,
    linear: Linear,
    variant: Variant,
}

/// The part of the first layer that depends on the original tokens alone: one serves several outputs.
#[derive(Clone, Debug)]
pub struct RegenerateOriginal {
    /// `[batch, tokens or 1 + tokens, width]` f32.
    product: Tensor,
}

impl Regenerate {
    /// Checks the configuration against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: RegenerateConfig) -> Result<Self> {
        check_clusters(NAME, config.clusters)?;
        let layout = WeightLayout::OutIn;
        let linear =
            Linear::new(gpu, LinearConfig { layout, variant: config.variant, ..Default::default() })?;
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, linear, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records what the original tokens need. Errors: `Shape`, `Limit`.
    pub fn record_original(
        &self,
        schedule: &mut Schedule,
        original: &Tensor,
        weights: RegenerateWeights<'_>,
    ) -> Result<RegenerateOriginal> {
        let [_, _, width] = dims(NAME, "original", original, "[batch, tokens, width]")?;
        weights.check(width)?;
        let product = self.linear.record(schedule, original, weights.w1_original, None, None)?;
        Ok(RegenerateOriginal { product })
    }

    /// Records the rows of all tokens from the merged ones, after any number of blocks.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(
        &self,
        schedule: &mut Schedule,
        original: &RegenerateOriginal,
        merged: &Tensor,
        map: &RowMap,
        weights: RegenerateWeights<'_>,
    ) -> Result<Tensor> {
        let [batch, tokens] = map.sizes();
        let clusters = self.config.clusters;
        let [_, width] = dims(NAME, "processed", merged, "[rows, width]")?;
        expect_dtype(NAME, "processed", merged, &FLOATS)?;
        weights.check(width)?;
        let &[original_batch, rows, original_width] = original.product.shape() else {
            unreachable!("checked")
        };
        let class_row = rows == tokens + 1;
        if original_batch != batch || original_width != width || !(class_row || rows == tokens) {
            let found = format!("has shape {:?}", original.product.shape());
            let expected = format!("[{batch}, {tokens}, {width}], or one row more for the class token");
            return Err(Error::shape(NAME, "original", found, expected));
        }
        if !map.class_token {
            return Err(Error::config(
                NAME,
                "class_token",
                false,
                "true: sequences start with a class token",
            ));
        }

        // 1. V1b times each representative, once.
        let params = MergeParams::new(batch, tokens, clusters, width);
        let representatives = schedule.tensor("representatives", &[batch, clusters, width], Dtype::F32)?;
        let constants = row_constants(merged.dtype(), width);
        schedule
            .kernel("representatives", "cluster_merge/representatives", &constants.pairs())?
            .params(&params)
            .bind("rows", merged)?
            .bind("own_rows", &map.own_rows)?
            .bind("bounds", &map.bounds)?
            .bind("result", &representatives)?
            .dispatch(
                row_groups(batch * clusters, width),
                Cost { flops: 0.0, bytes: 2.0 * representatives.bytes() as f64 },
            )?;
        let representative = self.linear.record(
            schedule,
            &representatives,
            weights.w1_representative,
            Some(weights.b1),
            None,
        )?;

        // 2. Each member adds its own part.
        let hidden = schedule.tensor("regenerated hidden", &[batch, tokens, width], Dtype::F32)?;
        let constants = Constants::new()
            .set("Y_TYPE", load_type(Dtype::F32, width))
            .flag("ALIGNED", width.is_multiple_of(4))
            .flag("CLASS_ROW", class_row)
            .set("WORKGROUP", ELEMENTWISE)
            .activation(Activation::Gelu);
        schedule
            .kernel("regenerate hidden", "cluster_merge/regenerate_hidden", &constants.pairs())?
            .params(&params)
            .bind("original", &original.product)?
            .bind("representative", &representative)?
            .bind("row_map", &map.rows)?
            .bind("own_rows", &map.own_rows)?
            .bind("hidden", &hidden)?
            .dispatch(
                row_groups(batch * tokens, width),
                Cost { flops: 20.0 * hidden.elements() as f64, bytes: 2.0 * hidden.bytes() as f64 },
            )?;
        let regenerated = self.linear.record(schedule, &hidden, weights.w2, Some(weights.b2), None)?;

        // 3. Kept tokens take their own rows.
        map.record_restore(schedule, merged, Some(&regenerated))
    }
}

impl RegenerateWeights<'_> {
    fn check(&self, width: usize) -> Result<()> {
        expect_shape(NAME, "w1 (original)", self.w1_original, &[width, width])?;
        expect_shape(NAME, "w1 (representative)", self.w1_representative, &[width, width])?;
        expect_shape(NAME, "b1", self.b1, &[width])?;
        expect_shape(NAME, "w2", self.w2, &[width, width])?;
        expect_shape(NAME, "b2", self.b2, &[width])
    }
}
