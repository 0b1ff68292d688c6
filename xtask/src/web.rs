//! `cargo xtask web`: the browser package. Compile, bind (wasm-bindgen), shrink (wasm-opt), and add the page.

use crate::{process, setup};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// What the page is made of besides the package.
const PAGE: [&str; 3] = ["index.html", "main.js", "safetensors.js"];

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
    /// web/dist: what a page loads.
    Shipped,
    /// web/dist-diagnostics: with `self_test` and `bench` besides.
    Diagnostics,
}

impl Package {
    fn directory(self) -> PathBuf {
        process::root().join(if self == Self::Shipped { "web/dist" } else { "web/dist-diagnostics" })
    }
}

/// Bytes of the shipped file, and of what a server sends of it.
pub struct WasmSize {
    pub bytes: u64,
    pub compressed: u64,
}

/// Builds a package and returns the bytes of its wasm.
pub fn build(package: Package) -> Result<WasmSize> {
    let toolchain = setup::wasm()?;
    setup::npm()?;
    let (mut cargo, target) = setup::wasm_build(&toolchain);
    let features = if package == Package::Shipped { &[][..] } else { &["--features", "diagnostics"] };
    process::run(cargo.args(["-p", "gristmill-web", "--profile", "wasm"]).args(features))?;
    let compiled = target.join("wasm32-unknown-unknown/wasm/gristmill_web.wasm");

    let web = process::root().join("web");
    let dist = package.directory();
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    fs::create_dir_all(&dist)?;
    process::run(
        process::cargo()
            .args(["run", "--quiet", "-p", "xtask", "--features", "bindgen", "--", "bindgen"])
            .args([&compiled, &dist]),
    )?;
    let wasm = dist.join("gristmill_bg.wasm");
    let bound = size(&wasm)?;
    let shrunk = dist.join("shrunk.wasm");
    process::run(
        process::command("node")
            .arg(web.join("node_modules/binaryen/bin/wasm-opt"))
            .arg("-Oz")
            .args(WASM_FEATURES.map(|feature| format!("--enable-{feature}")))
            .arg(&wasm)
            .arg("-o")
            .arg(&shrunk),
    )?;
    fs::rename(&shrunk, &wasm)?;
    for file in PAGE {
        fs::copy(web.join(file), dist.join(file)).with_context(|| format!("web/{file}"))?;
    }
    let data = fs::read(&wasm)?;
    // What gzip makes of it, but for its header.
    let compressed = miniz_oxide::deflate::compress_to_vec(&data, 9).len() as u64;
    let size = WasmSize { bytes: data.len() as u64, compressed };
    println!(
        "{} is built: {} KB of wasm, {} KB compressed ({} KB before wasm-opt)",
        dist.display(),
        size.bytes / 1000,
        size.compressed / 1000,
        bound / 1000
    );
    Ok(size)
}

/// Builds, then serves web/dist on this machine only.
pub fn serve(port: &str) -> Result<()> {
    build(Package::Shipped)?;
    process::run(process::command("node").args(["web/serve.mjs", port]))
}

/// Builds, then measures in headless Chromium.
pub fn bench() -> Result<()> {
    build(Package::Diagnostics)?;
    in_chromium("bench.mjs", Package::Diagnostics)
}

/// The tests in headless Chromium, on a package as it stands.
pub fn browser_tests(package: Package) -> Result<()> {
    in_chromium(if package == Package::Shipped { "browser.mjs" } else { "self_test.mjs" }, package)
}

fn in_chromium(script: &str, package: Package) -> Result<()> {
    let chromium = setup::chromium()?;
    process::run(
        process::command("node")
            .arg(process::root().join("web/tests").join(script))
            .env("CHROMIUM", chromium)
            .env("DIST", package.directory()),
    )
}

/// Writes the JavaScript and TypeScript side of a compiled package.
#[cfg(feature = "bindgen")]
pub fn bindgen(wasm: &Path, directory: &Path) -> Result<()> {
    wasm_bindgen_cli_support::Bindgen::new()
        .input_path(wasm)
        .out_name("gristmill")
        .web(true)?
        .typescript(true)
        .omit_default_module_path(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(directory)
}

fn size(file: &Path) -> Result<u64> {
    Ok(file.metadata().with_context(|| file.display().to_string())?.len())
}
