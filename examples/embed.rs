//! A graphics app that owns its device and puts a kernel inside its own frame.
//!
//! Every frame is one command encoder and one submit: draw a noisy picture, denoise it, copy both pictures out. Gristmill
//! adopts the app's device, reads and writes the app's textures, and neither submits nor allocates while frames run.
//!
//!     cargo run --release --example embed [DIRECTORY]
//!
//! writes `embed_in.png` and `embed_out.png` into DIRECTORY (`target/embed` if none is named).

use gristmill::kernels::image::{record_load_texture, record_store_texture};
use gristmill::models::non_local_means::{NonLocalMeans, NonLocalMeansConfig};
use gristmill::{Gpu, Plan, Schedule, wgpu};
use std::path::{Path, PathBuf};

type AnyResult<T> = Result<T, Box<dyn std::error::Error>>;

const WIDTH: u32 = 256;
const HEIGHT: u32 = 256;
const FRAMES: u32 = 3;
/// Deviation of the noise that `SCENE` adds, for channels in 0..1.
const NOISE: f32 = 0.1;
/// Kernels store into `rgba8unorm`, which every WebGPU device can.
const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

fn main() -> AnyResult<()> {
    let directory = std::env::args_os().nth(1).map_or(PathBuf::from("target/embed"), PathBuf::from);
    std::fs::create_dir_all(&directory)?;

    // The app's own device. Gristmill runs on any; with subgroups, where they exist, it runs faster.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("embed"),
        required_features: adapter.features() & wgpu::Features::SUBGROUP,
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;

    // The app's own resources: two pictures, a pipeline that draws one, buffers to look at both.
    use wgpu::TextureUsages as Usage;
    let drawn = texture(&device, Usage::RENDER_ATTACHMENT | Usage::TEXTURE_BINDING | Usage::COPY_SRC);
    let denoised = texture(&device, Usage::STORAGE_BINDING | Usage::COPY_SRC);
    let drawn_view = drawn.create_view(&Default::default());
    let scene = scene_pipeline(&device);
    let drawn_pixels = pixel_buffer(&device);
    let denoised_pixels = pixel_buffer(&device);

    // Gristmill beside it, once: adopt the device, record the kernels, compile. All memory is made here.
    let gpu = Gpu::adopt(adapter.get_info(), device.clone(), queue.clone());
    let plan = denoising_plan(&gpu, &drawn_view, &denoised.create_view(&Default::default()))?;
    let (buffers, submits) = (gpu.buffers_created(), gpu.submits());

    // Each frame: one encoder, one submit, both the app's.
    for frame in 0..FRAMES {
        let mut encoder = device.create_command_encoder(&Default::default());
        draw(&mut encoder, &scene, &drawn_view, frame);
        plan.encode(&mut encoder)?;
        copy(&mut encoder, &drawn, &drawn_pixels);
        copy(&mut encoder, &denoised, &denoised_pixels);
        queue.submit([encoder.finish()]);
    }

    save(&device, &drawn_pixels, &directory.join("embed_in.png"))?;
    save(&device, &denoised_pixels, &directory.join("embed_out.png"))?;
    let (buffers, submits) = (gpu.buffers_created() - buffers, gpu.submits() - submits);
    println!("{FRAMES} frames, in which gristmill made {buffers} buffers and {submits} submits");
    println!("pictures in {}", directory.display());
    Ok(())
}

/// Texture in, denoised texture out.
fn denoising_plan(gpu: &Gpu, from: &wgpu::TextureView, to: &wgpu::TextureView) -> gristmill::Result<Plan> {
    let (height, width) = (HEIGHT as usize, WIDTH as usize);
    // The pixels of a tile are averaged over one window: small tiles keep a gradient smooth.
    let config = NonLocalMeansConfig { tile: 8, ..NonLocalMeansConfig::for_noise(height, width, 3, NOISE) };
    let denoise = NonLocalMeans::new(gpu, config)?;
    println!("variant {}: {} ({})", denoise.explain().kind, denoise.explain().reason, gpu.info().name);

    let mut schedule = Schedule::new(gpu);
    let noisy = record_load_texture(&mut schedule, from, height, width, 3)?;
    let clean = denoise.record(&mut schedule, &noisy)?;
    record_store_texture(&mut schedule, &clean, to)?;
    // Nobody reads the tensors themselves, so their memory may be shared.
    drop((noisy, clean));
    schedule.compile()
}

/// A picture with what a denoiser should remove (noise) and keep (a gradient, edges, thin lines). The instance index is the
/// number of the frame: the disc moves and the noise is new in each.
const SCENE: &str = "
struct Corner { @builtin(position) position: vec4f, @location(0) @interpolate(flat) frame: u32 }

