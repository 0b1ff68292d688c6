//! A cache of keys, values and their compressed blocks, so that one plan serves every decode step.

use crate::kernels::cache::KvCache;
use crate::tensor::Tensor;

/// Keys and values of earlier tokens, and the compressed blocks of them that are complete.
#[derive(Clone, Debug)]
pub struct NativeSparseCache {
    /// Keys and values of all tokens: any block may be selected later.
    pub tokens: KvCache,
    /// Compressed keys `[batch, blocks, kv_heads, head_dim]` f32.
    pub cmp_key: Tensor,
    /// Compressed values `[batch, blocks, kv_heads, value_dim]` f32.
    pub cmp_value: Tensor,
}
