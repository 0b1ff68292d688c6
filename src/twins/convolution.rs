//! Twin of the convolutions: full, depthwise and transposed, and of the pixel shuffle. Weights are in PyTorch's order.

use super::linear::activate;
use crate::kernels::convolution::ConvolutionKind;
use crate::kernels::linear_types::Activation;

/// Sizes and form of one convolution.
#[derive(Clone, Copy, Debug)]
pub struct ConvolutionShape {
    /// Full, depthwise or transposed.
    pub kind: ConvolutionKind,
    /// Pictures.
    pub batch: usize,
    /// Height and width of x.
    pub size: [usize; 2],
    /// Channels of x.
    pub inputs: usize,
    /// Channels of y; as many as `inputs` in a depthwise convolution.
    pub outputs: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// As in [`ConvolutionConfig`](crate::kernels::convolution::ConvolutionConfig).
    pub stride: usize,
    /// As in [`ConvolutionConfig`](crate::kernels::convolution::ConvolutionConfig).
    pub padding: usize,
}

impl ConvolutionShape {
    /// Height and width of y.
    pub fn out_size(&self) -> [usize; 2] {
        [0, 1].map(|axis| match self.kind {
            ConvolutionKind::Transposed => {
                (self.size[axis] - 1) * self.stride + self.kernel[axis] - 2 * self.padding
            }
            _ => (self.size[axis] + 2 * self.padding - self.kernel[axis]) / self.stride + 1,
        })
    }
}

/// x `[batch, height, width, inputs]`, weight as its kind has it, bias `[outputs]`; gives y `[batch, out height, out width, outputs]`
/// = activation(x * weight + bias). The input ReLU and the residual of the kernel are the caller's.
pub fn convolution(
    x: &[f64],
    weight: &[f64],
    bias: Option<&[f64]>,
    shape: &ConvolutionShape,
    activation: Activation,
) -> Vec<f64> {
    let &ConvolutionShape { kind, batch, size: [height, width], inputs, outputs, kernel, .. } = shape;
    let [out_height, out_width] = shape.out_size();
    let depthwise = kind == ConvolutionKind::Depthwise;
    let per_output = if depthwise { 1 } else { inputs };
    assert_eq!(x.len(), batch * height * width * inputs, "x");
    assert_eq!(weight.len(), outputs * per_output * kernel[0] * kernel[1], "weight");
    assert!(!depthwise || inputs == outputs, "channels");
    let mut y = vec![0.0; batch * out_height * out_width * outputs];
    // A pixel of y and one of x that a tap of the kernel joins; the larger of the two pictures is at stride · small + tap - padding.
    let mut join = |image: usize, from: [usize; 2], to: [usize; 2], [tap_y, tap_x]: [usize; 2]| {
        let from = ((image * height + from[0]) * width + from[1]) * inputs;
        let to = ((image * out_height + to[0]) * out_width + to[1]) * outputs;
        for output in 0..outputs {
            for input in if depthwise { output..output + 1 } else { 0..inputs } {
                let channels = match kind {
                    ConvolutionKind::Full => output * inputs + input,
                    ConvolutionKind::Depthwise => output,
                    ConvolutionKind::Transposed => input * outputs + output,
                };
                let weight = weight[(channels * kernel[0] + tap_y) * kernel[1] + tap_x];
                y[to + output] += x[from + input] * weight;
            }
        }
    };
    let transposed = kind == ConvolutionKind::Transposed;
    let (small, large) = if transposed {
        ([height, width], [out_height, out_width])
    } else {
        ([out_height, out_width], [height, width])
    };
    let at = |small: usize, tap: usize, end: usize| {
        (small * shape.stride + tap).checked_sub(shape.padding).filter(|place| *place < end)
    };
    for image in 0..batch {
        for small_y in 0..small[0] {
            for small_x in 0..small[1] {
                for tap_y in 0..kernel[0] {
                    for tap_x in 0..kernel[1] {
                        let place = at(small_y, tap_y, large[0]).zip(at(small_x, tap_x, large[1]));
                        let Some((large_y, large_x)) = place else { continue };
                        let pair = ([large_y, large_x], [small_y, small_x]);
                        let (from, to) = if transposed { (pair.1, pair.0) } else { pair };
                        join(image, from, to, [tap_y, tap_x]);
                    }
                }
            }
        }
    }
    for (index, value) in y.iter_mut().enumerate() {
        *value = activate(*value + bias.map_or(0.0, |bias| bias[index % outputs]), activation);
    }
    y
}

