//! The Sparse Query Attention layer (arXiv 2510.01817): projections, RoPE, attention with fewer query heads, output.

use super::sqa_cost::SqaCost;
use super::sqa_presets::SqaPreset;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::attention::{Attention, AttentionConfig, AttentionInputs};
use crate::kernels::cache::KvCache;
use crate::kernels::linear::{Linear, LinearConfig};
use crate::kernels::rope::{Rope, RopeConfig, RopePosition};
use crate::kernels::{dims, expect_shape};
use crate::schedule::{Plan, Schedule, no_progress};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};

/// Configuration of an [`SqaLayer`]. Every variant of the paper is a pair of head counts: see [`SqaConfig::preset`].
#[derive(Clone, Debug)]
pub struct SqaConfig {
    /// Elements of a token.
    pub model_dim: usize,
    /// Query heads that are computed.
    pub query_heads: usize,
    /// Key and value heads; the larger count must be a multiple of the smaller.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// A token sees itself and those before.
    pub causal: bool,
    /// As in [`AttentionConfig::window`].
    pub window: Option<usize>,
    /// Base of the rotary embedding (10000 in the paper's code); `None` for none.
    pub rope: Option<f64>,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl SqaConfig {
    /// A variant of the paper by name, for a model of `heads` heads whose GQA form has `gqa_kv_heads` (causal, with RoPE).
    ///
    /// Errors: `Config` where these head counts have no such variant.
    pub fn preset(preset: SqaPreset, model_dim: usize, heads: usize, gqa_kv_heads: usize) -> Result<Self> {
        let (query_heads, kv_heads) = preset
            .heads(heads, gqa_kv_heads)
            .map_err(|expected| Error::config(NAME, "preset", preset.name(), expected))?;
        if heads == 0 || !model_dim.is_multiple_of(heads) {
            return Err(Error::config(
                NAME,
                "model_dim",
                model_dim,
                format!("a multiple of the {heads} heads"),
            ));
        }
        Ok(Self {
            model_dim,
            query_heads,
            kv_heads,
            head_dim: model_dim / heads,
            causal: true,
            window: None,
            rope: Some(10000.0),
            variant: None,
        })
    }

    /// The cost model of this layer.
    pub fn cost(&self) -> SqaCost {
        SqaCost {
            model_dim: self.model_dim,
            query_heads: self.query_heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
        }
    }
}

/// Weights of an [`SqaLayer`], f32 or f16 in `[in, out]` order as in the paper (y = x W).
#[derive(Clone, Debug)]
pub struct SqaWeights {
    /// `[model_dim, query_heads · head_dim]`
    pub wq: Tensor,
    /// `[model_dim, kv_heads · head_dim]`
    pub wk: Tensor,
    /// `[model_dim, kv_heads · head_dim]`
    pub wv: Tensor,
    /// `[out_heads · head_dim, model_dim]`; out_heads is the larger of the two head counts.
    pub wo: Tensor,
    /// `[model_dim]`, f32.
    pub bo: Option<Tensor>,
}

/// Sparse Query Attention: a GQA layer with fewer query heads, whose attention costs out_heads / heads of MHA's.
///
/// Shapes: x `[batch, tokens, model_dim]` f32 or f16, out the same in f32. Output head i uses kv head i / (query_heads / kv_heads); with fewer
/// query heads than kv heads (rSQA) it uses query head i mod query_heads. Error bound: 2e-5 (goldens `sqa_layer_*`).
/// Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct SqaLayer {
    config: SqaConfig,
    linear: Linear,
    rope: Option<Rope>,
    attention: Attention,
}

/// Everything that a layer computes, f32. Drop what isn't needed, so that its memory can be shared.
#[derive(Clone, Debug)]
pub struct SqaOutput {
    /// `[batch, tokens, model_dim]`
    pub out: Tensor,
    /// `[batch, tokens, query_heads, head_dim]`, after RoPE (pairs de-interleaved).
    pub q: Tensor,
    /// `[batch, tokens, kv_heads, head_dim]`, after RoPE.
    pub k: Tensor,
    /// `[batch, tokens, kv_heads, head_dim]`
    pub v: Tensor,
    /// Attention's output before Wo, `[batch, tokens, out_heads, head_dim]`.
    pub heads: Tensor,
    /// As [`AttentionOutput::lse`](crate::kernels::attention::AttentionOutput::lse), `[batch, tokens, out_heads]`.
    pub lse: Tensor,
}

