//! Convolutions on the GPU against their f64 twin, in every build that runs here.

mod common;

use common::{Random, assert_close, budget, doubles, gpu, read, upload, variants};
use gristmill::kernels::convolution::{
    Convolution, ConvolutionConfig, ConvolutionKind, ConvolutionWeight, record_pixel_shuffle,
};
use gristmill::kernels::linear_types::Activation;
use gristmill::twins::convolution::{ConvolutionShape, convolution, pixel_shuffle};
use gristmill::{Error, Schedule, Tensor, VariantKind, no_progress};
use half::f16;
use proptest::prelude::*;

const KINDS: [ConvolutionKind; 3] =
    [ConvolutionKind::Full, ConvolutionKind::Depthwise, ConvolutionKind::Transposed];

/// What a failing test prints.
#[derive(Clone, Debug)]
struct Case {
    shape: ConvolutionShape,
    activation: Activation,
    input_relu: bool,
    bias: bool,
    residual: bool,
    weight_f16: bool,
    seed: u64,
}

/// A case with every extra, channels `inputs` to `outputs`.
fn case(kind: ConvolutionKind, size: [usize; 2], channels: [usize; 2], kernel: [usize; 2]) -> Case {
    let [inputs, outputs] = channels;
    let shape = ConvolutionShape { kind, batch: 1, size, inputs, outputs, kernel, stride: 1, padding: 0 };
    Case {
        shape,
        activation: Activation::None,
        input_relu: false,
        bias: true,
        residual: true,
        weight_f16: false,
        seed: 1,
    }
}

impl Case {
    fn stepped(mut self, stride: usize, padding: usize) -> Self {
        (self.shape.stride, self.shape.padding) = (stride, padding);
        self
    }

    fn weight_shape(&self) -> [usize; 4] {
        let ConvolutionShape { kind, inputs, outputs, kernel: [high, wide], .. } = self.shape;
        match kind {
            ConvolutionKind::Full => [outputs, inputs, high, wide],
            ConvolutionKind::Depthwise => [outputs, 1, high, wide],
            ConvolutionKind::Transposed => [inputs, outputs, high, wide],
        }
    }

