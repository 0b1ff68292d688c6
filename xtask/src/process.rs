//! Commands of other programs: shown as they run, named when they fail.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The root of the workspace. Where two checkouts share a build directory, the one that this was compiled in may be the other:
/// cargo says which one runs it.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let package =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        PathBuf::from(package).parent().expect("xtask lies in the workspace").into()
    });
    &ROOT
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// The program `name`, started in the root of the workspace.
pub fn command(name: impl AsRef<Path>) -> Command {
    let mut command = Command::new(name.as_ref());
    command.current_dir(root());
    command
}

/// The cargo that runs this.
pub fn cargo() -> Command {
    command(std::env::var("CARGO").as_deref().unwrap_or("cargo"))
}

/// Runs a command with its output passed through. The error holds the command line.
pub fn run(command: &mut Command) -> Result<()> {
    println!("> {}", line(command));
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs two commands at once. The output of the second is passed through, that of the first follows when both have ended.
pub fn run_beside(first: &mut Command, second: &mut Command) -> Result<()> {
    let path = target().join("beside.log");
    let log = std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let words = line(first);
    println!("> {words} (in the background)");
    let mut child = first
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start `{words}`"))?;
    let result = run(second);
    let status = child.wait()?;
    println!("> {words}\n{}", std::fs::read_to_string(&path)?);
    if !status.success() {
        bail!("`{words}` failed: {status}");
    }
    result
}

/// Runs a command for its output. The error holds the command line and what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}\n{}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The program `name` on the search path.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
        .find(|file| file.is_file())
}

fn line(command: &Command) -> String {
    let mut words: Vec<String> = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value.filter(|_| name != "PATH") {
            words.push(format!("{}={}", name.display(), value.display()));
        }
    }
    words.push(command.get_program().display().to_string());
    words.extend(command.get_args().map(|argument| argument.display().to_string()));
    words.join(" ")
}
