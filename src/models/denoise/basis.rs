//! Principal components of a picture's own patches, and what they say of its noise.

use super::{COMPONENTS, NAME, RADIUS};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::tensor::Tensor;
use crate::twins::non_local_means::reflect;
use crate::twins::symmetric::eigen;

/// Patches that the covariance is taken over at most: more change nothing that shows.
const SAMPLES: f64 = 65536.0;

/// The [`COMPONENTS`] principal components of the 5 x 5 patches of one picture, found on the host in f64.
///
/// A patch is 5 x 5 pixels of `channels` values in row order; the picture goes on by reflection without repeating the border.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchBasis {
    pub(super) channels: usize,
    /// Mean patch, `[patch_dim]`.
    mean: Vec<f64>,
    /// Orthonormal, by falling variance, `[COMPONENTS, patch_dim]`.
    components: Vec<f64>,
    noise: f64,
}

impl PatchBasis {
    /// The basis of a picture `[height, width, channels]`, at least 5 x 5 pixels of 1 to 4 channels. Large pictures are sampled.
    ///
    /// Errors: `Config` for the channels, `Shape` for the sides, `NonFinite`.
    pub fn new(pixels: &[f32], height: usize, width: usize, channels: usize) -> Result<Self> {
        check_picture(height, width, channels)?;
        if pixels.len() != height * width * channels {
            let found = format!("has {} values", pixels.len());
            return Err(Error::shape(NAME, "image", found, format!("{height} x {width} x {channels}")));
        }
        if let Some(index) = pixels.iter().position(|value| !value.is_finite()) {
            return Err(Error::NonFinite { tensor: "image".into(), index: index as u64 });
        }
        let patch_dim = patch_dim(channels);
        let step = ((height * width) as f64 / SAMPLES).sqrt().ceil() as usize;
        let reach = -(RADIUS as isize)..=RADIUS as isize;
        let mut patch = Vec::with_capacity(patch_dim);
        let (mut count, mut sum, mut products) =
            (0.0, vec![0.0; patch_dim], vec![0.0; patch_dim * patch_dim]);
        for y in (0..height as isize).step_by(step) {
            for x in (0..width as isize).step_by(step) {
                patch.clear();
                for dy in reach.clone() {
                    let line = reflect(y + dy, height) * width;
                    for dx in reach.clone() {
                        let pixel = (line + reflect(x + dx, width)) * channels;
                        patch.extend(pixels[pixel..pixel + channels].iter().map(|&value| value as f64 - 0.5));
                    }
                }
                count += 1.0;
                for (i, &value) in patch.iter().enumerate() {
                    sum[i] += value;
                    let row = &mut products[i * patch_dim..][..=i];
                    row.iter_mut().zip(&patch).for_each(|(product, other)| *product += value * other);
                }
            }
        }
        let mean: Vec<f64> = sum.iter().map(|value| value / count).collect();
        let covariance: Vec<f64> = (0..patch_dim * patch_dim)
            .map(|index| {
                let (i, j) = (index / patch_dim, index % patch_dim);
                products[i.max(j) * patch_dim + i.min(j)] / count - mean[i] * mean[j]
            })
            .collect();
        let (variances, vectors) = eigen(&covariance, patch_dim);
        let mut order: Vec<usize> = (0..patch_dim).collect();
        order.sort_by(|&a, &b| variances[b].total_cmp(&variances[a]));
        let least = &order[patch_dim - patch_dim / 4..];
        let noise = least.iter().map(|&i| variances[i].max(0.0)).sum::<f64>() / least.len() as f64;
        let row = |&i: &usize| vectors[i * patch_dim..][..patch_dim].to_vec();
        let components = order[..COMPONENTS].iter().flat_map(row).collect();
        Ok(Self { channels, mean: mean.iter().map(|value| value + 0.5).collect(), components, noise })
    }

    /// The deviation of the noise, in the unit of the pixels: the root mean variance of the quarter of the components that vary
    /// least. For Gaussian noise of 5 to 50 of 255 on five photos it was right within 10 %, from 10 on within 3 %; what a camera or a file
    /// format has clipped or smoothed is missing from it.
    pub fn noise(&self) -> f32 {
        self.noise.sqrt() as f32
    }

    /// (patch - mean) · components / sigma of every pixel, `[height, width, COMPONENTS]`, in f64: what the filter attends by.
    pub fn project(&self, pixels: &[f64], height: usize, width: usize, sigma: f64) -> Vec<f64> {
        use crate::twins::non_local_means::{NonLocalMeansShape, patches};
        let shape =
            NonLocalMeansShape { height, width, channels: self.channels, tile: 1, margin: 0, radius: RADIUS };
        let patch_dim = self.mean.len();
        let component = |patch: &[f64], component: &[f64]| -> f64 {
            let centred = patch.iter().zip(&self.mean).map(|(value, mean)| value - mean);
            centred.zip(component).map(|(value, weight)| value * weight).sum::<f64>() / sigma
        };
        patches(pixels, &shape)
            .chunks_exact(patch_dim)
            .flat_map(|patch| self.components.chunks_exact(patch_dim).map(move |one| component(patch, one)))
            .collect()
    }

