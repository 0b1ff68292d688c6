//! Token merging by similarity (ToMe, arXiv 2210.09461), behind the same map as merging by clusters.

use super::cluster_merge::RowMap;
use super::{Constants, ELEMENTWISE, dims, expect_dtype, expect_shape, load_type};
use crate::error::{Error, Result};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};

const NAME: &str = "tome";

/// Configuration of a [`Tome`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TomeConfig {
    /// r, tokens to remove; no more than half of them can be.
    pub removed: usize,
    /// The first token is a class token: it is never merged, and tokens that keep their rows stay in order.
    pub class_token: bool,
}

/// Bipartite soft matching: tokens at even places are sources, those at odd places destinations; the `removed` sources that are most
/// similar to their best destination are merged into it, weighted by the number of tokens each stands for.
///
/// Shapes: x `[batch, tokens, width]`, metric `[batch, tokens, any]` (the paper: the mean of the keys over the heads), sizes `[batch, tokens]`, all f32;
/// results as in [`TomeOutput`]. Similarity is the cosine, in f32: of two sources whose scores differ by less than 1e-6 either may be
/// the one that is merged. Error bound of merged rows: 1e-6 relative to the largest member (golden `clustvit_misc`). Errors: `Shape`, `Limit`.
#[derive(Clone, Debug)]
pub struct Tome {
    config: TomeConfig,
}

/// What [`Tome`] gives. The number of rows is known beforehand: `tokens - removed`.
#[derive(Clone, Debug)]
pub struct TomeOutput {
    /// `[batch, rows, width]` f32: sources that keep their rows, then all destinations.
    pub merged: Tensor,
    /// `[batch, rows]` f32: tokens that each row stands for.
    pub sizes: Tensor,
    /// `[batch, rows]` f32: their logarithms, the key bias of proportional attention (Eq. 1).
    pub log_sizes: Tensor,
    /// `[batch, ceil(tokens / 2)]` u32: numbers of sources, those merged in the order of their merging before those kept.
    pub order: Tensor,
    /// `[batch, ceil(tokens / 2)]` u32: the best destination of each source.
    pub matches: Tensor,
    /// The row that stands for each token: [`RowMap::record_unmerge`] copies it to all of them. `merged` must be reshaped to `[batch · rows, width]`.
    pub map: RowMap,
}

#[derive(encase::ShaderType, Clone, Copy)]
struct TomeParams {
    batch: u32,
    tokens: u32,
    width: u32,
    removed: u32,
    class_token: u32,
}

impl Tome {
    /// Any configuration is fine.
    pub fn new(config: TomeConfig) -> Self {
        Self { config }
    }

    /// Rows that are left of so many tokens.
    pub fn rows(&self, tokens: usize) -> usize {
        tokens - self.removed(tokens)
    }

    fn removed(&self, tokens: usize) -> usize {
        self.config.removed.min((tokens - self.config.class_token as usize) / 2)
    }

