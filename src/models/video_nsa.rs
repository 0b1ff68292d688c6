//! The hybrid attention of VideoNSA: sparse between the tokens of video frames, dense for text.

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::attention::{Attention, AttentionConfig, AttentionInputs, PackedSequences};
use crate::kernels::native_sparse::{Gates, NativeSparseAttention, NativeSparseConfig, NativeSparseInputs};
use crate::kernels::{Constants, ELEMENTWISE, expect_dtype, expect_shape};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::Variant;

/// Tokens that one invocation numbers; `CHUNK` of video_nsa/params.wgsl.
const CHUNK: usize = 256;

const NAME: &str = "video_nsa";

/// The attention of VideoNSA (arXiv 2510.02295, section 2.2) over a sequence of vision and text tokens.
///
/// Vision tokens attend to vision tokens only, by [`NativeSparseAttention`] over the sequence that they form among themselves: where
/// a block is as long as a frame, every block is one frame. Text tokens attend densely to all tokens up to their own. Which token is of which
/// kind stands on the GPU; nothing is read back.
///
/// Shapes, dtypes and error bound are those of [`NativeSparseAttention`]; rows of q, k, v and gates must be whole 32-bit words.
/// Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct VideoNsa {
    sparse: NativeSparseAttention,
    dense: Attention,
}

/// Tensors of one [`VideoNsa`].
#[derive(Clone, Copy, Debug)]
pub struct VideoNsaInputs<'a> {
    /// `[batch, tokens, query_heads, head_dim]`, f32 or f16.
    pub query: &'a Tensor,
    /// `[batch, tokens, kv_heads, head_dim]`, f32 or f16.
    pub key: &'a Tensor,
    /// `[batch, tokens, kv_heads, value_dim]`, dtype of the keys.
    pub value: &'a Tensor,
    /// `[batch, tokens, query_heads, 3]`; those of text tokens are not used.
    pub gates: Gates<'a>,
    /// `[tokens]` u32, the same for every sequence: 0 is text, anything else vision.
    pub is_vision: &'a Tensor,
}

#[derive(encase::ShaderType)]
struct SplitParams {
    batch: u32,
    tokens: u32,
    units: u32,
}

/// Where every token goes, on the GPU.
struct Places {
    places: Tensor,
    text_positions: Tensor,
    vision_bounds: Tensor,
    text_bounds: Tensor,
}

impl NativeSparseConfig {
    /// VideoNSA's: a block is a frame, 32 are selected, the own one forced, a window of 256 (arXiv 2510.02295, section 3).
    pub fn video(tokens_per_frame: usize) -> Self {
        Self {
            cmp_block: tokens_per_frame,
            cmp_stride: tokens_per_frame,
            sel_block: tokens_per_frame,
            top_n: 32,
            window: 256,
            n_init: 0,
            n_local: 1,
            ..Default::default()
        }
    }
}

impl VideoNsa {
    /// Checks the configuration of the vision part, such as [`NativeSparseConfig::video`].
    ///
    /// Errors: `Config`; a `q_offset` is one, as whole sequences are attended.
    pub fn new(gpu: &Gpu, config: NativeSparseConfig) -> Result<Self> {
        if let Some(offset) = config.q_offset {
            return Err(Error::config(NAME, "q_offset", offset, "none, as all tokens are given"));
        }
        let (scale, variant) = (config.scale, config.variant);
        let dense = AttentionConfig { causal: true, scale, variant, ..Default::default() };
        Ok(Self { sparse: NativeSparseAttention::new(gpu, config)?, dense: Attention::new(gpu, dense)? })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        self.sparse.explain()
    }

