//! The public side of the crate: every kernel specialises, the bundle says what is true, and any head dim is valid.

#[path = "../build/check.rs"]
mod check;
#[path = "../build/lints.rs"]
mod lints;
#[path = "../src/reflect.rs"]
#[allow(dead_code)]
mod reflect;

use check::check;
use gristmill_shaders::{BindingKind, Interface, bundle, enable_line, kernel_names, specialize};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use serde_json::Value;
use std::collections::HashSet;

#[test]
fn every_kernel_specialises_with_its_defaults() {
    let names: Vec<_> = kernel_names().collect();
    assert!(names.len() >= 20, "{} kernels", names.len());
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "a kernel is listed twice");
    for name in names {
        let shader = specialize(name, &[]).unwrap();
        check(&shader.wgsl).unwrap_or_else(|error| panic!("{name}: {error}"));
        let grid = &shader.interface.bindings[0];
        assert_eq!(
            (grid.index, grid.name.as_str(), &grid.kind),
            (0, "grid", &BindingKind::Uniform),
            "{name}"
        );
        // Binding 1 is the uniform of its parameters; no other is a uniform.
        for binding in &shader.interface.bindings[1..] {
            assert_eq!(
                binding.kind == BindingKind::Uniform,
                binding.index == 1,
                "{name}: `{}`",
                binding.name
            );
        }
    }
}

#[test]
fn what_does_not_exist_is_an_error() {
    let error = |name, constants: &[(&str, &str)]| specialize(name, constants).unwrap_err().to_string();
    assert_eq!(error("attention/prefil", &[]), "there is no kernel `attention/prefil`");
    assert_eq!(error("shared/grid", &[]), "there is no kernel `shared/grid`");
    assert_eq!(
        error("convert/cast", &[("TO_F61", "1")]),
        "convert/cast: no constant `TO_F61`; it has TO_F16, WORKGROUP"
    );
    // A value that is no number where one is computed with.
    let text = error("convert/cast", &[("TO_F16", "yes")]);
    assert!(text.contains("convert/cast.wgsl:") && text.contains("`TO_F16`"), "{text}");
    let text = error("convert/cast", &[("WORKGROUP", "many")]);
    assert!(text.contains("workgroup size `many` is not literal"), "{text}");
}

#[test]
fn constants_change_the_text() {
    let wide = specialize("convert/cast", &[("WORKGROUP", "32"), ("TO_F16", "1")]).unwrap();
    assert_eq!(wide.interface.workgroup_size, [32, 1, 1]);
    let types: Vec<_> =
        wide.interface.bindings[2..].iter().map(|b| (b.name.as_str(), b.ty.as_str())).collect();
    assert_eq!(types, [("source", "array<f32>"), ("result", "array<u32>")]);
    assert!(!wide.wgsl.contains("#if") && !wide.wgsl.contains("{WORKGROUP"));
}

#[test]
fn file_names_are_unique_and_portable() {
    let names: Vec<_> =
        bundle().map(|entry| format!("{}.{}", entry.kernel.replace('/', "-"), entry.permutation)).collect();
    assert!(names.len() >= 60, "{} permutations", names.len());
    let mut seen = HashSet::new();
    for name in &names {
        assert!(seen.insert(name.to_lowercase()), "{name} twice");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)), "{name}");
    }
    // No kernel without a build that is checked and shipped.
    let shipped: HashSet<_> = bundle().map(|entry| entry.kernel).collect();
    assert_eq!(kernel_names().collect::<HashSet<_>>(), shipped);
}

#[test]
fn the_enable_line_stands_where_subgroups_are_used() {
    let mut with_subgroups = 0;
    for entry in bundle() {
        let place = format!("{}.{}", entry.kernel, entry.permutation);
        let (enabled, wgsl) = match entry.wgsl.strip_prefix("enable subgroups;\n") {
            Some(rest) => (true, rest),
            None => (false, entry.wgsl.as_str()),
        };
        assert!(!wgsl.contains("enable "), "{place}: one enable line at most, and first");
        let module = naga::front::wgsl::parse_str(wgsl).unwrap();
        let without = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        let needs_them = Validator::new(ValidationFlags::all(), without).validate(&module).is_err();
        assert_eq!(enabled, needs_them, "{place}");
        let subgroup = entry.interface.subgroup;
        assert_eq!(enabled, subgroup, "{place}");
        assert_eq!(entry.permutation.contains("subgroup"), subgroup, "{place}: named for what it is");
        with_subgroups += enabled as u32;
    }
    assert!(with_subgroups >= 5, "{with_subgroups} permutations with subgroups");
}

