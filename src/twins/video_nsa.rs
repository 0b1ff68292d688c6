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

#[cfg(test)]
mod tests {
    use super::super::{assert_close, noise};
    use super::*;

    #[test]
    fn all_text_is_dense_all_vision_is_sparse_and_both_keep_to_themselves() {
        let shape = AttentionShape {
            batch: 2,
            query_tokens: 40,
            tokens: 40,
            query_heads: 4,
            kv_heads: 2,
            head_dim: 3,
            value_dim: 5,
        };
        let options = NativeSparseOptions {
            cmp_block: 8,
            cmp_stride: 8,
            sel_block: 8,
            top_n: 2,
            window: 5,
            n_init: 0,
            n_local: 1,
            ..Default::default()
        };
        let (q, gates) = (noise(1, 2 * 40 * 12), noise(2, 2 * 40 * 12));
        let (k, v) = (noise(3, 2 * 40 * 6), noise(4, 2 * 40 * 10));
        let run = |is_vision: &[bool]| video_nsa(&q, &k, &v, &gates, is_vision, &shape, &options);
        let causal = AttentionMask { causal: true, ..Default::default() };
        let rows: Vec<usize> = (0..40).collect();
        let dense = attention_rows(&q, &k, &v, &shape, &causal, None, 3f64.powf(-0.5), &rows).out;
        assert_close(&run(&[false; 40]).out, &dense, 1e-14);
        let sparse = native_sparse(&NativeSparseSources::new(&q, &k, &v, &gates), &shape, &options).out;
        let all = run(&[true; 40]);
        assert_eq!((&all.out, &all.vision.out), (&sparse, &sparse));

        // 5 text tokens, 24 of vision, 11 of text; and the vision tokens alone.
        let is_vision: Vec<bool> = (0..40).map(|token| (5..29).contains(&token)).collect();
        let mixed = run(&is_vision);
        let rows = |tensor: &[f64], width: usize, tokens: usize, range: std::ops::Range<usize>| {
            let part =
                |b| tensor[(b * tokens + range.start) * width..(b * tokens + range.end) * width].to_vec();
            (0..2).flat_map(part).collect::<Vec<_>>()
        };
        for text in [0..5, 29..40] {
            assert_close(&rows(&mixed.out, 20, 40, text.clone()), &rows(&dense, 20, 40, text), 1e-14);
        }
        let [q, gates] = [&q, &gates].map(|tensor| rows(tensor, 12, 40, 5..29));
        let (k, v) = (rows(&k, 6, 40, 5..29), rows(&v, 10, 40, 5..29));
        let shape = AttentionShape { query_tokens: 24, tokens: 24, ..shape };
        let alone = native_sparse(&NativeSparseSources::new(&q, &k, &v, &gates), &shape, &options).out;
        assert_eq!(rows(&mixed.out, 20, 40, 5..29), alone);
    }
}