const NAME: &str = "sqa_layer";

impl SqaLayer {
    /// Checks the configuration against the device. Errors: `Config`, `OutOfMemory`.
    pub fn new(gpu: &Gpu, config: SqaConfig) -> Result<Self> {
        let SqaConfig { model_dim, query_heads, kv_heads, head_dim, causal, window, variant, .. } = config;
        for (key, value) in [
            ("model_dim", model_dim),
            ("query_heads", query_heads),
            ("kv_heads", kv_heads),
            ("head_dim", head_dim),
        ] {
            if value == 0 {
                return Err(Error::config(NAME, key, value, "at least 1"));
            }
        }
        if !query_heads.max(kv_heads).is_multiple_of(query_heads.min(kv_heads)) {
            let found = format!("{query_heads} (kv_heads = {kv_heads})");
            return Err(Error::config(NAME, "query_heads", found, "a multiple or a divisor of kv_heads"));
        }
        let attention = AttentionConfig { causal, window, tile_queries: true, variant, ..Default::default() };
        let rope = match config.rope {
            Some(base) => Some(Rope::new(gpu, RopeConfig { head_dim, base, deinterleave: true })?),
            None => None,
        };
        Ok(Self {
            linear: Linear::new(gpu, LinearConfig { variant, ..Default::default() })?,
            attention: Attention::new(gpu, attention)?,
            rope,
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &SqaConfig {
        &self.config
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        self.attention.explain()
    }

    /// Records the layer over whole sequences, whose first token stands at position 0.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, x: &Tensor, weights: &SqaWeights) -> Result<SqaOutput> {
        let [q, k, v] = self.project(schedule, x, weights)?;
        let (q, k) = (
            self.rotate(schedule, q, RopePosition::From(0))?,
            self.rotate(schedule, k, RopePosition::From(0))?,
        );
        let attended = self.attention.record(schedule, AttentionInputs::new(&q, &k, &v))?;
        let out = self.output(schedule, &attended.out, weights)?;
        Ok(SqaOutput { out, q, k, v, heads: attended.out, lse: attended.lse })
    }

    /// Records new tokens `[batch, new_tokens, model_dim]` that follow those in `cache`, which takes their keys and values; gives
    /// out alone. Tokens past the cache's capacity give wrong rows: [`SqaDecoder`] counts them.
    ///
    /// Errors: as `record`; `Config` unless the layer is causal.
    pub fn record_decode(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        weights: &SqaWeights,
        cache: &KvCache,
    ) -> Result<Tensor> {
        if !self.config.causal {
            return Err(Error::config(
                NAME,
                "causal",
                false,
                "true to decode: later tokens are not there yet",
            ));
        }
        let [q, k, v] = self.project(schedule, x, weights)?;
        let q = self.rotate(schedule, q, RopePosition::After(&cache.lengths))?;
        let k = self.rotate(schedule, k, RopePosition::After(&cache.lengths))?;
        cache.record_append(schedule, &k, &v)?;
        let inputs = AttentionInputs {
            lengths: Some(&cache.lengths),
            ..AttentionInputs::new(&q, &cache.key, &cache.value)
        };
        let attended = self.attention.record(schedule, inputs)?;
        self.output(schedule, &attended.out, weights)
    }

    /// q, k and v of x, split into heads.
    fn project(&self, schedule: &mut Schedule, x: &Tensor, weights: &SqaWeights) -> Result<[Tensor; 3]> {
        let SqaConfig { model_dim, query_heads, kv_heads, head_dim, .. } = self.config;
        let out_heads = query_heads.max(kv_heads);
        let [batch, tokens, dim] = dims(NAME, "x", x, "[batch, tokens, model_dim]")?;
        if dim != model_dim || x.elements() == 0 {
            let found = format!("has shape {:?}", x.shape());
            return Err(Error::shape(
                NAME,
                "x",
                found,
                format!("[batch, tokens, {model_dim}], none of them 0"),
            ));
        }
        expect_shape(NAME, "Wq", &weights.wq, &[model_dim, query_heads * head_dim])?;
        expect_shape(NAME, "Wk", &weights.wk, &[model_dim, kv_heads * head_dim])?;
        expect_shape(NAME, "Wv", &weights.wv, &[model_dim, kv_heads * head_dim])?;
        expect_shape(NAME, "Wo", &weights.wo, &[out_heads * head_dim, model_dim])?;
        if let Some(bo) = &weights.bo {
            expect_shape(NAME, "bo", bo, &[model_dim])?;
        }
        let mut project = |weight: &Tensor, heads: usize| {
            let rows = self.linear.record(schedule, x, weight, None, None)?;
            rows.reshape(&[batch, tokens, heads, head_dim])
        };
        Ok([
            project(&weights.wq, query_heads)?,
            project(&weights.wk, kv_heads)?,
            project(&weights.wv, kv_heads)?,
        ])
    }

    fn rotate(&self, schedule: &mut Schedule, x: Tensor, position: RopePosition<'_>) -> Result<Tensor> {
        match &self.rope {
            Some(rope) => rope.record(schedule, &x, position),
            None => Ok(x),
        }
    }

    fn output(&self, schedule: &mut Schedule, heads: &Tensor, weights: &SqaWeights) -> Result<Tensor> {
        let [batch, tokens, out_heads, head_dim] = dims(NAME, "heads", heads, "attention's output")?;
        let flat = heads.reshape(&[batch, tokens, out_heads * head_dim])?;
        self.linear.record(schedule, &flat, &weights.wo, weights.bo.as_ref(), None)
    }
}

/// A layer that takes one token per sequence at a time: its plan is compiled once and its cache stays on the GPU.
#[derive(Debug)]
pub struct SqaDecoder {
    gpu: Gpu,
    cache: KvCache,
    plan: Plan,
    x: Tensor,
    out: Tensor,
    tokens: usize,
}

impl SqaDecoder {
    /// Room for `capacity` tokens of `batch` sequences; keys and values are kept in `dtype` (f32 or f16).
    ///
    /// Errors: `Config` unless the layer is causal and fits [`KvCache::new`], `Shape` of the weights, `Limit`, `OutOfMemory`.
    pub fn new(
        gpu: &Gpu,
        layer: &SqaLayer,
        weights: &SqaWeights,
        batch: usize,
        capacity: usize,
        dtype: Dtype,
    ) -> Result<Self> {
        let SqaConfig { model_dim, kv_heads, head_dim, .. } = *layer.config();
        let cache = KvCache::new(gpu, batch, capacity, kv_heads, head_dim, head_dim, dtype)?;
        let x = Tensor::zeros(gpu, "x", &[batch, 1, model_dim], Dtype::F32)?;
        let mut schedule = Schedule::new(gpu);
        let out = layer.record_decode(&mut schedule, &x, weights, &cache)?;
        Ok(Self { gpu: gpu.clone(), cache, plan: schedule.compile()?, x, out, tokens: 0 })
    }

    /// Tokens that each sequence has so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// One token of every sequence: x `[batch, model_dim]` to the layer's output of the same shape.
    ///
    /// Errors: `Config` once the cache is full (nothing is changed), `Shape`, and those of [`Plan::run`].
    pub async fn step(&mut self, x: &[f32]) -> Result<Vec<f32>> {
        if self.tokens == self.cache.capacity() {
            let expected = format!("fewer than the cache's capacity, {}", self.cache.capacity());
            return Err(Error::config(NAME, "tokens", self.tokens, expected));
        }
        self.x.write(&self.gpu, x)?;
        self.plan.run(no_progress).await?;
        self.tokens += 1;
        self.out.read(&self.gpu).await
    }
}
