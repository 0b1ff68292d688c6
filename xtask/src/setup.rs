//! What a fresh machine lacks, and how it is installed: each function says what it installs and why before it does.
//! Packages are installed on Debian and Ubuntu only; elsewhere the error says what to install by hand.

use crate::process::{self, command, find};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Vulkan driver, where the GPU is reached through Vulkan. Mesa's software driver serves where there is none.
pub fn vulkan() -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Ok(()); // Metal and DX12 come with the system.
    }
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let driver = named
        || ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"]
            .into_iter()
            .any(holds_json);
    let loader = process::output(command("sh").args(["-c", "PATH=$PATH:/sbin:/usr/sbin ldconfig -p"]))
        .is_ok_and(|list| list.contains("libvulkan.so.1"))
        || std::env::var_os("LD_LIBRARY_PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|directory| directory.join("libvulkan.so.1").exists())
        });
    if driver && loader {
        return Ok(());
    }
    install(
        &["mesa-vulkan-drivers", "libvulkan1"],
        "this machine has no Vulkan driver; Mesa's runs the kernels on the CPU where there is no GPU",
    )
}

/// A browser with WebGPU, `$CHROMIUM` or one that is installed, and a Node that can drive it.
pub fn chromium() -> Result<PathBuf> {
    let version = process::output(command("node").arg("--version"))?;
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    if major < Some(20) {
        bail!(
            "the browser's driver needs Node 20 or later, this is {}; see https://nodejs.org",
            version.trim()
        );
    }
    if let Some(path) = std::env::var_os("CHROMIUM").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let installed = || ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(find);
    if installed().is_none() {
        install(&["chromium"], "the browser tests run in headless Chromium (set CHROMIUM to use another)")?;
    }
    installed().context("no Chromium on the search path; set CHROMIUM to its executable")
}

/// Node and the npm packages of web/: wasm-opt and the driver of the browser.
pub fn npm() -> Result<()> {
    if find("node").is_none() || find("npm").is_none() {
        install(&["nodejs", "npm"], "wasm-opt and the browser tests run on Node")?;
    }
    let web = process::root().join("web");
    let modified = |path: &str| web.join(path).metadata().and_then(|data| data.modified()).ok();
    // npm writes this file last, so it dates the installation.
    if modified("node_modules/.package-lock.json") >= modified("package-lock.json") {
        return Ok(());
    }
    println!("setup: installing the npm packages of web/, which optimize the wasm and drive the browser");
    process::run(command("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(web))
}

/// Who compiles for wasm32.
pub enum Wasm {
    /// The toolchain in use has the target.
    Target,
    /// Debian's toolchain, which brings the library's sources in place of the target.
    Debian,
}

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_LINKER: &str = "wasm-ld-22";

/// A compiler for wasm32: the target of the toolchain in use, else one that `rustup` adds, else Debian's.
pub fn wasm() -> Result<Wasm> {
    if has_wasm_target() {
        return Ok(Wasm::Target);
    }
    if has_debian_toolchain() {
        return Ok(Wasm::Debian);
    }
    if find("rustup").is_some() {
        println!(
            "setup: adding the target wasm32-unknown-unknown, which the browser package is compiled for"
        );
        if let Err(error) = process::run(command("rustup").args(["target", "add", "wasm32-unknown-unknown"]))
        {
            println!("setup: {error}");
        } else if has_wasm_target() {
            return Ok(Wasm::Target);
        }
    }
    install(
        &["rustc-web", "cargo-web", "rust-web-src", "lld-22"],
        "the Rust toolchain in use has no wasm32-unknown-unknown target; Debian's builds it from source",
    )
    .context("the browser package needs `rustup target add wasm32-unknown-unknown`")?;
    if !has_debian_toolchain() {
        bail!(
            "Debian's rustc-web is installed but incomplete: {DEBIAN_CARGO}, {DEBIAN_LINKER} and the library sources are needed"
        );
    }
    Ok(Wasm::Debian)
}

/// The start of `cargo build` for wasm32 with its target directory, which no other toolchain shares.
pub fn wasm_build(toolchain: &Wasm) -> (Command, PathBuf) {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(_) => process::target().join("web"),
        None => process::root().join("target-web"),
    };
    let mut cargo = match toolchain {
        Wasm::Target => process::cargo(),
        Wasm::Debian => {
            let mut cargo = command(DEBIAN_CARGO);
            let path = std::env::var("PATH").unwrap_or_default();
            cargo
                .env("PATH", format!("/usr/bin:{path}"))
                .env("RUSTC", "/usr/bin/rustc")
                .env("RUSTC_BOOTSTRAP", "1");
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER);
            // Set by the toolchain that runs this; its libraries are not Debian's.
            cargo.env_remove("LD_LIBRARY_PATH").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
            cargo
        }
    };
    cargo.args(["build", "--target", "wasm32-unknown-unknown"]).env("CARGO_TARGET_DIR", &target);
    if matches!(toolchain, Wasm::Debian) {
        cargo.args(["-Z", "build-std=std,panic_abort"]);
    }
    (cargo, target)
}

fn has_wasm_target() -> bool {
    process::output(command("rustc").args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"]))
        .is_ok_and(|directory| Path::new(directory.trim()).is_dir())
}

fn has_debian_toolchain() -> bool {
    // `rust-web-src` is the package that brings the sources.
    Path::new(DEBIAN_CARGO).is_file()
        && find(DEBIAN_LINKER).is_some()
        && Path::new("/usr/lib/rustlib/src/rust/library/std").is_dir()
}

fn holds_json(directory: &str) -> bool {
    std::fs::read_dir(directory).is_ok_and(|files| {
        files.flatten().any(|file| file.path().extension().is_some_and(|extension| extension == "json"))
    })
}

/// Installs Debian packages, as root or through sudo.
fn install(packages: &[&str], reason: &str) -> Result<()> {
    let by_hand = || format!("{reason}; install {} (names of Debian packages)", packages.join(", "));
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let debian = system.lines().any(|line| {
        (line.starts_with("ID=") || line.starts_with("ID_LIKE="))
            && (line.contains("debian") || line.contains("ubuntu"))
    });
    if !debian || find("apt-get").is_none() {
        bail!("{}", by_hand());
    }
    let root = process::output(command("id").arg("-u"))?.trim() == "0";
    if !root && find("sudo").is_none() {
        bail!("{}, which takes root", by_hand());
    }
    println!("setup: {reason}");
    println!("setup: installing {}", packages.join(", "));
    let apt = || {
        let mut apt = if root { command("env") } else { command("sudo") };
        apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        apt
    };
    // The lists of a fresh machine are empty or old. Where they cannot be fetched, the old ones may still do.
    if let Err(error) = process::run(apt().args(["update", "-qq"])) {
        println!("setup: {error}");
    }
    // Another installation may hold dpkg's lock, as the daily one of Ubuntu does.
    let wait = ["-o", "DPkg::Lock::Timeout=300"];
    process::run(apt().args(wait).args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
        .with_context(by_hand)
}
