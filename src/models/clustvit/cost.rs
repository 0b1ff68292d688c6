//! FLOPs of the model in closed form (2 per multiply-add), products alone.

/// Sizes of a ClustViT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClustVitSize {
    /// D.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Hidden features of a block's MLP.
    pub mlp: usize,
    /// Hidden features of the clusterer.
    pub clusterer: usize,
}

impl ClustVitSize {
    /// ViT-t as published.
    pub const TINY: Self = Self::published(192, 12, 3, 774);
    /// ViT-s as published.
    pub const SMALL: Self = Self::published(384, 12, 6, 1548);
    /// ViT-b as published.
    pub const BASE: Self = Self::published(768, 12, 12, 3096);
    /// ViT-l as published.
    pub const LARGE: Self = Self::published(1024, 24, 16, 4128);

    const fn published(width: usize, depth: usize, heads: usize, clusterer: usize) -> Self {
        Self { width, depth, heads, mlp: 4 * width, clusterer }
    }

    /// One block over `rows` rows, the class token included.
    pub fn block(&self, rows: usize) -> f64 {
        let (d, n) = (self.width as f64, rows as f64);
        2.0 * n * d * (4.0 * d + 2.0 * self.mlp as f64) + 4.0 * d * n * n
    }
}

/// FLOPs by part for one image.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClustVitCost {
    /// Patch embedding of RGB.
    pub embedding: f64,
    /// Blocks over all tokens.
    pub full_blocks: f64,
    /// Logits of the clusters.
    pub clusterer: f64,
    /// Blocks over the merged sequence.
    pub merged_blocks: f64,
    /// Rows for the members of clusters.
    pub regenerator: f64,
}

impl ClustVitCost {
    /// The plain transformer over `tokens` patches of `patch`² pixels.
    pub fn plain(size: &ClustVitSize, tokens: usize, patch: usize) -> Self {
        Self {
            embedding: 6.0 * (tokens * size.width * patch * patch) as f64,
            full_blocks: size.depth as f64 * size.block(1 + tokens),
            ..Self::default()
        }
    }

    /// With `kept` tokens of `tokens` after `full_blocks` blocks, and `clusters` representatives.
    pub fn merged(
        size: &ClustVitSize,
        tokens: usize,
        patch: usize,
        full_blocks: usize,
        clusters: usize,
        kept: usize,
    ) -> Self {
        let width = size.width;
        Self {
            full_blocks: full_blocks as f64 * size.block(1 + tokens),
            clusterer: 2.0 * (tokens * size.clusterer * (width + clusters + 1)) as f64,
            merged_blocks: (size.depth - full_blocks) as f64 * size.block(1 + kept + clusters),
            regenerator: 6.0 * ((tokens - kept) * width * width) as f64,
            ..Self::plain(size, tokens, patch)
        }
    }

    /// All parts.
    pub fn total(&self) -> f64 {
        let Self { embedding, full_blocks, clusterer, merged_blocks, regenerator } = *self;
        embedding + full_blocks + clusterer + merged_blocks + regenerator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Backbone FLOPs against the plain model's at 512 x 512 pixels, 4 full blocks, 3 clusters, by share of kept tokens.
    #[test]
    fn shares_are_those_of_the_cost_table() {
        for (size, expected) in [
            (ClustVitSize::TINY, [1.018, 0.798, 0.617, 0.474, 0.407, 0.370]),
            (ClustVitSize::BASE, [1.025, 0.841, 0.672, 0.518, 0.433, 0.379]),
        ] {
            let plain = ClustVitCost::plain(&size, 1024, 16).total();
            for (kept, expected) in [1024, 768, 512, 256, 102, 0].into_iter().zip(expected) {
                let share = ClustVitCost::merged(&size, 1024, 16, 4, 3, kept).total() / plain;
                assert!((share - expected).abs() < 2e-3, "{size:?} with {kept} kept: {share}");
            }
        }
    }
}