/// x `[batch, height, width, channels · scale²]`; gives `[batch, height · scale, width · scale, channels]`.
pub fn pixel_shuffle(
    x: &[f64],
    [batch, height, width]: [usize; 3],
    channels: usize,
    scale: usize,
) -> Vec<f64> {
    let mut y = Vec::with_capacity(x.len());
    for line in 0..batch * height * scale {
        for column in 0..width * scale {
            for channel in 0..channels {
                let pixel = line / scale * width + column / scale;
                let place = (channel * scale + line % scale) * scale + column % scale;
                y.push(x[pixel * channels * scale * scale + place]);
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::super::{assert_close, noise};
    use super::*;

    fn shape(kind: ConvolutionKind, size: [usize; 2], kernel: [usize; 2]) -> ConvolutionShape {
        ConvolutionShape { kind, batch: 1, size, inputs: 1, outputs: 1, kernel, stride: 1, padding: 0 }
    }

    /// 3 x 3 numbers and a kernel of 2 x 2, by hand.
    #[test]
    fn small_cases_have_the_values_computed_by_hand() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let weight = [1.0, 10.0, 100.0, 1000.0];
        let of = |shape: ConvolutionShape, x: &[f64]| convolution(x, &weight, None, &shape, Activation::None);
        let full = shape(ConvolutionKind::Full, [3, 3], [2, 2]);
        assert_eq!(of(full, &x), [5421.0, 6532.0, 8754.0, 9865.0]);
        // With a line of zeros around it and stride 2: corners (-1, -1), (-1, 1), (1, -1), (1, 1).
        let padded = ConvolutionShape { padding: 1, stride: 2, ..full };
        assert_eq!(of(padded, &x), [1000.0, 3200.0, 7040.0, 9865.0]);
        let transposed = shape(ConvolutionKind::Transposed, [2, 1], [2, 2]);
        assert_eq!(of(transposed, &x[..2]), [1.0, 10.0, 102.0, 1020.0, 200.0, 2000.0]);
        let wide = ConvolutionShape { stride: 2, padding: 1, size: [2, 2], ..transposed };
        // The inner 2 x 2 of the 4 x 4 that the four kernels tile.
        assert_eq!(of(wide, &x[..4]), [1000.0, 200.0, 30.0, 4.0]);
    }

    /// The defining property of the transpose: <conv(x), y> = <x, transposed(y)> with the same weight.
    #[test]
    fn the_transposed_form_is_the_adjoint_of_the_full_one() {
        for (size, kernel, stride, padding) in
            [([7, 9], [4, 4], 1, 1), ([8, 10], [4, 4], 2, 1), ([7, 7], [3, 3], 2, 1), ([9, 5], [3, 2], 3, 0)]
        {
            let full = ConvolutionShape {
                kind: ConvolutionKind::Full,
                batch: 2,
                size,
                inputs: 3,
                outputs: 5,
                kernel,
                stride,
                padding,
            };
            let out = full.out_size();
            let back = ConvolutionShape {
                kind: ConvolutionKind::Transposed,
                size: out,
                inputs: 5,
                outputs: 3,
                ..full
            };
            assert_eq!(back.out_size(), size, "a case in which the stride leaves no rest");
            let x = noise(1, 2 * size[0] * size[1] * 3);
            let y = noise(2, 2 * out[0] * out[1] * 5);
            // [5, 3, kh, kw] is [outputs, inputs, ..] of the one and [inputs, outputs, ..] of the other.
            let weight = noise(3, 5 * 3 * kernel[0] * kernel[1]);
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let forth = dot(&convolution(&x, &weight, None, &full, Activation::None), &y);
            let back = dot(&x, &convolution(&y, &weight, None, &back, Activation::None));
            assert_close(&[forth], &[back], 1e-11);
        }
    }

    /// A depthwise convolution is a full one whose weight is 0 between different channels.
    #[test]
    fn depthwise_equals_a_diagonal_full_convolution() {
        let depthwise = ConvolutionShape {
            kind: ConvolutionKind::Depthwise,
            batch: 1,
            size: [5, 6],
            inputs: 3,
            outputs: 3,
            kernel: [3, 2],
            stride: 1,
            padding: 1,
        };
        let (x, weight, bias) = (noise(1, 90), noise(2, 18), noise(3, 3));
        let mut dense = vec![0.0; 9 * 6];
        for channel in 0..3 {
            dense[channel * 4 * 6..][..6].copy_from_slice(&weight[channel * 6..][..6]);
        }
        let full = ConvolutionShape { kind: ConvolutionKind::Full, ..depthwise };
        let a = convolution(&x, &weight, Some(&bias), &depthwise, Activation::Relu);
        let b = convolution(&x, &dense, Some(&bias), &full, Activation::Relu);
        assert_close(&a, &b, 1e-14);
    }

    #[test]
    fn shuffled_channels_become_squares() {
        // Two pixels of 8 channels: two squares of 2 x 2 with two channels.
        let x: Vec<f64> = (0..16).map(f64::from).collect();
        let y = pixel_shuffle(&x, [1, 1, 2], 2, 2);
        let expected = [0, 4, 1, 5, 8, 12, 9, 13, 2, 6, 3, 7, 10, 14, 11, 15];
        assert_eq!(y, expected.map(f64::from));
    }
}