    /// Records the attention of all tokens: `[batch, tokens, query_heads, value_dim]` f32.
    ///
    /// Errors: `Shape`, `Config`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, inputs: &VideoNsaInputs<'_>) -> Result<Tensor> {
        let VideoNsaInputs { query, key, value, gates, is_vision } = *inputs;
        let shape = AttentionInputs::new(query, key, value).check(NAME, false)?;
        gates.check(&shape)?;
        if shape.query_tokens != shape.tokens {
            let found = format!("has {} tokens", shape.query_tokens);
            return Err(Error::shape(NAME, "q", found, format!("{}, as k", shape.tokens)));
        }
        expect_dtype(NAME, "is_vision", is_vision, &[Dtype::U32])?;
        expect_shape(NAME, "is_vision", is_vision, &[shape.tokens])?;
        for (name, tensor) in [("q", query), ("k", key), ("v", value), ("gates", gates.tensor())] {
            let row = tensor.bytes() / (shape.batch * shape.tokens) as u64;
            if !row.is_multiple_of(4) {
                let found = format!("has rows of {row} bytes");
                return Err(Error::shape(NAME, name, found, "rows of whole 32-bit words (heads · dim even)"));
            }
        }

        // 1. Number the tokens of each kind and put their rows behind each other.
        let rows = shape.batch * shape.tokens;
        let places = number_tokens(schedule, is_vision, shape.batch)?;
        let (vision_query, text_query) = places.split(schedule, is_vision, query, true)?;
        let (vision_key, _) = places.split(schedule, is_vision, key, false)?;
        let (vision_value, _) = places.split(schedule, is_vision, value, false)?;
        let (vision_gates, _) = places.split(schedule, is_vision, gates.tensor(), false)?;

        // 2. Vision rows: sparse, among themselves.
        let sequences = PackedSequences::from_tensor(&places.vision_bounds, shape.tokens, shape.tokens)?;
        let sparse = NativeSparseInputs {
            sequences: Some(&sequences),
            ..NativeSparseInputs::new(
                &vision_query,
                &vision_key,
                &vision_value,
                gates.with_tensor(&vision_gates),
            )
        };
        let vision_out = self.sparse.record(schedule, &sparse)?.out;
        drop((vision_query, vision_key, vision_value, vision_gates));

        // 3. Text rows: dense, over all tokens.
        let text_query = text_query.expect("asked for");
        let sequences = PackedSequences::from_tensor(&places.text_bounds, shape.tokens, shape.tokens)?;
        let all_rows = |tensor: &Tensor| tensor.reshape(&[&[rows], &tensor.shape()[2..]].concat());
        let (key, value) = (all_rows(key)?, all_rows(value)?);
        let dense = AttentionInputs {
            sequences: Some(&sequences),
            positions: Some(&places.text_positions),
            ..AttentionInputs::new(&text_query, &key, &value)
        };
        let text_out = self.dense.record(schedule, dense)?.out;
        drop(text_query);

        // 4. Both kinds return to their places.
        places.merge(schedule, is_vision, &vision_out, &text_out, &shape.out_shape())
    }
}

/// Numbers the tokens of each kind. Two kernels: a chunk needs to know how many vision tokens stand before it.
fn number_tokens(schedule: &mut Schedule, is_vision: &Tensor, batch: usize) -> Result<Places> {
    let tokens = is_vision.elements();
    let chunks = tokens.div_ceil(CHUNK);
    let counts = schedule.tensor("vision counts", &[chunks], Dtype::U32)?;
    let places = Places {
        places: schedule.tensor("places", &[tokens], Dtype::U32)?,
        text_positions: schedule.tensor("text positions", &[batch * tokens], Dtype::U32)?,
        vision_bounds: schedule.tensor("vision bounds", &[2 * (batch + 1)], Dtype::U32)?,
        text_bounds: schedule.tensor("text bounds", &[2 * (batch + 1)], Dtype::U32)?,
    };
    let params = SplitParams { batch: batch as u32, tokens: tokens as u32, units: 0 };
    let constants = Constants::new().set("WORKGROUP", ELEMENTWISE);
    schedule
        .kernel("count vision tokens", "video_nsa/count_tokens", &constants.pairs())?
        .params(&params)
        .bind("is_vision", is_vision)?
        .bind("counts", &counts)?
        .dispatch(chunks.div_ceil(ELEMENTWISE), Cost { flops: 0.0, bytes: is_vision.bytes() as f64 })?;
    schedule
        .kernel("number tokens", "video_nsa/number_tokens", &constants.pairs())?
        .params(&params)
        .bind("is_vision", is_vision)?
        .bind("counts", &counts)?
        .bind("places", &places.places)?
        .bind("text_positions", &places.text_positions)?
        .bind("vision_bounds", &places.vision_bounds)?
        .bind("text_bounds", &places.text_bounds)?
        .dispatch(chunks.div_ceil(ELEMENTWISE), Cost { flops: 0.0, bytes: 3.0 * is_vision.bytes() as f64 })?;
    Ok(places)
}

