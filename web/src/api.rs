//! What a page calls. Every error is a JavaScript `Error` with one line that says what to change.

use gristmill::run::RunOptions;
use gristmill::{Gpu, GpuOptions};
use js_sys::Uint8Array;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use wasm_bindgen::prelude::*;

thread_local! {
    /// The page's one device: requested on first use, kept until it is lost.
    static GPU: RefCell<Option<Gpu>> = const { RefCell::new(None) };
}

async fn gpu() -> Result<Gpu, JsError> {
    let kept = || GPU.with_borrow(Clone::clone).filter(|gpu| gpu.check_lost().is_ok());
    if let Some(gpu) = kept() {
        return Ok(gpu);
    }
    let gpu = Gpu::request(GpuOptions::default()).await?;
    // Two first calls may both have asked: the one that came first is kept.
    let gpu = kept().unwrap_or(gpu);
    GPU.set(Some(gpu.clone()));
    Ok(gpu)
}

#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// Runs `kernel` on the bytes of a safetensors file and answers with the bytes of another.
///
/// The keys of `config_json` beat those of the file's metadata; empty text changes none. `variant` names a build of the
/// kernels (`portable`, `cpu`, ..) instead of the one that fits the adapter.
#[wasm_bindgen]
pub async fn run(
    kernel: String,
    input: Uint8Array,
    config_json: String,
    variant: Option<String>,
) -> Result<Vec<u8>, JsError> {
    let variant =
        variant.map(|name| name.parse()).transpose().map_err(|reason: String| JsError::new(&reason))?;
    let config = Some(config_json).filter(|text| !text.trim().is_empty());
    let options = RunOptions { config, variant, ..RunOptions::default() };
    Ok(gristmill::run::run(&gpu().await?, &kernel, &input.to_vec(), &options).await?)
}

/// The kernels that `run` knows.
#[wasm_bindgen]
pub fn kernels() -> Vec<String> {
    gristmill::run::kernels().map(String::from).collect()
}

/// JSON: the adapter, its limits and features, and for every kernel the variant that runs here and why.
#[wasm_bindgen]
pub async fn info() -> Result<String, JsError> {
    let gpu = gpu().await?;
    let (adapter, limits, variant) = (gpu.info(), gpu.limits(), gpu.variant(None)?);
    let features: Vec<&str> = gpu.features().iter_names().map(|(name, _)| name).collect();
    let variant = json!({ "variant": variant.kind.name(), "reason": variant.reason });
    let kernels: Map<String, Value> = kernels().into_iter().map(|name| (name, variant.clone())).collect();
    let info = json!({
        "adapter": {
            "name": adapter.name,
            "driver": adapter.driver,
            "type": format!("{:?}", adapter.device_type),
            "backend": adapter.backend.to_str(),
        },
        "limits": {
            "maxBufferSize": limits.max_buffer_size,
            "maxStorageBufferBindingSize": limits.max_storage_buffer_binding_size,
            "maxStorageBuffersPerShaderStage": limits.max_storage_buffers_per_shader_stage,
            "maxComputeInvocationsPerWorkgroup": limits.max_compute_invocations_per_workgroup,
            "maxComputeWorkgroupStorageSize": limits.max_compute_workgroup_storage_size,
            "maxComputeWorkgroupsPerDimension": limits.max_compute_workgroups_per_dimension,
        },
        "features": features,
        "kernels": kernels,
    });
    Ok(info.to_string())
}

/// JSON: `milliseconds` and `gflops` of `kernel` (`attention` or `linear`) at its reference shape, with its `variant`.
#[cfg(feature = "diagnostics")]
#[wasm_bindgen]
pub async fn bench(kernel: String, repeat: u32) -> Result<String, JsError> {
    Ok(gristmill::measure::bench(&gpu().await?, &kernel, repeat).await?)
}

/// Checks every kernel against its f64 twin; answers with a line for each, or fails with the lines of those that disagree.
#[cfg(feature = "diagnostics")]
#[wasm_bindgen]
pub async fn self_test() -> Result<String, JsError> {
    let checks = gristmill::self_check::self_check(&gpu().await?, None, |_| ()).await?;
    let lines = |passed: bool| -> Vec<String> {
        let some = checks.iter().filter(|check| check.passed == passed);
        some.map(|check| format!("{}: {}", check.name, check.detail)).collect()
    };
    let failed = lines(false);
    if failed.is_empty() { Ok(lines(true).join("\n")) } else { Err(JsError::new(&failed.join("; "))) }
}
