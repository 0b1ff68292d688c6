//! Devices: finding one, choosing a build for it, losing and recovering it, and its pipelines on disk.

mod common;

use common::{Random, assert_close, doubles};
use gristmill::kernels::attention::{Attention, AttentionConfig};
use gristmill::kernels::norm::{Norm, NormConfig};
use gristmill::twins::norm::rms_norm;
use gristmill::{Dtype, Error, Gpu, GpuOptions, Plan, Schedule, Tensor, VariantKind, no_progress, wgpu};
use pollster::block_on;
use std::path::{Path, PathBuf};

const SHAPE: [usize; 2] = [5, 24];

/// Options of the tests' device, for one of our own.
fn options() -> GpuOptions {
    GpuOptions { webgpu_defaults: common::gpu().features().is_empty(), ..Default::default() }
}

fn request(options: GpuOptions) -> Gpu {
    block_on(Gpu::request(options)).unwrap()
}

/// A norm on this device: plan, weight, result and what it should be.
struct Work {
    plan: Plan,
    weight: Tensor,
    y: Tensor,
    expected: Vec<f64>,
}

fn work(gpu: &Gpu) -> Work {
    let data = Random::new(1).normal(SHAPE[0] * SHAPE[1], 2.0);
    let x = Tensor::upload(gpu, "x", &SHAPE, &data).unwrap();
    let weight = Tensor::upload(gpu, "weight", &SHAPE[1..], &[2.0f32; 24]).unwrap();
    let mut schedule = Schedule::new(gpu);
    let norm = Norm::new(gpu, NormConfig::default()).unwrap();
    let y = norm.record(&mut schedule, &x, &weight, None).unwrap();
    let expected = rms_norm(&doubles(&data), Some(&[2.0; 24]), SHAPE[1], 1e-6);
    Work { plan: schedule.compile().unwrap(), weight, y, expected }
}

fn assert_works(gpu: &Gpu) {
    let Work { plan, y, expected, .. } = work(gpu);
    plan.poison();
    block_on(plan.run(no_progress)).unwrap();
    assert_close("norm", &block_on(y.read(gpu)).unwrap(), &expected, 1e-5);
}

#[track_caller]
fn assert_lost<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::DeviceLost(_)), "{error}");
}

/// Whatever is tried first after the loss, it is an error and no panic.
#[test]
fn the_first_use_of_a_lost_device_is_an_error() {
    type Attempt = fn(&Gpu, &Work) -> Result<(), Error>;
    let attempts: [(&str, Attempt); 7] = [
        ("run", |_, work| block_on(work.plan.run(no_progress))),
        ("read", |gpu, work| block_on(work.y.read::<f32>(gpu)).map(drop)),
        ("profile", |_, work| block_on(work.plan.profile()).map(drop)),
        ("wait", |gpu, _| block_on(gpu.wait())),
        ("write", |gpu, work| work.weight.write(gpu, &[0.0f32; 24]).and(block_on(gpu.wait()))),
        ("compile", |gpu, _| {
            let norm = Norm::new(gpu, NormConfig { center: true, ..Default::default() })?;
            let mut schedule = Schedule::new(gpu);
            let x = Tensor::zeros(gpu, "x", &SHAPE, Dtype::F32)?;
            let weight = Tensor::zeros(gpu, "weight", &SHAPE[1..], Dtype::F32)?;
            norm.record(&mut schedule, &x, &weight, None)?;
            schedule.compile().map(drop)
        }),
        ("upload", |gpu, _| Tensor::upload(gpu, "x", &[3], &[0.0f32; 3]).map(drop)),
    ];
    for (name, attempt) in attempts {
        let gpu = request(options());
        let work = work(&gpu);
        gpu.device().destroy();
        let error = attempt(&gpu, &work).expect_err(name);
        assert!(matches!(error, Error::DeviceLost(_)), "{name}: {error}");
    }
}

