//! `cargo xtask demo`: from a fresh checkout to pictures and figures with one command.

use crate::{process, setup};
use anyhow::Result;

pub fn run(arguments: &[&str]) -> Result<()> {
    setup::vulkan()?;
    process::run(process::cargo().args(["build", "--release", "-p", "gristmill-cli"]))?;
    let binary = process::target().join("release").join(format!("gristmill{}", std::env::consts::EXE_SUFFIX));
    process::run(process::command(binary).args(["demo", "--output", "demo-out"]).args(arguments))
}
