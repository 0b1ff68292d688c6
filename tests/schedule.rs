//! What a schedule promises: shared memory, folded grids, sliced submits, times, and errors that say what is wrong.

mod common;

use common::{Random, assert_close, doubles, upload};
use gristmill::kernels::attention::{Attention, AttentionConfig, AttentionInputs};
use gristmill::kernels::cache::KvCache;
use gristmill::kernels::convert::record_cast;
use gristmill::kernels::norm::{Norm, NormConfig};
use gristmill::twins::norm::rms_norm;
use gristmill::{Clock, Dtype, Error, Gpu, GpuOptions, Plan, Progress, Schedule, Tensor, VariantKind};
use gristmill::{no_progress, wgpu};
use pollster::block_on;
use std::ops::ControlFlow;

/// A device of its own, for tests that count or that depend on the rate of earlier runs.
fn own_gpu() -> Gpu {
    let options = GpuOptions { webgpu_defaults: common::gpu().features().is_empty(), ..Default::default() };
    block_on(Gpu::request(options)).unwrap()
}

fn run(plan: &Plan) {
    plan.poison();
    block_on(plan.run(no_progress)).unwrap();
}

fn read(gpu: &Gpu, tensor: &Tensor) -> Vec<f32> {
    block_on(tensor.read::<f32>(gpu)).unwrap()
}

const WIDTH: usize = 37;
const ROWS: usize = 53;

/// A chain of norms, each of the one before; the tensors of every step and what they should hold.
struct Chain {
    schedule: Schedule,
    tensors: Vec<Tensor>,
    expected: Vec<Vec<f64>>,
}

fn chain(steps: usize) -> Chain {
    let mut schedule = Schedule::new(common::gpu());
    let norm = Norm::new(common::gpu(), NormConfig::default()).unwrap();
    let data = Random::new(1).normal(ROWS * WIDTH, 3.0);
    let mut last = upload("x", &[ROWS, WIDTH], &data);
    let mut values = doubles(&data);
    let (mut tensors, mut expected) = (Vec::new(), Vec::new());
    for step in 0..steps {
        let weight: Vec<f32> = (0..WIDTH).map(|i| 0.5 + ((i + step) % 7) as f32).collect();
        last = norm.record(&mut schedule, &last, &upload("weight", &[WIDTH], &weight), None).unwrap();
        values = rms_norm(&values, Some(&doubles(&weight)), WIDTH, 1e-6);
        tensors.push(last.clone());
        expected.push(values.clone());
    }
    Chain { schedule, tensors, expected }
}

/// Bytes of one step's tensor: whole `vec4f`s.
const STEP_BYTES: u64 = (4 * ROWS * WIDTH).next_multiple_of(16) as u64;

#[test]
fn intermediates_that_nobody_holds_share_memory() {
    let Chain { schedule, mut tensors, expected } = chain(6);
    let last = tensors.pop().unwrap();
    drop(tensors);
    let plan = schedule.compile().unwrap();
    // Five intermediates take turns in two buffers; the result has its own.
    assert_eq!(plan.report().bytes, 3 * STEP_BYTES);
    assert_eq!(plan.report().bytes_unshared, 6 * STEP_BYTES);
    assert_eq!(plan.report().dispatches, 6);
    for _ in 0..3 {
        run(&plan);
        assert_close("the last of 6", &common::read(&last), expected.last().unwrap(), 1e-5);
    }
}

#[test]
fn held_tensors_keep_their_contents() {
    let Chain { schedule, tensors, expected } = chain(6);
    let held: Vec<_> = [1, 2, 5].map(|step| (tensors[step].clone(), &expected[step])).into();
    drop(tensors);
    let plan = schedule.compile().unwrap();
    assert!(plan.report().bytes < plan.report().bytes_unshared);
    run(&plan);
    // What comes after the plan, on the same device, must not reach them either.
    drop(plan);
    let Chain { schedule, tensors, .. } = chain(4);
    run(&schedule.compile().unwrap());
    drop(tensors);
    for (tensor, expected) in held {
        assert_close("a held tensor", &common::read(&tensor), expected, 1e-5);
    }
}

