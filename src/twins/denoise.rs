//! Twin of the denoising filter: attention between the patches of one picture, local linear or softmax.

use super::attention::{AttentionMask, AttentionShape, attention, dot};
use super::flash_lla::{LlaOptions, flash_lla};
use crate::models::denoise::{COMPONENTS, DenoiseMethod};
use std::ops::Range;

/// Sizes of one denoising.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DenoiseShape {
    /// Rows of the image.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Elements of a pixel.
    pub channels: usize,
    /// Side of a tile in pixels; tiles start at the upper left, the last ones may be cut.
    pub tile: usize,
    /// Pixels that the window of a tile reaches beyond it on each side.
    pub margin: usize,
}

impl DenoiseShape {
    /// The window of the tile that holds the pixel `at`, moved into the image where it reaches beyond it.
    fn window(&self, at: usize, size: usize) -> Range<usize> {
        let side = (self.tile + 2 * self.margin).min(size);
        let first = (at / self.tile * self.tile).saturating_sub(self.margin).min(size - side);
        first..first + side
    }
}

/// Each pixel becomes what its token says of it, from the tokens and pixels of its tile's window with the weights
/// exp(-|q - k|² / h²): their weighted mean, or the value at the token of the line that fits them best.
///
/// tokens `[height, width, COMPONENTS]` ([`PatchBasis::project`](crate::models::denoise::PatchBasis::project)), image and result
/// `[height, width, channels]`.
pub fn denoise(tokens: &[f64], image: &[f64], shape: &DenoiseShape, method: DenoiseMethod) -> Vec<f64> {
    let &DenoiseShape { height, width, channels, .. } = shape;
    assert_eq!(tokens.len(), height * width * COMPONENTS, "tokens");
    assert_eq!(image.len(), height * width * channels, "image");
    let (DenoiseMethod::Lla { h, .. } | DenoiseMethod::Softmax { h }) = method;
    let h2 = (h as f64).powi(2) * (2 * COMPONENTS) as f64;
    let token = |pixel: usize| &tokens[pixel * COMPONENTS..][..COMPONENTS];
    let mut out = Vec::with_capacity(image.len());
    for y in 0..height {
        for x in 0..width {
            let (rows, columns) = (shape.window(y, height), shape.window(x, width));
            let seen: Vec<usize> =
                rows.flat_map(|row| columns.clone().map(move |column| row * width + column)).collect();
            let key: Vec<f64> = seen.iter().flat_map(|&pixel| token(pixel)).copied().collect();
            let value: Vec<f64> =
                seen.iter().flat_map(|&pixel| &image[pixel * channels..][..channels]).copied().collect();
            let bias: Vec<f64> = seen.iter().map(|&pixel| -dot(token(pixel), token(pixel)) / h2).collect();
            let shape = AttentionShape {
                batch: 1,
                query_tokens: 1,
                tokens: seen.len(),
                query_heads: 1,
                kv_heads: 1,
                head_dim: COMPONENTS,
                value_dim: channels,
            };
            let (query, key_bias, scale) = (token(y * width + x), Some(&bias[..]), 2.0 / h2);
            out.extend(match method {
                DenoiseMethod::Softmax { .. } => {
                    attention(query, &key, &value, &shape, &AttentionMask::default(), key_bias, scale).out
                }
                DenoiseMethod::Lla { ridge, .. } => {
                    let ridge = ridge as f64;
                    let options = LlaOptions { key_bias, scale: Some(scale), ridge, ..Default::default() };
                    flash_lla(query, &key, &value, &shape, &options).out
                }
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{assert_close, noise};
    use super::*;

    const SOFTMAX: DenoiseMethod = DenoiseMethod::Softmax { h: 1.0 };

    #[test]
    fn windows_are_moved_into_the_image() {
        // Equal tokens: every pixel of a window counts alike.
        let shape = DenoiseShape { height: 1, width: 6, channels: 1, tile: 2, margin: 1 };
        let image = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0];
        let mean = |range: Range<usize>| image[range].iter().sum::<f64>() / 4.0;
        let out = denoise(&[0.0; 6 * COMPONENTS], &image, &shape, SOFTMAX);
        let [first, middle, last] = [mean(0..4), mean(1..5), mean(2..6)];
        assert_close(&out, &[first, first, middle, middle, last, last], 1e-12);
        // A tile that is cut, and an image smaller than a window.
        let shape = DenoiseShape { tile: 4, margin: 0, ..shape };
        let out = denoise(&[0.0; 6 * COMPONENTS], &image, &shape, SOFTMAX);
        assert_close(&out, &[first, first, first, first, last, last], 1e-12);
        let shape = DenoiseShape { tile: 4, margin: 9, ..shape };
        let out = denoise(&[0.0; 6 * COMPONENTS], &image, &shape, SOFTMAX);
        assert_close(&out, &[31.0 / 6.0; 6], 1e-12);
    }

    #[test]
    fn weights_fall_with_the_distance_of_the_tokens() {
        let shape = DenoiseShape { height: 1, width: 2, channels: 1, tile: 2, margin: 0 };
        let mut tokens = [0.0; 2 * COMPONENTS];
        tokens[3] = 4.0;
        // |q - k|² = 16, h² = 24.
        let w = (-16.0f64 / 24.0).exp();
        let out = denoise(&tokens, &[0.0, 1.0], &shape, SOFTMAX);
        assert_close(&out, &[w / (1.0 + w), 1.0 / (1.0 + w)], 1e-15);
    }

    /// Pixels that are a line in their tokens stay as they are, where the mean flattens them.
    #[test]
    fn a_line_is_kept() {
        let shape = DenoiseShape { height: 7, width: 9, channels: 2, tile: 4, margin: 3 };
        let tokens = noise(3, 63 * COMPONENTS);
        let slopes = noise(4, 2 * COMPONENTS);
        let image: Vec<f64> = tokens
            .chunks_exact(COMPONENTS)
            .flat_map(|token| slopes.chunks_exact(COMPONENTS).map(move |slope| 0.5 + dot(token, slope)))
            .collect();
        let method = DenoiseMethod::Lla { h: 0.5, ridge: 0.0 };
        assert_close(&denoise(&tokens, &image, &shape, method), &image, 1e-5);
        let mean = denoise(&tokens, &image, &shape, DenoiseMethod::Softmax { h: 0.5 });
        assert!(mean.iter().zip(&image).any(|(a, b)| (a - b).abs() > 0.3));
    }
}