    /// The basis on the GPU, `[patch_dim + 1, COMPONENTS]` f32: each component divided by `sigma`, the deviation of the noise in
    /// the unit of the pixels, and last the offset that takes the mean patch to 0. Errors: `Config`, `OutOfMemory`.
    pub fn upload(&self, gpu: &Gpu, sigma: f32) -> Result<Tensor> {
        check_sigma(sigma)?;
        let (patch_dim, sigma) = (self.mean.len(), sigma as f64);
        let weight = |row: usize, component: usize| self.components[component * patch_dim + row] / sigma;
        // The kernel takes pixels about 0.5.
        let offset = |component: usize| -> f64 {
            (0..patch_dim).map(|row| (0.5 - self.mean[row]) * weight(row, component)).sum()
        };
        let rows = (0..patch_dim).flat_map(|row| (0..COMPONENTS).map(move |one| weight(row, one)));
        let data: Vec<f32> = rows.chain((0..COMPONENTS).map(offset)).map(|value| value as f32).collect();
        Tensor::upload(gpu, "patch basis", &[patch_dim + 1, COMPONENTS], &data)
    }
}

pub(super) fn patch_dim(channels: usize) -> usize {
    (2 * RADIUS + 1).pow(2) * channels
}

pub(super) fn check_sigma(sigma: f32) -> Result<()> {
    if sigma > 0.0 && sigma.is_finite() {
        return Ok(());
    }
    Err(Error::config(NAME, "sigma", sigma, "a positive number"))
}

pub(super) fn check_picture(height: usize, width: usize, channels: usize) -> Result<()> {
    if !(1..=4).contains(&channels) {
        return Err(Error::config(NAME, "channels", channels, "1 to 4"));
    }
    let (least, most) = (2 * RADIUS + 1, 1 << 20);
    if height < least || width < least || height > most || width > most {
        let found = format!("has {height} x {width} pixels");
        return Err(Error::shape(NAME, "image", found, format!("{least} x {least} to {most} x {most}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twins::noise;

    fn noisy(height: usize, width: usize, channels: usize, deviation: f64) -> Vec<f32> {
        let uniform = noise(5, height * width * channels);
        let slope = |index: usize| {
            let (pixel, channel) = (index / channels, index % channels);
            0.2 + 0.5 * (pixel % width) as f64 / width as f64 + 0.1 * channel as f64
        };
        // Uniform noise in -1..1 has the deviation 1 / sqrt(3).
        let value = |(index, one): (usize, &f64)| (slope(index) + one * 3f64.sqrt() * deviation) as f32;
        uniform.iter().enumerate().map(value).collect()
    }

    #[test]
    fn the_noise_of_a_slope_is_found() {
        for (channels, deviation) in [(1, 0.02), (3, 0.1)] {
            let pixels = noisy(90, 110, channels, deviation);
            let found = PatchBasis::new(&pixels, 90, 110, channels).unwrap().noise() as f64;
            assert!((found / deviation - 1.0).abs() < 0.08, "{found} instead of {deviation}");
        }
    }

    #[test]
    fn components_are_orthonormal_and_centred() {
        let (height, width) = (31, 27);
        let pixels = noisy(height, width, 3, 0.05);
        let basis = PatchBasis::new(&pixels, height, width, 3).unwrap();
        for (i, a) in basis.components.chunks_exact(75).enumerate() {
            for (j, b) in basis.components.chunks_exact(75).enumerate() {
                let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert!((product - (i == j) as u8 as f64).abs() < 1e-12, "{i} {j}: {product}");
            }
        }
        let doubles: Vec<f64> = pixels.iter().map(|&value| value as f64).collect();
        let tokens = basis.project(&doubles, height, width, 0.05);
        let variance = |component: usize| {
            let of = || tokens.iter().skip(component).step_by(COMPONENTS);
            let count = (height * width) as f64;
            let mean = of().sum::<f64>() / count;
            assert!(mean.abs() < 1e-9, "{mean}");
            of().map(|value| value * value).sum::<f64>() / count
        };
        let variances: Vec<f64> = (0..COMPONENTS).map(variance).collect();
        assert!(variances.windows(2).all(|pair| pair[0] >= pair[1]), "{variances:?}");
        assert!(variances[0] > 100.0 && variances[COMPONENTS - 1] < 2.0, "{variances:?}");
    }

    #[test]
    fn a_large_picture_is_sampled() {
        let pixels = noisy(300, 500, 1, 0.1);
        let basis = PatchBasis::new(&pixels, 300, 500, 1).unwrap();
        assert!((basis.noise() / 0.1 - 1.0).abs() < 0.05, "{}", basis.noise());
    }
}
