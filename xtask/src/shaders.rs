//! `cargo xtask shaders`: the kernels as files for hosts in any language, with tint's opinion on each.

use crate::process;
use anyhow::Result;
use std::path::Path;

/// Writes the bundle and asks tint; fails where tint refuses a kernel.
pub fn write(directory: &Path) -> Result<()> {
    let run = ["run", "--quiet", "-p", "xtask", "--features", "bundle", "--", "bundle"];
    process::run(process::cargo().args(run).arg(std::path::absolute(directory)?))
}

/// Checks that the written bundle is an npm package: Node finds every file of it by the package's name, and npm packs them.
pub fn check_package(directory: &Path) -> Result<()> {
    process::run(process::command("node").arg("xtask/tests/shader_package.mjs").arg(directory))
}

#[cfg(feature = "bundle")]
pub use bundle::bundle;

#[cfg(feature = "bundle")]
mod bundle {
    use crate::process;
    use anyhow::{Context, Result, bail};
    use gristmill_shaders::BundleEntry;
    use std::fs;
    use std::path::Path;

    pub fn bundle(directory: &Path) -> Result<()> {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let tint = process::find("tint");
        let mut lines = Vec::new();
        let mut refused = 0;
        for entry in gristmill_shaders::bundle() {
            let name = format!("{}.{}", entry.kernel.replace('/', "-"), entry.permutation);
            let wgsl = directory.join(format!("{name}.wgsl"));
            fs::write(&wgsl, &entry.wgsl)?;
            fs::write(directory.join(format!("{name}.json")), &entry.metadata_json)?;
            lines.push(index_line(&name, &entry));
            if let Some(tint) = &tint {
                let check = process::command(tint)
                    .args(["--format", "wgsl", "-o", "/dev/null"])
                    .arg(fs::canonicalize(&wgsl)?)
                    .output()?;
                if !check.status.success() {
                    refused += 1;
                    eprintln!(
                        "tint refuses {}:\n{}",
                        wgsl.display(),
                        String::from_utf8_lossy(&check.stderr).trim_end()
                    );
                }
            }
        }
        let count = lines.len();
        let version = env!("CARGO_PKG_VERSION");
        let index =
            format!("{{\n  \"version\": \"{version}\",\n  \"shaders\": [\n{}\n  ]\n}}\n", lines.join(",\n"));
        fs::write(directory.join("index.json"), index)?;
        fs::write(directory.join("package.json"), PACKAGE.replace("VERSION", version))?;
        fs::write(directory.join("README.md"), include_str!("shaders.md"))?;
        println!("{count} kernels with their metadata in {}", directory.display());
        match tint {
            Some(_) if refused > 0 => bail!("tint refuses {refused} of {count} kernels"),
            Some(_) => println!("tint accepts all of them"),
            None => println!(
                "tint is not installed, so only naga has checked them; it is built from https://dawn.googlesource.com/dawn (target `tint`)"
            ),
        }
        if count == 0 {
            bail!("the bundle is empty");
        }
        Ok(())
    }

    /// The bundle as an npm package.
    const PACKAGE: &str = r#"{
  "name": "@gristmill/shaders",
  "version": "VERSION",
  "description": "The WGSL compute kernels of Gristmill, each with the metadata that a host needs to run it",
  "license": "MIT OR Apache-2.0",
  "repository": "https://github.com/gristmill/gristmill",
  "keywords": ["webgpu", "wgsl", "compute", "attention", "inference"],
  "type": "module",
  "sideEffects": false,
  "exports": {
    ".": "./index.json",
    "./*.json": "./*.json",
    "./*.wgsl": "./*.wgsl"
  },
  "files": ["*.wgsl", "*.json"]
}
"#;

    /// What tells one shader from another, without its file being opened; nothing in it needs escaping.
    fn index_line(name: &str, entry: &BundleEntry) -> String {
        let (kernel, permutation, bytes) = (entry.kernel, entry.permutation, entry.workgroup_bytes);
        let features = if entry.interface.subgroup { "\"subgroups\"" } else { "" };
        let invocations = entry.interface.workgroup_size.iter().product::<u32>();
        format!(
            "    {{ \"name\": \"{name}\", \"kernel\": \"{kernel}\", \"permutation\": \"{permutation}\", \"features\": \
             [{features}], \"invocations\": {invocations}, \"workgroup_bytes\": {bytes} }}"
        )
    }
}
