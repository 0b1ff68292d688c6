//! A device of ours, or the page's.

use crate::convert::Object;
use crate::error::{Failure, unusable};
use gristmill::{Error, Gpu, GpuOptions, wgpu};
use js_sys::{Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

/// Asks the browser for a device. `limits` are the most it may have.
pub async fn request(limits: Option<JsValue>, variant: Option<String>) -> Result<Gpu, Failure> {
    let at_most = limits.map(|limits| at_most(&Object::from(limits))).transpose()?;
    let variant = variant.map(|name| name.parse()).transpose().map_err(Error::Input)?;
    Ok(Gpu::request(GpuOptions { at_most, variant, ..GpuOptions::default() }).await?)
}

/// WebGPU's default limits with those that are named in their place.
fn at_most(named: &Object) -> Result<wgpu::Limits, Failure> {
    let mut limits = wgpu::Limits::defaults();
    let most = u32::MAX as usize;
    let read =
        |name: &str, default: u64| named.count(name, default as usize, 1..=most).map(|limit| limit as u64);
    limits.max_buffer_size = read("maxBufferSize", limits.max_buffer_size)?;
    limits.max_storage_buffer_binding_size =
        read("maxStorageBufferBindingSize", limits.max_storage_buffer_binding_size)?;
    for (name, limit) in [
        ("maxStorageBuffersPerShaderStage", &mut limits.max_storage_buffers_per_shader_stage),
        ("maxComputeInvocationsPerWorkgroup", &mut limits.max_compute_invocations_per_workgroup),
        ("maxComputeWorkgroupStorageSize", &mut limits.max_compute_workgroup_storage_size),
        ("maxComputeWorkgroupsPerDimension", &mut limits.max_compute_workgroups_per_dimension),
    ] {
        *limit = read(name, u64::from(*limit))? as u32;
    }
    Ok(limits)
}

#[wasm_bindgen(inline_js = r#"
/** What stands for `navigator.gpu` where the only adapter has the one device. */
export function gpuWith(device) {
  const adapter = {
    features: device.features,
    limits: device.limits,
    info: device.adapterInfo ?? {},
    requestDevice: async () => device,
  };
  return { requestAdapter: async () => adapter, wgslLanguageFeatures: navigator.gpu.wgslLanguageFeatures,
    getPreferredCanvasFormat: () => navigator.gpu.getPreferredCanvasFormat() };
}

/** Calls `make` while `navigator.gpu` is another. */
export function withNavigatorGpu(gpu, make) {
  Object.defineProperty(navigator, "gpu", { value: gpu, configurable: true });
  try {
    return make();
  } finally {
    delete navigator.gpu; // that of the prototype shows again
  }
}
"#)]
extern "C" {
    #[wasm_bindgen(js_name = gpuWith)]
    fn gpu_with(device: &JsValue) -> JsValue;
    #[wasm_bindgen(js_name = withNavigatorGpu)]
    fn with_navigator_gpu(gpu: &JsValue, make: &mut dyn FnMut());
}

/// Takes over a `GPUDevice` of the page. wgpu has no way to be given one, but asks `navigator.gpu` for an adapter and that for a
/// device: for the moment in which it looks there, it finds an adapter that has this device to give.
pub async fn adopt(device: JsValue) -> Result<Gpu, Failure> {
    if Reflect::get(&device, &"createComputePipeline".into()).map_or(true, |method| !method.is_function()) {
        return Err(unusable("device", "something else", "a GPUDevice"));
    }
    let mut instance = None;
    with_navigator_gpu(&gpu_with(&device), &mut || {
        instance = Some(wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle()));
    });
    let refused = |error: &dyn std::fmt::Display| Error::Device(error.to_string());
    let instance = instance.ok_or_else(|| Error::Device("no instance was made".into()))?;
    let adapter = instance.request_adapter(&Default::default()).await.map_err(|error| refused(&error))?;
    let descriptor = wgpu::DeviceDescriptor {
        required_features: adapter.features(),
        required_limits: adapter.limits(),
        ..Default::default()
    };
    let (wrapped, queue) = adapter.request_device(&descriptor).await.map_err(|error| refused(&error))?;
    let gpu = Gpu::adopt(adapter.get_info(), wrapped, queue);
    let watched = gpu.clone();
    wasm_bindgen_futures::spawn_local(async move {
        let lost = Reflect::get(&device, &"lost".into()).unwrap_or_default();
        let info = JsFuture::from(Promise::resolve(&lost)).await.unwrap_or_default();
        let word = |name| Object::from(info.clone()).get(name).and_then(|word: JsValue| word.as_string());
        let (reason, message) = (word("reason").unwrap_or_default(), word("message").unwrap_or_default());
        watched.mark_lost(&format!("{reason}: {message}"));
    });
    Ok(gpu)
}
