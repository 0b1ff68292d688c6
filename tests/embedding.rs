//! Inside a graphics app: an adopted device, the caller's encoder, the caller's textures and buffers.

mod common;

use common::{Random, doubles};
use gristmill::kernels::image::{record_load_texture, record_store_texture};
use gristmill::kernels::norm::{Norm, NormConfig};
use gristmill::models::non_local_means::{NonLocalMeans, NonLocalMeansConfig};
use gristmill::twins::non_local_means::{NonLocalMeansShape, non_local_means};
use gristmill::twins::norm::rms_norm;
use gristmill::wgpu::{self, BufferUsages, TextureUsages};
use gristmill::{Dtype, Error, Gpu, Plan, Schedule, Tensor, VariantKind, no_progress};
use pollster::block_on;

/// Pixels of the textures; pictures are smaller, so that their sizes divide nothing.
const TEXTURE: (u32, u32) = (64, 40);
const HEIGHT: usize = 29;
const WIDTH: usize = 37;

/// An app with a device of its own, with the limits and features that any app has.
struct App {
    gpu: Gpu,
    device: wgpu::Device,
    queue: wgpu::Queue,
}

impl App {
    fn new() -> App {
        let adapter = block_on(gristmill::adapters()).into_iter().next().expect("an adapter");
        let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
        let gpu = Gpu::adopt(adapter.get_info(), device.clone(), queue.clone());
        App { gpu, device, queue }
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&Default::default())
    }

    fn texture(&self, usage: TextureUsages) -> wgpu::Texture {
        self.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("picture"),
            size: wgpu::Extent3d { width: TEXTURE.0, height: TEXTURE.1, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: usage | TextureUsages::COPY_SRC | TextureUsages::COPY_DST,
            view_formats: &[],
        })
    }

    fn buffer(&self, bytes: u64, usage: BufferUsages) -> wgpu::Buffer {
        let descriptor =
            wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false };
        self.device.create_buffer(&descriptor)
    }

    /// Random pixels in the texture; its bytes.
    fn fill(&self, texture: &wgpu::Texture, seed: u64) -> Vec<u8> {
        let mut random = Random::new(seed);
        let bytes: Vec<u8> = (0..4 * TEXTURE.0 * TEXTURE.1).map(|_| random.below(256) as u8).collect();
        self.queue.write_texture(texture.as_image_copy(), &bytes, layout(), texture.size());
        bytes
    }

    /// Where an encoder may copy a texture to, and the host reads it.
    fn pixels(&self) -> wgpu::Buffer {
        let bytes = 4 * TEXTURE.0 * TEXTURE.1;
        self.buffer(bytes as u64, BufferUsages::COPY_DST | BufferUsages::MAP_READ)
    }

    fn read(&self, pixels: &wgpu::Buffer) -> Vec<u8> {
        pixels.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        pixels.get_mapped_range(..).unwrap().to_vec()
    }

    fn upload(&self, label: &str, shape: &[usize], data: &[f32]) -> Tensor {
        Tensor::upload(&self.gpu, label, shape, data).unwrap()
    }

    /// Texture in, denoised texture out.
    fn denoising_plan(&self, from: &wgpu::Texture, to: &wgpu::Texture, channels: usize) -> Plan {
        let mut schedule = Schedule::new(&self.gpu);
        let from = from.create_view(&Default::default());
        let to = to.create_view(&Default::default());
        let noisy = record_load_texture(&mut schedule, &from, HEIGHT, WIDTH, channels).unwrap();
        let clean = denoiser(&self.gpu, channels, None).record(&mut schedule, &noisy).unwrap();
        record_store_texture(&mut schedule, &clean, &to).unwrap();
        drop((noisy, clean));
        schedule.compile().unwrap()
    }

    /// The same through tensors.
    fn denoised(&self, image: &[f32], channels: usize, variant: Option<VariantKind>) -> Vec<f32> {
        let mut schedule = Schedule::new(&self.gpu);
        let image = self.upload("image", &[HEIGHT, WIDTH, channels], image);
        let clean = denoiser(&self.gpu, channels, variant).record(&mut schedule, &image).unwrap();
        let plan = schedule.compile().unwrap();
        plan.poison();
        block_on(plan.run(no_progress)).unwrap();
        block_on(clean.read::<f32>(&self.gpu)).unwrap()
    }
}