    /// Records matching and merging. Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`](crate::Gpu).
    pub fn record(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        metric: &Tensor,
        sizes: &Tensor,
    ) -> Result<TomeOutput> {
        let [batch, tokens, width] = dims(NAME, "x", x, "[batch, tokens, width]")?;
        if batch == 0 || tokens < 2 || width == 0 {
            let found = format!("has shape {:?}", x.shape());
            return Err(Error::shape(NAME, "x", found, "at least two tokens, and nothing empty"));
        }
        let [_, _, metric_width] = dims(NAME, "metric", metric, "[batch, tokens, any]")?;
        expect_shape(NAME, "metric", metric, &[batch, tokens, metric_width.max(1)])?;
        expect_shape(NAME, "sizes", sizes, &[batch, tokens])?;
        for (name, tensor) in [("x", x), ("metric", metric), ("sizes", sizes)] {
            expect_dtype(NAME, name, tensor, &[Dtype::F32])?;
        }
        let removed = self.removed(tokens);
        let (sources, rows) = (tokens.div_ceil(2), tokens - removed);
        let params = |width: usize| TomeParams {
            batch: batch as u32,
            tokens: tokens as u32,
            width: width as u32,
            removed: removed as u32,
            class_token: self.config.class_token as u32,
        };
        let plain = Constants::new().set("WORKGROUP", ELEMENTWISE);
        let wide = |width: usize| {
            let plain = plain.clone().set("X_TYPE", load_type(Dtype::F32, width));
            plain.flag("ALIGNED", width.is_multiple_of(4))
        };
        let each_source = (batch * sources).div_ceil(ELEMENTWISE);
        let scan = Cost { flops: 0.0, bytes: 8.0 * (batch * sources) as f64 };

        // 1. The best destination of each source.
        let scores = schedule.tensor("scores", &[batch, sources], Dtype::F32)?;
        let matches = schedule.tensor("matches", &[batch, sources], Dtype::U32)?;
        let pairs = (batch * sources * (tokens / 2)) as f64;
        schedule
            .kernel("best match", "tome/best_match", &wide(metric_width).pairs())?
            .params(&params(metric_width))
            .bind("metric", metric)?
            .bind("scores", &scores)?
            .bind("matches", &matches)?
            .dispatch(
                each_source,
                Cost { flops: 6.0 * pairs * metric_width as f64, bytes: metric.bytes() as f64 },
            )?;

        // 2. The sources by score, and where every token's row goes.
        let ranks = schedule.tensor("ranks", &[batch, sources], Dtype::U32)?;
        schedule
            .kernel("rank", "tome/rank", &plain.pairs())?
            .params(&params(width))
            .bind("scores", &scores)?
            .bind("ranks", &ranks)?
            .dispatch(each_source, scan)?;
        let order = schedule.tensor("order", &[batch, sources], Dtype::U32)?;
        let row_map = schedule.tensor("row map", &[batch, tokens], Dtype::U32)?;
        schedule
            .kernel("place", "tome/place", &plain.pairs())?
            .params(&params(width))
            .bind("ranks", &ranks)?
            .bind("matches", &matches)?
            .bind("order", &order)?
            .bind("row_map", &row_map)?
            .dispatch(each_source, scan)?;

        // 3. The rows that are left.
        let merged = schedule.tensor("merged", &[batch, rows, width], Dtype::F32)?;
        let new_sizes = schedule.tensor("sizes", &[batch, rows], Dtype::F32)?;
        let log_sizes = schedule.tensor("log sizes", &[batch, rows], Dtype::F32)?;
        schedule
            .kernel("merge", "tome/merge", &wide(width).pairs())?
            .params(&params(width))
            .bind("x", x)?
            .bind("sizes", sizes)?
            .bind("matches", &matches)?
            .bind("order", &order)?
            .bind("merged", &merged)?
            .bind("new_sizes", &new_sizes)?
            .bind("log_sizes", &log_sizes)?
            .dispatch(
                (batch * rows * width.div_ceil(4)).div_ceil(ELEMENTWISE),
                Cost { flops: 2.0 * x.elements() as f64, bytes: (x.bytes() + merged.bytes()) as f64 },
            )?;

        let gpu = schedule.gpu();
        let bounds: Vec<u32> = (0..=batch).map(|image| (image * rows) as u32).collect();
        let map = RowMap::new(
            &row_map,
            &Tensor::upload(gpu, "own rows", &[batch], &vec![(sources - removed) as u32; batch])?,
            &Tensor::upload(gpu, "bounds", &[2 * (batch + 1)], &bounds.repeat(2))?,
            &Tensor::upload(gpu, "row count", &[1], &[(batch * rows) as u32])?,
            false,
            rows,
        )?;
        Ok(TomeOutput { merged, sizes: new_sizes, log_sizes, order, matches, map })
    }
}
