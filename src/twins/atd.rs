//! Twin of ATD-light (arXiv 2401.08209) with Pure-Pass: its attentions, the refinement of the dictionary, the layer, the network.

use super::attention::dot;
use super::convolution::{ConvolutionShape, convolution, pixel_shuffle};
use super::linear::linear;
use super::norm::layer_norm;
use super::pure_pass::{category_order, color_labels, levels, pure_mask};
use crate::kernels::convolution::ConvolutionKind;
use crate::kernels::linear_types::{Activation, WeightLayout};
use crate::models::atd::{AtdConfig, AtdSizes, Compensation, MEAN, layer_name};
use crate::models::named_tensors::NamedTensors;

const EPSILON: f64 = 1e-5;

/// What a layer gives, as the kernels have it.
#[derive(Clone, Debug, PartialEq)]
pub struct AtdLayerResult {
    /// `[pixels, channels]`
    pub window: Vec<f64>,
    /// `[pixels, channels]`
    pub dictionary_attention: Vec<f64>,
    /// `[pixels, tokens]`
    pub similarity: Vec<f64>,
    /// The active pixels by category.
    pub order: Vec<u32>,
    /// `[pixels, channels]`
    pub category: Vec<f64>,
    /// `[pixels, channels]`
    pub out: Vec<f64>,
    /// `[tokens, channels]`, the same where the layer doesn't refine it.
    pub dictionary: Vec<f64>,
}

/// A layer's or a network's weights in f64 with what they are for. Trusts names and shapes: [`AtdSizes::check`] has seen them.
#[derive(Clone, Copy, Debug)]
pub struct AtdTwin<'a> {
    /// The configuration.
    pub config: &'a AtdConfig,
    /// The sizes.
    pub sizes: &'a AtdSizes,
    /// The weights.
    pub weights: &'a NamedTensors,
}

