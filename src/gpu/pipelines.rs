//! Compute pipelines by kernel and constants, kept in memory, and on disk where the adapter can.

use super::{Gpu, GpuOptions};
use crate::error::Result;
use gristmill_shaders::{BindingKind, Interface};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// A kernel with its constants: the key of the cache.
type Key = (&'static str, Vec<(String, String)>);

/// A compiled kernel with its interface.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub name: &'static str,
    pub interface: Interface,
    pub layout: wgpu::BindGroupLayout,
    pub pipeline: wgpu::ComputePipeline,
}

#[derive(Debug)]
pub(crate) struct Pipelines {
    compiled: Mutex<HashMap<Key, Arc<Pipeline>>>,
    disk: Option<(wgpu::PipelineCache, PathBuf)>,
}

impl Pipelines {
    pub fn new(info: &wgpu::AdapterInfo, device: &wgpu::Device, options: Option<&GpuOptions>) -> Pipelines {
        Pipelines { compiled: Mutex::default(), disk: open_disk_cache(info, device, options) }
    }

    pub fn keys(&self) -> Vec<Key> {
        self.compiled.lock().unwrap_or_else(|e| e.into_inner()).keys().cloned().collect()
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn open_disk_cache(
    info: &wgpu::AdapterInfo,
    device: &wgpu::Device,
    options: Option<&GpuOptions>,
) -> Option<(wgpu::PipelineCache, PathBuf)> {
    let directory = options?.cache_directory.as_ref()?;
    if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
        return None;
    }
    let path = directory.join(wgpu::util::pipeline_cache_key(info)?);
    let file = std::fs::read(&path).unwrap_or_default();
    let descriptor =
        wgpu::PipelineCacheDescriptor { label: Some("gristmill"), data: unsealed(&file), fallback: true };
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    // SAFETY: by its checksum the file is what `save_pipeline_cache` wrote from `PipelineCache::get_data` for an adapter
    // with the same key; wgpu checks its header and starts empty (`fallback`) where it is outdated.
    let cache = unsafe { device.create_pipeline_cache(&descriptor) };
    // Data of another device is an error even so; then nothing is kept.
    matches!(super::now(scope.pop()), Some(None)).then_some((cache, path))
}

/// FNV-1a. A driver need not survive cache data that a disk has altered.
fn checksum(data: &[u8]) -> [u8; 8] {
    let step = |hash: u64, byte: &u8| (hash ^ *byte as u64).wrapping_mul(0x100_0000_01b3);
    data.iter().fold(0xcbf2_9ce4_8422_2325, step).to_le_bytes()
}

/// The data behind a file's checksum, where they agree.
#[cfg(not(target_arch = "wasm32"))]
fn unsealed(file: &[u8]) -> Option<&[u8]> {
    let (sum, data) = file.split_first_chunk()?;
    (*sum == checksum(data)).then_some(data)
}

#[cfg(target_arch = "wasm32")]
fn open_disk_cache(
    _: &wgpu::AdapterInfo,
    _: &wgpu::Device,
    _: Option<&GpuOptions>,
) -> Option<(wgpu::PipelineCache, PathBuf)> {
    None
}

impl Gpu {
    /// The compiled kernel for these constants, from the cache or made now.
    pub(crate) fn pipeline(&self, kernel: &'static str, constants: &[(&str, &str)]) -> Result<Arc<Pipeline>> {
        let mut sorted: Vec<_> = constants.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        sorted.sort_unstable();
        let key = (kernel, sorted);
        let lock = || self.inner.pipelines.compiled.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(found) = lock().get(&key) {
            return Ok(found.clone());
        }
        let made = Arc::new(self.compile(kernel, constants)?);
        Ok(lock().entry(key).or_insert(made).clone())
    }

    fn compile(&self, kernel: &'static str, constants: &[(&str, &str)]) -> Result<Pipeline> {
        let shader = gristmill_shaders::specialize(kernel, constants)?;
        let device = self.device();
        let interface = shader.interface;
        let (layout, pipeline) = self.caught(format_args!("{kernel} with {constants:?}"), || {
            let source = wgpu::ShaderModuleDescriptor {
                label: Some(kernel),
                source: wgpu::ShaderSource::Wgsl(shader.wgsl.into()),
            };
            // SAFETY: only loop bounding and integer-division checks are off; every loop counts a finite range upward
            // and no kernel divides by a value that can be 0. Bounds checks stay as they protect against indices read
            // from buffers.
            let module = unsafe { device.create_shader_module_trusted(source, runtime_checks()) };
            let entries: Vec<_> = interface.bindings.iter().map(layout_entry).collect();
            let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(kernel),
                entries: &entries,
            });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(kernel),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(kernel),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: self.inner.pipelines.disk.as_ref().map(|(cache, _)| cache),
            });
            (layout, pipeline)
        })?;
        Ok(Pipeline { name: kernel, interface, layout, pipeline })
    }

    /// Writes the pipeline cache to its file in [`GpuOptions::cache_directory`]; does nothing without one. Returns whether it
    /// wrote. Errors: those of the file system.
    pub fn save_pipeline_cache(&self) -> std::io::Result<bool> {
        let Some((cache, path)) = &self.inner.pipelines.disk else { return Ok(false) };
        let Some(data) = cache.get_data() else { return Ok(false) };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        // Written beside and renamed, so that a reader never sees half a file.
        let part = path.with_extension(format!("part{}", std::process::id()));
        std::fs::write(&part, [&checksum(&data), data.as_slice()].concat())?;
        std::fs::rename(&part, path)?;
        Ok(true)
    }
}

fn runtime_checks() -> wgpu::ShaderRuntimeChecks {
    wgpu::ShaderRuntimeChecks {
        force_loop_bounding: false,
        int_div_checks: false,
        ..wgpu::ShaderRuntimeChecks::checked()
    }
}

fn layout_entry(binding: &gristmill_shaders::Binding) -> wgpu::BindGroupLayoutEntry {
    let buffer =
        |ty, has_dynamic_offset| wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None };
    let storage = |read_only| buffer(wgpu::BufferBindingType::Storage { read_only }, false);
    let ty = match &binding.kind {
        // Binding 0 is the grid, whose piece of the dispatch changes by dynamic offset.
        BindingKind::Uniform => buffer(wgpu::BufferBindingType::Uniform, binding.index == 0),
        BindingKind::StorageRead => storage(true),
        BindingKind::StorageReadWrite => storage(false),
        BindingKind::Texture => wgpu::BindingType::Texture {
            sample_type: wgpu::TextureSampleType::Float { filterable: false },
            view_dimension: wgpu::TextureViewDimension::D2,
            multisampled: false,
        },
        BindingKind::StorageTexture(format) => wgpu::BindingType::StorageTexture {
            access: wgpu::StorageTextureAccess::WriteOnly,
            format: storage_format(format),
            view_dimension: wgpu::TextureViewDimension::D2,
        },
    };
    wgpu::BindGroupLayoutEntry {
        binding: binding.index,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty,
        count: None,
    }
}

fn storage_format(name: &str) -> wgpu::TextureFormat {
    match name {
        "rgba16float" => wgpu::TextureFormat::Rgba16Float,
        "rgba32float" => wgpu::TextureFormat::Rgba32Float,
        _ => wgpu::TextureFormat::Rgba8Unorm,
    }
}
