//! The project's own commands, run as `cargo xtask <command>`.

mod demo;
mod process;
mod setup;
mod shaders;
mod test;
mod web;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask <command>

  demo [ARGS..]                    build the `gristmill` command and run its demo into demo-out/
  test [native|strict|shaders|web] run every check, or one part of them
  shaders --out DIR                write every kernel as plain WGSL with its metadata, checked by tint if installed
  web [--serve [PORT] | --bench]   build the browser package and the site into web/dist; then serve it, or measure the kernels

A missing driver, browser or wasm toolchain is named and, on Debian and Ubuntu, installed.";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["demo", rest @ ..] => demo::run(rest),
        ["test"] => test::run(None),
        ["test", part] => test::run(Some(part)),
        ["shaders", "--out", directory] => shaders::write(directory.as_ref()),
        // Run by `shaders` in a build of this program that has the feature.
        #[cfg(feature = "bundle")]
        ["bundle", directory] => shaders::bundle(directory.as_ref()),
        ["web"] => web::build(),
        ["web", "--serve"] => web::serve("8080"),
        ["web", "--serve", port] => web::serve(port),
        ["web", "--bench"] => web::bench(),
        // Run by `web` in a build of this program that has the feature.
        #[cfg(feature = "bindgen")]
        ["bindgen", wasm, directory] => web::bindgen(wasm.as_ref(), directory.as_ref()),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        [] => bail!("no command\n\n{USAGE}"),
        other => bail!("`{}` is no command\n\n{USAGE}", other.join(" ")),
    }
}
