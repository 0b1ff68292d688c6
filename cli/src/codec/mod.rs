//! `gristmill encode`, `decode` and `codebook`: pictures as low-rank vector-quantised files.

mod codebook;
pub mod compare;
mod decode;
mod encode;

pub use codebook::{CodebookArgs, codebook};
pub use decode::{DecodeArgs, decode};
pub use encode::{EncodeArgs, encode};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use gristmill::codec::{Codebook, EncoderConfig};
use gristmill::kernels::lowrank_vq::Preset;
use std::ops::ControlFlow;
use std::path::Path;

/// The presets that a picture is encoded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
enum PresetName {
    /// 8 x 8 pixels, one product: 1.125 bits per pixel
    A,
    /// 16 x 16 pixels, two iterations of rank 2: 1.125 bits per pixel
    B,
    /// 32 x 32 pixels, rank 4: 0.305 bits per pixel
    C,
}

impl PresetName {
    fn preset(self) -> Preset {
        match self {
            PresetName::A => Preset::A,
            PresetName::B => Preset::B,
            PresetName::C => Preset::C,
        }
    }
}

/// How patches are coded.
#[derive(Args, Clone, Debug)]
struct PatchArgs {
    /// Patches with a name
    #[arg(long, value_name = "NAME", default_value = "B", ignore_case = true)]
    preset: PresetName,
    /// Pixels along a patch's side instead of the preset's: 4, 8, 16 or 32
    #[arg(long, value_name = "PIXELS")]
    patch: Option<usize>,
    /// Outer products of an iteration instead of the preset's
    #[arg(long, value_name = "COUNT")]
    rank: Option<usize>,
    /// Iterations instead of the preset's
    #[arg(long, value_name = "COUNT")]
    iterations: Option<usize>,
}

impl PatchArgs {
    /// The preset with what was given instead.
    fn preset(&self) -> Preset {
        let preset = self.preset.preset();
        Preset {
            patch: self.patch.unwrap_or(preset.patch),
            rank: self.rank.unwrap_or(preset.rank),
            iterations: self.iterations.unwrap_or(preset.iterations),
            ..preset
        }
    }

    fn encoder(&self) -> EncoderConfig {
        EncoderConfig::preset(self.preset())
    }
}

fn load_codebook(path: &Path) -> Result<Codebook> {
    let name = || path.display().to_string();
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", name()))?;
    Codebook::from_safetensors(&bytes).with_context(name)
}

/// Every codebook that comes with the program.
fn shipped() -> Vec<Codebook> {
    Preset::ALL.into_iter().filter_map(Codebook::shipped).collect()
}

/// A progress function that moves a bar.
fn moves(bar: &indicatif::ProgressBar) -> impl FnMut(f64) -> ControlFlow<()> + '_ {
    |share| {
        bar.set_position((share * 1000.0) as u64);
        ControlFlow::Continue(())
    }
}
