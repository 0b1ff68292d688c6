//! Twin of ClustViT (arXiv 2510.01948): patch embedding, blocks, the merge between them, and the regenerator.

use super::attention::{AttentionMask, AttentionShape, attention};
use super::cluster_merge::{
    MergeMap, MergeShape, TwoLayers, assign, cluster_logits, cluster_means, map_rows, merge_rows, regenerate,
};
use super::linear::linear;
use super::norm::layer_norm;
use crate::kernels::cluster_merge::Gate;
use crate::kernels::linear_types::{Activation, WeightLayout};

/// Sizes and settings of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ClustVitShape {
    /// Images.
    pub batch: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Rows and columns of pixels, multiples of `patch`.
    pub size: [usize; 2],
    /// Pixels along a patch's side.
    pub patch: usize,
    /// D.
    pub width: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Blocks over all tokens.
    pub full_blocks: usize,
    /// K; 0 for a plain transformer.
    pub clusters: usize,
    /// When tokens are merged.
    pub gate: Gate,
    /// Of every LayerNorm.
    pub epsilon: f64,
    /// Blocks whose outputs are features, rising.
    pub outputs: Vec<usize>,
}

/// One block's weights, matrices `[out, in]`.
#[derive(Clone, Copy, Debug)]
pub struct BlockWeights<'a> {
    /// Scale and shift of both LayerNorms.
    pub norms: [[&'a [f64]; 2]; 2],
    /// Query, key and value behind each other: `[3 D, D]` and `[3 D]`.
    pub qkv: [&'a [f64]; 2],
    /// `[D, D]` and `[D]`.
    pub out: [&'a [f64]; 2],
    /// The MLP.
    pub mlp: TwoLayers<'a>,
}

/// A model's weights.
#[derive(Clone, Debug)]
pub struct ClustVitWeights<'a> {
    /// `[D, channels, patch, patch]`.
    pub embedding: &'a [f64],
    /// `[D]`.
    pub class_token: &'a [f64],
    /// `[1 + patches, D]`.
    pub positions: &'a [f64],
    /// In their order.
    pub blocks: Vec<BlockWeights<'a>>,
    /// The last LayerNorm.
    pub norm: [&'a [f64]; 2],
    /// The layers that give the logits, and those of the regenerator.
    pub merging: Option<[TwoLayers<'a>; 2]>,
}

/// x + attention(norm(x)), then x + MLP(norm(x)), of sequences behind each other that begin at `bounds`.
pub fn block(x: &[f64], bounds: &[u32], weights: &BlockWeights<'_>, heads: usize, epsilon: f64) -> Vec<f64> {
    let width = weights.out[1].len();
    let [scale, shift] = weights.norms[0];
    let normal = layer_norm(x, Some(scale), Some(shift), width, epsilon);
    let layout = WeightLayout::OutIn;
    let qkv =
        linear(&normal, weights.qkv[0], Some(weights.qkv[1]), width, 3 * width, layout, Activation::None);
    let mut attended = Vec::with_capacity(x.len());
    for pair in bounds.windows(2) {
        let rows = &qkv[pair[0] as usize * 3 * width..pair[1] as usize * 3 * width];
        let [q, k, v] = [0, 1, 2].map(|part| {
            let of = |row: &[f64]| row[part * width..(part + 1) * width].to_vec();
            rows.chunks_exact(3 * width).flat_map(of).collect::<Vec<_>>()
        });
        let (tokens, dim) = (rows.len() / (3 * width), width / heads);
        let shape = AttentionShape {
            batch: 1,
            query_tokens: tokens,
            tokens,
            query_heads: heads,
            kv_heads: heads,
            head_dim: dim,
            value_dim: dim,
        };
        let scale = (dim as f64).powf(-0.5);
        attended.extend(attention(&q, &k, &v, &shape, &AttentionMask::default(), None, scale).out);
    }
    let out = linear(&attended, weights.out[0], Some(weights.out[1]), width, width, layout, Activation::None);
    let x = add(x, &out);
    let [scale, shift] = weights.norms[1];
    let normal = layer_norm(&x, Some(scale), Some(shift), width, epsilon);
    add(&x, &weights.mlp.apply(&normal, Activation::Gelu))
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// The patches of an image `[batch, channels, height, width]` in raster order, `[batch, patches, channels · patch²]`.
pub fn patches(image: &[f64], shape: &ClustVitShape) -> Vec<f64> {
    let ([height, width], patch) = (shape.size, shape.patch);
    let mut rows = Vec::with_capacity(image.len());
    for image in image.chunks_exact(shape.channels * height * width) {
        for (top, left) in grid(height, patch).flat_map(|top| grid(width, patch).map(move |left| (top, left)))
        {
            for plane in image.chunks_exact(height * width) {
                for y in top..top + patch {
                    rows.extend_from_slice(&plane[y * width + left..y * width + left + patch]);
                }
            }
        }
    }
    rows
}

fn grid(side: usize, patch: usize) -> impl Iterator<Item = usize> {
    (0..side).step_by(patch)
}

/// Features `[batch, patches, D]` of every output block, and the ids where tokens were merged.
pub fn clustvit(
    image: &[f64],
    weights: &ClustVitWeights<'_>,
    shape: &ClustVitShape,
) -> (Vec<Vec<f64>>, Option<Vec<u32>>) {
    let ClustVitShape { batch, channels, patch, width, heads, epsilon, clusters, .. } = *shape;
    let inputs = channels * patch * patch;
    let layout = WeightLayout::OutIn;
    let embedded =
        linear(&patches(image, shape), weights.embedding, None, inputs, width, layout, Activation::None);
    let tokens = embedded.len() / (batch * width);
    let mut x = Vec::with_capacity(embedded.len() + batch * width);
    for image in embedded.chunks_exact(tokens * width) {
        x.extend(add(&[weights.class_token, image].concat(), weights.positions));
    }
    let merge_shape = MergeShape { batch, tokens, clusters, width };
    let without_class = |x: &[f64]| -> Vec<f64> {
        x.chunks_exact((1 + tokens) * width).flat_map(|image| image[width..].to_vec()).collect()
    };

    let mut bounds: Vec<u32> = (0..=batch).map(|i| (i * (1 + tokens)) as u32).collect();
    let mut merged: Option<(Vec<f64>, Vec<u32>, MergeMap, TwoLayers<'_>)> = None;
    let mut features = Vec::new();
    let depth = weights.blocks.len();
    for (index, weights_of) in weights.blocks.iter().enumerate() {
        if let Some([clusterer, regenerator]) = weights.merging.filter(|_| index == shape.full_blocks) {
            let original = without_class(&x);
            let ids = assign(&cluster_logits(&original, &clusterer), clusters + 1);
            let map = map_rows(&ids, &merge_shape, shape.gate);
            x = merge_rows(&x, &cluster_means(&x, &ids, &merge_shape), &map, &merge_shape);
            bounds = map.bounds.clone();
            merged = Some((original, ids, map, regenerator));
        }
        x = block(&x, &bounds, weights_of, heads, epsilon);
        if !shape.outputs.contains(&index) {
            continue;
        }
        let mut rows = match &merged {
            Some((original, _, map, regenerator)) => regenerate(original, &x, map, regenerator, &merge_shape),
            None => x.clone(),
        };
        if index + 1 == depth {
            let [scale, shift] = weights.norm;
            rows = layer_norm(&rows, Some(scale), Some(shift), width, epsilon);
        }
        features.push(without_class(&rows));
    }
    (features, merged.map(|merged| merged.1))
}
