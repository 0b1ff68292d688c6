//! Linear layers on the GPU against their f64 twin, in every build that runs here.

mod common;

use common::{Random, assert_close, budget, doubles, gpu, read, upload, variants};
use gristmill::kernels::linear::{Linear, LinearConfig};
use gristmill::kernels::linear_types::{Activation, WeightLayout};
use gristmill::twins::linear::linear;
use gristmill::{Error, Schedule, Tensor, VariantKind, no_progress};
use half::f16;
use proptest::prelude::*;

const ACTIVATIONS: [Activation; 5] =
    [Activation::None, Activation::Relu, Activation::Gelu, Activation::GeluTanh, Activation::Silu];

/// What a failing test prints.
#[derive(Clone, Debug)]
struct Case {
    rows: usize,
    inputs: usize,
    outputs: usize,
    layout: WeightLayout,
    activation: Activation,
    bias: bool,
    residual: bool,
    x_f16: bool,
    weight_f16: bool,
    output_f16: bool,
    seed: u64,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            rows: 1,
            inputs: 1,
            outputs: 1,
            layout: WeightLayout::InOut,
            activation: Activation::None,
            bias: false,
            residual: false,
            x_f16: false,
            weight_f16: false,
            output_f16: false,
            seed: 1,
        }
    }
}

fn case(rows: usize, inputs: usize, outputs: usize) -> Case {
    Case { rows, inputs, outputs, ..Case::default() }
}

/// Values that the storage can hold, and their tensor.
fn stored(label: &str, shape: &[usize], mut values: Vec<f32>, half: bool) -> (Tensor, Vec<f64>) {
    let tensor = if half {
        let halves: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
        values = halves.iter().map(|half| half.to_f32()).collect();
        Tensor::upload(gpu(), label, shape, &halves).unwrap()
    } else {
        upload(label, shape, &values)
    };
    (tensor, doubles(&values))
}

impl Case {
    /// Runs each build over an output full of NaN and compares it with the twin.
    fn check(&self) {
        let &Case { rows, inputs, outputs, layout, activation, .. } = self;
        let mut random = Random::new(self.seed);
        let (x, x_host) = stored("x", &[rows, inputs], random.normal(rows * inputs, 1.0), self.x_f16);
        let weight_shape = if layout == WeightLayout::InOut { [inputs, outputs] } else { [outputs, inputs] };
        let values = random.normal(inputs * outputs, (inputs as f32).powf(-0.5));
        let (weight, weight_host) = stored("weight", &weight_shape, values, self.weight_f16);
        let (bias, bias_host) = stored("bias", &[outputs], random.normal(outputs, 1.0), false);
        let (residual, residual_host) =
            stored("residual", &[rows, outputs], random.normal(rows * outputs, 1.0), false);

        let bias_host = self.bias.then_some(bias_host.as_slice());
        let mut expected = linear(&x_host, &weight_host, bias_host, inputs, outputs, layout, activation);
        if self.residual {
            expected.iter_mut().zip(&residual_host).for_each(|(y, residual)| *y += residual);
        }
        for kind in variants() {
            let y = self.record(kind, &x, &weight, &bias, &residual);
            let found: Vec<f32> = if self.output_f16 {
                let halves = pollster::block_on(y.read::<f16>(gpu())).unwrap();
                halves.into_iter().map(f16::to_f32).collect()
            } else {
                read(&y)
            };
            // Sums of `inputs` products whose sum has size 1; halves of size up to 8 are 2^-8 apart.
            let tolerance = if self.output_f16 { 2e-3 } else { 2e-6 + 2e-7 * (inputs as f64).sqrt() };
            assert_close(&format!("{self:?} by {kind}"), &found, &expected, tolerance);
        }
    }

