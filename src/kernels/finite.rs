//! An opt-in scan for NaN and infinities: WGSL lets a kernel assume that there are none.

use super::{Constants, ELEMENTWISE, FLOATS, expect_dtype};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::schedule::{Cost, Schedule, no_progress};
use crate::tensor::{Dtype, Tensor};

#[derive(encase::ShaderType)]
struct FiniteParams {
    elements: u32,
}

/// Scans the exponent bits of a float tensor of any shape on the GPU, and waits for the answer.
///
/// Errors: `NonFinite` with the flat index of the first NaN or infinity; `Shape` where the tensor holds integers; `Schedule`
/// where it has no memory yet or is of another [`Gpu`]; and those of [`Plan::run`](crate::Plan::run).
pub async fn check_finite(gpu: &Gpu, tensor: &Tensor) -> Result<()> {
    expect_dtype("check_finite", tensor.label(), tensor, &FLOATS)?;
    let first = Tensor::upload(gpu, "first non-finite", &[1], &[u32::MAX])?;
    let half = tensor.dtype() == Dtype::F16;
    let constants = Constants::new().flag("F16", half).set("WORKGROUP", ELEMENTWISE);
    let words = if half { tensor.elements().div_ceil(2) } else { tensor.elements() };
    let mut schedule = Schedule::new(gpu);
    schedule
        .kernel("check finite", "check/finite", &constants.pairs())?
        .params(&FiniteParams { elements: tensor.elements() as u32 })
        .bind("words", tensor)?
        .bind("first", &first)?
        .dispatch(words.div_ceil(8 * ELEMENTWISE), Cost { flops: 0.0, bytes: tensor.bytes() as f64 })?;
    schedule.compile()?.run(no_progress).await?;
    match first.read::<u32>(gpu).await?[0] {
        u32::MAX => Ok(()),
        index => Err(Error::NonFinite { tensor: tensor.label().into(), index: index as u64 }),
    }
}
