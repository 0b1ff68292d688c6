//! One permutation through naga: parse, validate, lint, and compare with what the text scan reads.

use crate::lints;
use crate::reflect::{BindingKind, Interface, reflect, uniform_fields};
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// Checks plain WGSL; gives the bytes of workgroup memory.
pub fn check(wgsl: &str) -> Result<u32, String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|e| e.emit_to_string(wgsl))?;
    let interface = reflect(wgsl)?;
    // Packed halves (`unpack2x16float`) are part of WebGPU; naga counts them as a capability of the device.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(Capabilities::SUBGROUP, interface.subgroup);
    Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| e.emit_to_string(wgsl))?;
    same_interface(&module, &interface)?;
    same_fields(&module, &interface, wgsl)?;
    lints::lint(&module, wgsl)
}

fn same_interface(module: &naga::Module, interface: &Interface) -> Result<(), String> {
    let [entry] = module.entry_points.as_slice() else {
        return Err(format!("{} entry points, expected one", module.entry_points.len()));
    };
    if entry.name != "main" || entry.workgroup_size != interface.workgroup_size {
        return Err(format!(
            "entry point `{}` {:?}, the text reads `main` {:?}",
            entry.name, entry.workgroup_size, interface.workgroup_size
        ));
    }
    let mut seen: Vec<_> = module
        .global_variables
        .iter()
        .filter_map(|(_, variable)| Some((variable.binding?.binding, variable)))
        .collect();
    seen.sort_by_key(|(index, _)| *index);
    let read: Vec<_> = interface.bindings.iter().map(|b| b.index).collect();
    let parsed: Vec<_> = seen.iter().map(|(index, _)| *index).collect();
    if read != parsed {
        return Err(format!("bindings {parsed:?}, the text reads {read:?}"));
    }
    for (binding, (_, variable)) in interface.bindings.iter().zip(&seen) {
        let same = match (&binding.kind, variable.space) {
            (BindingKind::Uniform, naga::AddressSpace::Uniform) => true,
            (BindingKind::StorageRead, naga::AddressSpace::Storage { access }) => {
                access == naga::StorageAccess::LOAD
            }
            (BindingKind::StorageReadWrite, naga::AddressSpace::Storage { access }) => {
                access.contains(naga::StorageAccess::STORE)
            }
            (BindingKind::Texture | BindingKind::StorageTexture(_), naga::AddressSpace::Handle) => true,
            _ => false,
        };
        if !same {
            return Err(format!(
                "binding `{}` is {:?}, the text reads {:?}",
                binding.name, variable.space, binding.kind
            ));
        }
    }
    Ok(())
}

/// The fields of the uniforms as the text reads them are those that naga sees, each in the next four bytes.
fn same_fields(module: &naga::Module, interface: &Interface, wgsl: &str) -> Result<(), String> {
    for binding in interface.bindings.iter().filter(|binding| binding.kind == BindingKind::Uniform) {
        let read: Vec<_> = uniform_fields(wgsl, &binding.ty)?
            .into_iter()
            .enumerate()
            .map(|(n, field)| (field.name, field.ty, 4 * n as u32))
            .collect();
        let uniform = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(&binding.ty));
        let Some(naga::TypeInner::Struct { members, .. }) = uniform.map(|(_, ty)| &ty.inner) else {
            return Err(format!("`{}` is no struct", binding.ty));
        };
        let scalar = |handle| match module.types[handle].inner {
            naga::TypeInner::Scalar(naga::Scalar::U32) => "u32",
            naga::TypeInner::Scalar(naga::Scalar::I32) => "i32",
            naga::TypeInner::Scalar(naga::Scalar::F32) => "f32",
            _ => "no scalar",
        };
        let parsed: Vec<_> = members
            .iter()
            .map(|member| {
                (member.name.clone().unwrap_or_default(), scalar(member.ty).to_string(), member.offset)
            })
            .collect();
        if read != parsed {
            return Err(format!("`{}` has the fields {parsed:?}, the text reads {read:?}", binding.ty));
        }
    }
    Ok(())
}
