//! Pictures to classes: ClustViT and its Segmenter head, as one file of weights describes them.
//!
//! The file is safetensors: tensors `model.*` of [`ClustVit`] and `head.*` of [`SegmenterHead`], and a metadata entry `config`, JSON:
//! `patch`, `heads`, `ip`, `K`, `eps`, `gate`, `head` (`heads`, `eps`), `image` (the side of its pictures in pixels), `classes`
//! (names), `normalise` (`mean` and `scale` of bytes). Other keys are notes.

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::cluster_merge::Gate;
use crate::models::clustvit::{ClustVit, ClustVitConfig, NamedTensors, SegmenterConfig, SegmenterHead};
use crate::schedule::{Plan, Progress, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};
use safetensors::SafeTensors;
use serde::Deserialize;
use std::ops::ControlFlow;

const NAME: &str = "segmenter";

/// What the metadata of a file of weights says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct FileConfig {
    patch: usize,
    heads: usize,
    ip: usize,
    #[serde(rename = "K")]
    clusters: usize,
    eps: f32,
    gate: String,
    head: HeadConfig,
    image: usize,
    classes: Vec<String>,
    normalise: Normalise,
    /// How scores become pixels; one way is known.
    upsampling: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct HeadConfig {
    heads: usize,
    eps: f32,
}

/// Of a byte: (byte - mean) / scale.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
struct Normalise {
    mean: f32,
    scale: f32,
}

/// How a [`Segmenter`] runs.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmenterOptions {
    /// Merges tokens; else the plain transformer of the same weights.
    pub merge: bool,
    /// Storage of the matrices, f32 or f16.
    pub dtype: Dtype,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl Default for SegmenterOptions {
    /// Merged, f32.
    fn default() -> Self {
        Self { merge: true, dtype: Dtype::F32, variant: None }
    }
}

/// A compiled model for square pictures of one size.
#[derive(Debug)]
pub struct Segmenter {
    plan: Plan,
    image: Tensor,
    scores: Tensor,
    ids: Option<Tensor>,
    config: FileConfig,
    variant: Variant,
}

/// What a [`Segmenter`] says of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmentation {
    /// The class of every pixel, `[side, side]`.
    pub classes: Vec<u8>,
    /// The cluster of every token, `[side / patch, side / patch]`, 0 for one that was kept; none without merging.
    pub clusters: Option<Vec<u32>>,
    /// Rows of the blocks after the merge, the class token and the representatives among them.
    pub rows: usize,
}

/// What a file of weights is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmenterSizes {
    /// Pixels of a side of its pictures.
    pub side: usize,
    /// Tokens of a side.
    pub tokens: usize,
    /// Names of the classes.
    pub classes: Vec<String>,
}

impl SegmenterSizes {
    /// From the metadata alone: no weight is read. Errors: `Input` for a broken file or one without a usable `config`, `Config`.
    pub fn read(weights: &[u8]) -> Result<Self> {
        let config = FileConfig::read(weights)?;
        Ok(Self { side: config.image, tokens: config.image / config.patch, classes: config.classes })
    }
}

impl Segmenter {
    /// Reads a file of weights and compiles the model.
    ///
    /// Errors: `Input` for a broken file or one without a usable `config`, `Shape` naming a missing or misshaped tensor,
    /// `Config`, `NonFinite`, `Limit`, `OutOfMemory`.
    pub fn new(gpu: &Gpu, weights: &[u8], options: &SegmenterOptions) -> Result<Self> {
        let config = FileConfig::read(weights)?;
        let gate = Gate::ALL
            .into_iter()
            .find(|gate| gate.name() == config.gate)
            .ok_or_else(|| Error::config(NAME, "gate", &config.gate, "none, image or batch"))?;
        let &SegmenterOptions { merge, dtype, variant } = options;
        let model = ClustVitConfig {
            patch: config.patch,
            heads: config.heads,
            full_blocks: config.ip,
            clusters: config.clusters,
            epsilon: config.eps,
            gate,
            outputs: None,
            merge,
            dtype,
            variant,
        };
        let model = ClustVit::new(gpu, model, &NamedTensors::from_safetensors(weights, "model.")?)?;
        let HeadConfig { heads, eps } = config.head;
        let head = SegmenterConfig { heads, epsilon: eps, dtype, variant };
        let head = SegmenterHead::new(gpu, head, &NamedTensors::from_safetensors(weights, "head.")?)?;
        if head.classes() != config.classes.len() {
            let expected = format!("{}, as `head.cls` has rows", head.classes());
            return Err(Error::config(NAME, "classes", format!("{} names", config.classes.len()), expected));
        }
        let side = config.image;
        let image = Tensor::zeros(gpu, "img", &[1, 3, side, side], Dtype::F32)?;
        let mut schedule = Schedule::new(gpu);
        let output = model.record(&mut schedule, &image)?;
        let scores = head.record(&mut schedule, &output.features[0])?;
        let variant = model.explain().clone();
        Ok(Self { plan: schedule.compile()?, image, scores, ids: output.ids, config, variant })
    }

    /// Pixels of a side of its pictures.
    pub fn side(&self) -> usize {
        self.config.image
    }

    /// Tokens of a side.
    pub fn tokens(&self) -> usize {
        self.config.image / self.config.patch
    }

    /// Rows of the plain transformer's sequence: the tokens and the class token.
    pub fn all_rows(&self) -> usize {
        1 + self.tokens() * self.tokens()
    }