#[test]
fn a_lost_device_is_reported_and_recovered() {
    let gpu = request(options());
    let before = work(&gpu);
    let dropped = Tensor::upload(&gpu, "dropped", &[2], &[0u32; 2]).unwrap();
    drop(dropped);
    gpu.device().destroy();

    assert_lost(block_on(before.plan.run(no_progress)));
    assert_lost(gpu.check_lost());
    assert_lost(block_on(before.y.read::<f32>(&gpu)));
    assert_lost(before.weight.write(&gpu, &[0.0f32; 24]));
    assert_lost(Tensor::zeros(&gpu, "more", &[4], Dtype::F32));
    assert_lost(before.plan.encode(&mut gpu.device().create_command_encoder(&Default::default())));

    let recovered = block_on(gpu.recover()).unwrap();
    // The plan holds `x` no longer than its bind group; `weight` is held here.
    let held: Vec<_> = recovered.uploads.iter().map(|upload| upload.label.as_str()).collect();
    assert_eq!(held, ["weight"]);
    assert_eq!(
        (recovered.uploads[0].shape.as_slice(), recovered.uploads[0].dtype),
        (&SHAPE[1..], Dtype::F32)
    );
    assert_eq!(recovered.gpu.info().name, gpu.info().name);
    assert_eq!(recovered.gpu.features(), gpu.features());
    assert_works(&recovered.gpu);
    // The old tensors are of the old device.
    let error = block_on(before.weight.read::<f32>(&recovered.gpu)).unwrap_err().to_string();
    assert!(error.contains("`weight` was made on another `Gpu`"), "{error}");
    // Losing the new one as well is no different.
    recovered.gpu.device().destroy();
    assert_lost(block_on(recovered.gpu.wait()));
    assert_works(&block_on(recovered.gpu.recover()).unwrap().gpu);
}

#[test]
fn an_adopted_device_is_recovered_by_its_owner() {
    let owner = request(options());
    let gpu = Gpu::adopt(owner.info().clone(), owner.device().clone(), owner.queue().clone());
    assert_works(&gpu);
    let error = block_on(gpu.recover()).unwrap_err().to_string();
    assert!(error.contains("adopted") && error.contains("make a new one and adopt it"), "{error}");
}

/// `lost` answers at once where the loss has been seen, and to everyone who waits.
#[test]
fn a_loss_wakes_those_who_wait_for_it() {
    let gpu = Gpu::adopt(
        common::gpu().info().clone(),
        common::gpu().device().clone(),
        common::gpu().queue().clone(),
    );
    let waiting = [gpu.clone(), gpu.clone()].map(|gpu| std::thread::spawn(move || block_on(gpu.lost())));
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(waiting.iter().all(|waiter| !waiter.is_finished()), "nothing is lost yet");
    gpu.mark_lost("unplugged");
    for waiter in waiting {
        assert_eq!(waiter.join().unwrap(), "unplugged");
    }
    assert_eq!(block_on(gpu.lost()), "unplugged");
}

/// What a program does on a smaller adapter can be seen on any.
#[test]
fn limits_can_be_lower_than_the_device_allows() {
    let most = wgpu::Limits { max_storage_buffer_binding_size: 1 << 16, ..wgpu::Limits::defaults() };
    let gpu = request(GpuOptions { at_most: Some(most), ..options() });
    assert_eq!(gpu.limits().max_storage_buffer_binding_size, 1 << 16);
    assert!(gpu.limits().max_buffer_size <= wgpu::Limits::defaults().max_buffer_size);
    assert_works(&gpu);
    let error = Tensor::zeros(&gpu, "large", &[(1 << 14) + 1], Dtype::F32).unwrap_err();
    assert!(
        matches!(&error, Error::Limit { limit: "maxStorageBufferBindingSize", allowed: 65536, .. }),
        "{error}"
    );
}

