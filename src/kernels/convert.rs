//! f32 to packed f16 and back, on the GPU.

use super::{Constants, ELEMENTWISE, FLOATS, expect_dtype};
use crate::error::Result;
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};

#[derive(encase::ShaderType)]
struct CastParams {
    elements: u32,
}

/// Records the conversion of `source`, of any shape, between f32 and f16; without one to do, the result is `source`.
///
/// Error bound: to f16, one unit in the last place (WGSL lets a conversion round either way); finite values past the range of
/// f16 become ±65504, infinities NaN. To f32 it is exact. Errors: `Shape` where `source` or `to` is not a float, `Limit`, `Schedule` for a
/// tensor of another [`Gpu`](crate::Gpu).
pub fn record_cast(schedule: &mut Schedule, source: &Tensor, to: Dtype) -> Result<Tensor> {
    expect_dtype("cast", "source", source, &FLOATS)?;
    let result = schedule.tensor("cast", source.shape(), to)?;
    expect_dtype("cast", "result", &result, &FLOATS)?;
    if source.dtype() == to {
        return Ok(source.clone());
    }
    let constants = Constants::new().flag("TO_F16", to == Dtype::F16).set("WORKGROUP", ELEMENTWISE);
    let pairs = source.elements().div_ceil(2);
    schedule
        .kernel("cast", "convert/cast", &constants.pairs())?
        .params(&CastParams { elements: source.elements() as u32 })
        .bind("source", source)?
        .bind("result", &result)?
        .dispatch(
            pairs.div_ceil(ELEMENTWISE),
            Cost { flops: 0.0, bytes: (source.bytes() + result.bytes()) as f64 },
        )?;
    Ok(result)
}
