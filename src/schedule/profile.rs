//! Time per step, by GPU timestamps where the device has them.

use super::Cost;
use super::plan::Plan;
use crate::error::Result;
use web_time::Instant;

/// Where the times of a profile come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Timestamps at the boundaries of a pass for each step.
    Timestamps,
    /// The host's clock around a submit for each step; includes its overhead.
    Host,
}

/// Time of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepTime {
    /// What the step is called.
    pub label: &'static str,
    /// Milliseconds.
    pub ms: f64,
    /// Its work.
    pub cost: Cost,
    /// Source of `ms`.
    pub clock: Clock,
}

/// Steps timed by one query set; WebGPU allows 4096 queries in one.
const STEPS_PER_SET: usize = 2048;

impl Plan {
    /// Runs once and times every step. Slower than [`run`](Plan::run): each step has a pass of its own, and is not cut.
    ///
    /// Errors: `DeviceLost`, `Validation`.
    pub async fn profile(&self) -> Result<Vec<StepTime>> {
        let mut times = Vec::with_capacity(self.steps.len());
        if !self.gpu.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            for step in &self.steps {
                let start = Instant::now();
                self.gpu.caught(step.label, || {
                    let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
                    step.record(&mut encoder.begin_compute_pass(&Default::default()), step.whole);
                    self.gpu.submit(encoder.finish());
                })?;
                self.gpu.wait().await?;
                let ms = start.elapsed().as_secs_f64() * 1e3;
                times.push(StepTime { label: step.label, ms, cost: step.cost, clock: Clock::Host });
            }
            return Ok(times);
        }
        for steps in self.steps.chunks(STEPS_PER_SET) {
            let count = 2 * steps.len() as u32;
            let queries = self.gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("gristmill profile"),
                ty: wgpu::QueryType::Timestamp,
                count,
            });
            let bytes = count as u64 * 8;
            let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
            let resolved = self.gpu.buffer("gristmill timestamps", bytes, usage)?;
            self.gpu.caught("profile", || {
                let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
                for (step, query) in steps.iter().zip((0u32..).step_by(2)) {
                    let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: Some(query),
                        end_of_pass_write_index: Some(query + 1),
                    });
                    let descriptor =
                        wgpu::ComputePassDescriptor { label: Some(step.label), timestamp_writes };
                    step.record(&mut encoder.begin_compute_pass(&descriptor), step.whole);
                }
                encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
                self.gpu.submit(encoder.finish());
            })?;
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&self.gpu.read(&resolved, 0, bytes).await?);
            let ms_per_tick = self.gpu.queue().get_timestamp_period() as f64 * 1e-6;
            times.extend(steps.iter().zip(ticks.chunks_exact(2)).map(|(step, pair)| StepTime {
                label: step.label,
                // A driver may report a pass as ending before it began; that is no time at all.
                ms: pair[1].saturating_sub(pair[0]) as f64 * ms_per_tick,
                cost: step.cost,
                clock: Clock::Timestamps,
            }));
        }
        Ok(times)
    }
}
