//! The WGSL kernels of Gristmill with their metadata, free of any GPU API.
//!
//! [`specialize`] turns a kernel's name and constants into plain WGSL and its [`Interface`], at run time and in wasm
//! alike. [`bundle`] lists the permutations that the build has validated: plain WGSL and JSON for hosts in any language.
//!
//! ```
//! let shader = gristmill_shaders::specialize("attention/combine", &[("WORKGROUP", "32")])?;
//! assert!(shader.wgsl.contains("fn main("));
//! assert_eq!(shader.interface.bindings[0].name, "grid");
//! # Ok::<(), gristmill_shaders::ShaderError>(())
//! ```

mod expression;
mod permutations;
mod preprocess;
mod reflect;

pub use preprocess::Defines;
pub use reflect::{Binding, BindingKind, Field, Interface, uniform_fields};

use permutations::KernelEntry;
use std::fmt;
use std::sync::OnceLock;

/// Written by build.rs: `PERMUTATIONS`, `FILES: &[(name, text)]` (for wasm both in `PACKED`) and `CHECKED: &[Checked]`.
mod embedded {
    use super::Checked;
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

/// What build.rs learned of a permutation from naga.
struct Checked {
    kernel: &'static str,
    permutation: &'static str,
    workgroup_bytes: u32,
}

/// A kernel that doesn't exist, or constants that don't fit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShaderError(pub String);

impl fmt::Display for ShaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ShaderError {}

/// A kernel with all constants in place.
#[derive(Clone, Debug)]
pub struct Shader {
    /// Plain WGSL with one entry point, `main`. Without `enable subgroups;`, which naga refuses: see [`enable_line`].
    pub wgsl: String,
    /// Bindings and workgroup size.
    pub interface: Interface,
}

#[cfg(not(target_arch = "wasm32"))]
fn permutations_text() -> &'static str {
    embedded::PERMUTATIONS
}

#[cfg(not(target_arch = "wasm32"))]
fn files() -> &'static [(&'static str, &'static str)] {
    embedded::FILES
}

#[cfg(target_arch = "wasm32")]
fn permutations_text() -> &'static str {
    texts()[0].1
}

#[cfg(target_arch = "wasm32")]
fn files() -> &'static [(&'static str, &'static str)] {
    &texts()[1..]
}

/// Names and texts, unpacked once.
#[cfg(target_arch = "wasm32")]
fn texts() -> &'static [(&'static str, &'static str)] {
    static TEXTS: OnceLock<Vec<(&'static str, &'static str)>> = OnceLock::new();
    TEXTS.get_or_init(|| {
        let bytes = miniz_oxide::inflate::decompress_to_vec(embedded::PACKED).expect("packed by build.rs");
        let texts: &'static str = String::from_utf8(bytes).expect("packed by build.rs").leak();
        let mut words = texts.split('\0');
        std::iter::from_fn(|| words.next().zip(words.next())).collect()
    })
}

fn kernels() -> &'static [KernelEntry] {
    static KERNELS: OnceLock<Vec<KernelEntry>> = OnceLock::new();
    KERNELS.get_or_init(|| permutations::parse(permutations_text()).expect("build.rs has parsed this file"))
}

/// The names of all kernels, such as `attention/prefill`.
pub fn kernel_names() -> impl Iterator<Item = &'static str> {
    kernels().iter().map(|kernel| kernel.name.as_str())
}

/// The kernel `name` with its default constants changed by `constants`.
///
/// Errors: an unknown kernel, a constant that it doesn't have, or values that its text can't be resolved with.
pub fn specialize(name: &str, constants: &[(&str, &str)]) -> Result<Shader, ShaderError> {
    let kernel = kernels()
        .iter()
        .find(|kernel| kernel.name == name)
        .ok_or_else(|| ShaderError(format!("there is no kernel `{name}`")))?;
    let changes = constants.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    kernel.defines(&changes).and_then(|defines| build(name, &defines)).map_err(ShaderError)
}

fn build(name: &str, defines: &Defines) -> Result<Shader, String> {
    let file = |name: &str| files().iter().find(|file| file.0 == name).map(|file| file.1);
    let wgsl = preprocess::resolve(name, &file, defines)?;
    let interface = reflect::reflect(&wgsl).map_err(|reason| format!("{name}: {reason}"))?;
    Ok(Shader { wgsl, interface })
}

/// The line that Tint and browsers want at the top of a kernel with subgroup operations; empty for the others.
pub fn enable_line(interface: &Interface) -> &'static str {
    if interface.subgroup { "enable subgroups;\n" } else { "" }
}

