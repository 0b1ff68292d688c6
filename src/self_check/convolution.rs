//! Convolutions of every kind, and the pixel shuffle.

use super::{Check, Checker, doubles};
use crate::error::Result;
use crate::kernels::convolution::{Convolution, ConvolutionConfig, ConvolutionKind, record_pixel_shuffle};
use crate::kernels::linear_types::Activation;
use crate::schedule::Schedule;
use crate::twins;
use crate::twins::convolution::ConvolutionShape;

impl<F: FnMut(&Check)> Checker<'_, F> {
    pub(super) async fn convolution(&mut self) -> Result<()> {
        for (name, kind, channels, side, stride) in [
            ("convolution 3 x 3", ConvolutionKind::Full, [13, 44], 3, 1),
            ("convolution, stride 2, 3 channels", ConvolutionKind::Full, [3, 20], 3, 2),
            ("convolution, transposed 4 x 4", ConvolutionKind::Transposed, [20, 36], 4, 2),
            ("convolution, depthwise 7 x 7", ConvolutionKind::Depthwise, [22, 22], 7, 1),
        ] {
            let [inputs, outputs] = channels;
            let (size, activation) = ([15, 19], Activation::LeakyRelu(0.2));
            let padding = (side - 1) / 2;
            let config = ConvolutionConfig {
                kind,
                stride,
                padding,
                activation,
                variant: self.variant,
                ..Default::default()
            };
            let weight_shape = match kind {
                ConvolutionKind::Full => [outputs, inputs, side, side],
                ConvolutionKind::Depthwise => [outputs, 1, side, side],
                ConvolutionKind::Transposed => [inputs, outputs, side, side],
            };
            let x = self.values(size[0] * size[1] * inputs);
            let weight: Vec<f32> =
                self.values(weight_shape.iter().product()).iter().map(|value| value * 0.3).collect();
            let bias = self.values(outputs);
            let mut schedule = Schedule::new(self.gpu);
            let operator = Convolution::new(self.gpu, config)?;
            let packed = operator.upload_weight(self.gpu, "weight", weight_shape, &weight)?;
            let tensors =
                [self.upload("x", &[size[0], size[1], inputs], &x)?, self.upload("bias", &[outputs], &bias)?];
            let y = operator.record(&mut schedule, &tensors[0], &packed, Some(&tensors[1]), None)?;
            let found = self.run(schedule, &y).await?;
            let shape = ConvolutionShape {
                kind,
                batch: 1,
                size,
                inputs,
                outputs,
                kernel: [side; 2],
                stride,
                padding,
            };
            let (x, weight, bias) = (doubles(x), doubles(weight), doubles(bias));
            let expected = twins::convolution::convolution(&x, &weight, Some(&bias), &shape, activation);
            self.compare(name, &found, &expected, 2e-5);
        }
        let [height, width, channels, scale] = [5, 7, 3, 2];
        let shape = [height, width, channels * scale * scale];
        let x = self.values(shape.iter().product());
        let mut schedule = Schedule::new(self.gpu);
        let y = record_pixel_shuffle(&mut schedule, &self.upload("x", &shape, &x)?, scale)?;
        let found = self.run(schedule, &y).await?;
        let expected = twins::convolution::pixel_shuffle(&doubles(x), [1, height, width], channels, scale);
        self.compare("pixel shuffle", &found, &expected, 0.0);
        Ok(())
    }
}
