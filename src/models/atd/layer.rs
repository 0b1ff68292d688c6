//! One layer: window, dictionary and category attention side by side, then the feed-forward part.

use super::rows::record_place_values;
use super::{AtdConfig, AtdSizes, Compensation, EPSILON, upload_kernel};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::category_sort::{CategorySort, SortedCategories};
use crate::kernels::convolution::{Convolution, ConvolutionConfig, ConvolutionKind, ConvolutionWeight};
use crate::kernels::grouped_attention::{
    CategoryAttention, CategoryAttentionConfig, RelativeBias, WindowAttention, WindowAttentionConfig,
};
use crate::kernels::linear::{Linear, LinearConfig, MaskedRows};
use crate::kernels::linear_types::{Activation, WeightLayout};
use crate::kernels::norm::{Norm, NormConfig};
use crate::kernels::token_dictionary::{DictionaryWeights, RefinementWeights, TokenDictionary};
use crate::models::named_tensors::{NamedTensors, upload_part};
use crate::schedule::Schedule;
use crate::tensor::Tensor;
use crate::variant::Variant;

/// One layer of ATD (arXiv 2401.08209, figure 3), with its weights.
///
/// x `[height · width, channels]` f32, height and width multiples of the window. Error bound: 2e-5 (golden `atd_light_layer`).
#[derive(Clone, Debug)]
pub struct AtdLayer {
    compensation: Compensation,
    norm: Norm,
    linear: Linear,
    linear_gelu: Linear,
    window: WindowAttention,
    dictionary: TokenDictionary,
    sort: CategorySort,
    category: CategoryAttention,
    depthwise: Convolution,
    weights: LayerWeights,
}

#[derive(Clone, Debug)]
struct LayerWeights {
    norms: [[Tensor; 2]; 2],
    qkv: [Tensor; 2],
    bias: RelativeBias,
    window_out: [Tensor; 2],
    dictionary: DictionaryWeights,
    category_scale: f32,
    category_out: [Tensor; 2],
    feed_in: [Tensor; 2],
    depthwise: (ConvolutionWeight, Tensor),
    feed_out: [Tensor; 2],
    refinement: Option<RefinementWeights>,
}

/// Everything that a layer computes, f32 unless it says otherwise. Drop what isn't needed, so that its memory can be shared.
#[derive(Clone, Debug)]
pub struct AtdLayerOutput {
    /// `[pixels, channels]`
    pub out: Tensor,
    /// The refined dictionary `[tokens, channels]`, of layers that refine it.
    pub dictionary: Option<Tensor>,
    /// `[pixels, tokens]`
    pub similarity: Tensor,
    /// The pixels by category; those that a mask hides last.
    pub sorted: SortedCategories,
    /// Queries, keys and values `[pixels, 3 · channels]`.
    pub qkv: Tensor,
    /// x, window attention, and the values of pure pixels where they are their compensation.
    pub after_window: Tensor,
    /// `after_window`, dictionary and category attention.
    pub after_category: Tensor,
}

