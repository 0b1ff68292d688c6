//! Any kernel on any data: safetensors in, safetensors out. The command line, the browser and the tests share this.

mod atd;
mod attention;
mod cluster_merge;
mod clustvit;
mod config;
mod flash_lla;
mod lowrank_vq;
mod native_sparse;
mod pure_pass_mask;
mod sqa_layer;
mod tensors;
#[cfg(feature = "diagnostics")]
mod twin;
#[cfg(feature = "diagnostics")]
mod twin_atd;
#[cfg(feature = "diagnostics")]
mod twin_cluster;
#[cfg(feature = "diagnostics")]
mod twin_clustvit;
#[cfg(feature = "diagnostics")]
mod twin_pure_pass;
#[cfg(feature = "diagnostics")]
mod twin_sparse;
#[cfg(feature = "diagnostics")]
mod twin_vq;
mod video_nsa;
mod vq_nearest;

pub use atd::atd_file;
pub use config::{Config, KeySpec};
pub use tensors::{HostData, HostTensor, Inputs, Outputs};
#[cfg(feature = "diagnostics")]
pub use twin::run_twin;

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::schedule::Progress;
use crate::tensor::Dtype;
use crate::variant::VariantKind;
use serde_json::Value;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;

/// A kernel that can be run by name.
#[derive(Debug)]
pub struct KernelSpec {
    /// Name.
    pub name: &'static str,
    /// One line on what it does.
    pub about: &'static str,
    /// Tensors it reads, with shapes.
    pub inputs: &'static [TensorSpec],
    /// Keys of its configuration.
    pub keys: &'static [KeySpec],
    /// Tensors it writes, with shapes; F32 where the shape says nothing else.
    pub outputs: &'static [TensorSpec],
    gpu: for<'a> fn(&'a Gpu, &'a Inputs, &'a Config, &'a RunOptions) -> Running<'a>,
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<Done>> + 'a>>;

/// What a kernel's run on the GPU gives.
struct Done {
    outputs: Outputs,
    variant: &'static str,
    milliseconds: f64,
}

/// A tensor of a kernel's contract.
#[derive(Clone, Copy, Debug)]
pub struct TensorSpec {
    /// Name in the file.
    pub name: &'static str,
    /// Shape and type in words.
    pub shape: &'static str,
    /// May be left out.
    pub optional: bool,
}

/// A tensor that must be there.
const fn required(name: &'static str, shape: &'static str) -> TensorSpec {
    TensorSpec { name, shape, optional: false }
}

/// A tensor that may be left out.
const fn optional(name: &'static str, shape: &'static str) -> TensorSpec {
    TensorSpec { name, shape, optional: true }
}

/// Every kernel that `run` knows.
pub const KERNELS: &[KernelSpec] = &[
    atd::SPEC,
    attention::SPEC,
    cluster_merge::MERGE,
    cluster_merge::REGENERATE,
    clustvit::SPEC,
    flash_lla::SPEC,
    lowrank_vq::SPEC,
    native_sparse::SPEC,
    pure_pass_mask::SPEC,
    sqa_layer::SPEC,
    video_nsa::SPEC,
    vq_nearest::SPEC,
];

/// How to run a kernel.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// A JSON object that goes over the configuration in the file's metadata.
    pub config: Option<String>,
    /// `key=value` pairs that go over everything.
    pub set: Vec<String>,
    /// Storage of float inputs on the GPU, f32 or f16 (those that a kernel reads in f32 alone stay so).
    pub dtype: Dtype,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
    /// Told how far the run is.
    pub progress: OnProgress,
}

impl Default for RunOptions {
    /// The file's configuration, f32, the adapter's variant.
    fn default() -> Self {
        Self {
            config: None,
            set: Vec::new(),
            dtype: Dtype::F32,
            variant: None,
            progress: OnProgress::default(),
        }
    }
}

