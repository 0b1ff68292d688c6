//! The nearest codeword of every row: what an encoder and the training of a codebook search with.

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::{Constants, ELEMENTWISE, FLOATS, dims, expect_dtype, load_type};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};

const NAME: &str = "vq_nearest";

/// Most codewords of a codebook: an index has at most 16 bits.
pub const MOST_CODEWORDS: usize = 1 << 16;

/// Codewords whose norms are held are padded to a multiple of this, the largest tile of a build.
const PADDING: usize = 256;

/// Configuration of a [`VqNearest`].
#[derive(Clone, Debug, Default)]
pub struct VqNearestConfig {
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

/// Vector quantisation: of every row z the index of the codeword c with the least |c|² - 2 z · c, which is the least |z - c|²;
/// of equals the lowest.
///
/// Shapes: z `[rows, length]` f32, codebook `[codewords, length]` f32 or f16 with at most 65536 codewords, length 4, 8, 16 or
/// 32; result `[rows]` u32. Codewords must be finite, with squares below 1e38. Sums are f32: where two
/// codewords are within 1e-6 · length · |z| |c| of each other in |z - c|², either may be found
/// (golden `lrvq_nearest`: exact). Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct VqNearest {
    variant: Variant,
}

#[derive(encase::ShaderType)]
struct NormParams {
    codewords: u32,
    padded: u32,
}

#[derive(encase::ShaderType)]
struct NearestParams {
    rows: u32,
    codewords: u32,
}

impl VqNearest {
    /// Checks the configuration against the device. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: VqNearestConfig) -> Result<Self> {
        let variant = gpu.variant(config.variant)?;
        Ok(Self { variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records the search. No rows are fine: nothing runs.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(&self, schedule: &mut Schedule, z: &Tensor, codebook: &Tensor) -> Result<Tensor> {
        let [rows, codewords, length] = check(z, codebook)?;
        let constants = Constants::new()
            .set("PATCH", length)
            .flag("CODEBOOK_F16", codebook.dtype() == Dtype::F16)
            .set("CODEBOOK_TYPE", load_type(codebook.dtype(), length));
        let indices = schedule.tensor("nearest codewords", &[rows], Dtype::U32)?;
        if rows == 0 {
            return Ok(indices);
        }
        let half_norms = record_half_norms(schedule, codebook, &constants)?;
        let kind = self.variant.kind;
        let (kernel, tile, constants) = if kind.is_cpu() {
            let lane_rows = most_rows_cpu(length).min(rows.div_ceil(8).next_power_of_two());
            let constants = constants.set("ROWS", lane_rows).flag("SUBGROUP", kind.uses_subgroups());
            ("lowrank_vq/nearest_cpu", 8 * lane_rows, constants)
        } else {
            let lane_rows = if length == 32 { 2 } else { 4 };
            ("lowrank_vq/nearest", 16 * lane_rows, constants.set("ROWS", lane_rows))
        };
        let cost = Cost {
            flops: 2.0 * rows as f64 * codewords as f64 * length as f64,
            bytes: (z.bytes() + codebook.bytes() + half_norms.bytes() + indices.bytes()) as f64,
        };
        schedule
            .kernel("nearest codeword", kernel, &constants.pairs())?
            .params(&NearestParams { rows: rows as u32, codewords: codewords as u32 })
            .bind("z", z)?
            .bind("codebook", codebook)?
            .bind("half_norms", &half_norms)?
            .bind("indices", &indices)?
            .dispatch(rows.div_ceil(tile), cost)?;
        Ok(indices)
    }
}

/// Rows of an invocation on a software adapter.
fn most_rows_cpu(length: usize) -> usize {
    if length <= 16 { 8 } else { 4 }
}

/// |c|² / 2 of every codeword, `[codewords up to a multiple of 256]`.
fn record_half_norms(schedule: &mut Schedule, codebook: &Tensor, constants: &Constants) -> Result<Tensor> {
    let codewords = codebook.shape()[0];
    let padded = codewords.next_multiple_of(PADDING);
    let half_norms = schedule.tensor("half norms", &[padded], Dtype::F32)?;
    let constants = constants.clone().set("WORKGROUP", ELEMENTWISE);
    let cost = Cost {
        flops: 2.0 * codebook.elements() as f64,
        bytes: (codebook.bytes() + half_norms.bytes()) as f64,
    };
    schedule
        .kernel("half norms", "lowrank_vq/half_norms", &constants.pairs())?
        .params(&NormParams { codewords: codewords as u32, padded: padded as u32 })
        .bind("codebook", codebook)?
        .bind("half_norms", &half_norms)?
        .dispatch(padded.div_ceil(ELEMENTWISE), cost)?;
    Ok(half_norms)
}

/// Rows, codewords and their length, once they fit.
fn check(z: &Tensor, codebook: &Tensor) -> Result<[usize; 3]> {
    let [codewords, length] = dims(NAME, "codebook", codebook, "[codewords, length]")?;
    expect_dtype(NAME, "codebook", codebook, &FLOATS)?;
    let found = || format!("has shape {:?}", codebook.shape());
    if ![4, 8, 16, 32].contains(&length) {
        return Err(Error::shape(NAME, "codebook", found(), "codewords of 4, 8, 16 or 32 elements"));
    }
    if codewords == 0 || codewords > MOST_CODEWORDS {
        return Err(Error::shape(NAME, "codebook", found(), format!("1 to {MOST_CODEWORDS} codewords")));
    }
    let [rows, width] = dims(NAME, "z", z, "[rows, length]")?;
    expect_dtype(NAME, "z", z, &[Dtype::F32])?;
    if width != length || u32::try_from(rows).is_err() {
        let expected = format!("fewer than 2^32 rows of {length} elements, as the codewords have");
        return Err(Error::shape(NAME, "z", format!("has shape {:?}", z.shape()), expected));
    }
    Ok([rows, codewords, length])
}
