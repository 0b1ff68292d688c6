//! `run clustvit`.

use super::cluster_merge::{GATE, clusters, gate};
use super::{Config, Done, Inputs, KernelSpec, KeySpec, Outputs, RunOptions, Running, optional, required};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::models::clustvit::{ClustVit, ClustVitConfig, NAME};
use crate::schedule::Schedule;
use crate::tensor::Dtype;

pub(super) const SPEC: KernelSpec = KernelSpec {
    name: NAME,
    about: "a vision transformer that merges the tokens of large regions half-way (ClustViT)",
    inputs: &[
        required("img", "[B, 3, H, W], normalised"),
        optional("model.*", "the weights, named as in docs/clustvit.md"),
    ],
    keys: &[
        KeySpec { name: "patch", default: "required", about: "pixels along a patch's side" },
        KeySpec { name: "heads", default: "required", about: "heads of attention" },
        KeySpec { name: "ip", default: "required", about: "blocks over all tokens" },
        KeySpec { name: "K", default: "required", about: "clusters of an image" },
        KeySpec { name: "eps", default: "1e-6", about: "of every LayerNorm" },
        GATE,
        KeySpec { name: "outputs", default: "the last", about: "list of blocks whose outputs are features" },
        KeySpec { name: "merge", default: "true", about: "false: the plain transformer of the same weights" },
    ],
    outputs: &[
        required("out", "[B, N, D], the last feature"),
        required("features.0", "[B, N, D] of the first output block, then features.1 .."),
        optional("ids", "I32 [B, N], 0 = kept; not without a merge"),
    ],
    gpu: |gpu, inputs, config, options| -> Running<'_> { Box::pin(on_gpu(gpu, inputs, config, options)) },
};

/// The configuration; what depends on the weights is checked with them. Errors: `Config`.
pub(super) fn model_config(config: &Config) -> Result<ClustVitConfig> {
    let missing = |key| Error::config(NAME, key, "missing", "an integer, at least 0");
    let epsilon = config.number("eps")?.unwrap_or(1e-6);
    if !(epsilon > 0.0 && epsilon < 1.0) {
        return Err(Error::config(NAME, "eps", epsilon, "a number between 0 and 1"));
    }
    Ok(ClustVitConfig {
        patch: config.count("patch")?,
        heads: config.count("heads")?,
        full_blocks: config.whole("ip")?.ok_or_else(|| missing("ip"))?,
        clusters: clusters(NAME, config)?,
        epsilon: epsilon as f32,
        gate: gate(config)?,
        outputs: config.list("outputs")?,
        merge: config.flag("merge", true)?,
        dtype: Dtype::F32,
        variant: None,
    })
}

async fn on_gpu(gpu: &Gpu, inputs: &Inputs, config: &Config, options: &RunOptions) -> Result<Done> {
    let config = ClustVitConfig { dtype: options.dtype, variant: options.variant, ..model_config(config)? };
    let model = ClustVit::new(gpu, config, &inputs.model_weights()?)?;
    let img = inputs.upload(gpu, "img", Dtype::F32)?;
    let mut schedule = Schedule::new(gpu);
    let result = model.record(&mut schedule, &img)?;
    let plan = schedule.compile()?;
    let start = web_time::Instant::now();
    plan.run(options.watch()).await?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let mut outputs = Outputs::default();
    for (index, feature) in result.features.iter().enumerate() {
        outputs.read(gpu, &format!("features.{index}"), feature).await?;
    }
    let last = result.features.last().expect("at least one output");
    outputs.read(gpu, "out", last).await?;
    if let Some(ids) = &result.ids {
        outputs.read_signed(gpu, "ids", ids).await?;
    }
    Ok(Done { outputs, variant: model.explain().kind.name(), milliseconds })
}
