//! Every kernel once, at a shape that shows what it does here: large enough to fill the adapter, small enough for a page.

use super::{
    AttentionCase, ClustVitCase, ConvolutionCase, Prepared, PurePassCase, atd_category_attention, attention,
    clustvit, clustvit_merging, convolution, flash_lla, linear, lowrank_vq, native_sparse, noise,
    pure_pass_mask,
};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::convolution::ConvolutionKind;
use crate::kernels::flash_lla::FlashLlaConfig;
use crate::kernels::lowrank_vq::{Preset, VqNearest, VqNearestConfig};
use crate::kernels::native_sparse::NativeSparseConfig;
use crate::models::atd::Compensation;
use crate::models::clustvit::ClustVitSize;
use crate::models::sqa::{SqaConfig, SqaLayer, SqaWeights};
use crate::models::sqa_presets::SqaPreset;
use crate::schedule::Schedule;
use crate::tensor::Dtype;

/// A kernel of the [`suite`], ready to be timed.
#[derive(Debug)]
pub struct SuiteCase {
    /// Its name.
    pub kernel: &'static str,
    /// Its shape in words.
    pub shape: String,
    /// The compiled kernel.
    pub prepared: Prepared,
    /// How much of the plan's cost a run really does, where the data decides: `None`, all of it.
    pub done: Option<f64>,
}

type Prepare = fn(&Gpu, bool) -> Result<(String, Prepared, Option<f64>)>;

/// Kernels by name; each is told whether the adapter is a software one.
const CASES: &[(&str, Prepare)] = &[
    ("attention", |gpu, small| {
        let tokens = if small { 512 } else { 4096 };
        Ok((format!("{tokens} tokens, 4 heads of 64"), attention(gpu, heads(tokens, tokens), None)?, None))
    }),
    ("attention decode", |gpu, small| {
        let tokens = if small { 4096 } else { 65536 };
        let case = AttentionCase { query_heads: 16, kv_heads: 4, causal: true, ..heads(1, tokens) };
        Ok((format!("1 query, {tokens} keys, 16 / 4 heads of 64"), attention(gpu, case, None)?, None))
    }),
    ("sqa_layer", sqa),
    ("flash_lla", |gpu, small| {
        let tokens = if small { 256 } else { 2048 };
        // No residual is small enough: every iteration is run, so the cost is known.
        let config = FlashLlaConfig { rtol: 0.0, max_iters: 4, ..FlashLlaConfig::default() };
        let (prepared, _) = flash_lla(gpu, heads(tokens, tokens), config)?;
        Ok((format!("{tokens} tokens, 4 heads of 64, 4 iterations"), prepared, None))
    }),
    ("native_sparse", |gpu, small| {
        let tokens = if small { 2048 } else { 16384 };
        let case = AttentionCase { query_heads: 16, kv_heads: 1, causal: true, ..heads(tokens, tokens) };
        let config = NativeSparseConfig { window: 128, top_n: 8, ..NativeSparseConfig::default() };
        Ok((
            format!("{tokens} tokens, 16 / 1 heads of 64, 8 blocks of 64"),
            native_sparse(gpu, case, config)?,
            None,
        ))
    }),
    ("video_nsa", |gpu, small| {
        let frames = if small { 32 } else { 256 };
        let tokens = 64 * frames;
        let case = AttentionCase { query_heads: 8, kv_heads: 1, causal: true, ..heads(tokens, tokens) };
        let config = NativeSparseConfig { top_n: 8, ..NativeSparseConfig::video(64) };
        Ok((
            format!("{frames} frames of 64 tokens, 8 / 1 heads of 64"),
            native_sparse(gpu, case, config)?,
            None,
        ))
    }),
    ("cluster_merge", |gpu, small| {
        let case = vision(small);
        Ok((
            format!("{} tokens of 192, a quarter kept", case.tokens()),
            clustvit_merging(gpu, &case, None)?,
            None,
        ))
    }),
    ("clustvit", |gpu, small| {
        let case = vision(small);
        let prepared = clustvit(gpu, &case, None)?;
        let cost = case.cost();
        let done = cost.total() / ClustVitCase { kept: Some(case.tokens()), ..case }.cost().total();
        Ok((format!("ViT-t, {side} x {side}, a quarter kept", side = case.side), prepared, Some(done)))
    }),
    ("pure_pass_mask", |gpu, small| {
        let case = picture(if small { 256 } else { 1024 }, 50);
        Ok((format!("{side} x {side}", side = case.side), pure_pass_mask(gpu, &case, None)?, None))
    }),
    ("category_attention", |gpu, small| {
        let case = picture(if small { 128 } else { 512 }, 0);
        Ok((
            format!("{side} x {side}, no pure pixel", side = case.side),
            atd_category_attention(gpu, &case, None)?,
            None,
        ))
    }),
    ("lowrank_vq", |gpu, small| {
        let (side, preset) = (if small { 512 } else { 2048 }, Preset::B);
        let config = preset.config(side, side, 3);
        Ok((
            format!("{side} x {side}, preset B"),
            lowrank_vq(gpu, &config, preset.codewords, Dtype::F16)?,
            None,
        ))
    }),
    ("vq_nearest", |gpu, small| {
        let rows = if small { 2048 } else { 65536 };
        let operator = VqNearest::new(gpu, VqNearestConfig::default())?;
        let z = noise(gpu, "z", &[rows, 8], Dtype::F32)?;
        let codebook = noise(gpu, "codebook", &[4096, 8], Dtype::F32)?;
        let mut schedule = Schedule::new(gpu);
        operator.record(&mut schedule, &z, &codebook)?;
        let prepared =
            Prepared { plan: schedule.compile()?, variant: operator.explain().kind, extra_bytes: 0 };
        Ok((format!("{rows} rows of 8, 4096 codewords"), prepared, None))
    }),
    ("linear", |gpu, small| {
        let side = if small { 256 } else { 2048 };
        Ok((format!("{side} x {side} x {side}"), linear(gpu, [side; 3], Dtype::F32, None)?, None))
    }),
    ("convolution", |gpu, small| {
        let side = if small { 64 } else { 256 };
        let case = ConvolutionCase {
            kind: ConvolutionKind::Full,
            size: [side; 2],
            inputs: 48,
            outputs: 48,
            kernel: 3,
            stride: 1,
            padding: 1,
            dtype: Dtype::F32,
        };
        Ok((format!("{side} x {side}, 48 to 48 channels, 3 x 3"), convolution(gpu, case, None)?, None))
    }),
];

