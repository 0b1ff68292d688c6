//! The twin of ATD by name.

use super::atd::{Pictures, model_config, pictures, planes};
use super::{Config, Inputs, Outputs};
use crate::error::{Error, Result};
use crate::models::atd::{AtdSizes, NAME};
use crate::twins::atd::AtdTwin;

pub(super) fn atd(inputs: &Inputs, config: &Config) -> Result<Outputs> {
    let config = model_config(config)?;
    let Pictures { height, width, each } = pictures(inputs, &config)?;
    let weights = inputs.model_weights()?;
    let sizes = AtdSizes::of(&weights)?;
    if !sizes.channels.is_multiple_of(config.heads) {
        let expected = format!("a divisor of the {} channels", sizes.channels);
        return Err(Error::config(NAME, "heads", config.heads, expected));
    }
    sizes.check(&weights, config.heads, config.window, config.scale)?;
    let twin = AtdTwin { config: &config, sizes: &sizes, weights: &weights };
    let size = [height, width];
    let out: Vec<f64> =
        each.iter().flat_map(|picture| planes(&twin.network(picture, size)).collect::<Vec<_>>()).collect();
    let mut outputs = Outputs::default();
    outputs.double("out", &[each.len(), 3, config.scale * height, config.scale * width], &out);
    if config.pure_pass.is_some() {
        let masks = each.iter().filter_map(|picture| twin.mask(picture, size)).flatten();
        let mask: Vec<u8> = masks.map(u8::from).collect();
        let [high, wide] = config.padded(height, width)?;
        outputs.bytes("mask", &[each.len(), high, wide], &mask);
    }
    Ok(outputs)
}