fn denoiser(gpu: &Gpu, channels: usize, variant: Option<VariantKind>) -> NonLocalMeans {
    let config = NonLocalMeansConfig::for_noise(HEIGHT, WIDTH, channels, 0.2);
    NonLocalMeans::new(gpu, NonLocalMeansConfig { tile: 8, margin: 4, variant, ..config }).unwrap()
}

fn layout() -> wgpu::TexelCopyBufferLayout {
    wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * TEXTURE.0), rows_per_image: None }
}

fn copy(encoder: &mut wgpu::CommandEncoder, texture: &wgpu::Texture, buffer: &wgpu::Buffer) {
    let to = wgpu::TexelCopyBufferInfo { buffer, layout: layout() };
    encoder.copy_texture_to_buffer(texture.as_image_copy(), to, texture.size());
}

/// The picture in the upper left corner of a texture's bytes.
fn picture(bytes: &[u8], channels: usize) -> Vec<f32> {
    let pixel = |y: usize, x: usize| &bytes[4 * (y * TEXTURE.0 as usize + x)..][..channels];
    let pixels = (0..HEIGHT).flat_map(|y| (0..WIDTH).flat_map(move |x| pixel(y, x)));
    pixels.map(|&byte| byte as f32 / 255.0).collect()
}

/// A stored picture is the expected one, rounded to bytes (either way near a half), and nothing beside it was touched.
#[track_caller]
fn assert_stored(bytes: &[u8], expected: &[f32], channels: usize) {
    let mut expected = expected.chunks_exact(channels);
    for y in 0..TEXTURE.1 as usize {
        for x in 0..TEXTURE.0 as usize {
            let pixel = &bytes[4 * (y * TEXTURE.0 as usize + x)..][..4];
            if y >= HEIGHT || x >= WIDTH {
                assert_eq!(pixel, [0; 4], "({x}, {y}) is beside the picture");
                continue;
            }
            let wanted = expected.next().unwrap();
            let alpha = wanted.get(3).copied().unwrap_or(1.0);
            for (found, wanted) in pixel.iter().zip([wanted[0], wanted[1], wanted[2], alpha]) {
                let off = (*found as f32 - 255.0 * wanted.clamp(0.0, 1.0)).abs();
                assert!(off <= 0.51, "({x}, {y}): found {found}, expected {}", 255.0 * wanted);
            }
        }
    }
}

#[test]
fn encoding_makes_no_buffer_and_no_submit() {
    let app = App::new();
    let from = app.texture(TextureUsages::TEXTURE_BINDING);
    let to = app.texture(TextureUsages::STORAGE_BINDING);
    let plan = app.denoising_plan(&from, &to, 3);
    app.fill(&from, 1);
    // What wgpu itself has allocated, where the backend can tell.
    let allocated = || {
        app.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        app.device
            .generate_allocator_report()
            .map(|report| (report.allocations.len(), report.total_allocated_bytes))
    };
    let frame = || {
        let mut encoder = app.encoder();
        plan.encode(&mut encoder).unwrap();
        app.queue.submit([encoder.finish()]);
    };
    frame(); // the first use of a resource clears it
    let before = (app.gpu.buffers_created(), app.gpu.submits(), allocated());
    for _ in 0..10 {
        frame();
    }
    assert_eq!((app.gpu.buffers_created(), app.gpu.submits(), allocated()), before);
    assert!(app.gpu.buffers_created() > 0, "compiling made buffers");
}

#[test]
fn textures_in_and_out_equal_the_tensor_path() {
    for channels in [3, 4] {
        let app = App::new();
        let from = app.texture(TextureUsages::TEXTURE_BINDING);
        let to = app.texture(TextureUsages::STORAGE_BINDING);
        let plan = app.denoising_plan(&from, &to, channels);
        let bytes = app.fill(&from, 2);
        plan.poison();
        let pixels = app.pixels();
        let mut encoder = app.encoder();
        plan.encode(&mut encoder).unwrap();
        copy(&mut encoder, &to, &pixels);
        app.queue.submit([encoder.finish()]);
        let expected = app.denoised(&picture(&bytes, channels), channels, None);
        assert_stored(&app.read(&pixels), &expected, channels);
    }
}

