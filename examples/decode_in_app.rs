//! A graphics app that keeps its pictures in low-rank code and decodes them inside its own frame.
//!
//! Every frame is one command encoder and one submit: decode the picture into a texture, draw the texture. The code stays on
//! the GPU; pixels exist from the decoder to the draw call and never cross the bus.
//!
//!     cargo run --release --example decode_in_app [PHOTO.png [DIRECTORY]]
//!
//! writes `decoded.png` and the last frame, `frame.png`, into DIRECTORY (`target/decode_in_app` if none is named). No codebook
//! is trained here: its codewords are cosines of many sizes, which any picture can be made of.

mod common;

use common::{AnyResult, FORMAT, save, texture};
use gristmill::kernels::lowrank_vq::{LowRankVq, LowRankVqConfig, pack_indices};
use gristmill::{Gpu, Plan, Schedule, Tensor, wgpu};
use std::f32::consts::PI;
use std::path::{Path, PathBuf};

/// Pixels along a patch's side.
const PATCH: usize = 8;
/// Outer products of a channel of a patch, one per iteration.
const ITERATIONS: usize = 6;
/// Sizes of a cosine, a seventh of an octave apart: the largest is 8, that of a white patch, and number 21 is 1.
const SIZES: usize = 64;
const SIZE_ONE: usize = 21;
const FRAME: (u32, u32) = (640, 480);
const FRAMES: u32 = 3;

fn main() -> AnyResult<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let chelsea = || Path::new(env!("CARGO_MANIFEST_DIR")).join("cli/assets/chelsea.png");
    let photo = image::open(arguments.next().unwrap_or_else(chelsea))?.to_rgb8();
    let directory = arguments.next().unwrap_or("target/decode_in_app".into());
    std::fs::create_dir_all(&directory)?;

    // The app's own device. Gristmill runs on any; with subgroups, where they exist, it runs faster.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("decode in app"),
        required_features: adapter.features() & wgpu::Features::SUBGROUP,
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;

    // The app's own resources: a texture that is decoded into and sampled, the frame, a pipeline that draws it.
    use wgpu::TextureUsages as Usage;
    let usage = Usage::STORAGE_BINDING | Usage::TEXTURE_BINDING | Usage::COPY_SRC;
    let picture = texture(&device, photo.dimensions(), usage);
    let picture_view = picture.create_view(&Default::default());
    let frame = texture(&device, FRAME, Usage::RENDER_ATTACHMENT | Usage::COPY_SRC);
    let frame_view = frame.create_view(&Default::default());
    let scene = Scene::new(&device, &picture_view);

    // Gristmill beside it, once: adopt the device, upload code and codebook, compile.
    let gpu = Gpu::adopt(adapter.get_info(), device.clone(), queue.clone());
    let plan = decoding_plan(&gpu, &photo, &picture_view)?;
    let (buffers, submits) = (gpu.buffers_created(), gpu.submits());

    // Each frame: one encoder, one submit, both the app's.
    for number in 0..FRAMES {
        let mut encoder = device.create_command_encoder(&Default::default());
        plan.encode(&mut encoder)?;
        scene.draw(&mut encoder, &frame_view, number);
        queue.submit([encoder.finish()]);
    }

    let (buffers, submits) = (gpu.buffers_created() - buffers, gpu.submits() - submits);
    println!("{FRAMES} frames, in which gristmill made {buffers} buffers and {submits} submits");
    save(&device, &queue, &picture, &directory.join("decoded.png"))?;
    save(&device, &queue, &frame, &directory.join("frame.png"))?;
    println!("pictures in {}", directory.display());
    Ok(())
}

