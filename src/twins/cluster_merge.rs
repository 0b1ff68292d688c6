//! Twins of the kernels that merge tokens and give them their rows back (ClustViT, arXiv 2510.01948).

use super::linear::linear;
use crate::kernels::cluster_merge::{CHUNK, Gate};
use crate::kernels::linear_types::{Activation, WeightLayout};

/// Sizes of a batch whose tokens are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeShape {
    /// Images.
    pub batch: usize,
    /// Tokens of one, without the class token.
    pub tokens: usize,
    /// K, clusters beside id 0.
    pub clusters: usize,
    /// Elements of a row.
    pub width: usize,
}

/// Where the rows of merged sequences lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergeMap {
    /// `[batch, K + 1]`: tokens of each id.
    pub counts: Vec<u32>,
    /// `[batch, tokens]`: tokens with id 0 before this one.
    pub keep_rank: Vec<u32>,
    /// `[batch, tokens]`: the row that stands for a token, counted from its sequence's first.
    pub row_map: Vec<u32>,
    /// `[batch]`: rows of a sequence before its representatives.
    pub own_rows: Vec<u32>,
    /// `[batch + 1]`: where each sequence begins, and the number of all rows.
    pub bounds: Vec<u32>,
}

/// Two layers, matrices `[out, in]`: activation(x W1 + b1) W2 + b2.
#[derive(Clone, Copy, Debug)]
pub struct TwoLayers<'a> {
    /// W1.
    pub w1: &'a [f64],
    /// b1.
    pub b1: &'a [f64],
    /// W2.
    pub w2: &'a [f64],
    /// b2.
    pub b2: &'a [f64],
}

impl TwoLayers<'_> {
    /// Both layers of every row of x.
    pub fn apply(&self, x: &[f64], activation: Activation) -> Vec<f64> {
        let (hidden, outputs) = (self.b1.len(), self.b2.len());
        let inputs = self.w1.len() / hidden;
        let layer = WeightLayout::OutIn;
        let h = linear(x, self.w1, Some(self.b1), inputs, hidden, layer, activation);
        linear(&h, self.w2, Some(self.b2), hidden, outputs, layer, Activation::None)
    }
}

/// W2 relu(W1 x + b1) + b2 of every row: `[rows, K + 1]`.
pub fn cluster_logits(x: &[f64], weights: &TwoLayers<'_>) -> Vec<f64> {
    weights.apply(x, Activation::Relu)
}

/// The argmax of each row of `choices` logits: the smallest of equals, 0 where one is a NaN.
pub fn assign(logits: &[f64], choices: usize) -> Vec<u32> {
    let id = |row: &[f64]| {
        if row.iter().any(|logit| logit.is_nan()) {
            return 0;
        }
        let best = (1..choices).fold(0, |best, id| if row[id] > row[best] { id } else { best });
        best as u32
    };
    logits.chunks_exact(choices).map(id).collect()
}

/// The merged sequences' layout: class token, kept tokens (id 0) in their order, K representatives.
pub fn map_rows(ids: &[u32], shape: &MergeShape, gate: Gate) -> MergeMap {
    let MergeShape { batch, tokens, clusters, .. } = *shape;
    assert_eq!(ids.len(), batch * tokens, "ids");
    let ids: Vec<usize> =
        ids.iter().map(|&id| if id as usize > clusters { 0 } else { id as usize }).collect();
    let several = |ids: &[usize]| ids.iter().any(|id| *id != ids[0]);
    let mut map = MergeMap { bounds: vec![0], ..MergeMap::default() };
    for image in ids.chunks_exact(tokens) {
        let merged = match gate {
            Gate::None => true,
            Gate::Image => several(image),
            Gate::Batch => several(&ids),
        };
        let kept = image.iter().filter(|id| **id == 0).count();
        let own_rows = 1 + if merged { kept } else { tokens };
        let mut rank = 0;
        for (token, &id) in image.iter().enumerate() {
            map.keep_rank.push(rank);
            map.row_map.push(match id {
                _ if !merged => 1 + token as u32,
                0 => 1 + rank,
                id => (own_rows + id - 1) as u32,
            });
            rank += (id == 0) as u32;
        }
        map.counts.extend((0..=clusters).map(|c| image.iter().filter(|id| **id == c).count() as u32));
        map.own_rows.push(own_rows as u32);
        let length = own_rows + if merged { clusters } else { 0 };
        map.bounds.push(map.bounds.last().expect("starts with 0") + length as u32);
    }
    map
}

