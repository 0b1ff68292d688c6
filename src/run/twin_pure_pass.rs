//! The twin of Pure-Pass by name.

use super::pure_pass_mask::{Picture, outputs, picture};
use super::{Config, Inputs, Outputs};
use crate::error::Result;
use crate::twins::pure_pass::{color_labels, pure_mask};

pub(super) fn mask(inputs: &Inputs, config: &Config) -> Result<Outputs> {
    let Picture { config, height, width, rgb } = picture(inputs, config)?;
    let labels = color_labels(&rgb, &config);
    let mask = pure_mask(&labels, height, width, config.window);
    let mask: Vec<u32> = mask.into_iter().map(u32::from).collect();
    Ok(outputs(height, width, &labels, &mask))
}
