//! Merging tokens by what they show, and giving every token its row back (ClustViT, arXiv 2510.01948).

mod merge;
mod regenerate;
mod row_map;

pub use merge::{ClusterMerge, ClusterMergeConfig, ClusterMergeOutput, ClusterWeights, Gate};
pub use regenerate::{Regenerate, RegenerateConfig, RegenerateOriginal, RegenerateWeights};
pub use row_map::RowMap;

use crate::error::{Error, Result};
use crate::kernels::{Constants, ELEMENTWISE, load_type};
use crate::tensor::Dtype;

pub(crate) const NAME: &str = "cluster_merge";

/// Most clusters of an image: their histogram lies in workgroup memory.
pub const MOST_CLUSTERS: usize = 1024;

/// Tokens whose rows are summed in one go, in their order: `CHUNK` of cluster_merge/params.wgsl.
pub const CHUNK: usize = 64;

/// `MergeParams` of cluster_merge/params.wgsl.
#[derive(encase::ShaderType, Clone, Copy, Debug)]
pub(crate) struct MergeParams {
    batch: u32,
    tokens: u32,
    clusters: u32,
    width: u32,
    chunks: u32,
}

impl MergeParams {
    fn new(batch: usize, tokens: usize, clusters: usize, width: usize) -> Self {
        Self {
            batch: batch as u32,
            tokens: tokens as u32,
            clusters: clusters as u32,
            width: width as u32,
            chunks: tokens.div_ceil(CHUNK) as u32,
        }
    }
}

/// The constants of a kernel that copies rows of `width` elements, four at a time, from a tensor of this dtype into f32.
fn row_constants(dtype: Dtype, width: usize) -> Constants {
    reading(dtype, width).set("Y_TYPE", load_type(Dtype::F32, width))
}

/// The same without a result of rows.
fn reading(dtype: Dtype, width: usize) -> Constants {
    Constants::new()
        .flag("X_F16", dtype == Dtype::F16)
        .set("X_TYPE", load_type(dtype, width))
        .flag("ALIGNED", width.is_multiple_of(4))
        .set("WORKGROUP", ELEMENTWISE)
}

/// Workgroups of a kernel with one invocation for four channels of a row.
fn row_groups(rows: usize, width: usize) -> usize {
    (rows * width.div_ceil(4)).div_ceil(ELEMENTWISE)
}

/// Errors: `Config` where there are no clusters, or too many.
fn check_clusters(operator: &'static str, clusters: usize) -> Result<()> {
    if (1..=MOST_CLUSTERS).contains(&clusters) {
        return Ok(());
    }
    Err(Error::config(operator, "K", clusters, format!("1 to {MOST_CLUSTERS} clusters")))
}
