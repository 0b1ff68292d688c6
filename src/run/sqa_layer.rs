//! `run sqa_layer`.

use super::attention::host_lse;
use super::{Config, Done, Inputs, KernelSpec, KeySpec, Outputs, RunOptions, Running, optional, required};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::models::sqa::{SqaConfig, SqaLayer, SqaWeights};
use crate::schedule::Schedule;
use crate::tensor::Dtype;

pub(super) const SPEC: KernelSpec = KernelSpec {
    name: "sqa_layer",
    about: "Sparse Query Attention: a whole layer with any pair of head counts",
    inputs: &[
        required("x", "[B, N, dm]"),
        required("Wq", "[dm, query_heads * head_dim]"),
        required("Wk", "[dm, kv_heads * head_dim]"),
        required("Wv", "[dm, kv_heads * head_dim]"),
        required("Wo", "[max(query_heads, kv_heads) * head_dim, dm]"),
        optional("bo", "[dm]"),
    ],
    keys: &[
        KeySpec { name: "heads", default: "dm / head_dim", about: "heads of the MHA baseline" },
        KeySpec {
            name: "query_heads",
            default: "required",
            about: "query heads; fewer than kv_heads are tiled",
        },
        KeySpec { name: "kv_heads", default: "required", about: "key and value heads" },
        KeySpec { name: "head_dim", default: "dm / heads", about: "elements of a head" },
        KeySpec { name: "causal", default: "false", about: "a token sees itself and those before" },
        KeySpec {
            name: "window",
            default: "null",
            about: "causal: the last w tokens; else |t - s| <= w / 2",
        },
        KeySpec { name: "rope", default: "false", about: "rotary embedding, base 10000" },
    ],
    outputs: &[
        required("out", "[B, N, dm]"),
        required("q", "[B, N, query_heads, head_dim], after RoPE"),
        required("k", "[B, N, kv_heads, head_dim], after RoPE"),
        required("v", "[B, N, kv_heads, head_dim]"),
        required("heads", "[B, N, max(query_heads, kv_heads), head_dim]"),
        required("lse", "[B, N, max(query_heads, kv_heads)]"),
    ],
    gpu: |gpu, inputs, config, options| -> Running<'_> { Box::pin(on_gpu(gpu, inputs, config, options)) },
};

const ROPE_BASE: f64 = 10000.0;

/// The layer that the configuration and the shape of x describe.
pub(super) fn layer(inputs: &Inputs, config: &Config) -> Result<SqaConfig> {
    let [batch, tokens, model_dim] = inputs.dims("x", "[B, N, dm]")?;
    if batch * tokens * model_dim == 0 {
        let found = format!("has shape {:?}", [batch, tokens, model_dim]);
        return Err(Error::shape("sqa_layer", "x", found, "[B, N, dm], none of them 0"));
    }
    let head_dim = match (config.count_or_none("head_dim")?, config.count_or_none("heads")?) {
        (Some(head_dim), _) => head_dim,
        (None, Some(heads)) if model_dim.is_multiple_of(heads) => model_dim / heads,
        (None, Some(heads)) => {
            return Err(Error::config("sqa_layer", "heads", heads, format!("a divisor of dm = {model_dim}")));
        }
        (None, None) => return Err(Error::config("sqa_layer", "head_dim", "missing", "head_dim or heads")),
    };
    let rope = config.flag("rope", false)?;
    if rope && head_dim % 2 == 1 {
        return Err(Error::config("sqa_layer", "head_dim", head_dim, "an even number with rope"));
    }
    let (query_heads, kv_heads) = (config.count("query_heads")?, config.count("kv_heads")?);
    if !query_heads.max(kv_heads).is_multiple_of(query_heads.min(kv_heads)) {
        let found = format!("{query_heads} (kv_heads = {kv_heads})");
        return Err(Error::config("sqa_layer", "query_heads", found, "a multiple or a divisor of kv_heads"));
    }
    Ok(SqaConfig {
        model_dim,
        query_heads,
        kv_heads,
        head_dim,
        causal: config.flag("causal", false)?,
        window: config.window("window")?,
        rope: rope.then_some(ROPE_BASE),
        variant: None,
    })
}

async fn on_gpu(gpu: &Gpu, inputs: &Inputs, config: &Config, options: &RunOptions) -> Result<Done> {
    let config = SqaConfig { variant: options.variant, ..layer(inputs, config)? };
    let layer = SqaLayer::new(gpu, config)?;
    let x = inputs.upload(gpu, "x", options.dtype)?;
    let weight = |name| inputs.upload(gpu, name, options.dtype);
    let bo = inputs.get("bo").map(|_| inputs.upload(gpu, "bo", Dtype::F32)).transpose()?;
    let weights =
        SqaWeights { wq: weight("Wq")?, wk: weight("Wk")?, wv: weight("Wv")?, wo: weight("Wo")?, bo };
    let mut schedule = Schedule::new(gpu);
    let result = layer.record(&mut schedule, &x, &weights)?;
    let plan = schedule.compile()?;
    let start = web_time::Instant::now();
    plan.run(options.watch()).await?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let mut outputs = Outputs::default();
    let named = [
        ("out", &result.out),
        ("q", &result.q),
        ("k", &result.k),
        ("v", &result.v),
        ("heads", &result.heads),
    ];
    for (name, tensor) in named {
        outputs.read(gpu, name, tensor).await?;
    }
    outputs.float("lse", result.lse.shape(), &host_lse(gpu, &result.lse).await?);
    Ok(Done { outputs, variant: layer.explain().kind.name(), milliseconds })
}