/// What a host in another language reads is what the kernel has.
#[test]
fn the_metadata_matches_the_kernels() {
    for entry in bundle() {
        let place = format!("{}.{}", entry.kernel, entry.permutation);
        let json: Value =
            serde_json::from_str(&entry.metadata_json).unwrap_or_else(|e| panic!("{place}: {e}"));
        assert_eq!(
            (&json["kernel"], &json["permutation"]),
            (&entry.kernel.into(), &entry.permutation.into())
        );
        assert_eq!(json["entry_point"], "main");
        let dispatch = json["dispatch"].as_str().unwrap();
        assert!(!dispatch.is_empty(), "{place} has no dispatch formula");

        // The constants that it names give the very same text.
        let constants = json["constants"].as_object().unwrap();
        let constants: Vec<_> = constants.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
        let shader = specialize(entry.kernel, &constants).unwrap();
        assert_eq!(format!("{}{}", enable_line(&shader.interface), shader.wgsl), entry.wgsl, "{place}");

        let bytes = check(&shader.wgsl).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(json["workgroup_bytes"], bytes, "{place}");
        same_interface(&place, &json, &shader.interface);

        // A Rust host reads the same without JSON.
        assert_eq!(entry.interface, shader.interface, "{place}");
        assert_eq!((entry.workgroup_bytes, entry.dispatch), (bytes, dispatch), "{place}");
        assert_eq!(json["limits"]["maxStorageBuffersPerShaderStage"], entry.storage_buffers(), "{place}");
    }
}

/// A host counts workgroups with what the JSON file holds: the fields of the parameters, the constants, + - * / ^ and ceil.
#[test]
fn the_dispatch_formulas_need_nothing_but_the_metadata() {
    for entry in bundle() {
        let place = format!("{}.{}", entry.kernel, entry.permutation);
        let json: Value = serde_json::from_str(&entry.metadata_json).unwrap();
        let fields = json["bindings"][1]["fields"].as_array().unwrap();
        let known = |word: &str| {
            word == "ceil"
                || word.parse::<u32>().is_ok()
                || fields.iter().any(|field| field["name"] == word)
                || json["constants"].get(word).is_some()
        };
        // How long the peak rate is measured is the host's choice.
        let known = |word: &str| known(word) || (entry.kernel, word) == ("measure/fma", "invocations");
        let separator = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        for word in entry.dispatch.split(separator).filter(|word| !word.is_empty()) {
            assert!(known(word), "{place}: `{word}` of `{}`", entry.dispatch);
        }
        let only = |c: char| !separator(c) || " +-*/^()".contains(c);
        assert!(entry.dispatch.chars().all(only), "{place}: `{}`", entry.dispatch);
    }
}

fn same_interface(place: &str, json: &Value, interface: &Interface) {
    let size: Vec<u32> = serde_json::from_value(json["workgroup_size"].clone()).unwrap();
    assert_eq!(size, interface.workgroup_size, "{place}");
    let features: &[&str] = if interface.subgroup { &["subgroups"] } else { &[] };
    assert_eq!(json["features"], Value::from(features), "{place}");

    let bindings = json["bindings"].as_array().unwrap();
    assert_eq!(bindings.len(), interface.bindings.len(), "{place}");
    let mut storage = 0;
    for (found, binding) in bindings.iter().zip(&interface.bindings) {
        let access = match binding.kind {
            BindingKind::Uniform => "uniform",
            BindingKind::StorageRead => "read",
            BindingKind::StorageReadWrite => "read_write",
            BindingKind::Texture => "texture",
            BindingKind::StorageTexture(_) => "storage_texture",
        };
        storage += access.starts_with("read") as u32;
        assert_eq!(found["binding"], binding.index, "{place}");
        assert_eq!(found["name"], binding.name.as_str(), "{place}");
        assert_eq!(found["type"], binding.ty.as_str(), "{place}");
        assert_eq!(found["access"], access, "{place}");
        let is_uniform = binding.kind == BindingKind::Uniform;
        assert_eq!(found["fields"].is_array(), is_uniform, "{place}: `{}`", binding.name);
    }
    let limits = &json["limits"];
    assert_eq!(limits["maxComputeInvocationsPerWorkgroup"], size.iter().product::<u32>(), "{place}");
    assert!(size.iter().product::<u32>() <= 256, "{place}: WebGPU guarantees 256 invocations");
    assert_eq!(limits["maxComputeWorkgroupStorageSize"], json["workgroup_bytes"], "{place}");
    assert_eq!(limits["maxStorageBuffersPerShaderStage"], storage, "{place}");
}

