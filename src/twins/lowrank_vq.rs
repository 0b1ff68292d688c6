//! Twin of the low-rank vector-quantised decoder (after arXiv 2510.01407), and of its four steps.

/// Sizes of an image and its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VqShape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Pixels along a patch's side.
    pub patch: usize,
    /// Outer products of an iteration.
    pub rank: usize,
    /// Iterations.
    pub iterations: usize,
    /// Bits of an index.
    pub bits: usize,
    /// The mean of the iterations instead of their sum.
    pub mean: bool,
}

impl VqShape {
    fn grid(&self) -> [usize; 2] {
        [self.height.div_ceil(self.patch), self.width.div_ceil(self.patch)]
    }

    fn patches(&self) -> usize {
        let [rows, columns] = self.grid();
        rows * columns
    }

    /// Indices of the image.
    pub fn indices(&self) -> usize {
        self.patches() * self.iterations * self.channels * 2 * self.rank
    }
}

/// The decoded image before it is clamped: `[height, width, channels]` from the codebook `[codewords, patch]` and the bit
/// stream. An index past the codebook is taken for the last codeword.
pub fn lowrank_vq(codebook: &[f64], words: &[u32], shape: &VqShape) -> Vec<f64> {
    let indices = unpack(words, codebook.len() / shape.patch, shape);
    let factors = gather(codebook, &indices, shape);
    assemble(&product(&factors, shape), shape)
}

/// Step 1: `[patches, iterations, channels, 2 rank]` indices, bit by bit from the lowest of the first word.
pub fn unpack(words: &[u32], codewords: usize, shape: &VqShape) -> Vec<u32> {
    let bit = |at: usize| words[at / 32] >> (at % 32) & 1;
    let index = |n: usize| (0..shape.bits).fold(0, |index, b| index | bit(n * shape.bits + b) << b);
    (0..shape.indices()).map(|n| index(n).min(codewords as u32 - 1)).collect()
}

/// Step 2: `[patches, iterations, channels, 2 rank, patch]`, a codeword for each index.
pub fn gather(codebook: &[f64], indices: &[u32], shape: &VqShape) -> Vec<f64> {
    let codeword = |&index: &u32| &codebook[index as usize * shape.patch..][..shape.patch];
    indices.iter().flat_map(codeword).copied().collect()
}

/// Step 3: `[patches, channels, patch, patch]`, the sum over iterations and ranks of `left[y] right[x]`.
pub fn product(factors: &[f64], shape: &VqShape) -> Vec<f64> {
    let &VqShape { channels, patch, rank, iterations, .. } = shape;
    let gain = if shape.mean { 1.0 / iterations as f64 } else { 1.0 };
    let mut samples = vec![0.0; shape.patches() * channels * patch * patch];
    for (n, pair) in factors.chunks_exact(2 * rank * patch).enumerate() {
        let (channel, s) = (n % channels, n / channels / iterations);
        let samples = &mut samples[(s * channels + channel) * patch * patch..][..patch * patch];
        let (left, right) = pair.split_at(rank * patch);
        for (left, right) in left.chunks_exact(patch).zip(right.chunks_exact(patch)) {
            for (y, row) in samples.chunks_exact_mut(patch).enumerate() {
                row.iter_mut().zip(right).for_each(|(sample, right)| *sample += gain * left[y] * right);
            }
        }
    }
    samples
}

/// Step 4: `[height, width, channels]`, the patches row by row, cropped.
pub fn assemble(samples: &[f64], shape: &VqShape) -> Vec<f64> {
    let &VqShape { height, width, channels, patch, .. } = shape;
    let [_, columns] = shape.grid();
    let mut image = Vec::with_capacity(height * width * channels);
    for y in 0..height {
        for x in 0..width {
            for channel in 0..channels {
                let s = y / patch * columns + x / patch;
                image.push(samples[((s * channels + channel) * patch + y % patch) * patch + x % patch]);
            }
        }
    }
    image
}

/// Bytes of samples: floor(255 x + 0.5) of x clamped to 0..1.
pub fn to_bytes(image: &[f64]) -> Vec<u8> {
    image.iter().map(|x| (255.0 * x.clamp(0.0, 1.0) + 0.5).floor() as u8).collect()
}

/// For every row of z `[rows, length]` the codeword of `[codewords, length]` with the least |z - c|², of equals the lowest, and how
/// much farther the next one is (infinite where there is no other).
pub fn vq_nearest(z: &[f64], codebook: &[f64], length: usize) -> (Vec<u32>, Vec<f64>) {
    let nearest = |z: &[f64]| {
        let (mut index, mut least, mut next) = (0, f64::INFINITY, f64::INFINITY);
        for (k, codeword) in codebook.chunks_exact(length).enumerate() {
            let distance = z.iter().zip(codeword).map(|(z, c)| (z - c) * (z - c)).sum();
            if distance < least {
                (index, least, next) = (k as u32, distance, least);
            } else {
                next = next.min(distance);
            }
        }
        (index, next - least)
    };
    z.chunks_exact(length).map(nearest).unzip()
}