/// The mean of each cluster's members, 0 without any: x `[batch, 1 + tokens, width]`, result `[batch, K, width]`.
pub fn cluster_means(x: &[f64], ids: &[u32], shape: &MergeShape) -> Vec<f64> {
    let sums = |image: usize, id: usize, column: usize| {
        let members = members(ids, shape, image, id);
        let count = members.clone().count().max(1) as f64;
        members.map(|token| x[element(shape, image, 1 + token, column)]).sum::<f64>() / count
    };
    each_mean(shape, sums)
}

/// The same as a GPU computes it, in f32: sums of [`CHUNK`] neighbouring tokens in their order, then of those sums in theirs, then
/// one division.
pub fn cluster_means_chunked(x: &[f32], ids: &[u32], shape: &MergeShape) -> Vec<f32> {
    let sums = |image: usize, id: usize, column: usize| {
        let mut parts = vec![0.0f32; shape.tokens.div_ceil(CHUNK)];
        let mut count = 0;
        for token in members(ids, shape, image, id) {
            parts[token / CHUNK] += x[element(shape, image, 1 + token, column)];
            count += 1;
        }
        parts.iter().fold(0.0f32, |sum, part| sum + part) / count.max(1) as f32
    };
    each_mean(shape, sums)
}

fn members<'a>(
    ids: &'a [u32],
    shape: &MergeShape,
    image: usize,
    id: usize,
) -> impl Iterator<Item = usize> + Clone + 'a {
    let ids = &ids[image * shape.tokens..(image + 1) * shape.tokens];
    ids.iter().enumerate().filter(move |(_, other)| **other as usize == id).map(|(token, _)| token)
}

fn element(shape: &MergeShape, image: usize, row: usize, column: usize) -> usize {
    (image * (1 + shape.tokens) + row) * shape.width + column
}

fn each_mean<T>(shape: &MergeShape, mean: impl Fn(usize, usize, usize) -> T) -> Vec<T> {
    let mut means = Vec::with_capacity(shape.batch * shape.clusters * shape.width);
    for image in 0..shape.batch {
        for id in 1..=shape.clusters {
            means.extend((0..shape.width).map(|column| mean(image, id, column)));
        }
    }
    means
}

/// The merged sequences behind each other: `[bounds[batch], width]`.
pub fn merge_rows<T: Copy>(x: &[T], means: &[T], map: &MergeMap, shape: &MergeShape) -> Vec<T> {
    let MergeShape { batch, tokens, clusters, width } = *shape;
    let mut packed = Vec::new();
    for image in 0..batch {
        let own = map.own_rows[image];
        let row = |row: usize| &x[element(shape, image, row, 0)..][..width];
        packed.extend_from_slice(row(0));
        for token in 0..tokens {
            if map.row_map[image * tokens + token] < own {
                packed.extend_from_slice(row(1 + token));
            }
        }
        if map.bounds[image + 1] - map.bounds[image] > own {
            packed.extend_from_slice(&means[image * clusters * width..(image + 1) * clusters * width]);
        }
    }
    packed
}

/// Every token's row out of the merged ones: `[batch, 1 + tokens, width]`.
pub fn unmerge<T: Copy>(merged: &[T], map: &MergeMap, shape: &MergeShape) -> Vec<T> {
    let mut rows = Vec::new();
    for image in 0..shape.batch {
        let map_of = &map.row_map[image * shape.tokens..(image + 1) * shape.tokens];
        for place in std::iter::once(&0).chain(map_of) {
            let row = (map.bounds[image] + place) as usize;
            rows.extend_from_slice(&merged[row * shape.width..(row + 1) * shape.width]);
        }
    }
    rows
}

/// Rows for all tokens: a kept one its own of `processed` `[rows, width]`, a member V2 gelu(V1 [original ; representative] + c1) + c2.
/// original `[batch, tokens, width]`, V1 `[width, 2 · width]`, result `[batch, 1 + tokens, width]`.
pub fn regenerate(
    original: &[f64],
    processed: &[f64],
    map: &MergeMap,
    weights: &TwoLayers<'_>,
    shape: &MergeShape,
) -> Vec<f64> {
    let MergeShape { tokens, width, .. } = *shape;
    let mut rows = unmerge(processed, map, shape);
    for (index, original) in original.chunks_exact(width).enumerate() {
        let image = index / tokens;
        if map.row_map[index] >= map.own_rows[image] {
            let row = &mut rows[element(shape, image, 1 + index % tokens, 0)..][..width];
            let both = [original, row].concat();
            row.copy_from_slice(&weights.apply(&both, Activation::Gelu));
        }
    }
    rows
}