/// The names of the suite's kernels, in its order.
pub fn suite_kernels() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|(name, _)| *name)
}

/// One kernel of the suite on random data, ready to be timed. Errors: `Input` for a name that is not in
/// [`suite_kernels`]; `Limit`, `OutOfMemory` on a small adapter.
pub fn suite(gpu: &Gpu, kernel: &str) -> Result<SuiteCase> {
    let (kernel, prepare) = CASES.iter().find(|(name, _)| *name == kernel).ok_or_else(|| {
        let names: Vec<_> = suite_kernels().collect();
        Error::Input(format!("nothing to measure named `{kernel}`; expected one of {}", names.join(", ")))
    })?;
    let small = gpu.variant(None)?.kind.is_cpu();
    let (shape, prepared, done) = prepare(gpu, small)?;
    Ok(SuiteCase { kernel, shape, prepared, done })
}

fn heads(query_tokens: usize, tokens: usize) -> AttentionCase {
    AttentionCase {
        batch: 1,
        query_tokens,
        tokens,
        query_heads: 4,
        kv_heads: 4,
        head_dim: 64,
        causal: false,
        dtype: Dtype::F32,
    }
}

fn sqa(gpu: &Gpu, small: bool) -> Result<(String, Prepared, Option<f64>)> {
    let (tokens, model_dim) = if small { (512, 256) } else { (4096, 1024) };
    let config = SqaConfig::preset(SqaPreset::Sqa, model_dim, 16, 4)?;
    let (query, key) = (config.query_heads * config.head_dim, config.kv_heads * config.head_dim);
    let matrix = |name, rows, columns| noise(gpu, name, &[rows, columns], Dtype::F32);
    let weights = SqaWeights {
        wq: matrix("Wq", model_dim, query)?,
        wk: matrix("Wk", model_dim, key)?,
        wv: matrix("Wv", model_dim, key)?,
        wo: matrix("Wo", query.max(key), model_dim)?,
        bo: None,
    };
    let x = noise(gpu, "x", &[1, tokens, model_dim], Dtype::F32)?;
    let shape =
        format!("{tokens} tokens of {model_dim}, {} / {} heads of 16", config.query_heads, config.kv_heads);
    let layer = SqaLayer::new(gpu, config)?;
    let mut schedule = Schedule::new(gpu);
    layer.record(&mut schedule, &x, &weights)?;
    let prepared = Prepared { plan: schedule.compile()?, variant: layer.explain().kind, extra_bytes: 0 };
    Ok((shape, prepared, None))
}

fn vision(small: bool) -> ClustVitCase {
    let side = if small { 128 } else { 512 };
    let tokens = (side / 16_usize).pow(2);
    ClustVitCase {
        size: ClustVitSize::TINY,
        side,
        full_blocks: 3,
        clusters: 3,
        kept: Some(tokens / 4),
        dtype: Dtype::F32,
    }
}

fn picture(side: usize, pure: usize) -> PurePassCase {
    PurePassCase { side, scale: 2, pure: Some(pure), compensation: Compensation::Value }
}
