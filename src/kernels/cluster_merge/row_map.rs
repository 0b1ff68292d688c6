//! Which row of a merged sequence stands for each token: what every kind of merging comes down to.

use super::{MergeParams, NAME, row_constants, row_groups};
use crate::error::{Error, Result};
use crate::kernels::attention::PackedSequences;
use crate::kernels::{FLOATS, dims, expect_dtype, expect_shape};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};

/// Merged sequences behind each other, and the row of each that stands for every token. The GPU alone knows how many rows there
/// are: tensors have room for the most there can be, and [`Linear::record_rows`](crate::kernels::linear::Linear::record_rows),
/// [`Norm::record_rows`](crate::kernels::norm::Norm::record_rows) and attention over [`sequences`](Self::sequences)
/// do the work of the rows that are there.
#[derive(Clone, Debug)]
pub struct RowMap {
    /// `[batch, tokens]` u32: a token's row, counted from its sequence's first.
    pub rows: Tensor,
    /// `[batch]` u32: rows of a sequence before those that stand for several tokens.
    pub own_rows: Tensor,
    /// Bounds of the sequences (cu_seqlens), for queries and for keys.
    pub bounds: Tensor,
    /// `[1]` u32: rows of all sequences.
    pub row_count: Tensor,
    /// Whether the first row of a sequence is a class token, which is none of `tokens`.
    pub class_token: bool,
    /// Most rows that one sequence can have.
    pub most_rows: usize,
}

#[derive(encase::ShaderType)]
struct BoundsParams {
    batch: u32,
}

impl RowMap {
    /// A map over these tensors, whose values nothing on the GPU checks.
    ///
    /// Errors: `Shape` where shape or dtype of one is not as the field says.
    pub fn new(
        rows: &Tensor,
        own_rows: &Tensor,
        bounds: &Tensor,
        row_count: &Tensor,
        class_token: bool,
        most_rows: usize,
    ) -> Result<Self> {
        let [batch, tokens] = dims(NAME, "row_map", rows, "[batch, tokens]")?;
        if batch == 0 || tokens == 0 {
            let found = format!("has shape {:?}", rows.shape());
            return Err(Error::shape(NAME, "row_map", found, "no empty dimension"));
        }
        for (name, tensor, shape) in [
            ("row_map", rows, vec![batch, tokens]),
            ("own_rows", own_rows, vec![batch]),
            ("cu_seqlens", bounds, vec![2 * (batch + 1)]),
            ("row_count", row_count, vec![1]),
        ] {
            expect_dtype(NAME, name, tensor, &[Dtype::U32])?;
            expect_shape(NAME, name, tensor, &shape)?;
        }
        Ok(Self {
            rows: rows.clone(),
            own_rows: own_rows.clone(),
            bounds: bounds.clone(),
            row_count: row_count.clone(),
            class_token,
            most_rows,
        })
    }

    /// Images, and tokens of one, without the class token.
    pub fn sizes(&self) -> [usize; 2] {
        [self.rows.shape()[0], self.rows.shape()[1]]
    }

    /// The sequences, as attention takes them. Errors: `Shape`.
    pub fn sequences(&self) -> Result<PackedSequences> {
        PackedSequences::from_tensor(&self.bounds, self.most_rows, self.most_rows)
    }

    /// Gives every token the row that stands for it: `merged` `[rows, width]` f32 or f16, result `[batch, tokens, width]` f32,
    /// with the class token first where there is one. Exact. Errors: `Shape`, `Limit`.
    pub fn record_unmerge(&self, schedule: &mut Schedule, merged: &Tensor) -> Result<Tensor> {
        self.record_restore(schedule, merged, None)
    }

    /// The same, but a token without a row of its own takes one of `regenerated` `[batch, tokens, width]` f32.
    pub(super) fn record_restore(
        &self,
        schedule: &mut Schedule,
        merged: &Tensor,
        regenerated: Option<&Tensor>,
    ) -> Result<Tensor> {
        let [batch, tokens] = self.sizes();
        let [_, width] = dims(NAME, "merged", merged, "[rows, width]")?;
        expect_dtype(NAME, "merged", merged, &FLOATS)?;
        if merged.elements() == 0 {
            let found = format!("has shape {:?}", merged.shape());
            return Err(Error::shape(NAME, "merged", found, "no empty dimension"));
        }
        let rows = tokens + self.class_token as usize;
        let result = schedule.tensor("unmerged", &[batch, rows, width], Dtype::F32)?;
        let constants = row_constants(merged.dtype(), width)
            .flag("CLASS_ROW", self.class_token)
            .flag("REGENERATED", regenerated.is_some());
        let mut recorder = schedule
            .kernel("restore rows", "cluster_merge/restore_rows", &constants.pairs())?
            .params(&MergeParams::new(batch, tokens, 0, width))
            .bind("rows", merged)?
            .bind("row_map", &self.rows)?
            .bind("bounds", &self.bounds)?
            .bind("result", &result)?;
        if let Some(regenerated) = regenerated {
            recorder = recorder.bind("own_rows", &self.own_rows)?.bind("regenerated", regenerated)?;
        }
        let cost = Cost { flops: 0.0, bytes: 2.0 * result.bytes() as f64 };
        recorder.dispatch(row_groups(batch * rows, width), cost)?;
        Ok(result)
    }
}

/// Bounds and number of rows of sequences with these lengths, `[batch]` u32.
pub(super) fn record_bounds(schedule: &mut Schedule, lengths: &Tensor) -> Result<(Tensor, Tensor)> {
    let batch = lengths.elements();
    let bounds = schedule.tensor("cu_seqlens", &[2 * (batch + 1)], Dtype::U32)?;
    let row_count = schedule.tensor("row count", &[1], Dtype::U32)?;
    schedule
        .kernel("bounds", "cluster_merge/bounds", &[])?
        .params(&BoundsParams { batch: batch as u32 })
        .bind("lengths", lengths)?
        .bind("bounds", &bounds)?
        .bind("row_count", &row_count)?
        .dispatch(1, Cost { flops: 0.0, bytes: 12.0 * batch as f64 })?;
    Ok((bounds, row_count))
}