impl AtdTwin<'_> {
    fn get(&self, name: &str) -> Vec<f64> {
        let (_, data) = self.weights.get(name).unwrap_or_else(|| panic!("no weight {name}"));
        data.iter().map(|&value| value as f64).collect()
    }

    fn linear(&self, x: &[f64], weight: &str, bias: &str, activation: Activation) -> Vec<f64> {
        let (weight, bias) = (self.get(weight), self.get(bias));
        let outputs = bias.len();
        let inputs = weight.len() / outputs;
        linear(x, &weight, Some(&bias), inputs, outputs, WeightLayout::OutIn, activation)
    }

    fn norm(&self, x: &[f64], gain: &str, bias: &str) -> Vec<f64> {
        layer_norm(x, Some(&self.get(gain)), Some(&self.get(bias)), self.sizes.channels, EPSILON)
    }

    fn convolve(&self, x: &[f64], name: &str, size: [usize; 2], inputs: usize) -> Vec<f64> {
        let bias = self.get(&format!("{name}_b"));
        let shape = ConvolutionShape {
            kind: ConvolutionKind::Full,
            batch: 1,
            size,
            inputs,
            outputs: bias.len(),
            kernel: [3, 3],
            stride: 1,
            padding: 1,
        };
        convolution(x, &self.get(&format!("{name}_w")), Some(&bias), &shape, Activation::None)
    }

    /// One layer over x `[height · width, channels]`. Pixels in `mask` leave category attention.
    pub fn layer(
        &self,
        prefix: &str,
        x: &[f64],
        dictionary: &[f64],
        size: [usize; 2],
        shifted: bool,
        mask: Option<&[bool]>,
    ) -> AtdLayerResult {
        let &AtdSizes { channels, tokens, hidden, kernel, .. } = self.sizes;
        let &AtdConfig { window, heads, group, .. } = self.config;
        let name = |part: &str| format!("{prefix}{part}");
        let project = |x: &[f64], weight: &str, bias: &str, activation| {
            self.linear(x, &name(weight), &name(bias), activation)
        };
        let z = self.norm(x, &name("n1_g"), &name("n1_b"));
        let qkv = project(&z, "wqkv", "bqkv", Activation::None);

        let attended = window_attention(&qkv, &self.get(&name("win.rpb")), size, window, heads, shifted);
        let window = project(&attended, "win.wo", "win.bo", Activation::None);

        let query = project(&z, "ca.wq", "ca.bq", Activation::None);
        let key = project(dictionary, "ca.wk", "ca.bk", Activation::None);
        let value = project(dictionary, "ca.wv", "ca.bv", Activation::None);
        let similarity = similarities(&query, &key, &self.get(&name("ca.scale")));
        let dictionary_attention =
            linear(&similarity, &value, None, tokens, channels, WeightLayout::InOut, Activation::None);

        let active =
            mask.map_or(similarity.len() / tokens, |mask| mask.iter().filter(|pure| !**pure).count());
        let order = category_order(&categories(&similarity, tokens), mask)[..active].to_vec();
        let scale = self.get(&name("aca.logit_scale"))[0].min(100f64.ln()).exp();
        let rows = category_attention(&qkv, &order, group, [heads, channels / heads], scale);
        let projected = project(&rows, "aca.wo", "aca.bo", Activation::None);
        let mut category = vec![0.0; x.len()];
        for (row, &pixel) in projected.chunks_exact(channels).zip(&order) {
            category[pixel as usize * channels..][..channels].copy_from_slice(row);
        }
        let rest = self.config.pure_pass.map_or(Compensation::Zero, |pure_pass| pure_pass.compensation);
        for pixel in 0..mask.map_or(0, <[bool]>::len) {
            if !mask.is_some_and(|mask| mask[pixel]) {
                continue;
            }
            let value = &qkv[(3 * pixel + 2) * channels..][..channels];
            let given = match rest {
                Compensation::Zero => vec![0.0; channels],
                Compensation::Value => value.to_vec(),
                Compensation::ProjectedValue => project(value, "aca.wo", "aca.bo", Activation::None),
            };
            category[pixel * channels..][..channels].copy_from_slice(&given);
        }

        let y: Vec<f64> =
            (0..x.len()).map(|i| x[i] + window[i] + dictionary_attention[i] + category[i]).collect();
        let h = project(&self.norm(&y, &name("n2_g"), &name("n2_b")), "f1_w", "f1_b", Activation::Gelu);
        let depthwise = ConvolutionShape {
            kind: ConvolutionKind::Depthwise,
            batch: 1,
            size,
            inputs: hidden,
            outputs: hidden,
            kernel: [kernel; 2],
            stride: 1,
            padding: kernel / 2,
        };
        let (weight, bias) = (self.get(&name("dw_w")), self.get(&name("dw_b")));
        let mixed = sum(&convolution(&h, &weight, Some(&bias), &depthwise, Activation::Gelu), &h);
        let out = sum(&project(&mixed, "f2_w", "f2_b", Activation::None), &y);
        let refines = self.weights.get(&name("sigma")).is_some();
        let dictionary = if refines {
            let [gain, sigma] = ["n3_g", "sigma"].map(|part| self.get(&name(part)));
            refine(dictionary, &similarity, &out, &gain, &sigma)
        } else {
            dictionary.to_vec()
        };
        AtdLayerResult { window, dictionary_attention, similarity, order, category, out, dictionary }
    }

    /// The pure pixels of a picture `[height, width, 3]` in whole windows, where the configuration asks for them.
    pub fn mask(&self, picture: &[f64], [height, width]: [usize; 2]) -> Option<Vec<bool>> {
        let mask = self.config.pure_pass?.mask;
        let [high, wide] = self.config.padded(height, width).expect("checked");
        let padded = pad(picture, [height, width], [high, wide]);
        Some(pure_mask(&color_labels(&levels(&padded), &mask), high, wide, mask.window))
    }

    /// The network over a picture `[height, width, 3]`; gives `[height · scale, width · scale, 3]`.
    pub fn network(&self, picture: &[f64], [height, width]: [usize; 2]) -> Vec<f64> {
        let channels = self.sizes.channels;
        let scale = self.config.scale;
        let size @ [high, wide] = self.config.padded(height, width).expect("checked");
        let mask = self.mask(picture, [height, width]);
        let mut x = pad(picture, [height, width], size);
        x.iter_mut().enumerate().for_each(|(i, value)| *value -= MEAN[i % 3] as f64);
        let shallow = self.convolve(&x, "first", size, 3);
        let mut t = self.norm(&shallow, "pe_g", "pe_b");
        for (b, &layers) in self.sizes.layers.iter().enumerate() {
            let mut dictionary = self.get(&format!("blocks.{b}.td"));
            let mut y = t.clone();
            for l in 0..layers {
                let layer = self.layer(&layer_name(b, l), &y, &dictionary, size, l % 2 == 1, mask.as_deref());
                (y, dictionary) = (layer.out, layer.dictionary);
            }
            t = sum(&self.convolve(&y, &format!("blocks.{b}.conv"), size, channels), &t);
        }
        let t = self.norm(&t, "norm_g", "norm_b");
        let deep = sum(&self.convolve(&t, "body", size, channels), &shallow);
        let up = self.convolve(&deep, "up", size, channels);
        let large = pixel_shuffle(&up, [1, high, wide], 3, scale);
        let mut out = Vec::with_capacity(height * width * 3 * scale * scale);
        for line in large.chunks_exact(3 * wide * scale).take(height * scale) {
            out.extend(line[..3 * width * scale].iter().enumerate().map(|(i, v)| v + MEAN[i % 3] as f64));
        }
        debug_assert_eq!(large.len(), high * wide * 3 * scale * scale);
        out
    }
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// A picture `[height, width, 3]` continued by its mirror image, the edge repeated.
pub fn pad(picture: &[f64], [height, width]: [usize; 2], [high, wide]: [usize; 2]) -> Vec<f64> {
    let mirror = |place: usize, side: usize| if place < side { place } else { 2 * side - 1 - place };
    let mut padded = Vec::with_capacity(high * wide * 3);
    for y in 0..high {
        for x in 0..wide {
            padded.extend_from_slice(&picture[(mirror(y, height) * width + mirror(x, width)) * 3..][..3]);
        }
    }
    padded
}

