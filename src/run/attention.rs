//! `run attention`.

use super::{Config, Done, Inputs, KernelSpec, KeySpec, Outputs, RunOptions, Running, optional, required};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::attention::{Attention, AttentionConfig, AttentionInputs, lse_to_host};
use crate::schedule::Schedule;
use crate::tensor::Tensor;

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
};

async fn on_gpu(gpu: &Gpu, inputs: &Inputs, config: &Config, options: &RunOptions) -> Result<Done> {
    let attention = Attention::new(
        gpu,
        AttentionConfig {
            causal: config.flag("causal", false)?,
            window: config.window("window")?,
            q_offset: config.integer("q_offset")?,
            scale: config.number("scale")?.map(|scale| scale as f32),
            variant: options.variant,
            ..Default::default()
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
    plan.run(options.watch()).await?;
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
