//! Finding an adapter and negotiating features and limits.

use super::Gpu;
use crate::error::{Error, Result};
use crate::variant::VariantKind;

/// What to ask for. The default is the most powerful adapter with all it offers.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Part of the adapter's name (case-insensitive); `None` takes the best.
    pub adapter: Option<String>,
    /// The build of the kernels, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
    /// Ask only for what every WebGPU adapter has: the default limits and no optional feature.
    pub webgpu_defaults: bool,
    /// Allow no more than these limits, whatever the device could do: what a program does on a smaller adapter.
    pub at_most: Option<wgpu::Limits>,
    /// Directory of the on-disk pipeline cache (adapters with `PIPELINE_CACHE`: Vulkan). `None` keeps none.
    pub cache_directory: Option<std::path::PathBuf>,
}

fn instance() -> wgpu::Instance {
    #[cfg(not(target_arch = "wasm32"))]
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    #[cfg(target_arch = "wasm32")]
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    wgpu::Instance::new(descriptor)
}

/// Every adapter on this machine, best first. In a browser: the one that it gives.
pub async fn adapters() -> Vec<wgpu::Adapter> {
    let instance = instance();
    #[cfg(not(target_arch = "wasm32"))]
    {
        let mut adapters = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
        adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        });
        adapters
    }
    #[cfg(target_arch = "wasm32")]
    {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        instance.request_adapter(&options).await.into_iter().collect()
    }
}

pub(super) async fn request(options: GpuOptions) -> Result<Gpu> {
    let all = adapters().await;
    let names: Vec<String> = all.iter().map(|adapter| adapter.get_info().name).collect();
    let wanted = options.adapter.as_deref().unwrap_or("").to_ascii_lowercase();
    let adapter = all
        .into_iter()
        .find(|adapter| adapter.get_info().name.to_ascii_lowercase().contains(&wanted))
        .ok_or_else(|| Error::NoAdapter {
            wanted: options.adapter.as_ref().map(|name| format!(" named `{name}`")).unwrap_or_default(),
            found: if names.is_empty() { "none".into() } else { names.join(", ") },
        })?;

    let (required_features, required_limits) = if options.webgpu_defaults {
        (wgpu::Features::empty(), wgpu::Limits::defaults())
    } else {
        (adapter.features() & useful_features(), adapter.limits())
    };
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("gristmill"),
        required_features,
        required_limits,
        memory_hints: wgpu::MemoryHints::Performance,
        ..Default::default()
    };
    let (device, queue) =
        adapter.request_device(&descriptor).await.map_err(|error| Error::Device(error.to_string()))?;
    let gpu = Gpu::new(adapter.get_info(), device, queue, Some(options));
    // A build that can't run here is refused now, not by the first operator.
    gpu.variant(None)?;
    Ok(gpu)
}

/// Optional features that a kernel, the profile or the pipeline cache uses.
fn useful_features() -> wgpu::Features {
    wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE
}
