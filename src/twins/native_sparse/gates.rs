//! The weights of the branches, and the sum.

use super::super::linear::linear;
use crate::kernels::linear_types::{Activation, WeightLayout};

/// A network from what a layer reads to gate logits `[rows, 3 · heads]`.
#[derive(Clone, Copy, Debug)]
pub struct GateNetwork<'a> {
    /// A layer before the last, `[inputs, hidden]` and `[hidden]`, with GELU behind it (VideoNSA).
    pub hidden: Option<(&'a [f64], &'a [f64])>,
    /// `[inputs or hidden, 3 · heads]`; column 3 h + b is branch b of head h.
    pub weight: &'a [f64],
    /// `[3 · heads]`.
    pub bias: Option<&'a [f64]>,
    /// Logits are divided by this; 1, in VideoNSA 0.3.
    pub temperature: f64,
}

impl GateNetwork<'_> {
    /// Gates `[rows, heads, 3]` of x `[rows, inputs]`.
    pub fn gates(&self, x: &[f64], inputs: usize) -> Vec<f64> {
        let hidden = self.hidden.map(|(weight, bias)| {
            let y = linear(x, weight, Some(bias), inputs, bias.len(), WeightLayout::InOut, Activation::Gelu);
            (y, bias.len())
        });
        let (x, inputs) = hidden.as_ref().map_or((x, inputs), |(y, width)| (&y[..], *width));
        let outputs = self.weight.len() / inputs;
        let mut logits =
            linear(x, self.weight, self.bias, inputs, outputs, WeightLayout::InOut, Activation::None);
        logits.iter_mut().for_each(|logit| *logit /= self.temperature);
        gate_values(&logits)
    }
}

/// The sigmoid of each logit.
pub fn gate_values(logits: &[f64]) -> Vec<f64> {
    logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect()
}

/// g_cmp o_cmp + g_slc o_slc + g_swa o_swa (Eq. 5): gates `[rows, 3]` and three branches `[rows, value_dim]`, where rows count
/// sequences, tokens and heads.
pub fn gated_sum(gates: &[f64], branches: [&[f64]; 3], value_dim: usize) -> Vec<f64> {
    let element = |i: usize| (0..3).map(|b| gates[i / value_dim * 3 + b] * branches[b][i]).sum();
    (0..branches[0].len()).map(element).collect()
}