/// Softmax of logits, in place of them.
fn softmax(logits: &mut [f64]) {
    let most = logits.iter().fold(f64::NEG_INFINITY, |most, &x| most.max(x));
    logits.iter_mut().for_each(|x| *x = (*x - most).exp());
    let total: f64 = logits.iter().sum();
    logits.iter_mut().for_each(|x| *x /= total);
}

/// Attention of `queries` among `keys`, pixels of `qkv` `[pixels, 3, heads, dim]`, with logits scale · q kᵀ + bias(head, query's place,
/// key's place); `[queries, heads, dim]`.
fn attend(
    qkv: &[f64],
    queries: &[usize],
    keys: &[usize],
    [heads, dim]: [usize; 2],
    scale: f64,
    bias: impl Fn(usize, usize, usize) -> f64,
) -> Vec<f64> {
    let part =
        |pixel: usize, which: usize, head: usize| &qkv[((pixel * 3 + which) * heads + head) * dim..][..dim];
    let mut out = vec![0.0; queries.len() * heads * dim];
    for (i, &query) in queries.iter().enumerate() {
        for head in 0..heads {
            let logit = |(j, &key): (usize, &usize)| {
                scale * dot(part(query, 0, head), part(key, 1, head)) + bias(head, i, j)
            };
            let mut weights: Vec<f64> = keys.iter().enumerate().map(logit).collect();
            softmax(&mut weights);
            let row = &mut out[(i * heads + head) * dim..][..dim];
            for (&key, weight) in keys.iter().zip(weights) {
                row.iter_mut().zip(part(key, 2, head)).for_each(|(sum, v)| *sum += weight * v);
            }
        }
    }
    out
}

/// Attention in windows. qkv `[height · width, 3, heads, dim]`, table `[(2 window - 1)², heads]`; gives `[height · width, heads, dim]`.
pub fn window_attention(
    qkv: &[f64],
    table: &[f64],
    [height, width]: [usize; 2],
    window: usize,
    heads: usize,
    shifted: bool,
) -> Vec<f64> {
    let channels = qkv.len() / (height * width * 3);
    let shift = if shifted { window / 2 } else { 0 };
    let band = |place: usize, side: usize| match place {
        _ if place < side - window => 0,
        _ if place < side - window / 2 => 1,
        _ => 2,
    };
    let mut out = vec![0.0; height * width * channels];
    for top in (0..height).step_by(window) {
        for left in (0..width).step_by(window) {
            let places: Vec<(usize, usize)> =
                (0..window * window).map(|i| (top + i / window, left + i % window)).collect();
            let pixel = |&(y, x): &(usize, usize)| (y + shift) % height * width + (x + shift) % width;
            let pixels: Vec<usize> = places.iter().map(pixel).collect();
            let region = |i: usize| (band(places[i].0, height), band(places[i].1, width));
            let bias = |head: usize, i: usize, j: usize| {
                let dy = i / window + window - 1 - j / window;
                let dx = i % window + window - 1 - j % window;
                let apart = if shifted && region(i) != region(j) { -100.0 } else { 0.0 };
                table[(dy * (2 * window - 1) + dx) * heads + head] + apart
            };
            let dim = channels / heads;
            let rows = attend(qkv, &pixels, &pixels, [heads, dim], (dim as f64).powf(-0.5), bias);
            for (row, pixel) in rows.chunks_exact(channels).zip(pixels) {
                out[pixel * channels..][..channels].copy_from_slice(row);
            }
        }
    }
    out
}

