//! `gristmill info`: what this machine has.

use anyhow::Result;
use clap::Args;
use gristmill::wgpu;
use gristmill::{Gpu, GpuOptions};

#[derive(Args)]
pub struct InfoArgs {
    /// Only adapters with this in their name
    #[arg(long, value_name = "SUBSTRING")]
    adapter: Option<String>,
}

/// Prints every adapter with features, limits, and the build that runs there.
pub fn info(args: &InfoArgs) -> Result<()> {
    let wanted = args.adapter.as_deref().unwrap_or("").to_lowercase();
    let adapters = pollster::block_on(gristmill::adapters());
    let adapters = adapters.into_iter().filter(|a| a.get_info().name.to_lowercase().contains(&wanted));
    let mut found = false;
    for adapter in adapters {
        found = true;
        let info = adapter.get_info();
        let features = adapter.features();
        let limits = adapter.limits();
        println!("{} ({:?}, {:?})", info.name, info.device_type, info.backend);
        println!("  driver      {} {}", info.driver, info.driver_info);
        println!("  subgroups   {} to {} lanes", info.subgroup_min_size, info.subgroup_max_size);
        for (name, feature) in [
            ("subgroups", wgpu::Features::SUBGROUP),
            ("shader-f16", wgpu::Features::SHADER_F16),
            ("timestamps", wgpu::Features::TIMESTAMP_QUERY),
            ("pipeline cache", wgpu::Features::PIPELINE_CACHE),
        ] {
            println!("  {name:<15} {}", if features.contains(feature) { "yes" } else { "no" });
        }
        println!("  invocations per workgroup   {}", limits.max_compute_invocations_per_workgroup);
        println!("  workgroup memory            {} KiB", limits.max_compute_workgroup_storage_size >> 10);
        println!("  storage binding             {} MiB", limits.max_storage_buffer_binding_size >> 20);
        println!("  storage buffers per stage   {}", limits.max_storage_buffers_per_shader_stage);
        match pollster::block_on(Gpu::request(GpuOptions { adapter: Some(info.name), ..Default::default() }))
        {
            Ok(gpu) => {
                let variant = gpu.variant(None)?;
                println!("  kernels:");
                for kernel in gristmill_kernels() {
                    println!("    {kernel:<12} {}: {}", variant.kind, variant.reason);
                }
            }
            Err(error) => println!("  kernels     none: {error}"),
        }
        println!();
    }
    if !found {
        let wanted = if wanted.is_empty() { String::new() } else { format!(" named `{wanted}`") };
        anyhow::bail!("{}", gristmill::Error::NoAdapter { wanted, found: "none".into() });
    }
    Ok(())
}

/// Operators whose build depends on the adapter.
fn gristmill_kernels() -> [&'static str; 5] {
    ["attention", "flash_lla", "linear", "norm", "sqa_layer"]
}
