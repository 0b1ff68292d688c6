//! Twin of the linear kernel: y = activation(x W + b).

use super::attention::dot;
use crate::kernels::linear_types::{Activation, WeightLayout};

/// x `[rows, inputs]`, weight `[inputs, outputs]` or `[outputs, inputs]` as `layout` says, bias `[outputs]`;
/// gives `[rows, outputs]`.
pub fn linear(
    x: &[f64],
    weight: &[f64],
    bias: Option<&[f64]>,
    inputs: usize,
    outputs: usize,
    layout: WeightLayout,
    activation: Activation,
) -> Vec<f64> {
    assert!(x.len().is_multiple_of(inputs), "x: {} elements in rows of {inputs}", x.len());
    assert_eq!(weight.len(), inputs * outputs, "weight");
    assert!(bias.is_none_or(|b| b.len() == outputs), "bias");
    let mut y = Vec::with_capacity(x.len() / inputs * outputs);
    for row in x.chunks_exact(inputs) {
        let mut sums = vec![0.0; outputs];
        match layout {
            WeightLayout::InOut => {
                for (x, weight) in row.iter().zip(weight.chunks_exact(outputs)) {
                    sums.iter_mut().zip(weight).for_each(|(sum, w)| *sum += x * w);
                }
            }
            WeightLayout::OutIn => {
                for (sum, weight) in sums.iter_mut().zip(weight.chunks_exact(inputs)) {
                    *sum = dot(row, weight);
                }
            }
        }
        y.extend(
            sums.iter().enumerate().map(|(o, sum)| activate(sum + bias.map_or(0.0, |b| b[o]), activation)),
        );
    }
    y
}

/// The activation of one element.
pub fn activate(x: f64, activation: Activation) -> f64 {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Gelu => 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2)),
        Activation::GeluTanh => 0.5 * x * (1.0 + (FRAC_2_PI.sqrt() * (x + 0.044715 * x * x * x)).tanh()),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::LeakyRelu(slope) => x.max(0.0) + slope as f64 * x.min(0.0),
    }
}

/// The error function, to about 1e-14.
///
/// erf x = 2/√π · e^(-x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!! (Abramowitz and Stegun 7.1.6): all terms have one sign,
/// so nothing cancels. Beyond 6 it differs from ±1 by less than 1e-16.
pub fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum, mut odd) = (x, 0.0, 1.0);
    while sum + term != sum {
        sum += term;
        odd += 2.0;
        term *= 2.0 * x * x / odd;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::super::{assert_close, noise};
    use super::*;

    #[test]
    fn both_layouts_give_the_hand_computed_product() {
        let x = [1.0, 2.0, 3.0, -1.0, 0.5, 4.0];
        let in_out = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0];
        let out_in = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
        let expected = [14.5, 139.0, 12.5, 119.0];
        let bias = [0.5, -1.0];
        let product = |w, layout| linear(&x, w, Some(&bias), 3, 2, layout, Activation::None);
        assert_close(&product(&in_out, WeightLayout::InOut), &expected, 1e-14);
        assert_close(&product(&out_in, WeightLayout::OutIn), &expected, 1e-14);
    }

    #[test]
    fn layouts_agree_on_ragged_sizes() {
        let (rows, inputs, outputs) = (5, 13, 7);
        let (x, weight) = (noise(1, rows * inputs), noise(2, inputs * outputs));
        let mut transposed = vec![0.0; weight.len()];
        for i in 0..inputs {
            for o in 0..outputs {
                transposed[o * inputs + i] = weight[i * outputs + o];
            }
        }
        let a = linear(&x, &weight, None, inputs, outputs, WeightLayout::InOut, Activation::Relu);
        let b = linear(&x, &transposed, None, inputs, outputs, WeightLayout::OutIn, Activation::Relu);
        assert_close(&a, &b, 1e-13);
        assert!(a.contains(&0.0) && a.iter().any(|y| *y > 0.0));
    }

    /// Values from tables of erf with 16 digits.
    #[test]
    fn erf_has_fourteen_digits() {
        let table = [
            (0.0, 0.0),
            (1e-10, 1.128_379_167_095_512_6e-10),
            (0.1, 0.112_462_916_018_284_9),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (1.5, 0.966_105_146_475_310_8),
            (2.0, 0.995_322_265_018_952_7),
            (3.0, 0.999_977_909_503_001_4),
            (4.5, 0.999_999_999_803_384),
            (7.0, 1.0),
        ];
        for (x, expected) in table {
            assert_close(&[erf(x), erf(-x)], &[expected, -expected], 1e-14 * expected);
        }
        assert!((erf(6.0) - 1.0).abs() < 1e-14, "{}", erf(6.0));
        assert!(erf(f64::NAN).is_nan());
    }

    #[test]
    fn activations_have_known_values() {
        let cases = [
            (Activation::Relu, -2.0, 0.0),
            (Activation::Relu, 2.0, 2.0),
            (Activation::Gelu, 1.0, 0.841_344_746_068_542_9),
            (Activation::Gelu, -1.0, -0.158_655_253_931_457_05),
            (Activation::GeluTanh, 1.0, 0.841_191_990_608_276_7),
            (Activation::Silu, 1.0, 0.731_058_578_630_004_9),
            (Activation::Silu, -800.0, 0.0),
            (Activation::LeakyRelu(0.25), -3.0, -0.75),
            (Activation::LeakyRelu(0.25), 3.0, 3.0),
            (Activation::None, -3.0, -3.0),
        ];
        for (activation, x, expected) in cases {
            let found = activate(x, activation);
            assert!((found - expected).abs() < 1e-14, "{activation:?}({x}) = {found}, expected {expected}");
        }
    }
}