/// Attention within groups of a list of pixels. qkv `[pixels, 3, heads, dim]`; gives `[order, heads, dim]` in the order of the list.
pub fn category_attention(
    qkv: &[f64],
    order: &[u32],
    group: usize,
    [heads, dim]: [usize; 2],
    scale: f64,
) -> Vec<f64> {
    if order.is_empty() {
        return Vec::new();
    }
    let order: Vec<usize> = order.iter().map(|&pixel| pixel as usize).collect();
    let size = group.min(order.len());
    let missing = order.len().next_multiple_of(size) - order.len();
    let list: Vec<usize> = order.iter().chain(order.iter().rev().take(missing)).copied().collect();
    let mut out: Vec<f64> = list
        .chunks_exact(size)
        .flat_map(|keys| attend(qkv, keys, keys, [heads, dim], scale, |_, _, _| 0.0))
        .collect();
    out.truncate(order.len() * heads * dim);
    out
}

/// exp rows of cosines: query `[pixels, dim]`, key `[tokens, dim]`, scale `[tokens]`; gives `[pixels, tokens]`.
pub fn similarities(query: &[f64], key: &[f64], scale: &[f64]) -> Vec<f64> {
    let tokens = scale.len();
    let dim = key.len() / tokens;
    let length = |x: &[f64]| dot(x, x).sqrt().max(1e-12);
    let mut all = Vec::with_capacity(query.len() / dim * tokens);
    for q in query.chunks_exact(dim) {
        let logit = |(k, scale): (&[f64], &f64)| {
            dot(q, k) / (length(q) * length(k)) * (1.0 + scale.clamp(0.0, 1.0) * (tokens as f64).ln())
        };
        let mut row: Vec<f64> = key.chunks_exact(dim).zip(scale).map(logit).collect();
        softmax(&mut row);
        all.extend(row);
    }
    all
}

/// The most similar token of every pixel, of equals the first.
pub fn categories(similarity: &[f64], tokens: usize) -> Vec<u32> {
    let first = |row: &[f64]| (0..tokens).fold(0, |best, m| if row[m] > row[best] { m } else { best });
    similarity.chunks_exact(tokens).map(|row| first(row) as u32).collect()
}

/// The dictionary `[tokens, channels]` refined by rows `[pixels, channels]` with similarities `[pixels, tokens]`.
pub fn refine(dictionary: &[f64], similarity: &[f64], rows: &[f64], gain: &[f64], sigma: &[f64]) -> Vec<f64> {
    let tokens = gain.len();
    let channels = dictionary.len() / tokens;
    let pixels = similarity.len() / tokens;
    let mut refined = Vec::with_capacity(dictionary.len());
    for m in 0..tokens {
        let mut column: Vec<f64> = similarity.iter().skip(m).step_by(tokens).copied().collect();
        let mean = column.iter().sum::<f64>() / pixels as f64;
        let variance = column.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / pixels as f64;
        column.iter_mut().for_each(|s| *s = (*s - mean) / (variance + EPSILON).sqrt() * gain[m]);
        softmax(&mut column);
        let keep = 1.0 / (1.0 + (-sigma[m]).exp());
        for c in 0..channels {
            let seen: f64 =
                column.iter().zip(rows.iter().skip(c).step_by(channels)).map(|(w, x)| w * x).sum();
            refined.push(keep * dictionary[m * channels + c] + (1.0 - keep) * seen);
        }
    }
    refined
}
