//! Weights in the order that the kernels read.

use super::{Convolution, ConvolutionConfig, ConvolutionKind, LARGEST_KERNEL, NAME};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::FLOATS;
use crate::tensor::{Element, Tensor};

/// A weight on the GPU, ordered for one kind of convolution: made by [`Convolution::upload_weight`].
///
/// It is `[taps, inputs, outputs]`, the last two rounded up with zeros: a tap is a matrix for channels that lie last. A transposed
/// convolution has its taps phase by phase, which depend on stride and padding (shaders/wgsl/convolution/geometry.wgsl).
#[derive(Clone, Debug)]
pub struct ConvolutionWeight {
    tensor: Tensor,
    kind: ConvolutionKind,
    /// Stride and padding that its taps are ordered for; `None` where they don't matter.
    phases: Option<(usize, usize)>,
    inputs: usize,
    outputs: usize,
    kernel: [usize; 2],
}

impl Convolution {
    /// Orders a weight of PyTorch's shape (see [`ConvolutionKind`]) for this convolution and copies it to the GPU, as f32 or f16.
    ///
    /// Errors: `Shape` where the shape is not one of this kind, its product differs from `values`, or the type is no float; `Limit`,
    /// `OutOfMemory`.
    pub fn upload_weight<T: Element>(
        &self,
        gpu: &Gpu,
        label: &str,
        shape: [usize; 4],
        values: &[T],
    ) -> Result<ConvolutionWeight> {
        let [first, second, high, wide] = shape;
        let kind = self.config.kind;
        let refused =
            |expected: &str| Err(Error::shape(NAME, label, format!("has shape {shape:?}"), expected));
        let sides = 1..=LARGEST_KERNEL;
        if first == 0 || second == 0 || !sides.contains(&high) || !sides.contains(&wide) {
            return refused(&format!("channels, and kernel sides of 1 to {LARGEST_KERNEL}"));
        }
        let product = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        if product != Some(values.len()) {
            return refused(&format!("{} elements", values.len()));
        }
        let (inputs, outputs) = match kind {
            ConvolutionKind::Full => (second, first),
            ConvolutionKind::Transposed => (first, second),
            ConvolutionKind::Depthwise if second == 1 => (first, first),
            ConvolutionKind::Depthwise => return refused("[channels, 1, kernel height, kernel width]"),
        };
        if !FLOATS.contains(&T::DTYPE) {
            return Err(Error::shape(NAME, label, format!("is {}", T::DTYPE.name()), "f32 or f16"));
        }
        let mut weight = ConvolutionWeight {
            tensor: Tensor::planned(gpu, label, &[], T::DTYPE),
            kind,
            phases: match kind {
                ConvolutionKind::Transposed => Some((self.config.stride, self.config.padding)),
                _ => None,
            },
            inputs,
            outputs,
            kernel: [high, wide],
        };
        let [rows, columns] = weight.padded();
        let mut ordered = vec![T::zeroed(); high * wide * rows * columns];
        for (tap, (y, x)) in taps(&self.config, [high, wide]).into_iter().enumerate() {
            for input in 0..if kind == ConvolutionKind::Depthwise { 1 } else { inputs } {
                for output in 0..outputs {
                    let channels = match kind {
                        ConvolutionKind::Full => output * inputs + input,
                        ConvolutionKind::Transposed => input * outputs + output,
                        ConvolutionKind::Depthwise => output,
                    };
                    ordered[(tap * rows + input) * columns + output] =
                        values[(channels * high + y) * wide + x];
                }
            }
        }
        weight.tensor = Tensor::upload(gpu, label, &[high * wide, rows, columns], &ordered)?;
        Ok(weight)
    }
}

impl ConvolutionWeight {
    /// Channels of x.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Channels of y.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Height and width of the kernel.
    pub fn kernel(&self) -> [usize; 2] {
        self.kernel
    }

    pub(super) fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Rows and columns of a tap: a round of a kernel has 4 or 8 inputs, a load 4 outputs.
    pub(super) fn padded(&self) -> [usize; 2] {
        let inputs = match (self.kind, self.inputs) {
            (ConvolutionKind::Depthwise, _) => 1,
            (_, ..=4) => 4,
            (_, inputs) => inputs.next_multiple_of(8),
        };
        [inputs, self.outputs.next_multiple_of(4)]
    }

    pub(super) fn check(&self, config: &ConvolutionConfig) -> Result<()> {
        if self.kind != config.kind {
            let expected =
                format!("{:?}, as the weight `{}` was uploaded for", self.kind, self.tensor.label());
            return Err(Error::config(NAME, "kind", format!("{:?}", config.kind), expected));
        }
        match self.phases {
            Some((stride, padding)) if (stride, padding) != (config.stride, config.padding) => {
                let found = format!("{} and {}", config.stride, config.padding);
                let expected =
                    format!("{stride} and {padding}, as `{}` was uploaded for", self.tensor.label());
                Err(Error::config(NAME, "stride and padding", found, expected))
            }
            _ => Ok(()),
        }
    }
}

/// (y, x) of every tap in the order in which a kernel reads them.
fn taps(config: &ConvolutionConfig, [high, wide]: [usize; 2]) -> Vec<(usize, usize)> {
    // A phase of a transposed convolution sees every stride-th tap; the later ones of them lie on the earlier pixels.
    let side = |remainder: usize, length: usize| (remainder..length).step_by(config.stride).rev();
    let phase = |y: usize, x: usize| side(y, high).flat_map(move |y| side(x, wide).map(move |x| (y, x)));
    let both = |end: [usize; 2]| (0..end[0]).flat_map(move |y| (0..end[1]).map(move |x| (y, x)));
    match config.kind {
        ConvolutionKind::Transposed => {
            both([config.stride; 2]).flat_map(|(y, x)| phase(y, x).collect::<Vec<_>>()).collect()
        }
        _ => both([high, wide]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_of_a_transposed_convolution_stand_phase_by_phase() {
        let config = ConvolutionConfig { kind: ConvolutionKind::Transposed, stride: 2, ..Default::default() };
        let order = taps(&config, [3, 2]);
        // Remainders (0, 0), (0, 1), (1, 0), (1, 1).
        assert_eq!(order, [(2, 0), (0, 0), (2, 1), (0, 1), (1, 0), (1, 1)]);
        let plain = taps(&ConvolutionConfig::default(), [2, 2]);
        assert_eq!(plain, [(0, 0), (0, 1), (1, 0), (1, 1)]);
        // A stride past the kernel leaves phases without a tap.
        assert_eq!(taps(&ConvolutionConfig { stride: 3, ..config }, [2, 1]), [(0, 0), (1, 0)]);
    }
}