    /// Runs each build over an output full of NaN and compares it with the twin.
    fn check(&self) {
        let ConvolutionShape { batch, size, inputs, outputs, kernel, .. } = self.shape;
        let mut random = Random::new(self.seed);
        let sum =
            if self.shape.kind == ConvolutionKind::Depthwise { 1 } else { inputs } * kernel[0] * kernel[1];
        let x_host = random.normal(batch * size[0] * size[1] * inputs, 1.0);
        let count = self.weight_shape().iter().product();
        let mut weight_host = random.normal(count, (sum as f32).powf(-0.5));
        if self.weight_f16 {
            weight_host.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
        }
        let bias_host = random.normal(outputs, 1.0);
        let out = self.shape.out_size();
        let residual_host = random.normal(batch * out[0] * out[1] * outputs, 1.0);

        let mut seen = doubles(&x_host);
        if self.input_relu {
            seen.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        let bias = doubles(&bias_host);
        let bias = self.bias.then_some(bias.as_slice());
        let mut expected = convolution(&seen, &doubles(&weight_host), bias, &self.shape, self.activation);
        if self.residual {
            expected.iter_mut().zip(&residual_host).for_each(|(y, residual)| *y += *residual as f64);
        }
        let x = upload("x", &[batch, size[0], size[1], inputs], &x_host);
        let bias = upload("bias", &[outputs], &bias_host);
        let residual = upload("residual", &[batch, out[0], out[1], outputs], &residual_host);
        for kind in variants() {
            let operator = self.operator(kind);
            let weight = if self.weight_f16 {
                let halves: Vec<f16> = weight_host.iter().map(|&value| f16::from_f32(value)).collect();
                operator.upload_weight(gpu(), "weight", self.weight_shape(), &halves).unwrap()
            } else {
                operator.upload_weight(gpu(), "weight", self.weight_shape(), &weight_host).unwrap()
            };
            let mut schedule = Schedule::new(gpu());
            let (bias, residual) = (self.bias.then_some(&bias), self.residual.then_some(&residual));
            let y = operator
                .record(&mut schedule, &x, &weight, bias, residual)
                .unwrap_or_else(|error| panic!("{self:?} by {kind}: {error}"));
            assert_eq!(y.shape(), [batch, out[0], out[1], outputs]);
            let plan = schedule.compile().unwrap();
            plan.poison();
            pollster::block_on(plan.run(no_progress)).unwrap();
            // Sums of `sum` products whose sum has size 1.
            let tolerance = 2e-6 + 2e-7 * (sum as f64).sqrt();
            assert_close(&format!("{self:?} by {kind}"), &read(&y), &expected, tolerance);
        }
    }

    fn operator(&self, kind: VariantKind) -> Convolution {
        let config = ConvolutionConfig {
            kind: self.shape.kind,
            stride: self.shape.stride,
            padding: self.shape.padding,
            activation: self.activation,
            input_relu: self.input_relu,
            variant: Some(kind),
        };
        Convolution::new(gpu(), config).unwrap()
    }
}

#[test]
fn every_kernel_size_equals_the_twin() {
    for side in 1..=7 {
        case(ConvolutionKind::Full, [9, 11], [12, 20], [side, side]).stepped(1, side / 2).check();
        case(ConvolutionKind::Depthwise, [9, 19], [12, 12], [side, side]).stepped(1, side / 2).check();
    }
    case(ConvolutionKind::Full, [6, 8], [8, 9], [1, 7]).stepped(1, 3).check();
    case(ConvolutionKind::Depthwise, [6, 8], [9, 9], [5, 2]).stepped(1, 1).check();
}

/// Channels that are no multiple of four, pictures that no tile divides, and tiles of every shape.
#[test]
fn channels_and_sizes_that_divide_nothing_equal_the_twin() {
    for (size, channels) in [
        ([1, 1], [1, 1]),
        ([5, 7], [3, 5]),
        ([13, 11], [5, 3]),
        ([9, 30], [12, 64]),
        ([21, 67], [7, 130]),
        ([33, 70], [36, 30]),
        ([65, 64], [6, 66]),
    ] {
        case(ConvolutionKind::Full, size, channels, [3, 3]).stepped(1, 1).check();
    }
    for (size, channels) in [([1, 1], 1), ([5, 7], 3), ([11, 65], 30), ([3, 100], 17)] {
        case(ConvolutionKind::Depthwise, size, [channels; 2], [3, 3]).stepped(1, 1).check();
    }
}

#[test]
fn strides_and_paddings_equal_the_twin() {
    for (stride, padding) in [(2, 0), (2, 1), (3, 2), (1, 4), (5, 0)] {
        case(ConvolutionKind::Full, [14, 17], [8, 12], [3, 3]).stepped(stride, padding).check();
        case(ConvolutionKind::Depthwise, [14, 17], [8, 8], [3, 3]).stepped(stride, padding).check();
    }
}

#[test]
fn transposed_convolutions_equal_the_twin() {
    for (kernel, stride, padding) in [
        ([4, 4], 2, 1), // of a VQ-VAE decoder
        ([3, 3], 2, 1),
        ([3, 3], 1, 1),
        ([2, 2], 2, 0),
        ([7, 5], 3, 2),
        ([2, 2], 3, 0), // pixels that no tap meets
    ] {
        case(ConvolutionKind::Transposed, [6, 7], [12, 20], kernel).stepped(stride, padding).check();
    }
    for channels in [[5, 3], [64, 3], [8, 70]] {
        case(ConvolutionKind::Transposed, [17, 40], channels, [4, 4]).stepped(2, 1).check();
    }
}

#[test]
fn batches_activations_and_half_weights_equal_the_twin() {
    let activations = [
        Activation::Relu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::LeakyRelu(0.2),
        Activation::LeakyRelu(-0.5),
    ];
    for (at, activation) in activations.into_iter().enumerate() {
        let kind = KINDS[at % 3];
        let mut case = case(kind, [6, 9], [8, 8], [3, 3]).stepped(1, 1);
        case.shape.batch = 3;
        Case { activation, weight_f16: at < 3, input_relu: at % 2 == 0, residual: at > 2, ..case }.check();
    }
}

proptest! {
    #![proptest_config(budget(24))]

    #[test]
    fn random_shapes_equal_the_twin(
        kind in 0usize..3,
        (batch, height, width) in (1usize..3, 1usize..20, 1usize..40),
        (inputs, outputs) in (1usize..20, 1usize..40),
        (high, wide) in (1usize..5, 1usize..5),
        (stride, padding) in (1usize..4, 0usize..3),
        seed in any::<u64>(),
    ) {
        let kind = KINDS[kind];
        let outputs = if kind == ConvolutionKind::Depthwise { inputs } else { outputs };
        let fits = |size: usize, kernel: usize| match kind {
            ConvolutionKind::Transposed => (size - 1) * stride + kernel > 2 * padding,
            _ => size + 2 * padding >= kernel,
        };
        prop_assume!(fits(height, high) && fits(width, wide));
        let mut case = case(kind, [height, width], [inputs, outputs], [high, wide]).stepped(stride, padding);
        case.shape.batch = batch;
        Case { seed, residual: seed % 2 == 0, ..case }.check();
    }
}

#[test]
fn a_shuffle_moves_every_channel_to_its_pixel() {
    let mut random = Random::new(5);
    for (size, channels, scale) in
        [([2, 5, 7], 3, 2), ([1, 4, 3], 5, 3), ([3, 1, 1], 1, 4), ([1, 2, 2], 3, 1)]
    {
        let [batch, height, width] = size;
        let shape = [batch, height, width, channels * scale * scale];
        let x_host = random.normal(shape.iter().product(), 1.0);
        let mut schedule = Schedule::new(gpu());
        let y = record_pixel_shuffle(&mut schedule, &upload("x", &shape, &x_host), scale).unwrap();
        assert_eq!(y.shape(), [batch, height * scale, width * scale, channels]);
        let plan = schedule.compile().unwrap();
        plan.poison();
        pollster::block_on(plan.run(no_progress)).unwrap();
        assert_close(
            "pixel shuffle",
            &read(&y),
            &pixel_shuffle(&doubles(&x_host), size, channels, scale),
            0.0,
        );
    }
}

#[test]
fn a_picture_without_a_batch_gives_one_without_it() {
    let operator = Convolution::new(gpu(), ConvolutionConfig::default()).unwrap();
    let weight = operator.upload_weight(gpu(), "weight", [2, 3, 2, 2], &[0.0_f32; 24]).unwrap();
    let mut schedule = Schedule::new(gpu());
    let y = operator.record(&mut schedule, &zeros("x", &[4, 5, 3]), &weight, None, None).unwrap();
    assert_eq!(y.shape(), [3, 4, 2]);
    let shuffled = record_pixel_shuffle(&mut schedule, &zeros("x", &[4, 5, 12]), 2).unwrap();
    assert_eq!(shuffled.shape(), [8, 10, 3]);
    assert_eq!(schedule.cost().flops, 2.0 * (3 * 4 * 2 * 3 * 2 * 2) as f64);
}

fn zeros(label: &str, shape: &[usize]) -> Tensor {
    upload(label, shape, &vec![0.0; shape.iter().product()])
}

fn says(error: Error, words: &[&str]) {
    let known = matches!(error, Error::Shape { .. } | Error::Config { .. });
    let text = error.to_string();
    assert!(known && words.iter().all(|word| text.contains(word)), "{text}; expected {words:?}");
}

#[test]
fn configurations_and_weights_that_do_not_fit_are_refused_by_name() {
    let refused = |config: ConvolutionConfig| Convolution::new(gpu(), config).unwrap_err();
    let plain = ConvolutionConfig::default;
    says(refused(ConvolutionConfig { stride: 0, ..plain() }), &["`stride`", "0", "1 to 64"]);
    says(refused(ConvolutionConfig { padding: 65, ..plain() }), &["`padding`", "65", "at most 64"]);
    let activation = Activation::LeakyRelu(f32::NAN);
    says(refused(ConvolutionConfig { activation, ..plain() }), &["`activation`", "NaN", "finite"]);

    let weight = |config: ConvolutionConfig, shape: [usize; 4], count: usize| {
        let operator = Convolution::new(gpu(), config).unwrap();
        operator.upload_weight(gpu(), "kernel", shape, &vec![0.0_f32; count])
    };
    let depthwise = || ConvolutionConfig { kind: ConvolutionKind::Depthwise, ..plain() };
    says(weight(plain(), [2, 3, 3, 3], 53).unwrap_err(), &["`kernel`", "[2, 3, 3, 3]", "53"]);
    says(weight(plain(), [2, 3, 0, 3], 0).unwrap_err(), &["`kernel`", "[2, 3, 0, 3]", "1 to 15"]);
    says(weight(plain(), [1, 1, 16, 1], 16).unwrap_err(), &["`kernel`", "[1, 1, 16, 1]", "1 to 15"]);
    says(weight(plain(), [usize::MAX, 3, 3, 3], 2).unwrap_err(), &["`kernel`", "2 elements"]);
    says(weight(depthwise(), [4, 4, 1, 1], 16).unwrap_err(), &["`kernel`", "[4, 4, 1, 1]", "[channels, 1,"]);
    let integers = Convolution::new(gpu(), plain()).unwrap().upload_weight(gpu(), "kernel", [1; 4], &[1_u32]);
    says(integers.unwrap_err(), &["`kernel`", "u32", "f32 or f16"]);
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let plain = ConvolutionConfig::default;
    let operator = |config| Convolution::new(gpu(), config).unwrap();
    let of = |config: ConvolutionConfig, shape: [usize; 4]| {
        operator(config)
            .upload_weight(gpu(), "kernel", shape, &vec![0.0_f32; shape.iter().product()])
            .unwrap()
    };
    let weight = of(plain(), [5, 3, 3, 3]);
    let refused =
        |config: ConvolutionConfig, x: &Tensor, weight: &ConvolutionWeight, extra: [Option<&Tensor>; 2]| {
            operator(config).record(&mut Schedule::new(gpu()), x, weight, extra[0], extra[1]).unwrap_err()
        };
    let x = zeros("x", &[1, 8, 9, 3]);
    let four = zeros("four", &[4]);
    says(refused(plain(), &zeros("x", &[8, 9]), &weight, [None; 2]), &["`x`", "[8, 9]", "[height, width"]);
    says(refused(plain(), &zeros("x", &[1, 0, 9, 3]), &weight, [None; 2]), &["`x`", "[1, 0, 9, 3]", "empty"]);
    says(refused(plain(), &zeros("x", &[1, 8, 9, 4]), &weight, [None; 2]), &["`weight`", "3 channels", "4"]);
    says(
        refused(plain(), &zeros("x", &[1, 2, 9, 3]), &weight, [None; 2]),
        &["`x`", "[1, 2, 9, 3]", "kernel 3 x 3"],
    );
    says(refused(plain(), &x, &weight, [Some(&four), None]), &["`bias`", "[4]", "[5]"]);
    says(refused(plain(), &x, &weight, [None, Some(&x)]), &["`residual`", "[1, 8, 9, 3]", "[1, 6, 7, 5]"]);

    let transposed =
        |stride, padding| ConvolutionConfig { kind: ConvolutionKind::Transposed, stride, padding, ..plain() };
    says(refused(transposed(2, 1), &x, &weight, [None; 2]), &["`kind`", "Transposed", "Full"]);
    let weight = of(transposed(2, 1), [3, 5, 4, 4]);
    says(refused(transposed(2, 0), &x, &weight, [None; 2]), &["`stride and padding`", "2 and 0", "2 and 1"]);
    let weight = of(transposed(1, 2), [3, 5, 4, 4]);
    says(refused(transposed(1, 2), &zeros("x", &[1, 1, 4, 3]), &weight, [None; 2]), &["`x`", "[1, 1, 4, 3]"]);
    let mut schedule = Schedule::new(gpu());
    says(record_pixel_shuffle(&mut schedule, &x, 2).unwrap_err(), &["`x`", "[1, 8, 9, 3]", "channels · 4"]);
    says(record_pixel_shuffle(&mut schedule, &x, 0).unwrap_err(), &["`scale`", "0"]);
}