/// The unit that rows are copied in, and how many a row of `bytes` has.
fn units(bytes: u64) -> (&'static str, usize) {
    if bytes.is_multiple_of(16) { ("vec4u", bytes as usize / 16) } else { ("u32", bytes as usize / 4) }
}

impl Places {
    /// The rows of vision tokens behind each other, `[batch · tokens, ..]` with unwritten rows at the end, and those of text tokens.
    fn split(
        &self,
        schedule: &mut Schedule,
        is_vision: &Tensor,
        source: &Tensor,
        text: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (batch, tokens) = (source.shape()[0], source.shape()[1]);
        let shape = [&[batch * tokens], &source.shape()[2..]].concat();
        let vision_rows = schedule.tensor("vision rows", &shape, source.dtype())?;
        let text_rows = text.then(|| schedule.tensor("text rows", &shape, source.dtype())).transpose()?;
        let (unit, units) = units(source.bytes() / (batch * tokens) as u64);
        let constants = Constants::new().set("UNIT", unit).flag("TEXT", text).set("WORKGROUP", ELEMENTWISE);
        let mut recorder = schedule
            .kernel("split rows", "video_nsa/split_rows", &constants.pairs())?
            .params(&SplitParams { batch: batch as u32, tokens: tokens as u32, units: units as u32 })
            .bind("is_vision", is_vision)?
            .bind("places", &self.places)?
            .bind("vision_bounds", &self.vision_bounds)?
            .bind("rows", source)?
            .bind("vision_rows", &vision_rows)?;
        if let Some(text_rows) = &text_rows {
            recorder = recorder.bind("text_rows", text_rows)?;
        }
        recorder.dispatch(
            (batch * tokens * units).div_ceil(ELEMENTWISE),
            Cost { flops: 0.0, bytes: 2.0 * source.bytes() as f64 },
        )?;
        Ok((vision_rows, text_rows))
    }

    fn merge(
        &self,
        schedule: &mut Schedule,
        is_vision: &Tensor,
        vision_rows: &Tensor,
        text_rows: &Tensor,
        shape: &[usize],
    ) -> Result<Tensor> {
        let out = schedule.tensor("video out", shape, Dtype::F32)?;
        let (batch, tokens) = (shape[0], shape[1]);
        let (unit, units) = units(out.bytes() / (batch * tokens) as u64);
        let constants = Constants::new().set("UNIT", unit).set("WORKGROUP", ELEMENTWISE);
        schedule
            .kernel("merge rows", "video_nsa/merge_rows", &constants.pairs())?
            .params(&SplitParams { batch: batch as u32, tokens: tokens as u32, units: units as u32 })
            .bind("is_vision", is_vision)?
            .bind("places", &self.places)?
            .bind("vision_bounds", &self.vision_bounds)?
            .bind("vision_rows", vision_rows)?
            .bind("text_rows", text_rows)?
            .bind("out", &out)?
            .dispatch(
                (batch * tokens * units).div_ceil(ELEMENTWISE),
                Cost { flops: 0.0, bytes: 2.0 * out.bytes() as f64 },
            )?;
        Ok(out)
    }
}
