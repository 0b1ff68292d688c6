//! Resolves, validates and lints every permutation, and embeds the WGSL files with what was learned of them.
//!
//! For wasm the texts are embedded packed, without comments and indentation, and the permutations are left out: a page pays
//! for every byte, specialises at run time, and the native build has checked the same texts.

#[path = "build/check.rs"]
mod check;
#[path = "src/expression.rs"]
#[allow(dead_code)]
mod expression;
#[path = "build/lints.rs"]
mod lints;
#[path = "src/permutations.rs"]
#[allow(dead_code)]
mod permutations;
#[path = "src/preprocess.rs"]
#[allow(dead_code)]
mod preprocess;
#[path = "src/reflect.rs"]
#[allow(dead_code)]
mod reflect;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn main() {
    for watched in ["wgsl", "permutations", "build", "src", "build.rs"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    match generate() {
        Ok(code) => {
            let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
            std::fs::write(out.join("embedded.rs"), code).expect("OUT_DIR can be written");
        }
        Err(errors) => {
            for line in errors.lines() {
                println!("cargo::error={line}");
            }
        }
    }
}

fn generate() -> Result<String, String> {
    let root = Path::new("wgsl"); // a build script runs in its package's folder
    let mut files = BTreeMap::new();
    collect(root, root, &mut files).map_err(|e| format!("{}: {e}", root.display()))?;
    let text = std::fs::read_to_string("permutations").map_err(|e| format!("permutations: {e}"))?;
    let kernels = permutations::parse(&text)?;
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        return packed(&without_permutations(&text), &files);
    }

    let mut code = format!("pub(super) const PERMUTATIONS: &str = {text:?};\n");
    code.push_str("pub(super) const FILES: &[(&str, &str)] = &[\n");
    for (name, text) in &files {
        writeln!(code, "    ({name:?}, {text:?}),").unwrap();
    }
    code.push_str("];\npub(super) const CHECKED: &[Checked] = &[\n");
    let mut errors = String::new();
    for kernel in &kernels {
        for (permutation, changes) in &kernel.permutations {
            let place = format!("{}.{permutation}", kernel.name);
            let checked = kernel
                .defines(changes)
                .and_then(|defines| {
                    preprocess::resolve(&kernel.name, &|n| files.get(n).map(String::as_str), &defines)
                })
                .and_then(|wgsl| check::check(&wgsl));
            match checked {
                Ok(workgroup_bytes) => writeln!(
                    code,
                    "    Checked {{ kernel: {:?}, permutation: {permutation:?}, workgroup_bytes: {workgroup_bytes} }},",
                    kernel.name
                )
                .unwrap(),
                Err(error) => writeln!(errors, "{place}: {error}").unwrap(),
            }
        }
    }
    code.push_str("];\n");
    for name in files.keys().filter(|name| !name.starts_with("shared/")) {
        let is_kernel = files[name].contains("@compute");
        if is_kernel && !kernels.iter().any(|k| k.name == *name && !k.permutations.is_empty()) {
            writeln!(errors, "{name}: a kernel without a permutation is not checked; list one").unwrap();
        }
    }
    if errors.is_empty() { Ok(code) } else { Err(errors) }
}

/// Name and text of `permutations` and of every file, each ended by a 0, deflated.
fn packed(permutations: &str, files: &BTreeMap<String, String>) -> Result<String, String> {
    let mut texts = format!("permutations\0{permutations}\0");
    for (name, text) in files {
        texts.extend([name, "\0", &minify(text), "\0"]);
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let bytes = miniz_oxide::deflate::compress_to_vec(texts.as_bytes(), 10);
    std::fs::write(out.join("texts.bin"), bytes).map_err(|e| format!("texts.bin: {e}"))?;
    Ok("pub(super) const PACKED: &[u8] = include_bytes!(concat!(env!(\"OUT_DIR\"), \"/texts.bin\"));\n\
        pub(super) const CHECKED: &[Checked] = &[];\n"
        .into())
}

/// The text without comments, indentation and empty lines.
fn minify(wgsl: &str) -> String {
    let code = wgsl.lines().map(|line| line.split("//").next().unwrap_or("").trim());
    code.filter(|line| !line.is_empty()).flat_map(|line| [line, "\n"]).collect()
}

/// The kernels' own lines with their defaults.
fn without_permutations(text: &str) -> String {
    let code = text.lines().map(|line| line.split('#').next().unwrap_or("").trim_end());
    let defaults = code
        .filter(|line| !line.is_empty() && (!line.starts_with(' ') || line.trim_start().starts_with('+')));
    defaults.flat_map(|line| [line, "\n"]).collect()
}

fn collect(directory: &Path, root: &Path, files: &mut BTreeMap<String, String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, root, files)?;
        } else if path.extension().is_some_and(|ending| ending == "wgsl") {
            let name = path.strip_prefix(root).expect("below root").with_extension("");
            let name = name.to_string_lossy().replace('\\', "/");
            files.insert(name, std::fs::read_to_string(&path)?);
        }
    }
    Ok(())
}
