//! Timing on this adapter: its own peaks, and the median time of a plan.
//!
//! Times are the host's clock around whole submits, long enough that its grain and the submit's overhead don't matter. On
//! a software adapter they are ratios within one run, not absolutes.

mod clustvit;
mod convolution;
mod lowrank_vq;
mod native_sparse;
mod pure_pass;
mod suite;

pub use clustvit::{ClustVitCase, clustvit, clustvit_merging};
pub use convolution::{ConvolutionCase, convolution, vqvae_decoder};
pub use lowrank_vq::{lowrank_vq, lowrank_vq_steps};
pub use native_sparse::{BranchTimes, native_sparse};
pub use pure_pass::{
    AtdTimes, PurePassCase, atd_category_attention, atd_light, atd_network, atd_window_projection,
    pure_pass_mask,
};
pub use suite::{SuiteCase, suite, suite_kernels};

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::Constants;
use crate::kernels::attention::{Attention, AttentionConfig, AttentionInputs};
use crate::kernels::flash_lla::{FlashLla, FlashLlaConfig, FlashLlaInputs, FlashLlaOutput};
use crate::kernels::linear::{Linear, LinearConfig};
use crate::schedule::{Cost, Plan, Schedule, no_progress};
use crate::tensor::{Dtype, Tensor};
use crate::variant::VariantKind;
use half::f16;
use std::ops::ControlFlow;
use web_time::Instant;

/// What an adapter reaches in microkernels; everything else is measured against it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    /// Fused multiply-adds in registers, 2 FLOPs each.
    pub gflops: f64,
    /// Copy of a large buffer, bytes read plus bytes written.
    pub gbps: f64,
}

/// One measured operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The build that ran.
    pub variant: VariantKind,
    /// Median milliseconds.
    pub ms: f64,
    /// Work by the cost model.
    pub cost: Cost,
    /// Bytes of intermediates beside inputs and outputs.
    pub extra_bytes: u64,
}

/// An operator with its inputs, compiled.
#[derive(Debug)]
pub struct Prepared {
    /// Runs it once.
    pub plan: Plan,
    /// The build it uses.
    pub variant: VariantKind,
    /// Bytes of intermediates beside inputs and outputs.
    pub extra_bytes: u64,
}

/// Shape of an attention to measure: self-attention where `query_tokens` equals `tokens`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionCase {
    /// Sequences.
    pub batch: usize,
    /// Query tokens of each.
    pub query_tokens: usize,
    /// Keys of each.
    pub tokens: usize,
    /// Query heads.
    pub query_heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head, of keys and values alike.
    pub head_dim: usize,
    /// Causal mask.
    pub causal: bool,
    /// Storage of q, k and v.
    pub dtype: Dtype,
}

#[derive(encase::ShaderType)]
struct FmaParams {
    iterations: u32,
    factor: f32,
    addend: f32,
}

#[derive(encase::ShaderType)]
struct CopyParams {
    vectors: u32,
}

/// A sample should last this long.
const SAMPLE_SECONDS: f64 = 0.03;

/// Median milliseconds of one run of each plan, after a warm-up that compiles it. The plans take turns, so that what else
/// the machine does falls on all of them alike. Long plans run sliced as [`Plan::run`] does; short ones are repeated
/// within one submit.
pub async fn time(gpu: &Gpu, plans: &[&Plan], samples: usize) -> Result<Vec<f64>> {
    time_watched(gpu, plans, samples, |_| ControlFlow::Continue(())).await
}

