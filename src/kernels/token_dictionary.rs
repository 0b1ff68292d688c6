//! Cross attention between pixels and a dictionary of tokens, and the refinement of the dictionary by the pixels.

use super::linear::{Linear, LinearConfig};
use super::linear_types::WeightLayout;
use super::{Constants, ELEMENTWISE, dims, expect_dtype, expect_shape, load_type};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};

const NAME: &str = "token_dictionary";

/// Pixels of a chunk of the refinement, as in its kernels.
const CHUNK: usize = 256;

/// Cross attention between pixels and a dictionary of tokens (ATD, arXiv 2401.08209, sections 3.1 and 3.2): cosines of a pixel's query and
/// the tokens' keys, times 1 + clamp(scale, 0, 1) ln M, softmax over the M tokens, weighted sum of the tokens' values.
///
/// Error bound: 2e-6 relative to the largest value. Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct TokenDictionary {
    linear: Linear,
    weighted: Linear,
}

/// Weights of a [`TokenDictionary`], f32.
#[derive(Clone, Debug)]
pub struct DictionaryWeights {
    /// `[reduced, channels]`
    pub wq: Tensor,
    /// `[reduced]`
    pub bq: Tensor,
    /// `[reduced, channels]`
    pub wk: Tensor,
    /// `[reduced]`
    pub bk: Tensor,
    /// `[channels, channels]`
    pub wv: Tensor,
    /// `[channels]`
    pub bv: Tensor,
    /// `[tokens]`
    pub scale: Tensor,
}

/// What [`TokenDictionary::record`] gives.
#[derive(Clone, Debug)]
pub struct DictionaryOutput {
    /// `[pixels, channels]` f32
    pub out: Tensor,
    /// `[pixels, tokens]` f32, rows that add up to 1.
    pub similarity: Tensor,
    /// `[pixels]` u32: the most similar token, of equals the first.
    pub category: Tensor,
}

/// Weights of a dictionary's refinement, f32 `[tokens]`.
#[derive(Clone, Debug)]
pub struct RefinementWeights {
    /// Gain of the normalisation over pixels. (Its bias moves all pixels alike, and the softmax over them doesn't see it.)
    pub gain: Tensor,
    /// The old token's share is sigmoid(sigma).
    pub sigma: Tensor,
}

#[derive(encase::ShaderType)]
struct KeyParams {
    tokens: u32,
    dim: u32,
    log_tokens: f32,
}

#[derive(encase::ShaderType)]
struct SimilarityParams {
    pixels: u32,
    tokens: u32,
    dim: u32,
}

#[derive(encase::ShaderType)]
struct RefineParams {
    pixels: u32,
    tokens: u32,
    channels: u32,
    chunks: u32,
}

