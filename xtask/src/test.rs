//! `cargo xtask test`: every check of the project, a line for each at the end.

use crate::web::Package;
use crate::{process, setup, shaders, web};
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// A page waits for this file, and compiles all of it. Without any kernel it has 0.2 MB: WebGPU's bindings, safetensors, JSON.
const WASM_BYTES: u64 = 1_200_000;
/// What a server sends of it, by brotli.
const WASM_COMPRESSED: u64 = 450_000;

/// What a page must not load: the browser has its own shader compiler and its own WebGPU.
const NATIVE_ONLY: [&str; 3] = ["naga", "wgpu-core", "wgpu-hal"];

pub fn run(part: Option<&str>) -> Result<()> {
    if let Some(part) = part.filter(|part| !["native", "strict", "shaders", "web"].contains(part)) {
        bail!("`{part}` is no part of the tests; they are native, strict, shaders and web");
    }
    let wanted = |name: &str| part.is_none_or(|part| part == name);
    let mut summary = Summary::default();
    if wanted("native") || wanted("strict") {
        summary.step("Vulkan driver", setup::vulkan);
    }
    if wanted("native") {
        summary.step("native tests", || {
            process::run(process::cargo().args(["test", "--workspace", "--no-run"]))?;
            let mut others = vec!["--lib".to_string(), "--bins".into()];
            for package in ["cli", "gvq", "shaders", "web", "xtask"] {
                others.extend(test_programs(package)?.into_iter().flat_map(|name| ["--test".into(), name]));
            }
            side_by_side(&others, false)?;
            process::run(process::cargo().args(["test", "--workspace", "--doc"]))
        });
    }
    if wanted("strict") {
        // The library's own tests without what WebGPU does not have, as in a browser.
        summary.step("native tests, strict WebGPU", || side_by_side(&[], true));
    }
    if wanted("shaders") {
        let bundle = process::target().join("shaders");
        summary.step("shader bundle", || {
            if bundle.exists() {
                std::fs::remove_dir_all(&bundle)?; // kernels that are no more
            }
            shaders::write(&bundle)
        });
        summary.step("shader bundle as npm package", || {
            setup::npm()?;
            shaders::check_package(&bundle)
        });
    }
    if wanted("web") {
        summary.step("browser package has no native code", no_native_code);
        let built = summary.step("browser package, size", || {
            let size = web::build_package(Package::Shipped)?;
            for (what, bytes, limit) in
                [("", size.bytes, WASM_BYTES), (" by brotli", size.brotli, WASM_COMPRESSED)]
            {
                if bytes >= limit {
                    bail!("the wasm has {bytes} bytes{what}, the limit is {limit}");
                }
            }
            Ok(())
        });
        if built {
            summary.step("browser tests", || web::in_chromium("browser.mjs", Package::Shipped));
            if summary.step("site", web::build_site) {
                // The pages' figures are compared with those of the command.
                summary.step("site tests", || {
                    // Built with a test of the command, as the native tests build it: they leave nothing to do.
                    process::run(
                        process::cargo().args("test --workspace --no-run --test command".split(' ')),
                    )?;
                    web::in_chromium("site.mjs", Package::Shipped)
                });
            }
            summary.step("browser self-test of every kernel", || {
                web::build_package(Package::Diagnostics)?;
                web::in_chromium("self_test.mjs", Package::Diagnostics)
            });
        } else {
            summary.skip("browser tests");
        }
    }
    summary.finish()
}

/// The test programs of a package: the files of its tests/, if it has any.
fn test_programs(package: &str) -> Result<Vec<String>> {
    let folder = process::root().join(package).join("tests");
    let mut names = Vec::new();
    if folder.is_dir() {
        for file in std::fs::read_dir(folder)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
            }
        }
    }
    names.sort();
    Ok(names)
}

/// The slowest of the library's tests; they run beside all others.
const SLOWEST: [&str; 2] = ["flash_lla", "flash_lla_decode"];

/// The library's tests and `others` in two processes: a software adapter compiles the kernels of one process on one core, and
/// on a new machine that takes most of the time.
fn side_by_side(others: &[String], strict: bool) -> Result<()> {
    let (slowest, rest): (Vec<_>, Vec<_>) =
        test_programs(".")?.into_iter().partition(|name| SLOWEST.contains(&name.as_str()));
    // By name and not by package: for another choice of packages cargo unites other features and builds every dependency again.
    let tests = |names: &[String]| {
        let mut cargo = process::cargo();
        cargo.args(["test", "--workspace"]);
        names.iter().for_each(|name| {
            cargo.args(["--test", name]);
        });
        if strict {
            cargo.env("WGPU_STRICT_WEBGPU_COMPLIANCE", "1");
        }
        cargo
    };
    process::run_beside(&mut tests(&slowest), tests(&rest).args(others))
}

fn no_native_code() -> Result<()> {
    let tree = process::output(
        process::cargo().args(
            "tree -p gristmill-web --target wasm32-unknown-unknown --edges normal --prefix none --format {p}"
                .split(' '),
        ),
    )?;
    for line in tree.lines() {
        if let Some(name) = line.split(' ').next().filter(|name| NATIVE_ONLY.contains(name)) {
            bail!(
                "the browser package links {name}; see `cargo tree -p gristmill-web --target wasm32-unknown-unknown -e normal -i {name}`"
            );
        }
    }
    println!("none of {} is linked", NATIVE_ONLY.join(", "));
    Ok(())
}

#[derive(Default)]
struct Summary {
    lines: Vec<(&'static str, &'static str, Duration)>,
}

impl Summary {
    /// Runs a step. A failure is told at once and counted; the other steps still run.
    fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> bool {
        println!("\n== {name}");
        let start = Instant::now();
        let result = work();
        if let Err(error) = &result {
            eprintln!("{name}: {error:#}");
        }
        self.lines.push((name, if result.is_ok() { "ok" } else { "FAILED" }, start.elapsed()));
        result.is_ok()
    }

    fn skip(&mut self, name: &'static str) {
        self.lines.push((name, "skipped", Duration::ZERO));
    }

    fn finish(self) -> Result<()> {
        println!("\n== summary");
        for (name, state, time) in &self.lines {
            println!("{state:>8}  {:>7.1} s  {name}", time.as_secs_f64());
        }
        match self.lines.iter().filter(|(_, state, _)| *state == "FAILED").count() {
            0 => Ok(()),
            failed => bail!("{failed} of {} steps failed", self.lines.len()),
        }
    }
}