    /// Names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.config.classes
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// The whole model, to be timed: it runs on the picture that was last given.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The class of every pixel of a picture `[side, side, 3]`, samples in 0..1. Never blocks in a browser.
    ///
    /// Scores of patches become scores of pixels by bilinear interpolation between the patches' middles; the largest wins, of equals
    /// the first. `progress` is that of [`Plan::run`]. Errors: `Shape`, those of [`Plan::run`] and [`Tensor::read`].
    pub async fn segment(
        &self,
        gpu: &Gpu,
        pixels: &[f32],
        progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Segmentation> {
        let side = self.side();
        if pixels.len() != side * side * 3 {
            let found = format!("has {} values", pixels.len());
            return Err(Error::shape(NAME, "image", found, format!("{side} x {side} x 3")));
        }
        let Normalise { mean, scale } = self.config.normalise;
        let channel = |c: usize| pixels.iter().skip(c).step_by(3);
        let planes: Vec<f32> = (0..3).flat_map(channel).map(|value| (255.0 * value - mean) / scale).collect();
        self.image.write(gpu, &planes)?;
        self.plan.run(progress).await?;
        let scores = self.scores.read::<f32>(gpu).await?;
        let clusters = match &self.ids {
            Some(ids) => Some(ids.read::<u32>(gpu).await?),
            None => None,
        };
        let tokens = self.tokens();
        let rows = clusters.as_ref().map_or(self.all_rows(), |ids| self.rows(ids));
        let classes = largest_scores(&scores, self.classes().len(), tokens, side);
        Ok(Segmentation { classes, clusters, rows })
    }

    /// Rows of the merged sequence: all tokens where the gate leaves the picture alone.
    fn rows(&self, ids: &[u32]) -> usize {
        let merges = self.config.gate == Gate::None.name() || ids.iter().any(|id| *id != ids[0]);
        let kept = ids.iter().filter(|id| **id == 0).count();
        if merges { 1 + kept + self.config.clusters } else { 1 + ids.len() }
    }
}

impl FileConfig {
    fn read(weights: &[u8]) -> Result<Self> {
        let broken = |error: safetensors::SafeTensorError| {
            Error::Input(format!("the weights are not a whole safetensors file: {error}"))
        };
        let (_, metadata) = SafeTensors::read_metadata(weights).map_err(broken)?;
        let text = metadata.metadata().as_ref().and_then(|entries| entries.get("config"));
        let text = text.ok_or_else(|| Error::Input("the weights have no metadata entry `config`".into()))?;
        let config: FileConfig = serde_json::from_str(text)
            .map_err(|error| Error::Input(format!("the weights' metadata entry `config`: {error}")))?;
        if config.patch == 0 || config.image == 0 || !config.image.is_multiple_of(config.patch) {
            let expected = format!("a multiple of the patch, {}", config.patch);
            return Err(Error::config(NAME, "image", config.image, expected));
        }
        if !(config.normalise.scale > 0.0 && config.normalise.mean.is_finite()) {
            return Err(Error::config(NAME, "normalise.scale", config.normalise.scale, "above 0"));
        }
        if config.classes.len() > 256 {
            return Err(Error::config(NAME, "classes", config.classes.len(), "at most 256"));
        }
        match config.upsampling.as_deref() {
            None | Some("bilinear, half-pixel centres") => Ok(config),
            Some(other) => Err(Error::config(NAME, "upsampling", other, "bilinear, half-pixel centres")),
        }
    }
}

/// The class of every pixel from scores `[tokens, tokens, classes]`.
fn largest_scores(scores: &[f32], classes: usize, tokens: usize, side: usize) -> Vec<u8> {
    // Two neighbours and the second one's share, at the middle of every pixel.
    let between: Vec<(usize, usize, f32)> = (0..side)
        .map(|pixel| {
            let at = ((pixel as f32 + 0.5) * tokens as f32 / side as f32 - 0.5).max(0.0);
            let low = (at as usize).min(tokens - 1);
            (low, (low + 1).min(tokens - 1), at - low as f32)
        })
        .collect();
    let mut result = Vec::with_capacity(side * side);
    for &(top, bottom, down) in &between {
        for &(left, right, across) in &between {
            let score = |class: usize| {
                let at = |row: usize, column: usize| scores[(row * tokens + column) * classes + class];
                let line = |row: usize| at(row, left) + across * (at(row, right) - at(row, left));
                line(top) + down * (line(bottom) - line(top))
            };
            let first = (0, score(0));
            let best = (1..classes).map(|class| (class, score(class)));
            result.push(best.fold(first, |best, next| if next.1 > best.1 { next } else { best }).0 as u8);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_interpolated_between_the_middles_of_patches() {
        // Two patches of four pixels side by side; class 1 wins where its score is above 0.
        let scores = [0.0, -1.0, 0.0, 3.0, 0.0, -1.0, 0.0, 3.0];
        let classes = largest_scores(&scores, 2, 2, 8);
        // Pixel 2 lies an eighth of the way between the middles: -1 + 4 / 8 < 0; pixel 3 three eighths: -1 + 12 / 8 > 0.
        assert_eq!(classes[..8], [0, 0, 0, 1, 1, 1, 1, 1]);
        assert!(classes.chunks_exact(8).all(|row| row == &classes[..8]));
        assert_eq!(largest_scores(&[1.0, 1.0, 1.0], 3, 1, 2), [0; 4]);
    }
}