/// The photo in code, and its decoder into a texture.
fn decoding_plan(gpu: &Gpu, photo: &image::RgbImage, to: &wgpu::TextureView) -> gristmill::Result<Plan> {
    let config = LowRankVqConfig {
        height: photo.height() as usize,
        width: photo.width() as usize,
        channels: 3,
        patch: PATCH,
        rank: 1,
        iterations: ITERATIONS,
        ..Default::default()
    };
    let codebook = codebook();
    let codewords = codebook.len() / PATCH;
    let words = pack_indices(&encode(photo, &config, &codebook), config.bits_per_index(codewords)?);
    let rate = config.rate(codewords)?;
    println!(
        "{} x {} pixels in {} KB: {:.2} bits per pixel, {:.1} times smaller",
        config.width,
        config.height,
        rate.bits / 8000,
        rate.bits_per_pixel,
        rate.ratio
    );

    let decoder = LowRankVq::new(gpu, config)?;
    println!("variant {}: {} ({})", decoder.explain().kind, decoder.explain().reason, gpu.info().name);
    let codebook = Tensor::upload(gpu, "codebook", &[codewords, PATCH], &codebook)?;
    let words = Tensor::upload(gpu, "words", &[words.len()], &words)?;
    let mut schedule = Schedule::new(gpu);
    decoder.record_texture(&mut schedule, &codebook, &words, to)?;
    schedule.compile()
}

/// Element `at` of the cosine with this many half waves; its squares sum to 1.
fn cosine(half_waves: usize, at: usize) -> f32 {
    let scale = if half_waves == 0 { 1.0 } else { 2.0 } / PATCH as f32;
    scale.sqrt() * (PI * half_waves as f32 * (at as f32 + 0.5) / PATCH as f32).cos()
}

fn size(number: usize) -> f32 {
    8.0 * 2f32.powf(-(number as f32) / 7.0)
}

/// Codeword (half waves, sign, size) has the number (half_waves * 2 + sign) * SIZES + size.
fn codebook() -> Vec<f32> {
    let codeword = |k: usize| {
        let sign = if (k / SIZES).is_multiple_of(2) { 1.0 } else { -1.0 };
        (0..PATCH).map(move |at| sign * size(k % SIZES) * cosine(k / SIZES / 2, at))
    };
    (0..PATCH * 2 * SIZES).flat_map(codeword).collect()
}

/// In each iteration the two cosines whose product what is left of a patch has most of: along y with its size, along x with
/// size 1.
fn encode(photo: &image::RgbImage, config: &LowRankVqConfig, codebook: &[f32]) -> Vec<u32> {
    let [rows, columns] = config.grid();
    let mut indices = vec![0; rows * columns * ITERATIONS * 3 * 2];
    for (s, channel) in (0..rows * columns).flat_map(|s| (0..3).map(move |channel| (s, channel))) {
        let sample = |place: usize| {
            let x = (s % columns * PATCH + place % PATCH).min(config.width - 1);
            let y = (s / columns * PATCH + place / PATCH).min(config.height - 1);
            photo.get_pixel(x as u32, y as u32)[channel] as f32 / 255.0
        };
        let mut rest: Vec<f32> = (0..PATCH * PATCH).map(sample).collect();
        for iteration in 0..ITERATIONS {
            let part = |pair: usize| -> f32 {
                let (along_y, along_x) = (pair / PATCH, pair % PATCH);
                let term = |(i, value): (usize, &f32)| {
                    value * cosine(along_y, i / PATCH) * cosine(along_x, i % PATCH)
                };
                rest.iter().enumerate().map(term).sum()
            };
            let parts: Vec<f32> = (0..PATCH * PATCH).map(part).collect();
            let most = (0..parts.len()).max_by(|&a, &b| parts[a].abs().total_cmp(&parts[b].abs()));
            let pair = most.expect("a patch has pairs");
            let nearest = (0..SIZES).min_by(|&a, &b| {
                let miss = |number: usize| (size(number) - parts[pair].abs()).abs();
                miss(a).total_cmp(&miss(b))
            });
            let sign = (parts[pair] < 0.0) as usize;
            let left = (pair / PATCH * 2 + sign) * SIZES + nearest.expect("there are sizes");
            let right = pair % PATCH * 2 * SIZES + SIZE_ONE;
            let n = ((s * ITERATIONS + iteration) * 3 + channel) * 2;
            indices[n..n + 2].copy_from_slice(&[left as u32, right as u32]);
            for (i, value) in rest.iter_mut().enumerate() {
                *value -= codebook[left * PATCH + i / PATCH] * codebook[right * PATCH + i % PATCH];
            }
        }
    }
    indices
}