    fn record(
        &self,
        kind: VariantKind,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        residual: &Tensor,
    ) -> Tensor {
        let config = LinearConfig {
            layout: self.layout,
            activation: self.activation,
            output_f16: self.output_f16,
            variant: Some(kind),
        };
        let mut schedule = Schedule::new(gpu());
        let y = Linear::new(gpu(), config)
            .unwrap()
            .record(&mut schedule, x, weight, self.bias.then_some(bias), self.residual.then_some(residual))
            .unwrap_or_else(|error| panic!("{self:?} by {kind}: {error}"));
        let plan = schedule.compile().unwrap();
        plan.poison();
        pollster::block_on(plan.run(no_progress)).unwrap();
        y
    }
}

#[test]
fn sizes_that_divide_nothing_equal_the_twin_in_both_layouts() {
    for (rows, inputs, outputs) in [
        (1, 1, 1),
        (3, 45, 7),
        (2, 64, 64),
        (8, 33, 130),
        (9, 100, 36),
        (17, 4, 4),
        (65, 70, 67),
        (130, 128, 132),
    ] {
        for layout in [WeightLayout::InOut, WeightLayout::OutIn] {
            Case { layout, bias: true, residual: true, ..case(rows, inputs, outputs) }.check();
        }
    }
}

/// Each count of rows up to 8 is a build of its own on a GPU.
#[test]
fn every_small_number_of_rows_equals_the_twin() {
    for rows in 1..=9 {
        for layout in [WeightLayout::InOut, WeightLayout::OutIn] {
            Case { layout, seed: rows as u64, ..case(rows, 52, 44) }.check();
        }
    }
}

#[test]
fn half_storage_equals_the_twin_on_rounded_inputs() {
    for (layout, x_f16, weight_f16, output_f16) in [
        (WeightLayout::InOut, false, true, false),
        (WeightLayout::OutIn, true, true, true),
        (WeightLayout::InOut, true, false, true),
    ] {
        for (rows, inputs, outputs) in [(5, 36, 32), (5, 7, 10), (41, 13, 6)] {
            Case { layout, x_f16, weight_f16, output_f16, bias: true, ..case(rows, inputs, outputs) }.check();
        }
    }
}

#[test]
fn long_sums_and_large_outputs_stay_within_the_tolerance() {
    Case { seed: 4, ..case(4, 4099, 130) }.check();
    Case { seed: 5, ..case(70, 2050, 66) }.check();
    Case { seed: 6, layout: WeightLayout::OutIn, ..case(600, 60, 515) }.check();
}

proptest! {
    #![proptest_config(budget(24))]

    #[test]
    fn random_shapes_equal_the_twin(
        (rows, inputs, outputs) in (prop_oneof![Just(1usize), Just(7), 9usize..80], 1usize..90, 1usize..90),
        out_in in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let layout = if out_in { WeightLayout::OutIn } else { WeightLayout::InOut };
        Case { layout, seed, bias: out_in, ..case(rows, inputs, outputs) }.check();
    }
}

