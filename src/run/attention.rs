//! `run attention`.

use super::{Config, Done, Inputs, KernelSpec, KeySpec, Outputs, RunOptions, Running, optional, required};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::attention::{Attention, AttentionConfig, AttentionInputs, lse_to_host};
use crate::schedule::{Schedule, no_progress};
use crate::tensor::Tensor;
use crate::twins::attention::{AttentionMask, AttentionShape, attention};

pub(super) const SPEC: KernelSpec = KernelSpec {
    name: "attention",
    about: "dense attention: softmax(scale q k^T + key_bias + mask) v",
    inputs: &[
        required("q", "[B, Tq, HQ, D]"),
        required("k", "[B, T, HK, D]"),
        required("v", "[B, T, HK, Dv]"),
        optional("key_mask", "U8 [B, T], 1 = visible"),
        optional("key_bias", "[B, T], added to the logits of a key"),
    ],
    keys: &[
        KeySpec { name: "causal", default: "false", about: "a query sees keys up to its own position" },
        KeySpec {
            name: "window",
            default: "null",
            about: "causal: the last w tokens; else |t - s| <= w / 2",
        },
        KeySpec { name: "q_offset", default: "T - Tq", about: "position of the first query row" },
        KeySpec { name: "scale", default: "1 / sqrt(D)", about: "factor of q k^T" },
    ],
    outputs: &[
        required("out", "[B, Tq, HQ, Dv]"),
        required("lse", "[B, Tq, HQ], -inf in rows without a key"),
    ],
    gpu: |gpu, inputs, config, options| -> Running<'_> { Box::pin(on_gpu(gpu, inputs, config, options)) },
    twin: on_twin,
};

async fn on_gpu(gpu: &Gpu, inputs: &Inputs, config: &Config, options: &RunOptions) -> Result<Done> {
    let attention = Attention::new(
        gpu,
        AttentionConfig {
            causal: config.flag("causal", false)?,
            window: config.window("window")?,
            q_offset: config.integer("q_offset")?,
            scale: config.number("scale")?.map(|scale| scale as f32),
            tile_queries: false,
            variant: options.variant,
        },
    )?;
    let [q, k, v] = ["q", "k", "v"].map(|name| inputs.upload(gpu, name, options.dtype));
    let (q, k, v) = (q?, k?, v?);
    let key_mask = inputs.get("key_mask").map(|_| inputs.upload_mask(gpu, "key_mask")).transpose()?;
    let key_bias =
        inputs.get("key_bias").map(|_| inputs.upload(gpu, "key_bias", crate::Dtype::F32)).transpose()?;
    let mut schedule = Schedule::new(gpu);
    let tensors = AttentionInputs {
        key_mask: key_mask.as_ref(),
        key_bias: key_bias.as_ref(),
        ..AttentionInputs::new(&q, &k, &v)
    };
    let result = attention.record(&mut schedule, tensors)?;
    let plan = schedule.compile()?;
    let start = web_time::Instant::now();
    plan.run(no_progress).await?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let mut outputs = Outputs::default();
    outputs.read(gpu, "out", &result.out).await?;
    outputs.float("lse", result.lse.shape(), &host_lse(gpu, &result.lse).await?);
    Ok(Done { outputs, variant: attention.explain().kind.name(), milliseconds })
}

/// The lse with -inf for rows without a visible key.
pub(super) async fn host_lse(gpu: &Gpu, lse: &Tensor) -> Result<Vec<f32>> {
    let mut lse = lse.read::<f32>(gpu).await?;
    lse_to_host(&mut lse);
    Ok(lse)
}

fn on_twin(inputs: &Inputs, config: &Config) -> Result<Outputs> {
    let shape = twin_shape("attention", inputs)?;
    let AttentionShape { batch, query_tokens, tokens, query_heads, head_dim, value_dim, .. } = shape;
    for name in ["key_mask", "key_bias"] {
        if let Some(tensor) = inputs.get(name).filter(|tensor| tensor.shape != [batch, tokens]) {
            let found = format!("has shape {:?}", tensor.shape);
            return Err(Error::shape("attention", name, found, format!("[{batch}, {tokens}]")));
        }
    }
    let key_mask = inputs.get("key_mask").map(|_| inputs.mask("key_mask")).transpose()?;
    let key_bias = inputs.get("key_bias").map(|_| inputs.floats("key_bias")).transpose()?;
    let mask = AttentionMask {
        causal: config.flag("causal", false)?,
        window: config.window("window")?,
        q_offset: config.integer("q_offset")?.unwrap_or(tokens as i64 - query_tokens as i64),
        key_mask: key_mask.as_deref(),
    };
    let scale = config.number("scale")?.unwrap_or((head_dim as f64).powf(-0.5));
    let (q, k, v) = (inputs.floats("q")?, inputs.floats("k")?, inputs.floats("v")?);
    let result = attention(q, k, v, &shape, &mask, key_bias, scale);
    let mut outputs = Outputs::default();
    outputs.double("out", &[batch, query_tokens, query_heads, value_dim], &result.out);
    outputs.double("lse", &[batch, query_tokens, query_heads], &result.lse);
    Ok(outputs)
}

/// The sizes of q, k and v for a twin. Errors: `Shape`, as the operator of this name has them on the GPU.
pub(super) fn twin_shape(operator: &'static str, inputs: &Inputs) -> Result<AttentionShape> {
    let [batch, query_tokens, query_heads, head_dim] = inputs.dims("q", "[B, Tq, HQ, D]")?;
    let [_, tokens, kv_heads, key_dim] = inputs.dims("k", "[B, T, HK, D]")?;
    let [_, _, _, value_dim] = inputs.dims("v", "[B, T, HK, Dv]")?;
    for (name, found, expected) in [
        ("k", inputs.dims::<4>("k", "")?, [batch, tokens, kv_heads, head_dim]),
        ("v", inputs.dims("v", "")?, [batch, tokens, kv_heads, value_dim]),
    ] {
        if found != expected || found.contains(&0) || query_tokens == 0 {
            return Err(Error::shape(
                operator,
                name,
                format!("has shape {found:?}"),
                format!("{expected:?}, none 0"),
            ));
        }
    }
    if key_dim == 0 || !query_heads.is_multiple_of(kv_heads) {
        let expected = format!("a multiple of the {kv_heads} heads of k");
        return Err(Error::shape(operator, "q", format!("has {query_heads} heads"), expected));
    }
    Ok(AttentionShape { batch, query_tokens, tokens, query_heads, kv_heads, head_dim, value_dim })
}