#[test]
fn an_adapter_that_is_not_there_names_those_that_are() {
    let options = GpuOptions { adapter: Some("Voodoo 2".into()), ..options() };
    let error = block_on(Gpu::request(options)).unwrap_err();
    assert!(matches!(error, Error::NoAdapter { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("named `Voodoo 2`") && text.contains(&common::gpu().info().name), "{text}");
}

#[test]
fn an_adapter_is_found_by_a_part_of_its_name() {
    let name = &common::gpu().info().name;
    let part: String = name.chars().skip(1).take(4).collect::<String>().to_uppercase();
    assert_eq!(&request(GpuOptions { adapter: Some(part), ..options() }).info().name, name);
}

#[test]
fn a_build_that_cannot_run_is_refused() {
    // Without its features every adapter lacks subgroups.
    let gpu = request(GpuOptions { webgpu_defaults: true, ..Default::default() });
    let config = AttentionConfig { variant: Some(VariantKind::Subgroup), ..Default::default() };
    let error = Attention::new(&gpu, config).unwrap_err();
    assert!(matches!(error, Error::Config { .. }), "{error}");
    assert!(error.to_string().contains("`variant` = subgroup"), "{error}");
    assert!(error.to_string().contains("no subgroup operations"), "{error}");

    // A device that was asked to use it says so as early: at its request.
    let options =
        GpuOptions { webgpu_defaults: true, variant: Some(VariantKind::Subgroup), ..Default::default() };
    let error = block_on(Gpu::request(options)).unwrap_err();
    assert!(matches!(error, Error::Config { .. }), "{error}");
}

#[test]
fn a_build_asked_for_at_the_request_is_used() {
    let gpu = request(GpuOptions { variant: Some(VariantKind::Portable), ..options() });
    let attention = Attention::new(&gpu, AttentionConfig::default()).unwrap();
    assert_eq!(attention.explain().kind, VariantKind::Portable);
    assert_eq!(attention.explain().reason, "asked for by name");
    assert_works(&gpu);
}

/// An empty directory of this test's own.
fn fresh_directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn cached(directory: &Path) -> Gpu {
    request(GpuOptions { cache_directory: Some(directory.into()), ..options() })
}

fn only_file(directory: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let file = files.next().expect("a file");
    assert!(files.next().is_none(), "one file and nothing half-written");
    file
}

#[test]
fn pipelines_are_kept_on_disk() {
    let directory = fresh_directory("pipelines");
    let gpu = cached(&directory.join("made/on/demand"));
    assert_works(&gpu);
    let wrote = gpu.save_pipeline_cache().unwrap();
    assert_eq!(wrote, gpu.features().contains(wgpu::Features::PIPELINE_CACHE));
    assert!(!request(options()).save_pipeline_cache().unwrap(), "without a directory nothing is kept");
    if !wrote {
        return println!("skipped: {} keeps no pipeline cache", gpu.info().name);
    }
    let file = only_file(&directory.join("made/on/demand"));
    let first = std::fs::read(&file).unwrap();
    assert!(!first.is_empty());

    let second = cached(&directory.join("made/on/demand"));
    assert_works(&second);
    assert!(second.save_pipeline_cache().unwrap());
    // What was loaded is kept: a device that compiled nothing new has no less to save.
    assert!(std::fs::read(&file).unwrap().len() >= first.len());
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_corrupted_pipeline_cache_is_survived() {
    let directory = fresh_directory("corrupted");
    let gpu = cached(&directory);
    assert_works(&gpu);
    if !gpu.save_pipeline_cache().unwrap() {
        return println!("skipped: {} keeps no pipeline cache", gpu.info().name);
    }
    let file = only_file(&directory);
    let good = std::fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x55;
        bytes
    };
    // Every byte of the headers, one of the payload, a file cut short, one too long, an empty one and one of zeros.
    let mut broken: Vec<Vec<u8>> = (0..good.len().min(104)).chain([good.len() - 1]).map(flipped).collect();
    broken.extend([
        good[..good.len() / 2].to_vec(),
        [&good[..], &[0; 9]].concat(),
        Vec::new(),
        vec![0; 1000],
    ]);
    for bytes in broken {
        std::fs::write(&file, bytes).unwrap();
        let gpu = cached(&directory);
        assert_works(&gpu);
        assert!(gpu.save_pipeline_cache().unwrap(), "a broken cache is replaced");
    }
    assert_works(&cached(&directory));
    std::fs::remove_dir_all(&directory).unwrap();
}
