//! A compiled schedule: run in our own submits, or encoded into the caller's encoder, any number of times.

use super::memory::{self, Layout};
use super::slices::{self, Piece, Progress, SUBMIT_SECONDS};
use super::{Cost, Resource, Schedule, Step};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::tensor::Tensor;
use std::ops::ControlFlow;
use web_time::Instant;

/// A compiled schedule.
#[derive(Debug)]
pub struct Plan {
    pub(super) gpu: Gpu,
    pub(super) steps: Vec<PlannedStep>,
    buffers: Vec<wgpu::Buffer>,
    /// Intermediates keep their memory as long as the plan lives.
    _tensors: Vec<Tensor>,
    report: PlanReport,
}

#[derive(Debug)]
pub(super) struct PlannedStep {
    pub label: &'static str,
    pub pipeline: wgpu::ComputePipeline,
    pub bind_group: wgpu::BindGroup,
    pub cost: Cost,
    may_end_early: bool,
    pub whole: Dispatch,
    pub pieces: Vec<Dispatch>,
}

/// One `dispatch_workgroups` call: its grid uniform's place and the folded size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dispatch {
    grid_offset: u32,
    size: (u32, u32),
    work: f64,
}

/// What a plan needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanReport {
    /// Bytes of intermediates and outputs, shared where lifetimes allow.
    pub bytes: u64,
    /// Bytes without sharing.
    pub bytes_unshared: u64,
    /// Kernels recorded.
    pub dispatches: usize,
    /// Pieces that `run` may submit one by one.
    pub pieces: usize,
}

#[derive(encase::ShaderType)]
struct Grid {
    first: u32,
    end: u32,
}

impl Plan {
    pub(super) fn new(schedule: Schedule) -> Result<Plan> {
        check_aliases(&schedule)?;
        let gpu = schedule.gpu.clone();
        let Layout { buffers: sizes, places, bytes_unshared } = memory::lay_out(&schedule);
        let make = |&bytes: &u64| gpu.storage_buffer("gristmill intermediate", bytes);
        let buffers = sizes.iter().map(make).collect::<Result<Vec<_>>>()?;
        for (tensor, place) in schedule.planned.iter().zip(&places) {
            if let Some(place) = place {
                let _ = tensor.storage.buffer.set(buffers[*place].clone());
            }
        }
        let steps = plan_steps(&gpu, &schedule.steps)?;
        let report = PlanReport {
            bytes: sizes.iter().sum(),
            bytes_unshared,
            dispatches: steps.len(),
            pieces: steps.iter().map(|step| step.pieces.len()).sum(),
        };
        Ok(Plan { gpu, steps, buffers, _tensors: schedule.planned, report })
    }

    /// Memory and dispatches.
    pub fn report(&self) -> PlanReport {
        self.report
    }

    /// Work of all steps.
    pub fn cost(&self) -> Cost {
        self.steps.iter().map(|step| step.cost).sum()
    }

    /// Records everything into the caller's encoder, in one compute pass: no submit, no allocation, no readback.
    ///
    /// The plan must live until the commands are submitted. Errors: `DeviceLost`.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        self.gpu.check_lost()?;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for step in &self.steps {
            step.record(&mut pass, step.whole);
        }
        Ok(())
    }

    /// Runs in submits of bounded cost and returns when all is done. `progress` is called after each submit and may stop
    /// the run. Never blocks in a browser: between submits the page can draw.
    ///
    /// Errors: `Cancelled`, `DeviceLost`, `Validation`, `OutOfMemory`.
    pub async fn run(&self, mut progress: impl FnMut(Progress) -> ControlFlow<()>) -> Result<()> {
        self.run_slices(&mut progress).await
    }

    /// Compiled once, whatever tells of the progress.
    async fn run_slices(&self, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<()> {
        let pieces: Vec<_> = self.steps.iter().flat_map(|s| s.pieces.iter().map(move |p| (s, *p))).collect();
        let total_work: f64 = pieces.iter().map(|(_, piece)| piece.work).sum();
        let (mut next, mut work_done) = (0, 0.0);
        while next < pieces.len() {
            self.gpu.check_lost()?;
            let budget = self.gpu.work_rate() * SUBMIT_SECONDS;
            let start = Instant::now();
            let validation = self.gpu.device().push_error_scope(wgpu::ErrorFilter::Validation);
            let memory = self.gpu.device().push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
            let (mut work, mut may_end_early) = (0.0, false);
            let mut label = "";
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                while next < pieces.len() && (work == 0.0 || work + pieces[next].1.work <= budget) {
                    let (step, piece) = pieces[next];
                    step.record(&mut pass, piece);
                    work += piece.work.max(1.0);
                    may_end_early |= step.may_end_early;
                    label = step.label;
                    next += 1;
                }
            }
            self.gpu.submit(encoder.finish());
            let (memory, validation) = (memory.pop(), validation.pop());
            self.gpu.wait().await?;
            if let Some(error) = memory.await {
                return Err(Error::OutOfMemory { what: error.to_string(), bytes: self.report.bytes });
            }
            if let Some(error) = validation.await {
                return Err(Error::Validation(error.to_string()));
            }
            self.calibrate(work, start.elapsed().as_secs_f64(), may_end_early);
            work_done += work;
            let fraction = if next == pieces.len() { 1.0 } else { work_done / total_work.max(1.0) };
            if progress(Progress { done: next, total: pieces.len(), fraction, label }).is_break() {
                return Err(Error::Cancelled);
            }
        }
        Ok(())
    }

    /// Moves the adapter's rate toward what this submit showed; a short one says more of overhead than of rate. One that
    /// may have done less than its work can only show that the rate is lower.
    fn calibrate(&self, work: f64, seconds: f64, at_most: bool) {
        let (old, seen) = (self.gpu.work_rate(), work / seconds.max(1e-6));
        let faster = seen > old;
        if (seconds > 0.2 * SUBMIT_SECONDS || faster) && !(faster && at_most) {
            self.gpu.set_work_rate((0.5 * old + 0.5 * seen).clamp(old / 4.0, old * 4.0));
        }
    }

    /// Fills every intermediate and output with NaN bits: a test that runs afterwards sees what no kernel wrote.
    pub fn poison(&self) {
        for buffer in &self.buffers {
            // On a lost device there is nothing left to fill.
            let _ = self.gpu.write(buffer, 0, &vec![0xff; buffer.size() as usize]);
        }
    }
}