/// The same; `progress` is told the share of the samples that are taken, 0 to 1, and may stop it between two: `Cancelled`.
pub async fn time_watched(
    gpu: &Gpu,
    plans: &[&Plan],
    samples: usize,
    mut progress: impl FnMut(f64) -> ControlFlow<()>,
) -> Result<Vec<f64>> {
    let samples = samples.max(1);
    // A warm-up and a first look count as one sample.
    let (mut taken, all) = (0, plans.len() * (1 + samples));
    let mut step = || {
        taken += 1;
        if progress(taken as f64 / all as f64).is_break() { Err(Error::Cancelled) } else { Ok(()) }
    };
    let mut repeats = Vec::with_capacity(plans.len());
    for plan in plans {
        plan.run(no_progress).await?;
        let start = Instant::now();
        plan.run(no_progress).await?;
        let once = start.elapsed().as_secs_f64();
        repeats.push((SAMPLE_SECONDS / once).ceil().clamp(1.0, 256.0) as usize);
        step()?;
    }
    let mut times = vec![Vec::with_capacity(samples); plans.len()];
    for _ in 0..samples {
        for ((plan, &repeats), times) in plans.iter().zip(&repeats).zip(&mut times) {
            let start = Instant::now();
            if repeats == 1 {
                plan.run(no_progress).await?;
            } else {
                let mut encoder = gpu.device().create_command_encoder(&Default::default());
                for _ in 0..repeats {
                    plan.encode(&mut encoder)?;
                }
                gpu.submit(encoder.finish());
                gpu.wait().await?;
            }
            times.push(start.elapsed().as_secs_f64() * 1e3 / repeats as f64);
            step()?;
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Ok(times.into_iter().map(median).collect())
}

/// Times prepared operators in turns.
pub async fn measure(gpu: &Gpu, prepared: &[Prepared], samples: usize) -> Result<Vec<Measured>> {
    let plans: Vec<_> = prepared.iter().map(|one| &one.plan).collect();
    let times = time(gpu, &plans, samples).await?;
    let measured = prepared.iter().zip(times).map(|(one, ms)| Measured {
        variant: one.variant,
        ms,
        cost: one.plan.cost(),
        extra_bytes: one.extra_bytes,
    });
    Ok(measured.collect())
}

/// Measures the adapter's FMA and copy rates.
pub async fn peaks(gpu: &Gpu) -> Result<Peaks> {
    let is_cpu = gpu.variant(None)?.kind.is_cpu();
    let (workgroup, groups) = if is_cpu { (8, 512) } else { (64, 8192) };
    // Past every cache, within WebGPU's default limits; less where a device has smaller ones.
    let limits = gpu.limits();
    let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(64 << 20) as usize;
    let groups = groups.min(most / (4 * workgroup)).max(1);
    let mut iterations = 64;
    let gflops = loop {
        let flops = 256.0 * (iterations * workgroup * groups) as f64;
        let mut schedule = Schedule::new(gpu);
        let result = schedule.tensor("fma", &[workgroup * groups], Dtype::F32)?;
        schedule
            .kernel("fma", "measure/fma", &Constants::new().set("WORKGROUP", workgroup).pairs())?
            .params(&FmaParams { iterations: iterations as u32, factor: 0.75, addend: 0.5 })
            .bind("result", &result)?
            .dispatch(groups, Cost { flops, bytes: 0.0 })?;
        let ms = time(gpu, &[&schedule.compile()?], 5).await?[0];
        if ms > 4.0 || iterations >= 1 << 20 {
            break flops / ms * 1e-6;
        }
        iterations *= 4;
    };

    // The best of three shapes: drivers differ in what they like.
    let bytes = most / 16 * 16;
    let source = Tensor::zeros(gpu, "copy source", &[bytes / 4], Dtype::F32)?;
    let (per_invocation, vectors) = (4, bytes / 16);
    let mut ms = f64::INFINITY;
    for workgroup in [8, 64, 256] {
        let mut schedule = Schedule::new(gpu);
        let target = schedule.tensor("copy target", source.shape(), Dtype::F32)?;
        let constants = Constants::new().set("WORKGROUP", workgroup).set("PER_INVOCATION", per_invocation);
        schedule
            .kernel("copy", "measure/copy", &constants.pairs())?
            .params(&CopyParams { vectors: vectors as u32 })
            .bind("source", &source)?
            .bind("target_vectors", &target)?
            .dispatch(
                vectors.div_ceil(workgroup * per_invocation),
                Cost { flops: 0.0, bytes: 2.0 * bytes as f64 },
            )?;
        ms = time(gpu, &[&schedule.compile()?], 5).await?[0].min(ms);
    }
    Ok(Peaks { gflops, gbps: 2.0 * bytes as f64 / ms * 1e-6 })
}

/// Attention on random inputs, ready to be timed.
pub fn attention(gpu: &Gpu, case: AttentionCase, variant: Option<VariantKind>) -> Result<Prepared> {
    let AttentionCase { batch, query_tokens, tokens, query_heads, kv_heads, head_dim, causal, dtype } = case;
    let operator = Attention::new(gpu, AttentionConfig { causal, variant, ..Default::default() })?;
    let q = noise(gpu, "q", &[batch, query_tokens, query_heads, head_dim], dtype)?;
    let k = noise(gpu, "k", &[batch, tokens, kv_heads, head_dim], dtype)?;
    let v = noise(gpu, "v", &[batch, tokens, kv_heads, head_dim], dtype)?;
    let mut schedule = Schedule::new(gpu);
    let result = operator.record(&mut schedule, AttentionInputs::new(&q, &k, &v))?;
    let plan = schedule.compile()?;
    let extra_bytes = plan.report().bytes - result.out.padded_bytes() - result.lse.padded_bytes();
    Ok(Prepared { plan, variant: operator.explain().kind, extra_bytes })
}

/// Local linear attention on random inputs of deviation 1, ready to be timed. Its output tells the iterations that the plan's
/// runs executed; the plan's cost counts all that it may.
pub fn flash_lla(
    gpu: &Gpu,
    case: AttentionCase,
    config: FlashLlaConfig,
) -> Result<(Prepared, FlashLlaOutput)> {
    let AttentionCase { batch, query_tokens, tokens, query_heads, kv_heads, head_dim, dtype, .. } = case;
    let operator = FlashLla::new(gpu, config)?;
    let unit = |label, tokens, heads| {
        let shape = [batch, tokens, heads, head_dim];
        upload(gpu, label, &shape, dtype, noise_values(label, shape.iter().product(), 3.0_f32.sqrt()))
    };
    let q = unit("q", query_tokens, query_heads)?;
    let k = unit("k", tokens, kv_heads)?;
    let v = unit("v", tokens, kv_heads)?;
    let mut schedule = Schedule::new(gpu);
    let output = operator.record(&mut schedule, FlashLlaInputs::new(&q, &k, &v))?;
    let plan = schedule.compile()?;
    let results = [&output.out, &output.lse, &output.iterations, &output.status];
    let extra_bytes = plan.report().bytes - results.iter().map(|tensor| tensor.padded_bytes()).sum::<u64>();
    Ok((Prepared { plan, variant: operator.explain().kind, extra_bytes }, output))
}

/// y `[rows, outputs]` = x `[rows, inputs]` W on random inputs, ready to be timed.
pub fn linear(
    gpu: &Gpu,
    [rows, inputs, outputs]: [usize; 3],
    dtype: Dtype,
    variant: Option<VariantKind>,
) -> Result<Prepared> {
    let operator = Linear::new(gpu, LinearConfig { variant, ..Default::default() })?;
    let x = noise(gpu, "x", &[rows, inputs], dtype)?;
    let weight = noise(gpu, "weight", &[inputs, outputs], dtype)?;
    let mut schedule = Schedule::new(gpu);
    let y = operator.record(&mut schedule, &x, &weight, None, None)?;
    let plan = schedule.compile()?;
    let extra_bytes = plan.report().bytes - y.padded_bytes();
    Ok(Prepared { plan, variant: operator.explain().kind, extra_bytes })
}

/// A tensor of values in -1..1: their distribution doesn't matter to the time of most kernels.
fn noise(gpu: &Gpu, label: &str, shape: &[usize], dtype: Dtype) -> Result<Tensor> {
    upload(gpu, label, shape, dtype, noise_values(label, shape.iter().product(), 1.0))
}

/// Values in -limit..limit from a small generator, the same every time for one label and others for another.
fn noise_values(label: &str, count: usize, limit: f32) -> impl Iterator<Item = f32> {
    let mut state = label.bytes().fold(0x9e37_79b9_u32, |state, byte| state.rotate_left(5) ^ byte as u32);
    (0..count).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * limit
    })
}

fn upload(
    gpu: &Gpu,
    label: &str,
    shape: &[usize],
    dtype: Dtype,
    values: impl Iterator<Item = f32>,
) -> Result<Tensor> {
    if dtype == Dtype::F16 {
        return Tensor::upload(gpu, label, shape, &values.map(f16::from_f32).collect::<Vec<_>>());
    }
    Tensor::upload(gpu, label, shape, &values.collect::<Vec<_>>())
}
