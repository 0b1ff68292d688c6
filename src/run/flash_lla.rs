//! `run flash_lla`.

use super::attention::host_lse;
use super::{Config, Done, Inputs, KernelSpec, KeySpec, Outputs, RunOptions, Running, optional, required};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::flash_lla::{FlashLla, FlashLlaConfig, FlashLlaInputs, pack_mask};
use crate::schedule::Schedule;
use crate::tensor::{Dtype, Tensor};
use crate::variant::VariantKind;

pub(super) const NAME: &str = "flash_lla";

pub(super) const SPEC: KernelSpec = KernelSpec {
    name: NAME,
    about: "local linear attention: a weighted ridge regression from keys to values, evaluated at each query",
    inputs: &[
        required("q", "[B, Tq, HQ, D]"),
        required("k", "[B, T, HK, D]"),
        required("v", "[B, T, HK, Dv]"),
        optional("mask", "U8 [Tq, T], 1 = visible"),
        optional("key_bias", "[B, T], added to the logits of a key"),
    ],
    keys: &[
        KeySpec { name: "causal", default: "false", about: "a query sees keys up to its own position" },
        KeySpec { name: "q_offset", default: "T - Tq", about: "position of the first query row" },
        KeySpec { name: "scale", default: "1 / sqrt(D)", about: "factor of q k^T" },
        KeySpec { name: "ridge", default: "0.1", about: "ridge of the fit, for weights that sum to 1" },
        KeySpec { name: "ridge_floor", default: "1e-6", about: "least ridge, in mean variances of the keys" },
        KeySpec { name: "rtol", default: "1e-5", about: "residual at which a row is solved" },
        KeySpec { name: "max_iters", default: "64", about: "most iterations; 0: softmax attention" },
    ],
    outputs: &[
        required("out", "[B, Tq, HQ, Dv]"),
        required("lse", "[B, Tq, HQ], -inf in rows without a key"),
        required("iterations", "U32 [B, Tq, HQ]"),
        required("status", "U32 [B, Tq, HQ], bits: 1 no key, 2 singular, 4 not finite, 8 not converged"),
    ],
    gpu: |gpu, inputs, config, options| -> Running<'_> { Box::pin(on_gpu(gpu, inputs, config, options)) },
};

pub(super) fn operator_config(config: &Config, variant: Option<VariantKind>) -> Result<FlashLlaConfig> {
    let default = FlashLlaConfig::default();
    let number = |key, default| Ok::<_, Error>(config.number(key)?.map_or(default, |number| number as f32));
    Ok(FlashLlaConfig {
        causal: config.flag("causal", default.causal)?,
        q_offset: config.integer("q_offset")?,
        scale: config.number("scale")?.map(|scale| scale as f32),
        ridge: number("ridge", default.ridge)?,
        ridge_floor: number("ridge_floor", default.ridge_floor)?,
        rtol: number("rtol", default.rtol)?,
        max_iters: config.whole("max_iters")?.unwrap_or(default.max_iters),
        variant,
    })
}

/// The mask `[query_tokens, tokens]`, true = visible.
pub(super) fn mask(inputs: &Inputs, query_tokens: usize, tokens: usize) -> Result<Option<Vec<bool>>> {
    let Some(tensor) = inputs.get("mask") else { return Ok(None) };
    if tensor.shape != [query_tokens, tokens] {
        let found = format!("has shape {:?}", tensor.shape);
        return Err(Error::shape(NAME, "mask", found, format!("[{query_tokens}, {tokens}]")));
    }
    inputs.mask("mask").map(Some)
}

async fn on_gpu(gpu: &Gpu, inputs: &Inputs, config: &Config, options: &RunOptions) -> Result<Done> {
    let operator = FlashLla::new(gpu, operator_config(config, options.variant)?)?;
    let [_, query_tokens, _, _] = inputs.dims("q", "[B, Tq, HQ, D]")?;
    let [_, tokens, _, _] = inputs.dims("k", "[B, T, HK, D]")?;
    let mask = mask(inputs, query_tokens, tokens)?.map(|mask| {
        let words = pack_mask(&mask, tokens);
        Tensor::upload(gpu, "mask", &[query_tokens, tokens.div_ceil(32)], &words)
    });
    let mask = mask.transpose()?;
    let [q, k, v] = ["q", "k", "v"].map(|name| inputs.upload(gpu, name, options.dtype));
    let (q, k, v) = (q?, k?, v?);
    let key_bias = inputs.get("key_bias").map(|_| inputs.upload(gpu, "key_bias", Dtype::F32)).transpose()?;
    let mut schedule = Schedule::new(gpu);
    let tensors = FlashLlaInputs {
        mask: mask.as_ref(),
        key_bias: key_bias.as_ref(),
        ..FlashLlaInputs::new(&q, &k, &v)
    };
    let result = operator.record(&mut schedule, tensors)?;
    let plan = schedule.compile()?;
    let start = web_time::Instant::now();
    plan.run(options.watch()).await?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let mut outputs = Outputs::default();
    outputs.read(gpu, "out", &result.out).await?;
    outputs.float("lse", result.lse.shape(), &host_lse(gpu, &result.lse).await?);
    outputs.read(gpu, "iterations", &result.iterations).await?;
    outputs.read(gpu, "status", &result.status).await?;
    Ok(Done { outputs, variant: operator.explain().kind.name(), milliseconds })
}