impl AtdLayer {
    /// Copies the weights whose names start with `prefix` to the GPU; windows are `shifted` in every second layer.
    ///
    /// Errors: `Shape` with the name and both shapes of a weight, `Config`, `OutOfMemory`.
    pub fn new(
        gpu: &Gpu,
        config: &AtdConfig,
        sizes: &AtdSizes,
        weights: &NamedTensors,
        prefix: &str,
        shifted: bool,
    ) -> Result<Self> {
        let &AtdConfig { window, heads, group, dtype, variant, .. } = config;
        let shapes: Vec<_> =
            sizes.layer_shapes(heads, window).into_iter().chain(sizes.refinement_shapes()).collect();
        let floats = |name: &str| -> Result<(&[usize], &[f32])> {
            let (_, shape) = shapes.iter().find(|(known, _)| *known == name).expect("a name of the list");
            Ok((shape, weights.floats(&format!("{prefix}{name}"), shape)?))
        };
        let upload = |name: &str| -> Result<Tensor> {
            let (shape, data) = floats(name)?;
            Tensor::upload(gpu, &format!("{prefix}{name}"), shape, data)
        };
        let pair =
            |first: &str, second: &str| -> Result<[Tensor; 2]> { Ok([upload(first)?, upload(second)?]) };
        let matrix = |first: &str, second: &str| -> Result<[Tensor; 2]> {
            let (shape, data) = floats(first)?;
            let shape = [shape[0], shape[1]];
            Ok([upload_part(gpu, &format!("{prefix}{first}"), shape, data, dtype)?, upload(second)?])
        };

        let linear = |activation| {
            let config =
                LinearConfig { layout: WeightLayout::OutIn, activation, variant, ..Default::default() };
            Linear::new(gpu, config)
        };
        let window_attention =
            WindowAttention::new(gpu, WindowAttentionConfig { window, heads, shifted, variant })?;
        let depthwise = Convolution::new(
            gpu,
            ConvolutionConfig {
                kind: ConvolutionKind::Depthwise,
                padding: sizes.kernel / 2,
                activation: Activation::Gelu,
                variant,
                ..Default::default()
            },
        )?;
        let kernel = [sizes.hidden, 1, sizes.kernel, sizes.kernel];
        let refinement = match weights.get(&format!("{prefix}sigma")) {
            None => None,
            Some(_) => {
                floats("n3_b")?;
                Some(RefinementWeights { gain: upload("n3_g")?, sigma: upload("sigma")? })
            }
        };
        let layer_weights = LayerWeights {
            norms: [pair("n1_g", "n1_b")?, pair("n2_g", "n2_b")?],
            qkv: matrix("wqkv", "bqkv")?,
            bias: window_attention.upload_bias(gpu, floats("win.rpb")?.1)?,
            window_out: matrix("win.wo", "win.bo")?,
            dictionary: DictionaryWeights {
                wq: upload("ca.wq")?,
                bq: upload("ca.bq")?,
                wk: upload("ca.wk")?,
                bk: upload("ca.bk")?,
                wv: upload("ca.wv")?,
                bv: upload("ca.bv")?,
                scale: upload("ca.scale")?,
            },
            category_scale: floats("aca.logit_scale")?.1[0].min(100f32.ln()).exp(),
            category_out: matrix("aca.wo", "aca.bo")?,
            feed_in: matrix("f1_w", "f1_b")?,
            depthwise: (
                upload_kernel(gpu, &depthwise, &format!("{prefix}dw_w"), kernel, floats("dw_w")?.1, dtype)?,
                upload("dw_b")?,
            ),
            feed_out: matrix("f2_w", "f2_b")?,
            refinement,
        };
        Ok(Self {
            compensation: config.pure_pass.map_or(Compensation::Zero, |pure_pass| pure_pass.compensation),
            norm: Norm::new(gpu, NormConfig { center: true, epsilon: EPSILON, variant })?,
            linear: linear(Activation::None)?,
            linear_gelu: linear(Activation::Gelu)?,
            window: window_attention,
            dictionary: TokenDictionary::new(gpu, variant)?,
            sort: CategorySort::new(gpu, sizes.tokens, variant)?,
            category: CategoryAttention::new(gpu, CategoryAttentionConfig { group, heads, variant })?,
            depthwise,
            weights: layer_weights,
        })
    }