/// On every part of the axis: GELU's tails must neither overflow nor leave erf's range.
#[test]
fn every_activation_equals_the_twin() {
    let mut x = vec![-3e38, -1e6, -80.0, 80.0, 1e6];
    x.extend((-130..=130).map(|step| step as f32 / 10.0));
    let count = x.len();
    let inputs = upload("x", &[count, 1], &x);
    let one = upload("weight", &[1, 1], &[1.0]);
    for activation in ACTIVATIONS {
        let expected = linear(&doubles(&x), &[1.0], None, 1, 1, WeightLayout::InOut, activation);
        for kind in variants() {
            let y = Case { activation, ..case(count, 1, 1) }.record(kind, &inputs, &one, &one, &one);
            for (at, (found, expected)) in read(&y).iter().zip(&expected).enumerate() {
                let close = (*found as f64 - expected).abs() <= 4e-7 + 1e-6 * expected.abs();
                assert!(close, "{activation:?}({}) by {kind}: found {found}, expected {expected}", x[at]);
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused_by_name() {
    let zeros = |label: &str, shape: &[usize]| upload(label, shape, &vec![0.0; shape.iter().product()]);
    let (x, weight) = (zeros("x", &[2, 6]), zeros("weight", &[6, 5]));
    let refused = |config: LinearConfig,
                   x: &Tensor,
                   weight: &Tensor,
                   bias: Option<&Tensor>,
                   residual: Option<&Tensor>| {
        let mut schedule = Schedule::new(gpu());
        let error =
            Linear::new(gpu(), config).unwrap().record(&mut schedule, x, weight, bias, residual).unwrap_err();
        assert!(matches!(error, Error::Shape { .. } | Error::Config { .. }), "{error:?}");
        error.to_string()
    };
    let plain = LinearConfig::default;
    let out_in = LinearConfig { layout: WeightLayout::OutIn, ..plain() };
    let halves = LinearConfig { output_f16: true, ..plain() };
    let five = zeros("five", &[1, 5]);
    for (error, words) in [
        (refused(out_in, &x, &weight, None, None), ["`weight`", "[6, 5]", "6 inputs"]),
        (refused(plain(), &x, &weight, Some(&five), None), ["`bias`", "[1, 5]", "[5]"]),
        (refused(plain(), &x, &weight, None, Some(&five)), ["`residual`", "[1, 5]", "[2, 5]"]),
        (refused(plain(), &zeros("x", &[0, 6]), &weight, None, None), ["linear", "empty", "[0, 6]"]),
        (refused(halves, &x, &weight, None, None), ["`output_f16`", "true", "even"]),
    ] {
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

/// Rows that the GPU counts: those that are there equal the plain layer's to the bit, whatever stands in the others.
#[test]
fn counted_rows_equal_those_of_the_whole_layer() {
    let (rows, inputs, outputs) = (203, 37, 90);
    let mut random = Random::new(77);
    let mut values = random.normal(rows * inputs, 1.0);
    let weight = upload("weight", &[outputs, inputs], &random.normal(outputs * inputs, 0.2));
    let bias = upload("bias", &[outputs], &random.normal(outputs, 1.0));
    let residual = upload("residual", &[rows, outputs], &random.normal(rows * outputs, 1.0));
    for kind in variants() {
        let config = LinearConfig {
            layout: WeightLayout::OutIn,
            activation: Activation::Gelu,
            variant: Some(kind),
            ..Default::default()
        };
        let layer = Linear::new(gpu(), config).unwrap();
        for count in [0, 1, 5, 64, 65, 150, 203, 1000] {
            let there = count.min(rows);
            values[there * inputs..].fill(f32::NAN);
            let x = upload("x", &[rows, inputs], &values);
            let row_count = upload("row_count", &[1], &[count as u32]);
            let mut schedule = Schedule::new(gpu());
            let counted = layer
                .record_rows(&mut schedule, &x, &weight, Some(&bias), Some(&residual), &row_count)
                .unwrap();
            let whole = layer.record(&mut schedule, &x, &weight, Some(&bias), Some(&residual)).unwrap();
            let plan = schedule.compile().unwrap();
            plan.poison();
            pollster::block_on(plan.run(no_progress)).unwrap();
            let (counted, whole) = (read(&counted), read(&whole));
            assert_eq!(counted[..there * outputs], whole[..there * outputs], "{count} rows by {kind}");
            // No tile starts here any more.
            let past = (there.next_multiple_of(64) + 64) * outputs;
            assert!(counted.iter().skip(past).all(|value| value.is_nan()), "{count} rows by {kind}");
            values = random.normal(rows * inputs, 1.0);
        }
        let wrong = upload("row_count", &[2], &[1u32, 2]);
        let x = upload("x", &[rows, inputs], &values);
        let mut schedule = Schedule::new(gpu());
        let error =
            layer.record_rows(&mut schedule, &x, &weight, None, None, &wrong).unwrap_err().to_string();
        assert!(error.contains("`row_count`") && error.contains("[2]"), "{error}");
    }
}