#[test]
fn one_encoder_takes_a_plan_twice() {
    let app = App::new();
    let from = app.texture(TextureUsages::TEXTURE_BINDING);
    let to = app.texture(TextureUsages::STORAGE_BINDING);
    let plan = app.denoising_plan(&from, &to, 3);
    let sources = [app.texture(TextureUsages::empty()), app.texture(TextureUsages::empty())];
    let results = [app.pixels(), app.pixels()];
    let mut encoder = app.encoder();
    let mut expected = Vec::new();
    for (seed, (source, result)) in sources.iter().zip(&results).enumerate() {
        let bytes = app.fill(source, 10 + seed as u64);
        expected.push(app.denoised(&picture(&bytes, 3), 3, None));
        encoder.copy_texture_to_texture(source.as_image_copy(), from.as_image_copy(), from.size());
        plan.encode(&mut encoder).unwrap();
        copy(&mut encoder, &to, result);
    }
    app.queue.submit([encoder.finish()]);
    for (result, expected) in results.iter().zip(&expected) {
        assert_stored(&app.read(result), expected, 3);
    }
}

#[test]
fn default_limits_without_features_suffice() {
    let app = App::new();
    assert!(app.gpu.features().difference(wgpu::Features::all_webgpu_mask()).is_empty());
    let image = Random::new(3).normal(HEIGHT * WIDTH * 3, 0.3);
    let shape =
        NonLocalMeansShape { height: HEIGHT, width: WIDTH, channels: 3, tile: 8, margin: 4, radius: 1 };
    let h = NonLocalMeansConfig::for_noise(HEIGHT, WIDTH, 3, 0.2).h as f64;
    let expected = non_local_means(&doubles(&image), &shape, h);
    let mut ran = 0;
    for kind in VariantKind::ALL.into_iter().filter(|kind| app.gpu.variant(Some(*kind)).is_ok()) {
        common::assert_close(kind.name(), &app.denoised(&image, 3, Some(kind)), &expected, 2e-5);
        ran += 1;
    }
    assert!(ran >= 3, "only {ran} variants");
}

/// One frame of an app with several effects, and a second part of the app that adopts the same device for itself.
#[test]
fn several_plans_and_adoptions_share_a_device() {
    let app = App::new();
    let other =
        App { gpu: Gpu::adopt(app.gpu.info().clone(), app.device.clone(), app.queue.clone()), ..App::new() };
    let from = app.texture(TextureUsages::TEXTURE_BINDING);
    let to = app.texture(TextureUsages::STORAGE_BINDING);
    let bytes = app.fill(&from, 4);
    let plan = app.denoising_plan(&from, &to, 3);

    let rows = |gpu: &Gpu, seed: u64, width: usize| {
        let x = Random::new(seed).normal(5 * width, 2.0);
        let weight = vec![1.0; width];
        let mut schedule = Schedule::new(gpu);
        let tensor = Tensor::upload(gpu, "x", &[5, width], &x).unwrap();
        let weight_tensor = Tensor::upload(gpu, "weight", &[width], &weight).unwrap();
        let norm = Norm::new(gpu, NormConfig::default()).unwrap();
        let y = norm.record(&mut schedule, &tensor, &weight_tensor, None).unwrap();
        let expected = rms_norm(&doubles(&x), None, width, 1e-6);
        (schedule.compile().unwrap(), y, expected)
    };
    let (first, first_y, first_expected) = rows(&app.gpu, 5, 33);
    let (second, second_y, second_expected) = rows(&other.gpu, 6, 64);

    let pixels = app.pixels();
    let mut encoder = app.encoder();
    first.encode(&mut encoder).unwrap();
    plan.encode(&mut encoder).unwrap();
    second.encode(&mut encoder).unwrap();
    copy(&mut encoder, &to, &pixels);
    app.queue.submit([encoder.finish()]);

    assert_stored(&app.read(&pixels), &app.denoised(&picture(&bytes, 3), 3, None), 3);
    common::assert_close("first", &block_on(first_y.read(&app.gpu)).unwrap(), &first_expected, 1e-5);
    common::assert_close("second", &block_on(second_y.read(&other.gpu)).unwrap(), &second_expected, 1e-5);
}