impl RunOptions {
    /// What a kernel's plan is run with.
    fn watch(&self) -> impl FnMut(Progress) -> ControlFlow<()> {
        |at| self.progress.0.as_ref().map_or(ControlFlow::Continue(()), |tell| tell(at.fraction))
    }
}

/// A function that is told the share of a kernel's work that is done, 0 to 1, and may stop it: the run ends with `Cancelled`.
#[derive(Clone, Default)]
pub struct OnProgress(Option<Rc<dyn Fn(f64) -> ControlFlow<()>>>);

impl OnProgress {
    /// Told after every submit.
    pub fn new(tell: impl Fn(f64) -> ControlFlow<()> + 'static) -> Self {
        Self(Some(Rc::new(tell)))
    }
}

impl std::fmt::Debug for OnProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "OnProgress" } else { "no progress" })
    }
}

/// The names of all kernels.
pub fn kernels() -> impl Iterator<Item = &'static str> {
    KERNELS.iter().map(|spec| spec.name)
}

/// The kernel of this name. Errors: `Input`, with the names there are.
pub fn find(kernel: &str) -> Result<&'static KernelSpec> {
    KERNELS.iter().find(|spec| spec.name == kernel).ok_or_else(|| {
        let names: Vec<_> = KERNELS.iter().map(|spec| spec.name).collect();
        Error::Input(format!("there is no kernel `{kernel}`; expected one of {}", names.join(", ")))
    })
}

/// Runs a kernel on the GPU: `input` is a safetensors file, and so is the result.
///
/// Every float input is checked for NaN and infinities first. The result's metadata holds kernel, adapter, variant, version
/// and milliseconds. Errors: any [`Error`]; nothing is returned then.
pub async fn run(gpu: &Gpu, kernel: &str, input: &[u8], options: &RunOptions) -> Result<Vec<u8>> {
    let spec = find(kernel)?;
    let (inputs, config) = read(spec, input, options)?;
    let done = (spec.gpu)(gpu, &inputs, &config, options).await?;
    done.outputs.to_safetensors([
        ("kernel", spec.name.to_string()),
        ("adapter", gpu.info().name.clone()),
        ("variant", done.variant.to_string()),
        ("version", env!("CARGO_PKG_VERSION").to_string()),
        ("milliseconds", format!("{:.3}", done.milliseconds)),
    ])
}

fn read(spec: &KernelSpec, input: &[u8], options: &RunOptions) -> Result<(Inputs, Config)> {
    let (inputs, metadata) = Inputs::from_safetensors(spec, input)?;
    let mut values = BTreeMap::new();
    for source in [metadata.get("config"), options.config.as_ref()].into_iter().flatten() {
        let parsed = serde_json::from_str(source).map_err(|e| e.to_string());
        let object: serde_json::Map<String, Value> = parsed.map_err(|e| {
            Error::Input(format!("{}: the configuration is not a JSON object: {e}", spec.name))
        })?;
        values.extend(object);
    }
    for pair in &options.set {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Error::Input(format!("--set takes key=value, found `{pair}`")))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.into()));
        values.insert(key.trim().into(), value);
    }
    Ok((inputs, Config::new(spec.name, spec.keys, values)?))
}

/// Every kernel with its inputs, configuration and outputs, as text.
pub fn list() -> String {
    let mut text = String::new();
    for spec in KERNELS {
        text.push_str(&format!("{}: {}\n", spec.name, spec.about));
        let tensors = |specs: &[TensorSpec]| -> String {
            let line = |t: &TensorSpec| {
                let note = if t.optional { " (optional)" } else { "" };
                format!("    {:<14} {}{note}\n", t.name, t.shape)
            };
            specs.iter().map(line).collect()
        };
        text.push_str(&format!("  inputs\n{}", tensors(spec.inputs)));
        if !spec.keys.is_empty() {
            text.push_str("  configuration\n");
        }
        for key in spec.keys {
            text.push_str(&format!("    {:<14} {} ({})\n", key.name, key.about, key.default));
        }
        text.push_str(&format!("  outputs\n{}\n", tensors(spec.outputs)));
    }
    text
}
