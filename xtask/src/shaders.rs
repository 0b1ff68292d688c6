//! `cargo xtask shaders`: the kernels as files for hosts in any language, with tint's opinion on each.

use crate::process;
use anyhow::Result;
use std::path::Path;

/// Writes the bundle and asks tint; fails where tint refuses a kernel.
pub fn write(directory: &Path) -> Result<()> {
    let run = ["run", "--quiet", "-p", "xtask", "--features", "bundle", "--", "bundle"];
    process::run(process::cargo().args(run).arg(std::path::absolute(directory)?))
}

#[cfg(feature = "bundle")]
pub fn bundle(directory: &Path) -> Result<()> {
    use anyhow::{Context, bail};
    use std::fs;

    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let tint = process::find("tint");
    let (mut count, mut refused) = (0, 0);
    for entry in gristmill_shaders::bundle() {
        let name = format!("{}.{}", entry.kernel.replace('/', "-"), entry.permutation);
        let wgsl = directory.join(format!("{name}.wgsl"));
        fs::write(&wgsl, &entry.wgsl)?;
        fs::write(directory.join(format!("{name}.json")), &entry.metadata_json)?;
        count += 1;
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
