//! The gated sum of the three branches.

use super::NAME;
use crate::error::{Error, Result};
use crate::kernels::attention::Shape;
use crate::kernels::{Constants, ELEMENTWISE, FLOATS, expect_dtype, expect_shape};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};

/// Weights of the branches for each query token and head: `[batch, query_tokens, query_heads, 3]` f32 or f16 in the order
/// compressed, selected, window; of packed sequences without a batch.
#[derive(Clone, Copy, Debug)]
pub enum Gates<'a> {
    /// As they are.
    Values(&'a Tensor),
    /// The sigmoid of these logits.
    Logits(&'a Tensor),
    /// The sigmoid of `logits / temperature` (VideoNSA: 0.3).
    Tempered {
        /// Logits.
        logits: &'a Tensor,
        /// Above 0.
        temperature: f32,
    },
}

#[derive(encase::ShaderType)]
struct GateParams {
    rows: u32,
    dim: u32,
    sharpness: f32,
}

impl<'a> Gates<'a> {
    /// The tensor that holds them.
    pub fn tensor(&self) -> &'a Tensor {
        match *self {
            Gates::Values(tensor) | Gates::Logits(tensor) | Gates::Tempered { logits: tensor, .. } => tensor,
        }
    }

    /// The same kind of gates in another tensor.
    pub(crate) fn with_tensor<'b>(&self, tensor: &'b Tensor) -> Gates<'b> {
        match *self {
            Gates::Values(_) => Gates::Values(tensor),
            Gates::Logits(_) => Gates::Logits(tensor),
            Gates::Tempered { temperature, .. } => Gates::Tempered { logits: tensor, temperature },
        }
    }

    pub(crate) fn check(&self, shape: &Shape) -> Result<()> {
        let name = if matches!(self, Gates::Values(_)) { "gates" } else { "gate_logits" };
        if let &Gates::Tempered { temperature, .. } = self
            && !(temperature > 0.0 && temperature.is_finite())
        {
            return Err(Error::config(NAME, "temperature", temperature, "a finite number above 0"));
        }
        expect_dtype(NAME, name, self.tensor(), &FLOATS)?;
        expect_shape(NAME, name, self.tensor(), &[shape.lse_shape(), vec![3]].concat())
    }
}

/// Records the sum; `branches` are compressed, selected, window.
pub(super) fn record(
    schedule: &mut Schedule,
    gates: &Gates<'_>,
    shape: &Shape,
    branches: [&Tensor; 3],
) -> Result<Tensor> {
    let out = schedule.tensor("native sparse out", &shape.out_shape(), Dtype::F32)?;
    let (unit, quad) = if shape.value_dim.is_multiple_of(4) { (4, "vec4f") } else { (1, "f32") };
    let f16 = gates.tensor().dtype() == Dtype::F16;
    let constants = Constants::new()
        .flag("GATES_F16", f16)
        .set("GATES_TYPE", if f16 { "u32" } else { "f32" })
        .flag("LOGITS", !matches!(gates, Gates::Values(_)))
        .set("QUAD", quad)
        .set("UNIT", unit)
        .set("WORKGROUP", ELEMENTWISE);
    let rows = out.elements() / shape.value_dim;
    let sharpness = match *gates {
        Gates::Tempered { temperature, .. } => 1.0 / temperature,
        _ => 1.0,
    };
    let params = GateParams { rows: rows as u32, dim: shape.value_dim as u32, sharpness };
    let [o_cmp, o_slc, o_swa] = branches;
    schedule
        .kernel("gated sum", "native_sparse/gated_sum", &constants.pairs())?
        .params(&params)
        .bind("gates", gates.tensor())?
        .bind("o_cmp", o_cmp)?
        .bind("o_slc", o_slc)?
        .bind("o_swa", o_swa)?
        .bind("out", &out)?
        .dispatch(
            (out.elements() / unit).div_ceil(ELEMENTWISE),
            Cost { flops: 5.0 * out.elements() as f64, bytes: 4.0 * out.bytes() as f64 },
        )?;
    Ok(out)
}
