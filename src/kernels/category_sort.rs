//! A stable counting sort of small keys: pixels by category, or those that a mask leaves before those that it hides.

use super::{Constants, expect_dtype, expect_shape};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::{Variant, VariantKind};

const NAME: &str = "category_sort";

/// The most categories of a [`CategorySort`], one for masked elements included: those of a workgroup's counters.
pub const MOST_CATEGORIES: usize = 256;

/// A stable counting sort: elements by category, those of one category in their old order; masked elements behind all others.
///
/// Integers only, so the order is the same on every adapter. Errors: `Shape`, `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct CategorySort {
    categories: usize,
    variant: Variant,
}

/// What [`CategorySort::record`] gives.
#[derive(Clone, Debug)]
pub struct SortedCategories {
    /// `[n]` u32: the elements, sorted. Those that no mask hides come first.
    pub order: Tensor,
    /// u32: where each category starts in `order`, and where the last ends; `[categories + 1]`, with a mask one more.
    pub starts: Tensor,
    /// `[1]` u32: how many elements no mask hides.
    pub active_count: Tensor,
}

#[derive(encase::ShaderType)]
struct SortParams {
    elements: u32,
    categories: u32,
    blocks: u32,
}

impl CategorySort {
    /// Keys are 0 to `categories` - 1. Errors: `Config` for none or more than 255.
    pub fn new(gpu: &Gpu, categories: usize, variant: Option<VariantKind>) -> Result<Self> {
        if categories == 0 || categories >= MOST_CATEGORIES {
            let expected = format!("1 to {}", MOST_CATEGORIES - 1);
            return Err(Error::config(NAME, "categories", categories, expected));
        }
        Ok(Self { categories, variant: gpu.variant(variant)? })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records the sort of `keys` `[n]` u32; elements with a 1 in `mask` `[n]` u32 go behind all others. A key past the
    /// categories counts as the last one.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(
        &self,
        schedule: &mut Schedule,
        keys: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<SortedCategories> {
        let elements = keys.elements();
        if elements == 0 {
            return Err(Error::shape(NAME, "keys", format!("has shape {:?}", keys.shape()), "[n], n > 0"));
        }
        expect_dtype(NAME, "keys", keys, &[Dtype::U32])?;
        if let Some(mask) = mask {
            expect_dtype(NAME, "mask", mask, &[Dtype::U32])?;
            expect_shape(NAME, "mask", mask, keys.shape())?;
        }
        let slots = self.categories + mask.is_some() as usize;
        // A barrier is dear on software adapters: there one invocation walks a block, and blocks are many.
        let (block, workgroup) = if self.variant.kind.is_cpu() { (64, 8) } else { (256, 256) };
        let blocks = elements.div_ceil(block);
        let groups = if self.variant.kind.is_cpu() { blocks.div_ceil(workgroup) } else { blocks };
        let counts = schedule.tensor("category counts", &[blocks, slots], Dtype::U32)?;
        let starts = schedule.tensor("category starts", &[slots + 1], Dtype::U32)?;
        let active_count = schedule.tensor("active count", &[1], Dtype::U32)?;
        let order = schedule.tensor("category order", &[elements], Dtype::U32)?;
        let params = SortParams {
            elements: elements as u32,
            categories: self.categories as u32,
            blocks: blocks as u32,
        };
        let constants = Constants::new().flag("MASK", mask.is_some()).set("BLOCK", block);
        let each =
            constants.clone().flag("PARALLEL", !self.variant.kind.is_cpu()).set("WORKGROUP", workgroup);
        let table = counts.bytes() as f64;
        let walk = Cost { flops: 0.0, bytes: keys.bytes() as f64 + table };

        let mut counting = schedule
            .kernel("count categories", "category_sort/count", &each.pairs())?
            .params(&params)
            .bind("keys", keys)?
            .bind("counts", &counts)?;
        if let Some(mask) = mask {
            counting = counting.bind("hidden", mask)?;
        }
        counting.dispatch(groups, walk)?;

        schedule
            .kernel("category starts", "category_sort/place_blocks", &constants.pairs())?
            .params(&params)
            .bind("counts", &counts)?
            .bind("starts", &starts)?
            .bind("active_count", &active_count)?
            .dispatch(1, Cost { flops: 0.0, bytes: 3.0 * table })?;

        let mut placing = schedule
            .kernel("place categories", "category_sort/place", &each.pairs())?
            .params(&params)
            .bind("keys", keys)?
            .bind("places", &counts)?
            .bind("order", &order)?;
        if let Some(mask) = mask {
            placing = placing.bind("hidden", mask)?;
        }
        placing.dispatch(groups, Cost { bytes: walk.bytes + order.bytes() as f64, ..walk })?;
        Ok(SortedCategories { order, starts, active_count })
    }
}