/// The picture as a card on a table, turned a little more in every frame: the instance index is the frame's number.
const SCENE: &str = "
struct Corner { @builtin(position) position: vec4f, @location(0) @interpolate(flat) frame: u32 }

@group(0) @binding(0) var picture: texture_2d<f32>;
@group(0) @binding(1) var linear: sampler;

// One triangle that covers the frame.
@vertex fn corner(@builtin(vertex_index) index: u32, @builtin(instance_index) frame: u32) -> Corner {
    let place = vec2f(f32(index & 1u), f32(index >> 1u)) * 4.0 - 1.0;
    return Corner(vec4f(place, 0.0, 1.0), frame);
}

@fragment fn shade(in: Corner) -> @location(0) vec4f {
    let size = vec2f(textureDimensions(picture));
    let from_center = (in.position.xy - vec2f(320.0, 240.0)) * max(size.x / 520.0, size.y / 390.0);
    let angle = -0.06 - 0.02 * f32(in.frame);
    let turned = mat2x2f(cos(angle), sin(angle), -sin(angle), cos(angle)) * from_center;
    let border = abs(turned) - 0.5 * size;
    let outside = max(border.x, border.y) / size.y;
    let color = textureSampleLevel(picture, linear, turned / size + 0.5, 0.0).rgb;
    let table = vec3f(0.2, 0.22, 0.26) * (1.0 - 0.4 * exp(-30.0 * max(outside, 0.0)));
    return vec4f(select(select(table, vec3f(0.96), outside < 0.03), color, outside < 0.0), 1.0);
}
";

struct Scene {
    pipeline: wgpu::RenderPipeline,
    bind_group: wgpu::BindGroup,
}

impl Scene {
    fn new(device: &wgpu::Device, picture: &wgpu::TextureView) -> Scene {
        let source = wgpu::ShaderSource::Wgsl(SCENE.into());
        let module =
            &device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("scene"), source });
        let compilation_options = wgpu::PipelineCompilationOptions::default();
        let options = compilation_options.clone();
        let targets = &[Some(FORMAT.into())];
        let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("scene"),
            layout: None,
            vertex: wgpu::VertexState {
                module,
                entry_point: None,
                compilation_options: options,
                buffers: &[],
            },
            primitive: Default::default(),
            depth_stencil: None,
            multisample: Default::default(),
            fragment: Some(wgpu::FragmentState { module, entry_point: None, compilation_options, targets }),
            multiview_mask: None,
            cache: None,
        });
        let linear = wgpu::FilterMode::Linear;
        let sampler = device.create_sampler(&wgpu::SamplerDescriptor {
            mag_filter: linear,
            min_filter: linear,
            ..Default::default()
        });
        let entry = |binding, resource| wgpu::BindGroupEntry { binding, resource };
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("scene"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                entry(0, wgpu::BindingResource::TextureView(picture)),
                entry(1, wgpu::BindingResource::Sampler(&sampler)),
            ],
        });
        Scene { pipeline, bind_group }
    }

    fn draw(&self, encoder: &mut wgpu::CommandEncoder, to: &wgpu::TextureView, frame: u32) {
        let ops = wgpu::Operations::default();
        let attachment =
            wgpu::RenderPassColorAttachment { view: to, depth_slice: None, resolve_target: None, ops };
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            color_attachments: &[Some(attachment)],
            ..Default::default()
        });
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.draw(0..3, frame..frame + 1);
    }
}