#[test]
fn the_callers_buffer_is_read_in_place() {
    let app = App::new();
    let gpu = &app.gpu;
    let offset = gpu.limits().min_storage_buffer_offset_alignment as u64;
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
    let buffer = app.buffer(offset + 4 * 7 * 12, usage);
    let x = Random::new(7).normal(7 * 12, 1.0);
    let bytes: Vec<u8> = x.iter().flat_map(|value| value.to_le_bytes()).collect();
    app.queue.write_buffer(&buffer, offset, &bytes);

    let tensor = Tensor::from_buffer(gpu, "x", &buffer, offset, &[7, 12], Dtype::F32).unwrap();
    let weight = app.upload("weight", &[12], &[1.0; 12]);
    let mut schedule = Schedule::new(gpu);
    let norm = Norm::new(gpu, NormConfig::default()).unwrap();
    let y = norm.record(&mut schedule, &tensor, &weight, None).unwrap();
    let plan = schedule.compile().unwrap();
    plan.poison();
    let mut encoder = app.encoder();
    plan.encode(&mut encoder).unwrap();
    app.queue.submit([encoder.finish()]);
    let expected = rms_norm(&doubles(&x), None, 12, 1e-6);
    common::assert_close("norm", &block_on(y.read(gpu)).unwrap(), &expected, 1e-5);

    // Without COPY_SRC it can't be read back, and says so.
    let error = block_on(tensor.read::<f32>(gpu)).unwrap_err();
    assert!(error.to_string().contains("COPY_SRC"), "{error}");
}

#[test]
fn a_buffer_that_does_not_fit_is_refused() {
    let app = App::new();
    let buffer = app.buffer(1024, BufferUsages::STORAGE);
    let other = app.buffer(1024, BufferUsages::COPY_DST);
    let refusal = |buffer, offset, shape: &[usize]| {
        Tensor::from_buffer(&app.gpu, "x", buffer, offset, shape, Dtype::F32).unwrap_err().to_string()
    };
    assert!(refusal(&other, 0, &[4]).contains("lacks the usage STORAGE"));
    assert!(refusal(&buffer, 4, &[4]).contains("expected a multiple of"));
    assert!(refusal(&buffer, 0, &[257]).contains("at most 1024 bytes"));
    assert!(refusal(&buffer, 1024, &[1]).contains("at most 1024 bytes"));
    assert!(refusal(&buffer, u64::MAX - 255, &[64]).contains("at most 1024 bytes"));
    assert!(refusal(&buffer, 0, &[usize::MAX, 3]).contains("at most 1024 bytes"));
}

#[test]
fn a_texture_that_does_not_fit_is_refused() {
    let app = App::new();
    let view = |usage| app.texture(usage).create_view(&Default::default());
    let mut schedule = Schedule::new(&app.gpu);
    let readable = view(TextureUsages::TEXTURE_BINDING);
    let (width, height) = (TEXTURE.0 as usize, TEXTURE.1 as usize);
    for (height, width) in [(height + 1, width), (height, width + 1)] {
        let error = record_load_texture(&mut schedule, &readable, height, width, 3).unwrap_err();
        assert!(error.to_string().contains("has 64 x 40 pixels"), "{error}");
    }
    let error = record_load_texture(&mut schedule, &readable, 1, 1, 2).unwrap_err();
    assert!(matches!(error, Error::Config { .. }), "{error}");

    // The usage is checked when the plan is made.
    let image = app.upload("image", &[8, 8, 3], &[0.0; 192]);
    record_store_texture(&mut schedule, &image, &readable).unwrap();
    let error = schedule.compile().unwrap_err();
    assert!(matches!(&error, Error::Validation(text) if text.contains("store texture")), "{error}");
}

#[test]
fn a_lost_device_is_its_owners_to_replace() {
    let app = App::new();
    let from = app.texture(TextureUsages::TEXTURE_BINDING);
    let to = app.texture(TextureUsages::STORAGE_BINDING);
    let plan = app.denoising_plan(&from, &to, 3);
    app.gpu.mark_lost("the app's own callback said so");
    let error = plan.encode(&mut app.encoder()).unwrap_err();
    assert!(matches!(&error, Error::DeviceLost(reason) if reason.contains("own callback")), "{error}");
    let error = block_on(app.gpu.recover()).unwrap_err();
    assert!(error.to_string().contains("make a new one and adopt it"), "{error}");
}
