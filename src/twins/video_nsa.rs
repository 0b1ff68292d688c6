//! Twin of VideoNSA (arXiv 2510.02295, section 2.2): sparse attention among the tokens of a video, dense attention for text.

use super::attention::{AttentionMask, AttentionShape, attention_rows, vector};
use super::native_sparse::{NativeSparseOptions, NativeSparseResult, NativeSparseSources, native_sparse};

/// What VideoNSA gives.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoNsaResult {
    /// `[batch, tokens, query_heads, value_dim]`.
    pub out: Vec<f64>,
    /// Native Sparse Attention of the vision tokens alone, which stand one behind the other.
    pub vision: NativeSparseResult,
}

/// Vision rows see vision tokens by Native Sparse Attention, at positions that count vision tokens only, so that blocks are
/// frames. Text rows see every token up to their own by dense attention.
///
/// query `[batch, tokens, query_heads, head_dim]`, key `[batch, tokens, kv_heads, head_dim]`, value `[batch, tokens, kv_heads,
/// value_dim]`, gates `[batch, tokens, query_heads, 3]` (those of text rows don't matter), is_vision `[tokens]`. Of `options`,
/// `q_offset` doesn't matter.
pub fn video_nsa(
    query: &[f64],
    key: &[f64],
    value: &[f64],
    gates: &[f64],
    is_vision: &[bool],
    shape: &AttentionShape,
    options: &NativeSparseOptions,
) -> VideoNsaResult {
    let &AttentionShape { batch, tokens, query_heads, kv_heads, head_dim, value_dim, .. } = shape;
    assert_eq!(shape.query_tokens, tokens, "query_tokens");
    assert_eq!(is_vision.len(), tokens, "is_vision");
    let (vision, text): (Vec<usize>, Vec<usize>) = (0..tokens).partition(|token| is_vision[*token]);
    let mut out = vec![0.0; batch * tokens * query_heads * value_dim];
    let width = query_heads * value_dim;
    let mut scatter = |rows: &[usize], part: &[f64]| {
        for b in 0..batch {
            for (index, row) in rows.iter().enumerate() {
                let row_out = vector(part, b * rows.len() + index, width);
                out[(b * tokens + row) * width..][..width].copy_from_slice(row_out);
            }
        }
    };

    let scale = options.scale.unwrap_or((head_dim as f64).powf(-0.5));
    let causal = AttentionMask { causal: true, ..Default::default() };
    let dense = attention_rows(query, key, value, shape, &causal, None, scale, &text);
    scatter(&text, &dense.out);

    let gather = |tensor: &[f64], width: usize| -> Vec<f64> {
        let rows = (0..batch).flat_map(|b| vision.iter().map(move |token| b * tokens + token));
        rows.flat_map(|row| vector(tensor, row, width).to_vec()).collect()
    };
    let q = gather(query, query_heads * head_dim);
    let (k, v) = (gather(key, kv_heads * head_dim), gather(value, kv_heads * value_dim));
    let gates = gather(gates, query_heads * 3);
    let sub = AttentionShape { query_tokens: vision.len(), tokens: vision.len(), ..*shape };
    let options = NativeSparseOptions { q_offset: None, ..*options };
    let sparse = native_sparse(&NativeSparseSources::new(&q, &k, &v, &gates), &sub, &options);
    scatter(&vision, &sparse.out);
    VideoNsaResult { out, vision: sparse }
}
