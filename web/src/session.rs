//! One device and what a page runs on it.

use crate::convert::{Object, Watch};
use crate::device;
use crate::error::{Failure, unusable};
use gristmill::run::{OnProgress, RunOptions};
use gristmill::{Error, Gpu};
use js_sys::{Function, Uint8Array};
use serde_json::{Map, json};
use std::cell::RefCell;
use wasm_bindgen::prelude::*;

/// A device, and the answers to what a page asks of it. Calls may overlap.
#[wasm_bindgen]
pub struct Session {
    gpu: RefCell<Gpu>,
}

#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

#[wasm_bindgen]
impl Session {
    /// Takes a device: the page's `device`, or one of our own with at most the `limits` and of the `variant` that are named.
    pub async fn create(options: JsValue) -> Result<Session, Failure> {
        let options = Object::from(options);
        let variant = options.get("variant").and_then(|name| name.as_string());
        let gpu = match options.get("device") {
            Some(device) => {
                if variant.is_some() {
                    return Err(unusable("variant", "given with a device", "one of the two"));
                }
                device::adopt(device).await?
            }
            None => device::request(options.get("limits"), variant).await?,
        };
        Ok(Self { gpu: RefCell::new(gpu) })
    }

    /// JSON: the adapter, its limits and features, and for every kernel the variant that runs here and why.
    pub fn report(&self) -> Result<String, Failure> {
        let gpu = self.gpu();
        let (adapter, limits, variant) = (gpu.info(), gpu.limits(), gpu.variant(None)?);
        let features: Vec<&str> = gpu.features().iter_names().map(|(name, _)| name).collect();
        let variant = json!({ "variant": variant.kind.name(), "reason": variant.reason });
        let mut kernels = Map::new();
        gristmill::run::kernels().for_each(|name| drop(kernels.insert(name.into(), variant.clone())));
        let report = json!({
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
        Ok(report.to_string())
    }

    /// Waits until the device is lost and says why.
    pub async fn lost(&self) -> String {
        self.gpu().lost().await
    }

    /// Makes a new device after a loss.
    pub async fn recover(&self) -> Result<(), Failure> {
        let recovered = self.gpu().recover().await?;
        self.gpu.replace(recovered.gpu);
        Ok(())
    }

    /// Destroys a device of our own.
    #[wasm_bindgen(js_name = destroyDevice)]
    pub fn destroy_device(&self) {
        self.gpu().device().destroy();
    }

    /// Runs `kernel` on the bytes of a safetensors file and answers with the bytes of another.
    ///
    /// The keys of `config` (JSON) beat those of the file's metadata; empty text changes none. `variant` names a build of the kernels
    /// (`portable`, `cpu`, ..) instead of the one that fits the adapter.
    pub async fn run(
        &self,
        kernel: String,
        input: Uint8Array,
        config: String,
        variant: Option<String>,
        watch: Function,
    ) -> Result<Uint8Array, Failure> {
        let variant = variant.map(|name| name.parse()).transpose().map_err(Error::Input)?;
        let config = Some(config).filter(|text| !text.trim().is_empty());
        let watch = Watch::new(watch);
        watch.check(0.0)?;
        let progress = OnProgress::new(move |share| watch.share(share));
        let options = RunOptions { config, variant, progress, ..RunOptions::default() };
        let output = gristmill::run::run(&self.gpu(), &kernel, &input.to_vec(), &options).await?;
        Ok(Uint8Array::from(&output[..]))
    }

    /// Checks every kernel against its f64 twin; answers with a line for each, or fails with the lines of those that disagree.
    #[cfg(feature = "diagnostics")]
    #[wasm_bindgen(js_name = selfTest)]
    pub async fn self_test(&self) -> Result<String, Failure> {
        let checks = gristmill::self_check::self_check(&self.gpu(), None, |_| ()).await?;
        let lines = |passed: bool| -> Vec<String> {
            let some = checks.iter().filter(|check| check.passed == passed);
            some.map(|check| format!("{}: {}", check.name, check.detail)).collect()
        };
        let failed = lines(false);
        if failed.is_empty() {
            Ok(lines(true).join("\n"))
        } else {
            Err(Error::Input(failed.join("; ")).into())
        }
    }
}

impl Session {
    /// What every call starts with. Fails where it was stopped before.
    pub(crate) fn begin(&self, options: JsValue, watch: Function) -> Result<(Gpu, Object, Watch), Failure> {
        let watch = Watch::new(watch);
        watch.check(0.0)?;
        Ok((self.gpu(), Object::from(options), watch))
    }

    /// The device of now.
    pub(crate) fn gpu(&self) -> Gpu {
        self.gpu.borrow().clone()
    }
}

/// The names of the kernels that `run` knows.
#[wasm_bindgen]
pub fn kernels() -> Vec<String> {
    gristmill::run::kernels().map(String::from).collect()
}