#[test]
fn a_later_schedule_reads_an_earlier_ones_result() {
    let Chain { schedule, tensors, expected } = chain(2);
    let mut later = Schedule::new(common::gpu());
    let copy = record_cast(&mut later, &tensors[1], Dtype::F16).unwrap();
    // Before the earlier schedule is compiled there is nothing to bind.
    let mut early = Schedule::new(common::gpu());
    record_cast(&mut early, &tensors[1], Dtype::F16).unwrap();
    let error = early.compile().unwrap_err().to_string();
    assert!(error.contains("`norm` has no memory yet"), "{error}");

    let first = schedule.compile().unwrap();
    let second = later.compile().unwrap();
    run(&first);
    run(&second);
    let halves = block_on(copy.read::<half::f16>(common::gpu())).unwrap();
    let found: Vec<f32> = halves.into_iter().map(f32::from).collect();
    assert_close("the copy", &found, &expected[1], 1e-2);
}

/// A workgroup for each row: more than 2 x 65535 rows fold into three.
#[test]
fn more_than_65535_workgroups_fold() {
    const ROWS: usize = 2 * 65535 + 21;
    const WIDTH: usize = 3;
    let row = |i: usize| [1.0 + (i % 1013) as f32, -((i % 1009) as f32), (i % 997) as f32];
    let data: Vec<f32> = (0..ROWS).flat_map(row).collect();
    let mut schedule = Schedule::new(common::gpu());
    let config = NormConfig { variant: Some(VariantKind::Portable), ..Default::default() };
    let norm = Norm::new(common::gpu(), config).unwrap();
    let (x, weight) = (upload("x", &[ROWS, WIDTH], &data), upload("weight", &[WIDTH], &[1.0, 2.0, 3.0]));
    let y = norm.record(&mut schedule, &x, &weight, None).unwrap();
    run(&schedule.compile().unwrap());
    let expected = rms_norm(&doubles(&data), Some(&[1.0, 2.0, 3.0]), WIDTH, 1e-6);
    assert_close("folded norm", &common::read(&y), &expected, 1e-5);
}

/// The same on a device with a limit of 6 workgroups a dimension, so of 36 in a dispatch.
#[test]
fn folding_follows_the_devices_limit() {
    let adapter = block_on(gristmill::adapters()).into_iter().next().unwrap();
    let required_limits =
        wgpu::Limits { max_compute_workgroups_per_dimension: 6, ..wgpu::Limits::defaults() };
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
    let (device, queue) = block_on(adapter.request_device(&descriptor)).unwrap();
    let gpu = Gpu::adopt(adapter.get_info(), device, queue);
    let cast = |groups: usize| {
        // 64 invocations of two elements each; the last workgroup has one element.
        let elements = 128 * (groups - 1) + 1;
        let data: Vec<f32> = (0..elements).map(|i| (i % 2048) as f32).collect();
        let source = Tensor::upload(&gpu, "source", &[elements], &data).unwrap();
        let mut schedule = Schedule::new(&gpu);
        let halves = record_cast(&mut schedule, &source, Dtype::F16).unwrap();
        let back = record_cast(&mut schedule, &halves, Dtype::F32).unwrap();
        drop(halves);
        let plan = schedule.compile()?;
        run(&plan);
        assert_eq!(read(&gpu, &back), data, "{groups} workgroups");
        Ok::<(), Error>(())
    };
    for groups in [1, 5, 6, 7, 12, 13, 31, 35, 36] {
        cast(groups).unwrap();
    }
    let error = cast(37).unwrap_err();
    assert!(matches!(error, Error::Limit { needed: 37, allowed: 36, .. }), "{error}");
}

/// An attention with far more work than a first submit takes.
fn long_attention(gpu: &Gpu) -> (Schedule, Tensor) {
    let tokens = if gpu.info().device_type == wgpu::DeviceType::Cpu { 768 } else { 8192 };
    let shape = [1, tokens, 8, 64];
    let elements: usize = shape.iter().product();
    let mut random = Random::new(3);
    let mut tensor = |label| Tensor::upload(gpu, label, &shape, &random.normal(elements, 1.0)).unwrap();
    let (query, key, value) = (tensor("query"), tensor("key"), tensor("value"));
    let mut schedule = Schedule::new(gpu);
    let attention = Attention::new(gpu, AttentionConfig::default()).unwrap();
    let out = attention.record(&mut schedule, AttentionInputs::new(&query, &key, &value)).unwrap().out;
    (schedule, out)
}