// One triangle that covers the picture.
@vertex fn corner(@builtin(vertex_index) index: u32, @builtin(instance_index) frame: u32) -> Corner {
    let place = vec2f(f32(index & 1u), f32(index >> 1u)) * 4.0 - 1.0;
    return Corner(vec4f(place, 0.0, 1.0), frame);
}

@fragment fn shade(in: Corner) -> @location(0) vec4f {
    let at = in.position.xy / 256.0;
    var color = mix(vec3f(0.15, 0.25, 0.45), vec3f(0.85, 0.65, 0.5), at.y);
    let disc = at - vec2f(0.3 + 0.02 * f32(in.frame), 0.35);
    if (length(disc) < 0.2) { color = vec3f(0.95, 0.8, 0.2); }
    let square = abs(at - vec2f(0.7, 0.4));
    if (square.x + square.y < 0.2) { color = vec3f(0.2, 0.6, 0.5); }
    // Lines from 1 to 6 pixels wide.
    let line = floor(at.x * 8.0);
    if (at.y > 0.7 && at.y < 0.92 && line > 0.0 && line < 7.0 && fract(at.x * 8.0) < line / 32.0) { color = vec3f(0.1); }

    let pixel = vec2u(in.position.xy) + vec2u(0u, 256u * in.frame);
    return vec4f(color + 0.1 * vec3f(normal(pixel, 0u), normal(pixel, 1u), normal(pixel, 2u)), 1.0);
}

// Roughly normal with deviation 1: four uniform numbers, added.
fn normal(pixel: vec2u, channel: u32) -> f32 {
    var state = (pixel.y * 256u + pixel.x) * 3u + channel;
    var sum = 0.0;
    for (var i = 0u; i < 4u; i++) {
        state = state * 747796405u + 2891336453u;
        let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
        sum += f32((word >> 22u) ^ word) / 4294967296.0 - 0.5;
    }
    return sum * sqrt(3.0);
}
";

fn scene_pipeline(device: &wgpu::Device) -> wgpu::RenderPipeline {
    let source = wgpu::ShaderSource::Wgsl(SCENE.into());
    let module = &device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("scene"), source });
    let compilation_options = wgpu::PipelineCompilationOptions::default();
    let options = compilation_options.clone();
    let vertex = wgpu::VertexState { module, entry_point: None, compilation_options: options, buffers: &[] };
    let targets = &[Some(FORMAT.into())];
    device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some("scene"),
        layout: None,
        vertex,
        primitive: Default::default(),
        depth_stencil: None,
        multisample: Default::default(),
        fragment: Some(wgpu::FragmentState { module, entry_point: None, compilation_options, targets }),
        multiview_mask: None,
        cache: None,
    })
}

fn draw(
    encoder: &mut wgpu::CommandEncoder,
    scene: &wgpu::RenderPipeline,
    to: &wgpu::TextureView,
    frame: u32,
) {
    let ops = wgpu::Operations::default();
    let attachment =
        wgpu::RenderPassColorAttachment { view: to, depth_slice: None, resolve_target: None, ops };
    let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
        color_attachments: &[Some(attachment)],
        ..Default::default()
    });
    pass.set_pipeline(scene);
    pass.draw(0..3, frame..frame + 1);
}

fn texture(device: &wgpu::Device, usage: wgpu::TextureUsages) -> wgpu::Texture {
    device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d { width: WIDTH, height: HEIGHT, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: FORMAT,
        usage,
        view_formats: &[],
    })
}

fn pixel_buffer(device: &wgpu::Device) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
    let size = (4 * WIDTH * HEIGHT) as u64;
    device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

fn copy(encoder: &mut wgpu::CommandEncoder, from: &wgpu::Texture, to: &wgpu::Buffer) {
    // Rows of a copy start at multiples of 256 bytes; 256 pixels of 4 bytes do.
    let layout =
        wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * WIDTH), rows_per_image: None };
    let to = wgpu::TexelCopyBufferInfo { buffer: to, layout };
    encoder.copy_texture_to_buffer(from.as_image_copy(), to, from.size());
}

fn save(device: &wgpu::Device, pixels: &wgpu::Buffer, path: &Path) -> AnyResult<()> {
    pixels.map_async(wgpu::MapMode::Read, .., |result| result.expect("the buffer is ours to map"));
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let bytes = pixels.get_mapped_range(..)?.to_vec();
    image::save_buffer(path, &bytes, WIDTH, HEIGHT, image::ColorType::Rgba8)?;
    Ok(())
}