    /// Records the layer over `x` `[height · width, channels]`; pixels with a 1 in `mask` `[height · width]` u32 leave category attention.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        dictionary: &Tensor,
        [height, width]: [usize; 2],
        mask: Option<&Tensor>,
    ) -> Result<AtdLayerOutput> {
        let LayerWeights { norms, feed_in, feed_out, depthwise, .. } = &self.weights;
        let linear = &self.linear;
        let [_, channels] = crate::kernels::dims(super::NAME, "x", x, "[height · width, channels]")?;

        // Three branches share one normalisation and one projection; their results are added to x one by one.
        let z = self.norm.record(schedule, x, &norms[0][0], Some(&norms[0][1]))?;
        let qkv = linear.record(schedule, &z, &self.weights.qkv[0], Some(&self.weights.qkv[1]), None)?;
        let picture = qkv.reshape(&[height, width, 3 * channels])?;
        let attended = self.window.record(schedule, &picture, &self.weights.bias)?;
        drop(picture);
        let after_window = self.record_window_sum(schedule, &attended, x, &qkv, mask)?;
        drop(attended);
        let crossed = self.dictionary.record(
            schedule,
            &z,
            dictionary,
            &self.weights.dictionary,
            Some(&after_window),
        )?;
        drop(z);
        // Category attention adds to it in place.
        let after_category = crossed.out;
        let sorted = self.record_category_branch(schedule, &qkv, &crossed.category, &after_category, mask)?;

        let normed = self.norm.record(schedule, &after_category, &norms[1][0], Some(&norms[1][1]))?;
        let hidden = self.linear_gelu.record(schedule, &normed, &feed_in[0], Some(&feed_in[1]), None)?;
        let map = hidden.reshape(&[height, width, hidden.shape()[1]])?;
        let mixed = self.depthwise.record(schedule, &map, &depthwise.0, Some(&depthwise.1), Some(&map))?;
        let mixed = mixed.reshape(hidden.shape())?;
        let out = linear.record(schedule, &mixed, &feed_out[0], Some(&feed_out[1]), Some(&after_category))?;
        drop((normed, hidden, map, mixed));

        let refined = match &self.weights.refinement {
            None => None,
            Some(weights) => Some(self.dictionary.record_refinement(
                schedule,
                dictionary,
                &crossed.similarity,
                &out,
                weights,
            )?),
        };
        Ok(AtdLayerOutput {
            out,
            dictionary: refined,
            similarity: crossed.similarity,
            sorted,
            qkv,
            after_window,
            after_category,
        })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        self.category.explain()
    }

    /// Records the projection of window attention on top of `x`, both `[pixels, channels]`, and of the values in `qkv` `[pixels, 3 ·
    /// channels]` for the pixels that `mask` hides, if those are their compensation: in this pass over all rows it takes one read more.
    pub(crate) fn record_window_sum(
        &self,
        schedule: &mut Schedule,
        attended: &Tensor,
        x: &Tensor,
        qkv: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let [weight, bias] = &self.weights.window_out;
        let column = 2 * qkv.shape()[1] / 3;
        let values = mask.filter(|_| self.compensation == Compensation::Value).map(|mask| MaskedRows {
            rows: qkv,
            column,
            mask,
        });
        self.linear.record_masked(schedule, attended, weight, [bias, x], values)
    }

    /// Records category attention of `category` `[pixels]` u32, sort and projection included, on top of `sum`, in place.
    pub(crate) fn record_category_branch(
        &self,
        schedule: &mut Schedule,
        qkv: &Tensor,
        category: &Tensor,
        sum: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<SortedCategories> {
        let sorted = self.sort.record(schedule, category, mask)?;
        self.record_category(schedule, qkv, &sorted, sum, mask.is_some())?;
        Ok(sorted)
    }

    /// Records category attention of the pixels that `sorted` lists, and its projection, on top of `sum` `[pixels, channels]`, in place.
    /// Where it is `masked`, the others get their projected value, if the layer compensates by that. qkv `[pixels, 3 · channels]`.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record_category(
        &self,
        schedule: &mut Schedule,
        qkv: &Tensor,
        sorted: &SortedCategories,
        sum: &Tensor,
        masked: bool,
    ) -> Result<()> {
        let rows = self.category.record(schedule, qkv, sorted, self.weights.category_scale)?;
        let all_rows = !masked || self.compensation == Compensation::ProjectedValue;
        if masked && all_rows {
            record_place_values(schedule, sorted, qkv, &rows)?;
        }
        let row_count = (!all_rows).then_some(&sorted.active_count);
        let [weight, bias] = &self.weights.category_out;
        self.linear.record_placed(schedule, &rows, weight, bias, row_count, [&sorted.order, sum])
    }
}