#[test]
fn a_long_run_is_sliced_and_reports_progress() {
    let gpu = own_gpu();
    let (schedule, out) = long_attention(&gpu);
    let plan = schedule.compile().unwrap();
    // The whole in one dispatch, as an app would encode it.
    plan.poison();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    plan.encode(&mut encoder).unwrap();
    gpu.queue().submit([encoder.finish()]);
    let whole = read(&gpu, &out);
    assert!(whole.iter().all(|value| value.is_finite()));

    let submits = gpu.submits();
    let mut seen: Vec<Progress> = Vec::new();
    plan.poison();
    let progress = |progress| {
        seen.push(progress);
        ControlFlow::Continue(())
    };
    block_on(plan.run(progress)).unwrap();
    assert!(seen.len() >= 2, "{} submits for {:?}", seen.len(), plan.report());
    assert_eq!(gpu.submits() - submits, seen.len() as u64);
    assert!(seen[0].fraction > 0.0);
    assert!(seen.windows(2).all(|p| p[0].fraction < p[1].fraction && p[0].done < p[1].done), "{seen:?}");
    let last = seen.last().unwrap();
    assert_eq!((last.fraction, last.done, last.total), (1.0, plan.report().pieces, plan.report().pieces));
    assert_eq!(last.label, "attention prefill");
    assert_eq!(read(&gpu, &out), whole, "slices and the whole differ");
}

#[test]
fn a_cancelled_run_can_run_again() {
    let gpu = own_gpu();
    let (schedule, out) = long_attention(&gpu);
    let plan = schedule.compile().unwrap();
    run(&plan);
    let whole = read(&gpu, &out);

    plan.poison();
    let submits = gpu.submits();
    let error = block_on(plan.run(|_| ControlFlow::Break(()))).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(gpu.submits() - submits, 1);
    run(&plan);
    assert_eq!(read(&gpu, &out), whole);
}

#[test]
fn a_profile_times_every_step() {
    let defaults = GpuOptions { webgpu_defaults: true, ..Default::default() };
    for gpu in [own_gpu(), block_on(Gpu::request(defaults)).unwrap()] {
        let data = Random::new(4).normal(2 * 64 * 4 * 16, 1.0);
        let x = Tensor::upload(&gpu, "x", &[2, 64, 4, 16], &data).unwrap();
        let weight = Tensor::upload(&gpu, "weight", &[16], &[1.0f32; 16]).unwrap();
        let mut schedule = Schedule::new(&gpu);
        let norm = Norm::new(&gpu, NormConfig::default()).unwrap();
        let y = norm.record(&mut schedule, &x, &weight, None).unwrap();
        let halves = record_cast(&mut schedule, &y, Dtype::F16).unwrap();
        let attention = Attention::new(&gpu, AttentionConfig::default()).unwrap();
        attention.record(&mut schedule, AttentionInputs::new(&y, &halves, &halves)).unwrap();
        let plan = schedule.compile().unwrap();
        plan.poison();
        let times = block_on(plan.profile()).unwrap();
        let labels: Vec<_> = times.iter().map(|time| time.label).collect();
        assert_eq!(labels, ["norm", "cast", "attention prefill"]);
        assert!(times.iter().all(|time| time.ms >= 0.0));
        assert!(times.iter().map(|time| time.ms).sum::<f64>() > 0.0);
        let has_timestamps = gpu.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        let clock = if has_timestamps { Clock::Timestamps } else { Clock::Host };
        assert!(times.iter().all(|time| time.clock == clock), "{times:?}");
        assert_eq!(plan.cost().flops, times.iter().map(|time| time.cost.flops).sum::<f64>());
        // Profiling runs the plan for real.
        assert_close("norm", &read(&gpu, &y), &rms_norm(&doubles(&data), None, 16, 1e-6), 1e-5);
    }
}

#[test]
fn reading_before_compile_is_an_error() {
    let Chain { tensors, .. } = chain(1);
    let error = block_on(tensors[0].read::<f32>(common::gpu())).unwrap_err().to_string();
    assert!(error.contains("`norm` has no memory yet: its schedule is not compiled"), "{error}");
    let error = tensors[0].write(common::gpu(), &[0.0; ROWS * WIDTH]).unwrap_err().to_string();
    assert!(error.contains("has no memory yet"), "{error}");
    assert!(tensors[0].buffer().is_none());
}

