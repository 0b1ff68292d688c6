//! The sizes of a network, read from its weights, and the names and shapes of all of them.

use super::NAME;
use crate::error::{Error, Result};
use crate::kernels::convolution::LARGEST_KERNEL;
use crate::models::named_tensors::NamedTensors;

/// Sizes that the weights decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtdSizes {
    /// C.
    pub channels: usize,
    /// M, tokens of the dictionary.
    pub tokens: usize,
    /// Elements of a query to the dictionary.
    pub reduced: usize,
    /// Channels inside the feed-forward part.
    pub hidden: usize,
    /// Side of its depthwise kernel.
    pub kernel: usize,
    /// Layers of every block.
    pub layers: Vec<usize>,
}

impl AtdSizes {
    /// Reads them from the shapes of a few weights. Errors: `Shape`.
    pub fn of(weights: &NamedTensors) -> Result<Self> {
        let [channels, _, _, _] = weights.dims("first_w", "[C, 3, 3, 3]")?;
        let [tokens, _] = weights.dims("blocks.0.td", "[M, C]")?;
        let has = |name: String| weights.get(&name).is_some();
        let blocks = (0..).take_while(|b| has(format!("blocks.{b}.td"))).count();
        let layers_of = |b| (0..).take_while(|l| has(format!("blocks.{b}.layers.{l}.wqkv"))).count().max(1);
        let mut sizes = Self {
            channels,
            tokens,
            reduced: 0,
            hidden: 0,
            kernel: 0,
            layers: (0..blocks).map(layers_of).collect(),
        };
        sizes.read_layer(weights, &layer_name(0, 0))?;
        Ok(sizes)
    }

    /// The sizes of one layer alone, whose weights' names start with `prefix`. Errors: `Shape`.
    pub fn of_layer(weights: &NamedTensors, prefix: &str) -> Result<Self> {
        let [channels] = weights.dims(&format!("{prefix}n1_g"), "[C]")?;
        let [tokens] = weights.dims(&format!("{prefix}ca.scale"), "[M]")?;
        let mut sizes = Self { channels, tokens, reduced: 0, hidden: 0, kernel: 0, layers: vec![1] };
        sizes.read_layer(weights, prefix)?;
        Ok(sizes)
    }

    fn read_layer(&mut self, weights: &NamedTensors, prefix: &str) -> Result<()> {
        [self.reduced, _] = weights.dims(&format!("{prefix}ca.wq"), "[reduced, C]")?;
        [self.hidden, _] = weights.dims(&format!("{prefix}f1_w"), "[hidden, C]")?;
        [_, _, self.kernel, _] = weights.dims(&format!("{prefix}dw_w"), "[hidden, 1, side, side]")?;
        if self.kernel.is_multiple_of(2) || self.kernel > LARGEST_KERNEL {
            let found = format!("has kernels of {} x {}", self.kernel, self.kernel);
            let expected = format!("an odd side up to {LARGEST_KERNEL}");
            return Err(weights.wrong(&format!("{prefix}dw_w"), &found, &expected));
        }
        if self.channels == 0 || self.tokens == 0 || self.reduced == 0 || self.hidden == 0 {
            return Err(Error::config(NAME, "sizes", format!("{self:?}"), "none of them 0"));
        }
        Ok(())
    }

    /// Names and shapes of one layer's weights, all those that every layer has.
    pub fn layer_shapes(&self, heads: usize, window: usize) -> Vec<(&'static str, Vec<usize>)> {
        let Self { channels: c, tokens: m, reduced: r, hidden: h, kernel: k, .. } = *self;
        vec![
            ("n1_g", vec![c]),
            ("n1_b", vec![c]),
            ("wqkv", vec![3 * c, c]),
            ("bqkv", vec![3 * c]),
            ("win.rpb", vec![(2 * window - 1) * (2 * window - 1), heads]),
            ("win.wo", vec![c, c]),
            ("win.bo", vec![c]),
            ("ca.wq", vec![r, c]),
            ("ca.bq", vec![r]),
            ("ca.wk", vec![r, c]),
            ("ca.bk", vec![r]),
            ("ca.wv", vec![c, c]),
            ("ca.bv", vec![c]),
            ("ca.scale", vec![m]),
            ("aca.logit_scale", vec![1]),
            ("aca.wo", vec![c, c]),
            ("aca.bo", vec![c]),
            ("n2_g", vec![c]),
            ("n2_b", vec![c]),
            ("f1_w", vec![h, c]),
            ("f1_b", vec![h]),
            ("dw_w", vec![h, 1, k, k]),
            ("dw_b", vec![h]),
            ("f2_w", vec![c, h]),
            ("f2_b", vec![c]),
        ]
    }

    /// Those of a layer that refines the dictionary, besides.
    pub fn refinement_shapes(&self) -> [(&'static str, Vec<usize>); 3] {
        ["n3_g", "n3_b", "sigma"].map(|name| (name, vec![self.tokens]))
    }

    /// Names and shapes of all weights of the network. Every layer but a block's last refines the dictionary.
    pub fn shapes(&self, heads: usize, window: usize, scale: usize) -> Vec<(String, Vec<usize>)> {
        let c = self.channels;
        let mut all: Vec<(String, Vec<usize>)> = [
            ("first_w", vec![c, 3, 3, 3]),
            ("first_b", vec![c]),
            ("pe_g", vec![c]),
            ("pe_b", vec![c]),
            ("norm_g", vec![c]),
            ("norm_b", vec![c]),
            ("body_w", vec![c, c, 3, 3]),
            ("body_b", vec![c]),
            ("up_w", vec![3 * scale * scale, c, 3, 3]),
            ("up_b", vec![3 * scale * scale]),
        ]
        .map(|(name, shape)| (name.to_string(), shape))
        .into();
        for (b, &layers) in self.layers.iter().enumerate() {
            all.push((format!("blocks.{b}.td"), vec![self.tokens, c]));
            all.push((format!("blocks.{b}.conv_w"), vec![c, c, 3, 3]));
            all.push((format!("blocks.{b}.conv_b"), vec![c]));
            for l in 0..layers {
                let refined = (l + 1 < layers).then(|| self.refinement_shapes());
                let shapes =
                    self.layer_shapes(heads, window).into_iter().chain(refined.into_iter().flatten());
                all.extend(shapes.map(|(name, shape)| (layer_name(b, l) + name, shape)));
            }
        }
        all
    }

    /// Checks that every weight is there, with its shape. Errors: `Shape` with both shapes.
    pub fn check(&self, weights: &NamedTensors, heads: usize, window: usize, scale: usize) -> Result<()> {
        self.shapes(heads, window, scale)
            .iter()
            .try_for_each(|(name, shape)| weights.floats(name, shape).map(|_| ()))
    }
}

/// What the names of a layer's weights start with.
pub(crate) fn layer_name(block: usize, layer: usize) -> String {
    format!("blocks.{block}.layers.{layer}.")
}
