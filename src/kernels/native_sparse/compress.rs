//! Blocks of tokens become single keys and values.

use super::{NativeSparseConfig, NativeSparseInputs};
use crate::error::{Error, Result};
use crate::kernels::attention::Shape;
use crate::schedule::Schedule;
use crate::tensor::Tensor;

/// How a block of l tokens becomes one key and one value (φ of arXiv 2502.11089, Eq. 7).
#[derive(Clone, Copy, Debug)]
pub enum Compression<'a> {
    /// Their mean (VideoNSA and most public implementations).
    Mean,
    /// A weighted sum, `[kv_heads, cmp_block]` f32 each.
    Weighted {
        /// Weights of the keys.
        key: &'a Tensor,
        /// Weights of the values.
        value: &'a Tensor,
    },
    /// Already compressed: `[batch, blocks, kv_heads, head_dim]` and `[.., value_dim]`, f32.
    Given {
        /// Compressed keys.
        key: &'a Tensor,
        /// Compressed values.
        value: &'a Tensor,
    },
}

/// Records the compressed keys and values `[batch, max(blocks, 1), kv_heads, dim]` f32.
pub(super) fn record(
    _schedule: &mut Schedule,
    _config: &NativeSparseConfig,
    _inputs: &NativeSparseInputs<'_>,
    _shape: &Shape,
) -> Result<(Tensor, Tensor)> {
    Err(Error::Schedule("to come".into()))
}
