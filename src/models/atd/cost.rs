//! Multiplications of a network in closed form, part by part.

use super::{AtdConfig, AtdSizes, Compensation};

/// Multiply-adds for one pixel of the given picture, by part. Those of pixels that fill up windows or groups are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtdMacs {
    /// Queries, keys and values of all layers.
    pub qkv: u64,
    /// Attention in windows.
    pub window: u64,
    /// The projection after it.
    pub window_projection: u64,
    /// Attention to the dictionary.
    pub dictionary: u64,
    /// Attention in groups of a category: what pure pixels leave.
    pub category: u64,
    /// The projection after it: pure pixels leave it too, except with [`Compensation::ProjectedValue`].
    pub category_projection: u64,
    /// The matrices of the feed-forward part.
    pub feed_forward: u64,
    /// Its depthwise convolution.
    pub depthwise: u64,
    /// New tokens from the layer's output, in all layers but a block's last.
    pub refinement: u64,
    /// Convolutions at both ends and after every block.
    pub convolutions: u64,
}

impl AtdMacs {
    /// Of a network of these sizes.
    pub fn new(config: &AtdConfig, sizes: &AtdSizes) -> Self {
        let AtdSizes { channels, tokens, reduced, hidden, kernel, layers: depths } = sizes;
        let [c, m, r, h, k] = [channels, tokens, reduced, hidden, kernel].map(|size| *size as u64);
        let [window, group, scale] = [config.window, config.group, config.scale].map(|size| size as u64);
        let blocks = depths.len() as u64;
        let layers = depths.iter().sum::<usize>() as u64;
        Self {
            qkv: layers * 3 * c * c,
            window: layers * 2 * window * window * c,
            window_projection: layers * c * c,
            dictionary: layers * (c * r + r * m + m * c),
            category: layers * 2 * group * c,
            category_projection: layers * c * c,
            feed_forward: layers * 2 * c * h,
            depthwise: layers * k * k * h,
            refinement: (layers - blocks) * m * c,
            convolutions: 9 * (3 * c + (blocks + 1) * c * c + 3 * scale * scale * c),
        }
    }

    /// All parts.
    pub fn total(&self) -> u64 {
        let attention = self.qkv + self.window + self.window_projection + self.dictionary;
        let category = self.category + self.category_projection;
        attention + category + self.feed_forward + self.depthwise + self.refinement + self.convolutions
    }

    /// Share of all that is saved where `pure` is the share of pure pixels: both 0 to 1.
    pub fn saved(&self, pure: f64, compensation: Compensation) -> f64 {
        let left = match compensation {
            Compensation::ProjectedValue => self.category,
            Compensation::Value | Compensation::Zero => self.category + self.category_projection,
        };
        pure * left as f64 / self.total() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published counts of ATD-light for twice the size, part by part, and its total with what the published counter leaves out.
    #[test]
    fn atd_light_has_the_published_counts() {
        let sizes =
            AtdSizes { channels: 48, tokens: 64, reduced: 8, hidden: 48, kernel: 7, layers: vec![6; 4] };
        let macs = AtdMacs::new(&AtdConfig::default(), &sizes);
        assert_eq!((macs.qkv, macs.window, macs.window_projection), (165_888, 589_824, 55_296));
        assert_eq!((macs.category, macs.category_projection), (294_912, 55_296));
        assert_eq!((macs.feed_forward, macs.depthwise, macs.refinement), (110_592, 56_448, 61_440));
        assert_eq!(macs.total(), 1_595_088);
        let saved = macs.saved(0.5, Compensation::Value);
        assert!((saved - 0.5 * 350_208.0 / 1_595_088.0).abs() < 1e-12);
        assert!(macs.saved(0.5, Compensation::ProjectedValue) < saved);
        assert_eq!(macs.saved(0.0, Compensation::Zero), 0.0);
    }
}