impl PlannedStep {
    pub(super) fn record(&self, pass: &mut wgpu::ComputePass<'_>, dispatch: Dispatch) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[dispatch.grid_offset]);
        pass.dispatch_workgroups(dispatch.size.0, dispatch.size.1, 1);
    }
}

/// A dispatch may not read and write the same buffer through two bindings: WebGPU calls it a usage conflict.
fn check_aliases(schedule: &Schedule) -> Result<()> {
    for step in &schedule.steps {
        let mut seen: Vec<(&Tensor, bool)> = Vec::new();
        for bound in &step.bindings {
            let Resource::Tensor(tensor) = &bound.resource else { continue };
            let conflict =
                seen.iter().find(|(other, writes)| (bound.writes || *writes) && tensor.shares_memory(other));
            if let Some((other, _)) = conflict {
                return Err(Error::Schedule(format!(
                    "{}: `{}` and `{}` lie in one buffer and one of them is written; expected separate buffers",
                    step.label,
                    other.label(),
                    tensor.label()
                )));
            }
            seen.push((tensor, bound.writes));
        }
    }
    Ok(())
}

/// Uniforms, bind groups and pieces of every step.
fn plan_steps(gpu: &Gpu, steps: &[Step]) -> Result<Vec<PlannedStep>> {
    let limits = gpu.limits();
    let alignment = limits.min_uniform_buffer_offset_alignment as usize;
    let mut uniforms = Vec::new();
    let mut place = |bytes: &[u8]| {
        let offset = uniforms.len();
        uniforms.extend_from_slice(bytes);
        uniforms.resize(uniforms.len().max(offset + 16).next_multiple_of(alignment), 0);
        offset as u64
    };
    let budget = gpu.work_rate() * SUBMIT_SECONDS;
    let most = limits.max_compute_workgroups_per_dimension;
    let mut placed = Vec::new();
    for step in steps {
        let params_offset = (!step.params.is_empty()).then(|| place(&step.params));
        let mut dispatch = |piece: Piece| {
            let mut bytes = encase::UniformBuffer::new(Vec::new());
            bytes.write(&Grid { first: piece.first, end: piece.end }).expect("writing to memory");
            let size = piece.fold(most);
            if size.1 > most {
                return Err(Error::Limit {
                    what: format!("kernel {}", step.label),
                    limit: "maxComputeWorkgroupsPerDimension squared",
                    needed: step.groups,
                    allowed: most as u64 * most as u64,
                    advice: "split the batch",
                });
            }
            let share = (piece.end - piece.first) as f64 / step.groups as f64;
            Ok(Dispatch {
                grid_offset: place(&bytes.into_inner()) as u32,
                size,
                work: step.cost.work() * share,
            })
        };
        let whole = dispatch(Piece { first: 0, end: step.groups as u32 })?;
        let pieces = match slices::cut(step.groups, step.cost.work(), budget).as_slice() {
            [_] => vec![whole],
            pieces => pieces.iter().map(|piece| dispatch(*piece)).collect::<Result<Vec<_>>>()?,
        };
        placed.push((step, params_offset, whole, pieces));
    }

    let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
    let buffer = gpu.buffer("gristmill uniforms", uniforms.len().max(16) as u64, usage)?;
    gpu.write(&buffer, 0, &uniforms)?;
    placed
        .into_iter()
        .map(|(step, params_offset, whole, pieces)| {
            let bind_group = bind_group(gpu, step, &buffer, params_offset)?;
            let pipeline = step.pipeline.pipeline.clone();
            let &Step { label, cost, may_end_early, .. } = step;
            Ok(PlannedStep { label, pipeline, bind_group, cost, may_end_early, whole, pieces })
        })
        .collect()
}

fn bind_group(
    gpu: &Gpu,
    step: &Step,
    uniforms: &wgpu::Buffer,
    params_offset: Option<u64>,
) -> Result<wgpu::BindGroup> {
    let uniform = |offset, bytes: usize| {
        let size = wgpu::BufferSize::new(bytes as u64);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: uniforms, offset, size })
    };
    let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: uniform(0, 16) }];
    if let Some(offset) = params_offset {
        let bytes = step.params.len().next_multiple_of(16);
        entries.push(wgpu::BindGroupEntry { binding: 1, resource: uniform(offset, bytes) });
    }
    for bound in &step.bindings {
        let resource = match &bound.resource {
            Resource::Tensor(tensor) => wgpu::BindingResource::Buffer(tensor.binding()?),
            Resource::Texture(view) => wgpu::BindingResource::TextureView(view),
        };
        entries.push(wgpu::BindGroupEntry { binding: bound.index, resource });
    }
    let descriptor = wgpu::BindGroupDescriptor {
        label: Some(step.label),
        layout: &step.pipeline.layout,
        entries: &entries,
    };
    gpu.caught(step.label, || gpu.device().create_bind_group(&descriptor))
}
