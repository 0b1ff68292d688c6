//! A graphics app that enlarges the texture it has rendered, inside its own frame.
//!
//! Every frame is one command encoder and one submit: the app draws into a small texture, the network enlarges it into a large one.
//! Pixels never cross the bus; pixels in plain areas leave a part of the network by themselves.
//!
//!     cargo run --release --example upscale_in_app [WEIGHTS.safetensors [DIRECTORY]]
//!
//! writes the last frame, small and large, into DIRECTORY (`target/upscale_in_app` if none is named). Without weights the network has
//! random ones: what they do to a picture is no use, how an app calls it is the same.

mod common;

use common::{AnyResult, FORMAT, save, texture};
use gristmill::kernels::image::{record_load_texture, record_store_texture};
use gristmill::models::atd::{Atd, AtdConfig, AtdSizes, NamedTensors, PurePass};
use gristmill::run::atd_file;
use gristmill::{Gpu, Plan, Schedule, wgpu};
use std::path::PathBuf;

const SMALL: (u32, u32) = (64, 48);
const FRAMES: u32 = 3;

fn main() -> AnyResult<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let weights = arguments.next();
    let directory = arguments.next().unwrap_or("target/upscale_in_app".into());
    std::fs::create_dir_all(&directory)?;

    // The app's own device, textures and renderer.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("upscale in app"),
        required_features: adapter.features() & wgpu::Features::SUBGROUP,
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;
    let gpu = Gpu::adopt(adapter.get_info(), device.clone(), queue.clone());
    let (config, weights) = match &weights {
        Some(path) => atd_file(&std::fs::read(path)?)?,
        None => random_network(),
    };
    let model = Atd::new(&gpu, config, &weights)?;
    let scale = model.config().scale as u32;
    use wgpu::TextureUsages as Usage;
    let small = texture(&device, SMALL, Usage::RENDER_ATTACHMENT | Usage::TEXTURE_BINDING | Usage::COPY_SRC);
    let large =
        texture(&device, (SMALL.0 * scale, SMALL.1 * scale), Usage::STORAGE_BINDING | Usage::COPY_SRC);
    let views = [&small, &large].map(|texture| texture.create_view(&Default::default()));
    let scene = Scene::new(&device);

    // Gristmill beside it, once: the plan reads one texture and writes the other.
    let plan = upscaling_plan(&gpu, &model, &views[0], &views[1])?;
    let (buffers, submits) = (gpu.buffers_created(), gpu.submits());

    // Each frame: one encoder, one submit, both the app's.
    for number in 0..FRAMES {
        let mut encoder = device.create_command_encoder(&Default::default());
        scene.draw(&mut encoder, &views[0], number);
        plan.encode(&mut encoder)?;
        queue.submit([encoder.finish()]);
    }
    let (buffers, submits) = (gpu.buffers_created() - buffers, gpu.submits() - submits);
    println!("{FRAMES} frames, in which gristmill made {buffers} buffers and {submits} submits");
    save(&device, &queue, &small, &directory.join("small.png"))?;
    save(&device, &queue, &large, &directory.join("large.png"))?;
    println!("pictures in {}", directory.display());
    Ok(())
}

/// Texture to texture, all on the GPU.
fn upscaling_plan(
    gpu: &Gpu,
    model: &Atd,
    from: &wgpu::TextureView,
    to: &wgpu::TextureView,
) -> gristmill::Result<Plan> {
    let mut schedule = Schedule::new(gpu);
    let picture = record_load_texture(&mut schedule, from, SMALL.1 as usize, SMALL.0 as usize, 3)?;
    let output = model.record(&mut schedule, &picture)?;
    record_store_texture(&mut schedule, &output.out, to)?;
    drop((picture, output)); // a tensor that nobody holds may share its memory
    schedule.compile()
}

/// A small network, so that a frame is quick on any adapter.
fn random_network() -> (AtdConfig, NamedTensors) {
    let config = AtdConfig { heads: 2, pure_pass: Some(PurePass::default()), ..Default::default() };
    let sizes = AtdSizes { channels: 16, tokens: 16, reduced: 4, hidden: 16, kernel: 5, layers: vec![2] };
    let mut weights = NamedTensors::default();
    let mut state = 1u32;
    for (name, shape) in sizes.shapes(config.heads, config.window, config.scale) {
        let inputs: usize = if shape.len() > 1 { shape[1..].iter().product() } else { 100 };
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) / (inputs as f32).sqrt()
        };
        let data = (0..shape.iter().product()).map(|_| next()).collect();
        weights.insert(&name, &shape, data);
    }
    (config, weights)
}

/// What the app draws: a disc that moves over a gradient, a step further in every frame.
struct Scene {
    pipeline: wgpu::RenderPipeline,
}

const SHADER: &str = "
struct Corner {
    @builtin(position) at: vec4f,
    @location(0) @interpolate(flat) frame: u32,
}

@vertex
fn corner(@builtin(vertex_index) index: u32, @builtin(instance_index) frame: u32) -> Corner {
    return Corner(vec4f(vec2f(f32(index & 1u), f32(index >> 1u)) * 4.0 - 1.0, 0.0, 1.0), frame);
}

@fragment
fn shade(corner: Corner) -> @location(0) vec4f {
    let center = vec2f(20.0 + 8.0 * f32(corner.frame), 24.0);
    let inside = step(distance(corner.at.xy, center), 11.0);
    return mix(vec4f(0.2, 0.3, 0.2 + corner.at.y / 80.0, 1.0), vec4f(0.9, 0.6, 0.1, 1.0), inside);
}
";

impl Scene {
    fn new(device: &wgpu::Device) -> Self {
        let source = wgpu::ShaderSource::Wgsl(SHADER.into());
        let module =
            &device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("scene"), source });
        let compilation_options = wgpu::PipelineCompilationOptions::default();
        let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("scene"),
            layout: None,
            vertex: wgpu::VertexState {
                module,
                entry_point: None,
                compilation_options: compilation_options.clone(),
                buffers: &[],
            },
            primitive: Default::default(),
            depth_stencil: None,
            multisample: Default::default(),
            fragment: Some(wgpu::FragmentState {
                module,
                entry_point: None,
                compilation_options,
                targets: &[Some(FORMAT.into())],
            }),
            multiview_mask: None,
            cache: None,
        });
        Self { pipeline }
    }

    fn draw(&self, encoder: &mut wgpu::CommandEncoder, to: &wgpu::TextureView, frame: u32) {
        let attachment = wgpu::RenderPassColorAttachment {
            view: to,
            depth_slice: None,
            resolve_target: None,
            ops: wgpu::Operations {
                load: wgpu::LoadOp::Clear(wgpu::Color::BLACK),
                store: wgpu::StoreOp::Store,
            },
        };
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            color_attachments: &[Some(attachment)],
            ..Default::default()
        });
        pass.set_pipeline(&self.pipeline);
        pass.draw(0..3, frame..frame + 1);
    }
}
