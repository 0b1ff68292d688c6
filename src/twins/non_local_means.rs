//! Twin of the non-local means kernel: denoising as attention between patches of one image (Buades et al.
//! 2005).

/// Sizes of one non-local means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NonLocalMeansShape {
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
    /// Radius of a patch, which has (2 radius + 1)² pixels.
    pub radius: usize,
}

impl NonLocalMeansShape {
    /// Elements of a patch, (2 radius + 1)² channels.
    pub fn patch_dim(&self) -> usize {
        (2 * self.radius + 1).pow(2) * self.channels
    }
}

/// Each pixel becomes the mean of the pixels of its tile's window, weighted by softmax(-|p - p'|² / h²) over
/// the distances of their patches p'.
///
/// image `[height, width, channels]`, and so is the result; `h` has the unit of the image. A window ends at
/// the border of the image; a patch that reaches beyond it is filled by reflection that does not repeat the
/// border pixel.
pub fn non_local_means(image: &[f64], shape: &NonLocalMeansShape, h: f64) -> Vec<f64> {
    let &NonLocalMeansShape { height, width, channels, tile, margin, .. } = shape;
    assert_eq!(image.len(), height * width * channels, "image");
    let patches = patches(image, shape);
    let patch = |y: usize, x: usize| &patches[(y * width + x) * shape.patch_dim()..][..shape.patch_dim()];
    let window = |at: usize, end: usize| {
        let first = at / tile * tile;
        first.saturating_sub(margin)..(first + tile + margin).min(end)
    };
    let mut out = vec![0.0; image.len()];
    for y in 0..height {
        for x in 0..width {
            let mut sum = 0.0;
            let pixel = &mut out[(y * width + x) * channels..][..channels];
            for ky in window(y, height) {
                for kx in window(x, width) {
                    // The pixel itself has weight 1, the largest: no maximum needs to be subtracted.
                    let weight = (-squared_distance(patch(y, x), patch(ky, kx)) / (h * h)).exp();
                    sum += weight;
                    let value = &image[(ky * width + kx) * channels..][..channels];
                    pixel.iter_mut().zip(value).for_each(|(o, v)| *o += weight * v);
                }
            }
            pixel.iter_mut().for_each(|o| *o /= sum);
        }
    }
    out
}

/// The patch of every pixel, `[height, width, (2 radius + 1)², channels]`, rows of a patch first.
pub fn patches(image: &[f64], shape: &NonLocalMeansShape) -> Vec<f64> {
    let &NonLocalMeansShape { height, width, channels, radius, .. } = shape;
    let reach = -(radius as isize)..=radius as isize;
    let mut patches = Vec::with_capacity(height * width * shape.patch_dim());
    for y in 0..height as isize {
        for x in 0..width as isize {
            for dy in reach.clone() {
                for dx in reach.clone() {
                    let pixel = reflect(y + dy, height) * width + reflect(x + dx, width);
                    patches.extend(&image[pixel * channels..][..channels]);
                }
            }
        }
    }
    patches
}

/// Folds a coordinate into 0..size by reflection at the centres of the border pixels: -1 is 1, size is size -
/// 2.
pub fn reflect(at: isize, size: usize) -> usize {
    if size == 1 {
        return 0;
    }
    let period = 2 * (size - 1);
    let folded = at.rem_euclid(period as isize) as usize;
    folded.min(period - folded)
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests {
    use super::super::attention::{AttentionMask, AttentionShape, attention};
    use super::super::{assert_close, noise};
    use super::*;

    const SHAPE: NonLocalMeansShape =
        NonLocalMeansShape { height: 11, width: 7, channels: 3, tile: 4, margin: 2, radius: 1 };

    #[test]
    fn reflects_without_repeating_the_border() {
        let folded: Vec<usize> = (-5..9).map(|at| reflect(at, 4)).collect();
        assert_eq!(folded, [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]);
        assert_eq!([reflect(-3, 1), reflect(-1, 2), reflect(2, 2)], [0, 1, 0]);
    }

    #[test]
    fn two_pixels_by_hand() {
        let shape = NonLocalMeansShape { height: 1, width: 2, channels: 1, tile: 2, margin: 0, radius: 0 };
        let w = (-0.25f64).exp();
        let expected = [w / (1.0 + w), 1.0 / (1.0 + w)];
        assert_close(&non_local_means(&[0.0, 1.0], &shape, 2.0), &expected, 1e-15);
        // With radius 1 all three rows of the patch are the same, and each is (1, 0, 1) or (0, 1, 0): distance 9.
        let w = (-9.0f64 / 4.0).exp();
        let expected = [w / (1.0 + w), 1.0 / (1.0 + w)];
        assert_close(
            &non_local_means(&[0.0, 1.0], &NonLocalMeansShape { radius: 1, ..shape }, 2.0),
            &expected,
            1e-15,
        );
    }

    #[test]
    fn the_window_decides_who_is_seen() {
        // A large h weights all pixels of the window alike: a box mean over the tile and its margin.
        let shape = NonLocalMeansShape { height: 1, width: 6, channels: 1, tile: 2, margin: 1, radius: 0 };
        let out = non_local_means(&[0.0, 1.0, 2.0, 4.0, 8.0, 16.0], &shape, 1e9);
        assert_close(&out, &[1.0, 1.0, 3.75, 3.75, 28.0 / 3.0, 28.0 / 3.0], 1e-12);
    }

    #[test]
    fn a_small_h_keeps_the_image_and_a_flat_image_stays_flat() {
        let image = noise(7, SHAPE.height * SHAPE.width * SHAPE.channels);
        assert_close(&non_local_means(&image, &SHAPE, 1e-3), &image, 1e-12);
        let flat = vec![0.3; image.len()];
        assert_close(&non_local_means(&flat, &SHAPE, 0.1), &flat, 1e-15);
    }

    /// -|q - k|²/h² = 2 q·k/h² - |k|²/h² - |q|²/h², and the last term is the same for all keys.
    #[test]
    fn equals_attention_with_a_key_bias() {
        let image = noise(8, SHAPE.height * SHAPE.width * SHAPE.channels);
        let (h, dim, channels) = (1.5, SHAPE.patch_dim(), SHAPE.channels);
        let patches = patches(&image, &SHAPE);
        let gather = |pixels: &[usize], tensor: &[f64], dim: usize| -> Vec<f64> {
            pixels.iter().flat_map(|p| tensor[p * dim..][..dim].to_vec()).collect()
        };
        let expected = non_local_means(&image, &SHAPE, h);
        // The tile of rows 8..11 and columns 4..7: cut below and at the right.
        let query: Vec<usize> = (8..11).flat_map(|y| (4..7).map(move |x| y * 7 + x)).collect();
        let key: Vec<usize> = (6..11).flat_map(|y| (2..7).map(move |x| y * 7 + x)).collect();
        let k = gather(&key, &patches, dim);
        let key_bias: Vec<f64> =
            k.chunks_exact(dim).map(|k| -k.iter().map(|k| k * k).sum::<f64>() / (h * h)).collect();
        let shape = AttentionShape {
            batch: 1,
            query_tokens: query.len(),
            tokens: key.len(),
            query_heads: 1,
            kv_heads: 1,
            head_dim: dim,
            value_dim: channels,
        };
        let (q, v) = (gather(&query, &patches, dim), gather(&key, &image, channels));
        let found = attention(&q, &k, &v, &shape, &AttentionMask::default(), Some(&key_bias), 2.0 / (h * h));
        assert_close(&found.out, &gather(&query, &expected, channels), 1e-13);
    }
}
