//! What the benchmarks share: a device, and criterion's clock around prepared operators.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use gristmill::measure::{Prepared, time};
use gristmill::{Gpu, GpuOptions, wgpu};
use std::time::{Duration, Instant};

/// The best adapter. Its name stands above the results, without which they mean nothing.
pub fn gpu() -> Gpu {
    let gpu = pollster::block_on(Gpu::request(GpuOptions::default())).expect("an adapter to measure");
    let variant = gpu.variant(None).expect("a build for the adapter");
    println!("{} ({:?}, {})", gpu.info().name, gpu.info().backend, gpu.info().driver_info);
    println!("kernels: {} ({}); Gelem/s are GFLOP/s", variant.kind, variant.reason);
    gpu
}

/// Whether shapes should suit a software adapter.
pub fn is_cpu(gpu: &Gpu) -> bool {
    gpu.info().device_type == wgpu::DeviceType::Cpu
}

/// Few samples: each is a median over many runs already.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args()
}

/// A submit should take this long: the cost of submitting vanishes in it, and no driver's watchdog wakes.
const SUBMIT_MS: f64 = 30.0;

/// Times an operator; its rate is the FLOPs of its cost model per second.
pub fn bench(group: &mut BenchmarkGroup<'_, WallTime>, gpu: &Gpu, name: String, prepared: &Prepared) {
    let plan = &prepared.plan;
    let ms = pollster::block_on(time(gpu, &[plan], 1)).expect("the plan runs")[0];
    let batch = (SUBMIT_MS / ms).clamp(1.0, 256.0) as u64;
    let submit = |runs: u64| {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for _ in 0..runs {
            plan.encode(&mut encoder).expect("the device is there");
        }
        gpu.queue().submit([encoder.finish()]);
        pollster::block_on(gpu.wait()).expect("the device is there");
    };
    group.throughput(Throughput::Elements(plan.cost().flops as u64));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|runs| {
            let start = Instant::now();
            for first in (0..runs).step_by(batch as usize) {
                submit(batch.min(runs - first));
            }
            start.elapsed()
        });
    });
}