#[test]
fn wrong_dtypes_and_lengths_are_named() {
    let gpu = common::gpu();
    let tensor = upload("weights", &[3, 5], &[0.5; 15]);
    let error = block_on(tensor.read::<u32>(gpu)).unwrap_err().to_string();
    assert_eq!(error, "read: tensor `weights` is f32; expected u32");
    let error = tensor.write(gpu, &[0i32; 15]).unwrap_err().to_string();
    assert_eq!(error, "write: tensor `weights` is f32; expected i32");
    let error = tensor.write(gpu, &[0.0f32; 14]).unwrap_err().to_string();
    assert_eq!(error, "write: tensor `weights` has 15 elements; expected 14");
    let error = Tensor::upload(gpu, "weights", &[3, 5], &[0.0f32; 16]).unwrap_err().to_string();
    assert_eq!(error, "upload: tensor `weights` has shape [3, 5]; expected 16 elements");
    let error = tensor.reshape(&[4, 4]).unwrap_err().to_string();
    assert_eq!(error, "reshape: tensor `weights` has shape [3, 5]; expected as many elements as [4, 4]");

    let mut schedule = Schedule::new(gpu);
    let integers = Tensor::zeros(gpu, "indices", &[4], Dtype::U32).unwrap();
    let error = record_cast(&mut schedule, &integers, Dtype::F16).unwrap_err().to_string();
    assert_eq!(error, "cast: tensor `source` is u32; expected f32 or f16");
    let error = record_cast(&mut schedule, &tensor, Dtype::I32).unwrap_err().to_string();
    assert_eq!(error, "cast: tensor `result` is i32; expected f32 or f16");
    assert_eq!(schedule.compile().unwrap().report().dispatches, 0, "a refused operator recorded nothing");
}

#[test]
fn tensors_past_the_limit_are_refused() {
    let gpu = common::gpu();
    let limits = gpu.limits();
    let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    for shape in [vec![most as usize / 4 + 1], vec![1 << 20, 1 << 20], vec![usize::MAX, usize::MAX, 2]] {
        let error = Tensor::zeros(gpu, "huge", &shape, Dtype::F32).unwrap_err();
        let Error::Limit { limit, needed, allowed, .. } = &error else { panic!("{error}") };
        assert_eq!((*limit, *allowed), ("maxStorageBufferBindingSize", most));
        assert!(needed > allowed);
        assert!(error.to_string().contains("tensor `huge`"), "{error}");
    }
}

#[test]
fn an_output_over_its_own_input_is_refused() {
    let gpu = common::gpu();
    let cache = KvCache::new(gpu, 1, 8, 2, 4, 4, Dtype::F32).unwrap();
    let mut schedule = Schedule::new(gpu);
    cache.record_append(&mut schedule, &cache.key, &cache.value).unwrap();
    let error = schedule.compile().unwrap_err().to_string();
    assert!(error.contains("append key: ") && error.contains("lie in one buffer"), "{error}");

    // Neither is a cache that is itself planned, before it has any memory.
    let mut schedule = Schedule::new(gpu);
    let halves = Tensor::zeros(gpu, "halves", &[1, 8, 2, 4], Dtype::F16).unwrap();
    let key = record_cast(&mut schedule, &halves, Dtype::F32).unwrap();
    let planned = KvCache { key: key.clone(), ..cache };
    planned.record_append(&mut schedule, &key, &planned.value).unwrap();
    let error = schedule.compile().unwrap_err().to_string();
    assert!(error.contains("append key: ") && error.contains("lie in one buffer"), "{error}");
}

#[test]
fn a_tensor_of_another_device_is_refused() {
    let elsewhere = Tensor::upload(&own_gpu(), "elsewhere", &[8], &[1.0f32; 8]).unwrap();
    let mut schedule = Schedule::new(common::gpu());
    for error in [
        record_cast(&mut schedule, &elsewhere, Dtype::F16).unwrap_err(),
        block_on(elsewhere.read::<f32>(common::gpu())).unwrap_err(),
        elsewhere.write(common::gpu(), &[0.0f32; 8]).unwrap_err(),
    ] {
        assert_eq!(
            error.to_string(),
            "schedule: `elsewhere` was made on another `Gpu`; upload it to this one"
        );
    }
}

#[test]
fn an_empty_schedule_runs() {
    let plan = Schedule::new(common::gpu()).compile().unwrap();
    assert_eq!((plan.report().bytes, plan.report().dispatches, plan.report().pieces), (0, 0, 0));
    block_on(plan.run(|_| panic!("there is nothing to report"))).unwrap();
    assert!(block_on(plan.profile()).unwrap().is_empty());
}
