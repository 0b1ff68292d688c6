//! Convolutions of the kinds that super-resolution networks and decoders are made of, and such a decoder.
//!
//!     cargo bench --bench convolution

mod common;

use common::{bench, criterion, gpu, is_cpu};
use gristmill::Dtype;
use gristmill::kernels::convolution::ConvolutionKind;
use gristmill::measure::{ConvolutionCase, convolution, vqvae_decoder};

fn main() {
    let (mut criterion, gpu) = (criterion(), gpu());
    let side = if is_cpu(&gpu) { 64 } else { 512 };
    let mut group = criterion.benchmark_group("convolution");
    for (kind, [inputs, outputs], kernel, stride, padding) in [
        (ConvolutionKind::Full, [64, 64], 3, 1, 1),
        (ConvolutionKind::Full, [48, 48], 3, 1, 1),
        (ConvolutionKind::Full, [128, 128], 3, 1, 1),
        (ConvolutionKind::Transposed, [128, 64], 4, 2, 1),
        (ConvolutionKind::Depthwise, [64, 64], 7, 1, 3),
    ] {
        for dtype in [Dtype::F32, Dtype::F16] {
            let size = [side; 2];
            let case = ConvolutionCase { kind, size, inputs, outputs, kernel, stride, padding, dtype };
            let prepared = convolution(&gpu, case, None).expect("a shape that fits");
            let name = format!("{} {kind:?} {kernel} x {kernel}, {inputs} to {outputs}", dtype.name());
            bench(&mut group, &gpu, name, &prepared);
        }
    }
    let decoder = vqvae_decoder(&gpu, &Default::default(), [64; 2]).expect("a shape that fits");
    bench(&mut group, &gpu, "VQ-VAE decoder, 256 x 256 pixels".into(), &decoder);
    group.finish();
    criterion.final_summary();
}