/// One validated permutation, ready for a host in any language.
pub struct BundleEntry {
    /// Kernel, such as `attention/prefill`.
    pub kernel: &'static str,
    /// Permutation, such as `f32_d64`.
    pub permutation: &'static str,
    /// WGSL for browsers and Tint (with the `enable` line where it needs one).
    pub wgsl: String,
    /// Bindings, workgroup size (whose product is the invocations it needs), and whether it needs the feature `subgroups`.
    pub interface: Interface,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// How many workgroups a dispatch has, in words of the kernel's parameters.
    pub dispatch: &'static str,
    /// All of the metadata as JSON: name, constants, workgroup size, bindings with the fields of the
    /// uniforms, workgroup memory, features, limits, dispatch.
    pub metadata_json: String,
}

impl BundleEntry {
    /// Storage buffers it binds, of which WebGPU guarantees 8.
    pub fn storage_buffers(&self) -> usize {
        storage_buffers(&self.interface)
    }
}

fn storage_buffers(interface: &Interface) -> usize {
    let is_storage =
        |kind: &BindingKind| matches!(kind, BindingKind::StorageRead | BindingKind::StorageReadWrite);
    interface.bindings.iter().filter(|binding| is_storage(&binding.kind)).count()
}

/// Every permutation that the build has validated with naga and linted. A build for wasm has none: see build.rs.
pub fn bundle() -> impl Iterator<Item = BundleEntry> {
    embedded::CHECKED.iter().map(|checked| {
        let kernel = kernels().iter().find(|k| k.name == checked.kernel).expect("checked by build.rs");
        let changes =
            &kernel.permutations.iter().find(|p| p.0 == checked.permutation).expect("checked by build.rs").1;
        let defines = kernel.defines(changes).expect("checked by build.rs");
        let shader = build(checked.kernel, &defines).expect("checked by build.rs");
        BundleEntry {
            kernel: checked.kernel,
            permutation: checked.permutation,
            workgroup_bytes: checked.workgroup_bytes,
            dispatch: &kernel.dispatch,
            metadata_json: metadata_json(checked, kernel, &defines, &shader),
            wgsl: format!("{}{}", enable_line(&shader.interface), shader.wgsl),
            interface: shader.interface,
        }
    })
}

/// The metadata of one permutation; every text in it is an identifier or a type, so nothing needs escaping.
fn metadata_json(checked: &Checked, kernel: &KernelEntry, defines: &Defines, shader: &Shader) -> String {
    let interface = &shader.interface;
    let bindings = interface.bindings.iter().map(|binding| {
        let access = match &binding.kind {
            BindingKind::Uniform => "uniform",
            BindingKind::StorageRead => "read",
            BindingKind::StorageReadWrite => "read_write",
            BindingKind::Texture => "texture",
            BindingKind::StorageTexture(_) => "storage_texture",
        };
        let Binding { index, name, ty, .. } = binding;
        let fields = if binding.kind == BindingKind::Uniform { fields_json(&shader.wgsl, ty) } else { String::new() };
        format!("    {{ \"binding\": {index}, \"name\": \"{name}\", \"type\": \"{ty}\", \"access\": \"{access}\"{fields} }}")
    });
    let storage = storage_buffers(interface);
    let constants = defines.iter().map(|(name, value)| format!("\"{name}\": \"{value}\""));
    let [x, y, z] = interface.workgroup_size;
    format!(
        "{{\n  \"kernel\": \"{}\",\n  \"permutation\": \"{}\",\n  \"entry_point\": \"main\",\n  \
         \"workgroup_size\": [{x}, {y}, {z}],\n  \"workgroup_bytes\": {},\n  \"features\": [{}],\n  \
         \"limits\": {{ \"maxComputeInvocationsPerWorkgroup\": {}, \"maxComputeWorkgroupStorageSize\": {}, \
         \"maxStorageBuffersPerShaderStage\": {storage} }},\n  \"dispatch\": \"{}\",\n  \
         \"constants\": {{ {} }},\n  \"bindings\": [\n{}\n  ]\n}}\n",
        checked.kernel,
        checked.permutation,
        checked.workgroup_bytes,
        if interface.subgroup { "\"subgroups\"" } else { "" },
        x * y * z,
        checked.workgroup_bytes,
        kernel.dispatch,
        constants.collect::<Vec<_>>().join(", "),
        bindings.collect::<Vec<_>>().join(",\n"),
    )
}

/// What a host writes into a uniform: name, type and byte of each value.
fn fields_json(wgsl: &str, ty: &str) -> String {
    let fields = uniform_fields(wgsl, ty).expect("checked by build.rs");
    let lines = fields.iter().enumerate().map(|(n, Field { name, ty })| {
        format!("      {{ \"name\": \"{name}\", \"type\": \"{ty}\", \"offset\": {} }}", 4 * n)
    });
    format!(", \"fields\": [\n{}\n    ]", lines.collect::<Vec<_>>().join(",\n"))
}