/// Head dims around every multiple that a tile could care for.
const DIMS: [u32; 20] = [1, 2, 3, 4, 5, 7, 8, 15, 17, 32, 33, 63, 64, 80, 96, 127, 128, 130, 255, 256];

/// Tiles of each attention kernel that fit a head dim, as hosts choose them.
fn tiles(kernel: &str, dim: u32) -> Vec<Vec<(&'static str, u32)>> {
    match kernel {
        "attention/prefill" if dim <= 128 => vec![vec![("ROW_TILE", 64), ("KEY_TILE", 32)]],
        "attention/prefill" => vec![vec![("ROW_TILE", 32), ("KEY_TILE", 64)]],
        "attention/decode" => {
            // The query's rows lie beside a tile of keys in 16 KiB.
            let fits = |rows: &u32| rows * (dim.next_multiple_of(32) + 64) <= 2048;
            [1, 4, 8, 16].into_iter().filter(fits).map(|rows| vec![("ROW_TILE", rows)]).collect()
        }
        "attention/prefill_cpu" if dim <= 64 => {
            vec![vec![("ROWS", 4), ("KEYS", 4)], vec![("ROWS", 8), ("KEYS", 1)]]
        }
        "attention/prefill_cpu" => vec![vec![("ROWS", 1), ("KEYS", 1)], vec![("ROWS", 2), ("KEYS", 2)]],
        _ => vec![vec![("ROWS", 1), ("KEYS", 1)], vec![("ROWS", 2), ("KEYS", 2)]],
    }
}

fn load_type(half: bool, dim: u32) -> &'static str {
    match (half, dim.is_multiple_of(4)) {
        (true, true) => "vec2u",
        (true, false) => "u32",
        (false, true) => "vec4f",
        (false, false) => "f32",
    }
}

/// Every head dim with every value dim would be 65536 builds; each dim is taken once, with flags in turn.
#[test]
fn attention_is_valid_for_odd_head_dims() {
    let kernels = ["attention/prefill", "attention/prefill_cpu", "attention/decode", "attention/decode_cpu"];
    for kernel in kernels {
        for (turn, &head_dim) in DIMS.iter().enumerate() {
            // A stride of 7 pairs small with large ones, and equal ones too.
            let value_dim = if turn % 3 == 0 { head_dim } else { DIMS[turn * 7 % DIMS.len()] };
            for tile in tiles(kernel, head_dim.max(value_dim)) {
                let (query_half, key_half) = (turn % 4 == 1, turn % 2 == 1);
                let flag =
                    |bit: usize| if (turn * 5 + tile[0].1 as usize) >> bit & 1 == 1 { "1" } else { "0" };
                let half = |half| if half { "1" } else { "0" };
                let (head_text, value_text) = (head_dim.to_string(), value_dim.to_string());
                let tile: Vec<_> = tile.iter().map(|(name, value)| (*name, value.to_string())).collect();
                let packed = flag(2);
                let mut constants = vec![
                    ("HEAD_DIM", head_text.as_str()),
                    ("VALUE_DIM", value_text.as_str()),
                    ("QUERY_F16", half(query_half)),
                    ("KEY_F16", half(key_half)),
                    ("QUERY_TYPE", load_type(query_half, head_dim)),
                    ("KEY_TYPE", load_type(key_half, head_dim)),
                    ("VALUE_TYPE", load_type(key_half, value_dim)),
                    ("KEY_BIAS", flag(0)),
                    ("KEY_MASK", flag(1)),
                    ("PACKED", packed),
                    // The lengths of a cache and the bounds of packed sequences share a binding.
                    ("LENGTHS", if packed == "1" { "0" } else { flag(3) }),
                    ("SUBGROUP", flag(4)),
                ];
                constants.extend(tile.iter().map(|(name, value)| (*name, value.as_str())));
                let shader = specialize(kernel, &constants)
                    .unwrap_or_else(|error| panic!("{kernel} with {constants:?}: {error}"));
                check(&shader.wgsl).unwrap_or_else(|error| panic!("{kernel} with {constants:?}: {error}"));
            }
        }
    }
}
