//! The same kernels by name, run by their f64 twins.

use super::{
    Config, Inputs, Outputs, RunOptions, find, flash_lla, read, sqa_layer, twin_atd, twin_cluster,
    twin_clustvit, twin_pure_pass, twin_sparse, twin_vq,
};
use crate::error::{Error, Result};
use crate::kernels::flash_lla::{FlashLlaConfig, MOST_DIM};
use crate::models::sqa::SqaConfig;
use crate::twins;
use crate::twins::attention::{AttentionMask, AttentionShape};
use crate::twins::flash_lla::LlaOptions;
use crate::twins::sqa::{SqaOptions, SqaShape, SqaWeights};

/// Runs a kernel's f64 twin on the CPU instead, with the same files, checks and errors as [`run`](super::run()); `dtype` and
/// `variant` don't matter to it. Outputs are rounded to F32.
pub fn run_twin(kernel: &str, input: &[u8], options: &RunOptions) -> Result<Vec<u8>> {
    let spec = find(kernel)?;
    let (inputs, config) = read(spec, input, options)?;
    let start = web_time::Instant::now();
    let outputs = match spec.name {
        "atd" => twin_atd::atd(&inputs, &config),
        "attention" => attention(&inputs, &config),
        "cluster_merge" => twin_cluster::merge(&inputs, &config),
        "cluster_regenerate" => twin_cluster::regenerate(&inputs, &config),
        "clustvit" => twin_clustvit::clustvit(&inputs, &config),
        "flash_lla" => flash_lla(&inputs, &config),
        "lowrank_vq" => twin_vq::lowrank_vq(&inputs, &config),
        "native_sparse" => twin_sparse::native_sparse(&inputs, &config),
        "pure_pass_mask" => twin_pure_pass::mask(&inputs, &config),
        "sqa_layer" => sqa_layer(&inputs, &config),
        "video_nsa" => twin_sparse::video_nsa(&inputs, &config),
        "vq_nearest" => twin_vq::vq_nearest(&inputs),
        other => Err(Error::Input(format!("{other} has no twin"))),
    }?;
    outputs.to_safetensors([
        ("kernel", spec.name.to_string()),
        ("adapter", "CPU".to_string()),
        ("variant", "twin".to_string()),
        ("version", env!("CARGO_PKG_VERSION").to_string()),
        ("milliseconds", format!("{:.3}", start.elapsed().as_secs_f64() * 1e3)),
    ])
}

fn attention(inputs: &Inputs, config: &Config) -> Result<Outputs> {
    let shape = attention_shape("attention", inputs)?;
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
    let result = twins::attention::attention(q, k, v, &shape, &mask, key_bias, scale);
    let mut outputs = Outputs::default();
    outputs.double("out", &[batch, query_tokens, query_heads, value_dim], &result.out);
    outputs.double("lse", &[batch, query_tokens, query_heads], &result.lse);
    Ok(outputs)
}

/// The sizes of q, k and v of attention. Errors: `Shape`, as the operator of this name has them on the GPU.
pub(super) fn attention_shape(operator: &'static str, inputs: &Inputs) -> Result<AttentionShape> {
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

fn flash_lla(inputs: &Inputs, config: &Config) -> Result<Outputs> {
    let FlashLlaConfig { causal, q_offset, ridge, ridge_floor, rtol, max_iters, .. } = {
        let operator = flash_lla::operator_config(config, None)?;
        operator.check()?;
        operator
    };
    let shape = attention_shape(flash_lla::NAME, inputs)?;
    for (name, dim) in [("q", shape.head_dim), ("v", shape.value_dim)] {
        if dim > MOST_DIM {
            return Err(Error::shape(
                flash_lla::NAME,
                name,
                format!("has head dim {dim}"),
                format!("1 to {MOST_DIM}"),
            ));
        }
    }
    if let Some(tensor) = inputs.get("key_bias").filter(|bias| bias.shape != [shape.batch, shape.tokens]) {
        let found = format!("has shape {:?}", tensor.shape);
        return Err(Error::shape(
            flash_lla::NAME,
            "key_bias",
            found,
            format!("[{}, {}]", shape.batch, shape.tokens),
        ));
    }
    let mask = flash_lla::mask(inputs, shape.query_tokens, shape.tokens)?;
    let number = |key, default: f32| Ok::<_, Error>(config.number(key)?.unwrap_or(default.into()));
    let options = LlaOptions {
        causal,
        q_offset,
        mask: mask.as_deref(),
        key_bias: inputs.get("key_bias").map(|_| inputs.floats("key_bias")).transpose()?,
        scale: config.number("scale")?,
        ridge: number("ridge", ridge)?,
        ridge_floor: number("ridge_floor", ridge_floor)?,
        ..Default::default()
    };
    let (q, k, v) = (inputs.floats("q")?, inputs.floats("k")?, inputs.floats("v")?);
    let result = twins::flash_lla::flash_lla_cg(q, k, v, &shape, &options, number("rtol", rtol)?, max_iters);
    let rows = [shape.batch, shape.query_tokens, shape.query_heads];
    let mut outputs = Outputs::default();
    outputs.double("out", &[&rows[..], &[shape.value_dim]].concat(), &result.out);
    outputs.double("lse", &rows, &result.lse);
    outputs.unsigned("iterations", &rows, &result.iterations);
    outputs.unsigned("status", &rows, &result.status);
    Ok(outputs)
}

fn sqa_layer(inputs: &Inputs, config: &Config) -> Result<Outputs> {
    let SqaConfig { model_dim, query_heads, kv_heads, head_dim, causal, window, rope, .. } =
        sqa_layer::layer(inputs, config)?;
    let [batch, tokens, _] = inputs.dims("x", "[B, N, dm]")?;
    let shape = SqaShape { batch, tokens, model_dim, query_heads, kv_heads, head_dim };
    let out_heads = shape.out_heads();
    for (name, expected) in [
        ("Wq", vec![model_dim, query_heads * head_dim]),
        ("Wk", vec![model_dim, kv_heads * head_dim]),
        ("Wv", vec![model_dim, kv_heads * head_dim]),
        ("Wo", vec![out_heads * head_dim, model_dim]),
        ("bo", vec![model_dim]),
    ] {
        if let Some(tensor) = inputs.get(name).filter(|tensor| tensor.shape != expected) {
            let found = format!("has shape {:?}", tensor.shape);
            return Err(Error::shape("sqa_layer", name, found, format!("{expected:?}")));
        }
    }
    let weights = SqaWeights {
        wq: inputs.floats("Wq")?,
        wk: inputs.floats("Wk")?,
        wv: inputs.floats("Wv")?,
        wo: inputs.floats("Wo")?,
        bo: inputs.get("bo").map(|_| inputs.floats("bo")).transpose()?,
    };
    let result =
        twins::sqa::sqa_layer(inputs.floats("x")?, &weights, &shape, &SqaOptions { causal, window, rope });
    let mut outputs = Outputs::default();
    outputs.double("out", &[batch, tokens, model_dim], &result.out);
    outputs.double("q", &[batch, tokens, query_heads, head_dim], &result.q);
    outputs.double("k", &[batch, tokens, kv_heads, head_dim], &result.k);
    outputs.double("v", &[batch, tokens, kv_heads, head_dim], &result.v);
    outputs.double("heads", &[batch, tokens, out_heads, head_dim], &result.heads);
    outputs.double("lse", &[batch, tokens, out_heads], &result.lse);
    Ok(outputs)
}
