//! The gated sum of the three branches.

use super::NAME;
use crate::error::{Error, Result};
use crate::kernels::attention::Shape;
use crate::kernels::{FLOATS, expect_dtype, expect_shape};
use crate::schedule::Schedule;
use crate::tensor::Tensor;

/// Weights of the branches for each query token and head, `[batch, query_tokens, query_heads, 3]` f32 or f16 in the order
/// compressed, selected, window.
#[derive(Clone, Copy, Debug)]
pub enum Gates<'a> {
    /// As they are.
    Values(&'a Tensor),
    /// The sigmoid of these logits.
    Logits(&'a Tensor),
}

impl Gates<'_> {
    pub(super) fn check(&self, shape: &Shape) -> Result<()> {
        let (name, tensor) = match self {
            Gates::Values(tensor) => ("gates", tensor),
            Gates::Logits(tensor) => ("gate_logits", tensor),
        };
        expect_dtype(NAME, name, tensor, &FLOATS)?;
        expect_shape(NAME, name, tensor, &[shape.lse_shape(), vec![3]].concat())
    }
}

pub(super) fn record(
    _schedule: &mut Schedule,
    _gates: &Gates<'_>,
    _shape: &Shape,
    _branches: [&Tensor; 3],
) -> Result<Tensor> {
    Err(Error::Schedule("to come".into()))
}