impl TokenDictionary {
    /// Checks the variant against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, variant: Option<VariantKind>) -> Result<Self> {
        let out_in = LinearConfig { layout: WeightLayout::OutIn, variant, ..Default::default() };
        let in_out = LinearConfig { variant, ..Default::default() };
        Ok(Self { linear: Linear::new(gpu, out_in)?, weighted: Linear::new(gpu, in_out)? })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        self.linear.explain()
    }

    /// Records the attention of `pixels` `[pixels, channels]` f32 over `dictionary` `[tokens, channels]` f32, on top of `residual`, of the
    /// pixels' shape.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(
        &self,
        schedule: &mut Schedule,
        pixels: &Tensor,
        dictionary: &Tensor,
        weights: &DictionaryWeights,
        residual: Option<&Tensor>,
    ) -> Result<DictionaryOutput> {
        let [rows, channels] = dims(NAME, "pixels", pixels, "[pixels, channels]")?;
        let [tokens, _] = dims(NAME, "dictionary", dictionary, "[tokens, channels]")?;
        expect_shape(NAME, "dictionary", dictionary, &[tokens, channels])?;
        let [reduced, _] = dims(NAME, "wq", &weights.wq, "[reduced, channels]")?;
        expect_shape(NAME, "wk", &weights.wk, &[reduced, channels])?;
        expect_shape(NAME, "wv", &weights.wv, &[channels, channels])?;
        expect_dtype(NAME, "scale", &weights.scale, &[Dtype::F32])?;
        expect_shape(NAME, "scale", &weights.scale, &[tokens])?;

        let mut project = |x: &Tensor, weight: &Tensor, bias: &Tensor| {
            self.linear.record(schedule, x, weight, Some(bias), None)
        };
        let query = project(pixels, &weights.wq, &weights.bq)?;
        let key = project(dictionary, &weights.wk, &weights.bk)?;
        let value = project(dictionary, &weights.wv, &weights.bv)?;

        let scaled = schedule.tensor("dictionary keys", &[tokens, reduced], Dtype::F32)?;
        let constants = Constants::new().set("WORKGROUP", ELEMENTWISE);
        let log_tokens = (tokens as f32).ln();
        schedule
            .kernel("dictionary keys", "token_dictionary/keys", &constants.pairs())?
            .params(&KeyParams { tokens: tokens as u32, dim: reduced as u32, log_tokens })
            .bind("keys", &key)?
            .bind("scale", &weights.scale)?
            .bind("scaled", &scaled)?
            .dispatch(
                tokens.div_ceil(ELEMENTWISE),
                Cost { flops: 3.0 * key.elements() as f64, bytes: 2.0 * key.bytes() as f64 },
            )?;

        let products = self.linear.record(schedule, &query, &scaled, None, None)?;
        let similarity = schedule.tensor("similarity", &[rows, tokens], Dtype::F32)?;
        let category = schedule.tensor("category", &[rows], Dtype::U32)?;
        schedule
            .kernel("similarity", "token_dictionary/similarity", &row_constants(tokens).pairs())?
            .params(&SimilarityParams { pixels: rows as u32, tokens: tokens as u32, dim: reduced as u32 })
            .bind("queries", &query)?
            .bind("products", &products)?
            .bind("similarity", &similarity)?
            .bind("category", &category)?
            .dispatch(
                rows.div_ceil(ELEMENTWISE),
                Cost { flops: 30.0 * products.elements() as f64, bytes: 2.0 * products.bytes() as f64 },
            )?;
        let out = self.weighted.record(schedule, &similarity, &value, None, residual)?;
        Ok(DictionaryOutput { out, similarity, category })
    }

    /// Records the refined dictionary (section 3.2): each token's similarities `[pixels, tokens]` are normalised over the pixels, a softmax
    /// over the pixels weighs their `rows` `[pixels, channels]`, and the token moves towards that mean. All f32.
    ///
    /// Sums run over chunks of pixels and then over the chunks, in a fixed order, so results don't depend on the adapter's timing.
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record_refinement(
        &self,
        schedule: &mut Schedule,
        dictionary: &Tensor,
        similarity: &Tensor,
        rows: &Tensor,
        weights: &RefinementWeights,
    ) -> Result<Tensor> {
        let [tokens, channels] = dims(NAME, "dictionary", dictionary, "[tokens, channels]")?;
        let [pixels, _] = dims(NAME, "similarity", similarity, "[pixels, tokens]")?;
        if dictionary.elements() == 0 || pixels == 0 {
            let found = format!("has shape {:?}", similarity.shape());
            return Err(Error::shape(NAME, "similarity", found, "[pixels, tokens], none of them 0"));
        }
        for (name, tensor, shape) in [
            ("dictionary", dictionary, vec![tokens, channels]),
            ("similarity", similarity, vec![pixels, tokens]),
            ("rows", rows, vec![pixels, channels]),
            ("gain", &weights.gain, vec![tokens]),
            ("sigma", &weights.sigma, vec![tokens]),
        ] {
            expect_dtype(NAME, name, tensor, &[Dtype::F32])?;
            expect_shape(NAME, name, tensor, &shape)?;
        }
        let chunks = pixels.div_ceil(CHUNK);
        let params = RefineParams {
            pixels: pixels as u32,
            tokens: tokens as u32,
            channels: channels as u32,
            chunks: chunks as u32,
        };
        let plain = Constants::new().set("WORKGROUP", ELEMENTWISE);
        let by_rows = row_constants(tokens);
        let table = similarity.elements() as f64;
        let groups = |invocations: usize| invocations.div_ceil(ELEMENTWISE);

        // A vec4 each.
        let statistics = schedule.tensor("column statistics", &[chunks, tokens, 4], Dtype::F32)?;
        schedule
            .kernel("column statistics", "token_dictionary/column_statistics", &plain.pairs())?
            .params(&params)
            .bind("similarity", similarity)?
            .bind("statistics", &statistics)?
            .dispatch(groups(chunks * tokens), Cost { flops: 6.0 * table, bytes: 8.0 * table })?;

        let slopes = schedule.tensor("column slopes", &[tokens, 2], Dtype::F32)?;
        schedule
            .kernel("column slopes", "token_dictionary/column_slopes", &plain.pairs())?
            .params(&params)
            .bind("statistics", &statistics)?
            .bind("gain", &weights.gain)?
            .bind("slopes", &slopes)?
            .dispatch(groups(tokens), Cost { flops: 0.0, bytes: statistics.bytes() as f64 })?;

        let column_weights = schedule.tensor("column weights", &[pixels, tokens], Dtype::F32)?;
        schedule
            .kernel("column weights", "token_dictionary/column_weights", &by_rows.pairs())?
            .params(&params)
            .bind("similarity", similarity)?
            .bind("slopes", &slopes)?
            .bind("weights", &column_weights)?
            .dispatch(
                groups(pixels * tokens.div_ceil(4)),
                Cost { flops: 10.0 * table, bytes: 8.0 * table },
            )?;

        let sums = schedule.tensor("chunk sums", &[chunks, tokens, channels], Dtype::F32)?;
        let weight_sums = schedule.tensor("chunk weights", &[chunks, tokens], Dtype::F32)?;
        let (quads, workgroup) = if self.explain().kind.is_cpu() { (2, 8) } else { (1, ELEMENTWISE) };
        let both = by_rows
            .set("CHANNEL_TYPE", load_type(Dtype::F32, channels))
            .flag("CHANNELS_ALIGNED", channels.is_multiple_of(4))
            .set("TOKEN_QUADS", quads)
            .set("CHANNEL_QUADS", quads)
            .set("WORKGROUP", workgroup);
        let read = (column_weights.bytes() + rows.bytes() + sums.bytes()) as f64;
        schedule
            .kernel("chunk sums", "token_dictionary/chunk_sums", &both.pairs())?
            .params(&params)
            .bind("weights", &column_weights)?
            .bind("rows", rows)?
            .bind("sums", &sums)?
            .bind("weight_sums", &weight_sums)?
            .dispatch(
                (chunks * tokens.div_ceil(4 * quads) * channels.div_ceil(4 * quads)).div_ceil(workgroup),
                Cost { flops: 2.0 * table * channels as f64, bytes: read },
            )?;

        let refined = schedule.tensor("dictionary", &[tokens, channels], Dtype::F32)?;
        schedule
            .kernel("refine", "token_dictionary/refine", &plain.pairs())?
            .params(&params)
            .bind("dictionary", dictionary)?
            .bind("sums", &sums)?
            .bind("weight_sums", &weight_sums)?
            .bind("sigma", &weights.sigma)?
            .bind("refined", &refined)?
            .dispatch(
                groups(tokens * channels),
                Cost { flops: sums.elements() as f64, bytes: sums.bytes() as f64 },
            )?;
        Ok(refined)
    }
}

/// For kernels that read rows of similarities in quads.
fn row_constants(tokens: usize) -> Constants {
    Constants::new()
        .set("ROW_TYPE", load_type(Dtype::F32, tokens))
        .flag("ALIGNED", tokens.is_multiple_of(4))
        .set("WORKGROUP", ELEMENTWISE)
}
