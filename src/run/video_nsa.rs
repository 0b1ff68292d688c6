//! `run video_nsa`.

use super::native_sparse::{self, gates_name, gates_of};
use super::{Config, Done, Inputs, KernelSpec, KeySpec, Outputs, RunOptions, Running, optional, required};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::native_sparse::NativeSparseConfig;
use crate::models::video_nsa::{VideoNsa, VideoNsaInputs};
use crate::schedule::Schedule;
use crate::variant::VariantKind;

pub(super) const NAME: &str = "video_nsa";

const FRAME: &str = "64, or what is given of the three";

pub(super) const SPEC: KernelSpec = KernelSpec {
    name: NAME,
    about: "the attention of VideoNSA: native sparse attention among vision tokens, dense attention for text",
    inputs: &[
        required("q", "[B, T, HQ, D]"),
        required("k", "[B, T, HK, D]"),
        required("v", "[B, T, HK, Dv]"),
        optional("gates", "[B, T, HQ, 3]: compressed, selected, window; those of text don't matter"),
        optional("gate_logits", "[B, T, HQ, 3], where there are no gates: their sigmoid is taken"),
        required("is_vision", "U8 [T], 1 = vision, 0 = text"),
    ],
    keys: &[
        KeySpec { name: "cmp_block", default: FRAME, about: "tokens of a compressed block: of a frame" },
        KeySpec { name: "cmp_stride", default: FRAME, about: "tokens from one of them to the next" },
        KeySpec { name: "sel_block", default: FRAME, about: "tokens of a selected block" },
        KeySpec { name: "top_n", default: "32", about: "blocks of a query, forced ones included" },
        KeySpec {
            name: "window",
            default: "256",
            about: "last tokens, self included; 0: no window, -1: all",
        },
        KeySpec { name: "n_init", default: "0", about: "first blocks that every query reads" },
        KeySpec { name: "n_local", default: "1", about: "own and earlier blocks that every query reads" },
        KeySpec { name: "scale", default: "1 / sqrt(D)", about: "factor of q k^T" },
    ],
    outputs: &[required("out", "[B, T, HQ, Dv]")],
    gpu: |gpu, inputs, config, options| -> Running<'_> { Box::pin(on_gpu(gpu, inputs, config, options)) },
};

pub(super) fn operator_config(config: &Config, variant: Option<VariantKind>) -> Result<NativeSparseConfig> {
    let blocks = ["cmp_block", "cmp_stride", "sel_block"].map(|key| config.count_or_none(key));
    let [cmp_block, cmp_stride, sel_block] = blocks;
    let frame = cmp_block?.or(cmp_stride?).or(sel_block?).unwrap_or(64);
    native_sparse::operator_config(config, NativeSparseConfig::video(frame), variant)
}

async fn on_gpu(gpu: &Gpu, inputs: &Inputs, config: &Config, options: &RunOptions) -> Result<Done> {
    let operator = VideoNsa::new(gpu, operator_config(config, options.variant)?)?;
    let gates = gates_name(inputs)?;
    let [q, k, v, weights] = ["q", "k", "v", gates].map(|name| inputs.upload(gpu, name, options.dtype));
    let (q, k, v, weights) = (q?, k?, v?, weights?);
    let is_vision = inputs.upload_mask(gpu, "is_vision")?;
    let gates = gates_of(gates, &weights);
    let mut schedule = Schedule::new(gpu);
    let tensors = VideoNsaInputs { query: &q, key: &k, value: &v, gates, is_vision: &is_vision };
    let out = operator.record(&mut schedule, &tensors)?;
    let plan = schedule.compile()?;
    let start = web_time::Instant::now();
    plan.run(options.watch()).await?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let mut outputs = Outputs::default();
    outputs.read(gpu, "out", &out).await?;
    Ok(Done { outputs, variant: operator.explain().kind.name(), milliseconds })
}