#[cfg(test)]
mod tests {
    use super::super::{assert_close, noise};
    use super::*;

    const SHAPE: VqShape = VqShape {
        height: 13,
        width: 21,
        channels: 3,
        patch: 8,
        rank: 2,
        iterations: 3,
        bits: 5,
        mean: false,
    };

    fn words(shape: &VqShape) -> Vec<u32> {
        let count = (shape.indices() * shape.bits).div_ceil(32);
        noise(1, count).iter().map(|x| (x.abs() * 4294967296.0) as u32).collect()
    }

    /// One sample straight from the definition.
    fn sample(codebook: &[f64], indices: &[u32], shape: &VqShape, y: usize, x: usize, c: usize) -> f64 {
        let columns = shape.width.div_ceil(shape.patch);
        let s = y / shape.patch * columns + x / shape.patch;
        let factor = |i: usize, t: usize, at: usize| {
            let n = ((s * shape.iterations + i) * shape.channels + c) * 2 * shape.rank + t;
            codebook[indices[n] as usize * shape.patch + at % shape.patch]
        };
        let terms = (0..shape.iterations).flat_map(|i| (0..shape.rank).map(move |r| (i, r)));
        let sum: f64 = terms.map(|(i, r)| factor(i, r, y) * factor(i, shape.rank + r, x)).sum();
        if shape.mean { sum / shape.iterations as f64 } else { sum }
    }

    #[test]
    fn every_sample_equals_the_definition() {
        for shape in [
            SHAPE,
            VqShape { mean: true, channels: 1, ..SHAPE },
            VqShape { height: 1, width: 1, ..SHAPE },
            VqShape { patch: 32, rank: 1, bits: 13, ..SHAPE },
        ] {
            let codewords = (1 << shape.bits) - 3;
            let codebook = noise(2, codewords * shape.patch);
            let image = lowrank_vq(&codebook, &words(&shape), &shape);
            let indices = unpack(&words(&shape), codewords, &shape);
            assert!(indices.iter().all(|&index| (index as usize) < codewords));
            let mut at = 0;
            for y in 0..shape.height {
                for x in 0..shape.width {
                    for c in 0..shape.channels {
                        let expected = sample(&codebook, &indices, &shape, y, x, c);
                        assert_close(&image[at..at + 1], &[expected], 1e-12);
                        at += 1;
                    }
                }
            }
            assert_eq!(at, image.len());
        }
    }

    #[test]
    fn one_patch_by_hand() {
        let shape = VqShape {
            height: 2,
            width: 3,
            channels: 1,
            patch: 4,
            rank: 1,
            iterations: 2,
            bits: 1,
            mean: true,
        };
        // Indices 0 (left) 1 (right), then 1 1.
        let codebook = [1.0, 2.0, 3.0, 4.0, 0.5, 0.25, -1.0, 8.0];
        let image = lowrank_vq(&codebook, &[0b1110], &shape);
        assert_close(&image, &[0.375, 0.1875, -0.75, 0.5625, 0.28125, -1.125], 1e-15);
        assert_eq!(to_bytes(&image[..3]), [96, 48, 0]);
    }

    #[test]
    fn a_wrong_index_is_the_last_codeword() {
        let shape = VqShape {
            height: 4,
            width: 4,
            channels: 1,
            patch: 4,
            rank: 1,
            iterations: 1,
            bits: 2,
            mean: false,
        };
        let codebook = noise(3, 3 * 4);
        let (wrong, last) =
            (lowrank_vq(&codebook, &[0b1101], &shape), lowrank_vq(&codebook, &[0b1001], &shape));
        assert_eq!(wrong, last);
    }

    #[test]
    fn the_nearest_codeword_is_the_first_of_equals() {
        let codebook = [0.0, 1.0, 5.0, 5.0, 0.0, 1.0, 3.0, 1.0];
        let (indices, margins) = vq_nearest(&[0.0, 0.0, 4.0, 4.0, 1.6, 1.0], &codebook, 2);
        assert_eq!(indices, [0, 1, 3]);
        assert_close(&margins, &[0.0, 8.0, 0.6], 1e-12);
        assert_eq!(vq_nearest(&[7.0], &[1.0], 1), (vec![0], vec![f64::INFINITY]));
    }
}
