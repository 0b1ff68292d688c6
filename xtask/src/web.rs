//! `cargo xtask web`: the browser package and the site. Compile, bind (wasm-bindgen), shrink (wasm-opt); then the package's TypeScript,
//! then the pages (vite).

use crate::{process, setup, shaders};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// What the compiler emits today. Nothing newer is enabled, so that wasm-opt cannot ask more of a browser than it did.
const WASM_FEATURES: [&str; 6] = [
    "bulk-memory",
    "nontrapping-float-to-int",
    "sign-ext",
    "mutable-globals",
    "reference-types",
    "multivalue",
];

/// Which package to build.
#[derive(Clone, Copy, PartialEq)]
pub enum Package {
    /// web/package/dist: what a page loads.
    Shipped,
    /// web/package/dist-diagnostics: with `selfTest` besides.
    Diagnostics,
}

impl Package {
    fn directory(self) -> PathBuf {
        process::root().join(if self == Self::Shipped {
            "web/package/dist"
        } else {
            "web/package/dist-diagnostics"
        })
    }
}

/// Bytes of the shipped file, and of what a server sends of it by gzip and by brotli, which every browser with WebGPU takes.
pub struct WasmSize {
    pub bytes: u64,
    pub gzip: u64,
    pub brotli: u64,
}

/// Builds the package and the site around it.
pub fn build() -> Result<()> {
    build_package(Package::Shipped)?;
    build_site()
}

/// Builds a package and returns the bytes of its wasm.
pub fn build_package(package: Package) -> Result<WasmSize> {
    let toolchain = setup::wasm()?;
    setup::npm()?;
    let dist = package.directory();
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    let size = compile(&toolchain, package, &dist.join("wasm"))?;
    match package {
        Package::Shipped => npm_run("package", &[])?,
        // The same scripts around another module.
        Package::Diagnostics => copy(&Package::Shipped.directory(), &dist, |name| name != "wasm")?,
    }
    println!(
        "{} is built: {} KB of wasm, {} KB by brotli, {} KB by gzip",
        dist.display(),
        size.bytes / 1000,
        size.brotli / 1000,
        size.gzip / 1000,
    );
    Ok(size)
}

/// Compiles, binds and shrinks the module into `directory`.
fn compile(toolchain: &setup::Wasm, package: Package, directory: &Path) -> Result<WasmSize> {
    let (mut cargo, target) = setup::wasm_build(toolchain);
    let features = if package == Package::Shipped { &[][..] } else { &["--features", "diagnostics"] };
    process::run(cargo.args(["-p", "gristmill-web", "--profile", "wasm"]).args(features))?;
    let compiled = target.join("wasm32-unknown-unknown/wasm/gristmill_web.wasm");
    fs::create_dir_all(directory)?;
    process::run(
        process::cargo()
            .args(["run", "--quiet", "-p", "xtask", "--features", "bindgen", "--", "bindgen"])
            .args([&compiled, directory]),
    )?;
    let wasm = directory.join("gristmill_wasm_bg.wasm");
    let shrunk = directory.join("shrunk.wasm");
    process::run(
        process::command("node")
            .arg(process::root().join("web/node_modules/binaryen/bin/wasm-opt"))
            // Functions of one module side by side compress better.
            .args(["--reorder-functions-by-name", "-Oz", "--strip-debug"])
            .args(WASM_FEATURES.map(|feature| format!("--enable-{feature}")))
            .arg(&wasm)
            .arg("-o")
            .arg(&shrunk),
    )?;
    fs::rename(&shrunk, &wasm)?;
    let sizes = process::output(process::command("node").arg("web/size.mjs").arg(&wasm))?;
    let mut sizes = sizes.split_whitespace().map(|size| size.parse().context("a number of bytes"));
    let mut next = || sizes.next().context("three sizes")?;
    Ok(WasmSize { bytes: next()?, gzip: next()?, brotli: next()? })
}

/// The pages in web/dist, a folder that any file server can host; the package and the plain shaders lie in it too, for pages that no
/// tool has bundled.
pub fn build_site() -> Result<()> {
    npm_run("types", &[])?;
    npm_run("site", &[])?;
    let dist = process::root().join("web/dist");
    copy(&Package::Shipped.directory(), &dist.join("package"), |_| true)?;
    shaders::write(&dist.join("shaders"))?;
    println!("{} is built: any file server can host it", dist.display());
    Ok(())
}

/// Builds, then serves web/dist on this machine only.
pub fn serve(port: &str) -> Result<()> {
    build()?;
    process::run(process::command("node").args(["web/serve.mjs", port]))
}

/// Builds, then measures in headless Chromium.
pub fn bench() -> Result<()> {
    build_package(Package::Shipped)?;
    in_chromium("bench.mjs", Package::Shipped)
}

/// A script of web/tests in headless Chromium, on a package as it stands.
pub fn in_chromium(script: &str, package: Package) -> Result<()> {
    let chromium = setup::chromium()?;
    process::run(
        process::command("node")
            .arg(process::root().join("web/tests").join(script))
            .env("CHROMIUM", chromium)
            .env("PACKAGE", package.directory())
            .env(
                "GRISTMILL",
                process::target().join("debug/gristmill").with_extension(std::env::consts::EXE_EXTENSION),
            ),
    )
}

fn npm_run(script: &str, arguments: &[&str]) -> Result<()> {
    let web = process::root().join("web");
    process::run(process::command("npm").args(["run", "--silent", script]).args(arguments).current_dir(web))
}

/// Copies a folder's files, and those of its folders, whose names `wanted` accepts.
fn copy(from: &Path, to: &Path, wanted: fn(&str) -> bool) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(wanted) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(&name), |_| true)?;
        } else {
            fs::copy(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}

/// Writes the JavaScript and TypeScript side of a compiled package.
#[cfg(feature = "bindgen")]
pub fn bindgen(wasm: &Path, directory: &Path) -> Result<()> {
    wasm_bindgen_cli_support::Bindgen::new()
        .input_path(wasm)
        .out_name("gristmill_wasm")
        .web(true)?
        .typescript(true)
        .omit_default_module_path(false)
        .remove_name_section(false)
        .remove_producers_section(true)
        .generate(directory)
}
