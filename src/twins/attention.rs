//! Twin of the attention kernels (prefill, decode, packed): softmax(scale · q kᵀ + bias, over the visible
//! keys) v.

use std::ops::Range;

/// Sizes of one attention; tensors are `[batch, tokens, heads, dim]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Sequences.
    pub batch: usize,
    /// Query rows of one sequence.
    pub query_tokens: usize,
    /// Keys and values of one sequence.
    pub tokens: usize,
    /// Query heads.
    pub query_heads: usize,
    /// Key and value heads; the larger of the two head counts is a multiple of the smaller.
    pub kv_heads: usize,
    /// Elements of a query and of a key.
    pub head_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
}

impl AttentionShape {
    /// Heads of the output, the larger of the two head counts.
    pub fn out_heads(&self) -> usize {
        self.query_heads.max(self.kv_heads)
    }

    /// The (query head, kv head) that an output head reads (SQA, arXiv 2510.01817, section 3). With more
    /// query heads, contiguous groups share a kv head; with fewer, the queries are tiled over the kv heads
    /// (rSQA).
    pub fn heads_of(&self, out_head: usize) -> (usize, usize) {
        (out_head % self.query_heads, out_head / (self.out_heads() / self.kv_heads))
    }

    pub(super) fn check(&self, query: &[f64], key: &[f64], value: &[f64]) {
        let (larger, smaller) = (self.out_heads(), self.query_heads.min(self.kv_heads));
        assert!(
            smaller > 0 && larger.is_multiple_of(smaller),
            "heads {} / {}",
            self.query_heads,
            self.kv_heads
        );
        assert_eq!(query.len(), self.batch * self.query_tokens * self.query_heads * self.head_dim, "query");
        assert_eq!(key.len(), self.batch * self.tokens * self.kv_heads * self.head_dim, "key");
        assert_eq!(value.len(), self.batch * self.tokens * self.kv_heads * self.value_dim, "value");
    }
}

/// Which keys a query row sees. The default shows every key.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AttentionMask<'a> {
    /// Key s is visible to position t only where s <= t.
    pub causal: bool,
    /// Causal: the last `window` tokens including t itself, s > t - window. Otherwise |t - s| <= window / 2,
    /// rounded down.
    pub window: Option<usize>,
    /// Position of the first query row; row r stands at t = q_offset + r.
    pub q_offset: i64,
    /// `[batch, tokens]`, true = visible.
    pub key_mask: Option<&'a [bool]>,
}

impl AttentionMask<'_> {
    /// The keys among 0..tokens that causality and the window leave to query row `row`.
    pub fn keys(&self, row: usize, tokens: usize) -> Range<usize> {
        let position = self.q_offset + row as i64;
        let window = self.window.map(|w| i64::try_from(w).unwrap_or(i64::MAX));
        let (first, last) = match (self.causal, window) {
            (true, None) => (0, position),
            (true, Some(w)) => (position.saturating_sub(w).saturating_add(1), position),
            (false, None) => (0, i64::MAX - 1),
            (false, Some(w)) => (position.saturating_sub(w / 2), position.saturating_add(w / 2)),
        };
        let clamp = |s: i64| s.clamp(0, tokens as i64) as usize;
        let end = clamp(last.saturating_add(1));
        clamp(first).min(end)..end
    }
}

/// What attention gives.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionResult {
    /// `[batch, query_tokens, out_heads, value_dim]`; 0 in a row without a visible key.
    pub out: Vec<f64>,
    /// `[batch, query_tokens, out_heads]`: natural logarithm of the sum of exp(logits); -inf in a row without
    /// a visible key.
    pub lse: Vec<f64>,
}

/// Attention of every query row.
///
/// query `[batch, query_tokens, query_heads, head_dim]`, key `[batch, tokens, kv_heads, head_dim]`, value
/// `[batch, tokens, kv_heads, value_dim]`, key_bias `[batch, tokens]` in natural-log units, added to the
/// logits.
pub fn attention(
    query: &[f64],
    key: &[f64],
    value: &[f64],
    shape: &AttentionShape,
    mask: &AttentionMask,
    key_bias: Option<&[f64]>,
    scale: f64,
) -> AttentionResult {
    let rows: Vec<usize> = (0..shape.query_tokens).collect();
    attention_rows(query, key, value, shape, mask, key_bias, scale, &rows)
}

/// [`attention`] of the query rows `rows` only, for checks of sizes where all rows would take too long.
/// The result has `rows.len()` tokens, in the order of `rows`.
#[allow(clippy::too_many_arguments)] // the bindings of the kernel, and the rows
pub fn attention_rows(
    query: &[f64],
    key: &[f64],
    value: &[f64],
    shape: &AttentionShape,
    mask: &AttentionMask,
    key_bias: Option<&[f64]>,
    scale: f64,
    rows: &[usize],
) -> AttentionResult {
    shape.check(query, key, value);
    assert!(mask.key_mask.is_none_or(|m| m.len() == shape.batch * shape.tokens), "key_mask");
    assert!(key_bias.is_none_or(|b| b.len() == shape.batch * shape.tokens), "key_bias");
    let &AttentionShape { batch, query_tokens, tokens, query_heads, kv_heads, head_dim, value_dim } = shape;
    let out_heads = shape.out_heads();
    let mut out = vec![0.0; batch * rows.len() * out_heads * value_dim];
    let mut lse = vec![f64::NEG_INFINITY; batch * rows.len() * out_heads];
    let mut weights = Vec::with_capacity(tokens);
    for b in 0..batch {
        for out_head in 0..out_heads {
            let (query_head, kv_head) = shape.heads_of(out_head);
            for (index, &row) in rows.iter().enumerate() {
                let q = vector(query, (b * query_tokens + row) * query_heads + query_head, head_dim);
                let keys = mask.keys(row, tokens);
                weights.clear();
                weights.extend(keys.clone().map(|s| {
                    let at = b * tokens + s;
                    if mask.key_mask.is_some_and(|m| !m[at]) {
                        return f64::NEG_INFINITY;
                    }
                    let logit = scale * dot(q, vector(key, at * kv_heads + kv_head, head_dim));
                    logit + key_bias.map_or(0.0, |bias| bias[at])
                }));
                let maximum = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                if maximum == f64::NEG_INFINITY {
                    continue;
                }
                let mut sum = 0.0;
                for w in &mut weights {
                    *w = (*w - maximum).exp();
                    sum += *w;
                }
                let out_row = (b * rows.len() + index) * out_heads + out_head;
                lse[out_row] = maximum + sum.ln();
                let out = &mut out[out_row * value_dim..][..value_dim];
                for (s, w) in keys.zip(&weights) {
                    let v = vector(value, (b * tokens + s) * kv_heads + kv_head, value_dim);
                    out.iter_mut().zip(v).for_each(|(o, v)| *o += w / sum * v);
                }
            }
        }
    }
    AttentionResult { out, lse }
}

/// Sequences of different lengths that stand one behind the other (`cu_seqlens`): sequence i has the query
/// rows `query[i]..query[i + 1]` and the keys `key[i]..key[i + 1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PackedSequences<'a> {
    /// `[sequences + 1]`, not decreasing, the first is 0.
    pub query: &'a [u32],
    /// `[sequences + 1]`, not decreasing, the first is 0.
    pub key: &'a [u32],
    /// The last query row of each sequence stands at its last key; otherwise the mask's `q_offset` holds for
    /// all.
    pub align_end: bool,
}

/// [`attention`] of each packed sequence by itself.
///
/// query `[query rows, query_heads, head_dim]`, key, value, key_bias and key mask in the same way over all
/// keys; out and lse follow the query rows. Of `shape` only the heads and dims are read.
#[allow(clippy::too_many_arguments)] // the bindings of the kernel
pub fn attention_packed(
    query: &[f64],
    key: &[f64],
    value: &[f64],
    sequences: &PackedSequences,
    shape: &AttentionShape,
    mask: &AttentionMask,
    key_bias: Option<&[f64]>,
    scale: f64,
) -> AttentionResult {
    assert_eq!(sequences.query.len(), sequences.key.len(), "cu_seqlens");
    let mut result = AttentionResult { out: Vec::new(), lse: Vec::new() };
    for (q, k) in sequences.query.windows(2).zip(sequences.key.windows(2)) {
        let rows = q[0] as usize..q[1] as usize;
        let keys = k[0] as usize..k[1] as usize;
        let (query_tokens, tokens) = (rows.len(), keys.len());
        let sequence = AttentionShape { batch: 1, query_tokens, tokens, ..*shape };
        let q_offset = if sequences.align_end { tokens as i64 - query_tokens as i64 } else { mask.q_offset };
        let part = attention(
            &query[scaled(&rows, shape.query_heads * shape.head_dim)],
            &key[scaled(&keys, shape.kv_heads * shape.head_dim)],
            &value[scaled(&keys, shape.kv_heads * shape.value_dim)],
            &sequence,
            &AttentionMask { q_offset, key_mask: mask.key_mask.map(|m| &m[keys.clone()]), ..*mask },
            key_bias.map(|bias| &bias[keys.clone()]),
            scale,
        );
        result.out.extend(part.out);
        result.lse.extend(part.lse);
    }
    result
}

fn scaled(range: &Range<usize>, width: usize) -> Range<usize> {
    range.start * width..range.end * width
}

pub(super) fn vector(tensor: &[f64], index: usize, width: usize) -> &[f64] {
    &tensor[index * width..(index + 1) * width]
}

/// Dot product in eight interleaved partial sums, which the compiler turns into vector arithmetic.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a8.iter().zip(b8) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::super::{assert_close, noise};
    use super::*;

    const NONE: f64 = f64::NEG_INFINITY;

    const SHAPE: AttentionShape = AttentionShape {
        batch: 2,
        query_tokens: 5,
        tokens: 9,
        query_heads: 6,
        kv_heads: 2,
        head_dim: 11,
        value_dim: 3,
    };

    fn tensors(shape: &AttentionShape) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let keys = shape.batch * shape.tokens * shape.kv_heads;
        let queries = shape.batch * shape.query_tokens * shape.query_heads;
        (
            noise(1, queries * shape.head_dim),
            noise(2, keys * shape.head_dim),
            noise(3, keys * shape.value_dim),
        )
    }

    /// Visibility as the definition says it, pair by pair.
    fn visible(mask: &AttentionMask, row: usize, key: usize) -> bool {
        let (t, s) = (mask.q_offset + row as i64, key as i64);
        let inside = match (mask.causal, mask.window) {
            (_, None) => true,
            (true, Some(w)) => s > t - w as i64,
            (false, Some(w)) => (t - s).abs() <= (w / 2) as i64,
        };
        inside && (!mask.causal || s <= t)
    }

    #[test]
    fn two_keys_by_hand() {
        let shape = AttentionShape {
            batch: 1,
            query_tokens: 2,
            tokens: 2,
            query_heads: 1,
            kv_heads: 1,
            head_dim: 1,
            value_dim: 2,
        };
        let (query, key, value) = ([1.0, 2.0], [0.0, 3f64.ln()], [1.0, 0.0, 0.0, 10.0]);
        // Logits 0, ln 3 and 0, ln 9: weights 1/4, 3/4 and 1/10, 9/10.
        let full = attention(&query, &key, &value, &shape, &AttentionMask::default(), None, 1.0);
        assert_close(&full.out, &[0.25, 7.5, 0.1, 9.0], 1e-14);
        assert_close(&full.lse, &[4f64.ln(), 10f64.ln()], 1e-14);
        // The bias ln 2 doubles the weight of the second key; half the scale takes the root of its 3 and 9.
        let bias = [0.0, 2f64.ln()];
        let biased = attention(&query, &key, &value, &shape, &AttentionMask::default(), Some(&bias), 0.5);
        let first = 1.0 / (1.0 + 2.0 * 3f64.sqrt());
        assert_close(&biased.out, &[first, 10.0 - 10.0 * first, 1.0 / 7.0, 60.0 / 7.0], 1e-14);
        let causal = AttentionMask { causal: true, ..Default::default() };
        let causal = attention(&query, &key, &value, &shape, &causal, None, 1.0);
        assert_close(&causal.out, &[1.0, 0.0, 0.1, 9.0], 1e-14);
        assert_close(&causal.lse, &[0.0, 10f64.ln()], 1e-14);
    }

    #[test]
    fn windows_show_the_keys_of_their_definition() {
        for causal in [false, true] {
            for window in [None, Some(0), Some(1), Some(2), Some(3), Some(7), Some(100), Some(usize::MAX)] {
                for q_offset in [-20, -3, 0, 4, 30] {
                    let mask = AttentionMask { causal, window, q_offset, key_mask: None };
                    for row in 0..6 {
                        let small = AttentionMask { window: window.map(|w| w.min(1000)), ..mask };
                        let expected: Vec<usize> = (0..9).filter(|s| visible(&small, row, *s)).collect();
                        let found: Vec<usize> = mask.keys(row, 9).collect();
                        assert_eq!(found, expected, "{mask:?} row {row}");
                    }
                }
            }
        }
    }

    /// Scores and weights over all keys at once, the invisible ones with a weight of 0.
    #[test]
    fn equals_the_dense_formula_for_every_head_map_and_mask() {
        let hidden: Vec<bool> = noise(4, SHAPE.batch * SHAPE.tokens).iter().map(|x| *x > -0.4).collect();
        let bias = noise(5, SHAPE.batch * SHAPE.tokens);
        for (query_heads, kv_heads) in [(6, 2), (3, 3), (4, 1), (2, 4), (1, 3)] {
            for (causal, window, q_offset) in
                [(false, None, 0), (true, None, 4), (true, Some(3), 2), (false, Some(5), -2)]
            {
                let shape = AttentionShape { query_heads, kv_heads, ..SHAPE };
                let (query, key, value) = tensors(&shape);
                let mask = AttentionMask { causal, window, q_offset, key_mask: Some(&hidden) };
                let found = attention(&query, &key, &value, &shape, &mask, Some(&bias), 0.7);
                let (heads, mut row_index) = (query_heads.max(kv_heads), 0);
                for b in 0..shape.batch {
                    for row in 0..shape.query_tokens {
                        for head in 0..heads {
                            let kv_head =
                                if query_heads < kv_heads { head } else { head * kv_heads / query_heads };
                            let q = (b * shape.query_tokens + row) * query_heads + head % query_heads;
                            let (mut sum, mut expected) = (0.0, [0.0; 3]);
                            for s in 0..shape.tokens {
                                let at = b * shape.tokens + s;
                                let k = at * kv_heads + kv_head;
                                let score: f64 = (0..11).map(|d| query[q * 11 + d] * key[k * 11 + d]).sum();
                                let shown = visible(&mask, row, s) && hidden[at];
                                let weight = if shown { (0.7 * score + bias[at]).exp() } else { 0.0 };
                                sum += weight;
                                (0..3).for_each(|d| expected[d] += weight * value[k * 3 + d]);
                            }
                            let expected = expected.map(|e| if sum > 0.0 { e / sum } else { 0.0 });
                            assert_close(&found.out[row_index * 3..][..3], &expected, 1e-13);
                            assert_close(&[found.lse[row_index]], &[sum.ln()], 1e-13);
                            row_index += 1;
                        }
                    }
                }
                assert_eq!(found.lse.len(), row_index);
            }
        }
    }

    #[test]
    fn a_row_without_a_visible_key_gives_zero_and_minus_infinity() {
        let (query, key, value) = tensors(&SHAPE);
        let mask = AttentionMask { causal: true, window: None, q_offset: -2, key_mask: None };
        let found = attention(&query, &key, &value, &SHAPE, &mask, None, 1.0);
        let rows: Vec<_> = found.lse.chunks_exact(SHAPE.out_heads()).take(SHAPE.query_tokens).collect();
        assert!(rows[..2].iter().all(|row| row.iter().all(|lse| *lse == NONE)));
        assert!(rows[2..].iter().all(|row| row.iter().all(|lse| lse.is_finite())));
        assert_close(&found.out[..2 * SHAPE.out_heads() * SHAPE.value_dim], &[0.0; 36], 0.0);
        let hidden = [false; 18];
        let mask = AttentionMask { key_mask: Some(&hidden), ..Default::default() };
        let found = attention(&query, &key, &value, &SHAPE, &mask, None, 1.0);
        assert!(found.lse.iter().all(|lse| *lse == NONE) && found.out.iter().all(|out| *out == 0.0));
        let empty = AttentionShape { tokens: 0, ..SHAPE };
        let found = attention(&query, &[], &[], &empty, &AttentionMask::default(), None, 1.0);
        assert!(found.lse.iter().all(|lse| *lse == NONE) && found.out.iter().all(|out| *out == 0.0));
    }

    #[test]
    fn large_logits_stay_finite() {
        let (query, key, value) = tensors(&SHAPE);
        let found = attention(&query, &key, &value, &SHAPE, &AttentionMask::default(), None, 1e6);
        assert!(found.out.iter().chain(&found.lse).all(|x| x.is_finite()));
        assert!(found.out.iter().all(|x| x.abs() <= 1.0));
    }

    #[test]
    fn sampled_rows_equal_those_of_the_whole() {
        let (query, key, value) = tensors(&SHAPE);
        let mask = AttentionMask { causal: true, window: Some(4), q_offset: 2, key_mask: None };
        let whole = attention(&query, &key, &value, &SHAPE, &mask, None, 0.3);
        let rows = [4, 0, 3];
        let found = attention_rows(&query, &key, &value, &SHAPE, &mask, None, 0.3, &rows);
        for b in 0..SHAPE.batch {
            for (index, row) in rows.iter().enumerate() {
                for head in 0..6 {
                    let (at, from) = ((b * 3 + index) * 6 + head, (b * 5 + row) * 6 + head);
                    assert_eq!(found.lse[at], whole.lse[from]);
                    assert_eq!(found.out[at * 3..][..3], whole.out[from * 3..][..3]);
                }
            }
        }
    }

    #[test]
    fn packed_sequences_do_not_see_each_other() {
        let (lengths, keys) = ([3, 0, 1, 4], [5, 2, 0, 4]);
        let (cu_query, cu_key) = ([0, 3, 3, 4, 8], [0, 5, 7, 7, 11]);
        let packed = AttentionShape { batch: 1, query_tokens: 8, tokens: 11, ..SHAPE };
        let (query, key, value) = tensors(&packed);
        let (bias, shown) = (noise(6, 11), noise(7, 11).iter().map(|x| *x > -0.5).collect::<Vec<_>>());
        for align_end in [false, true] {
            let mask = AttentionMask { causal: true, window: Some(3), q_offset: 1, key_mask: Some(&shown) };
            let sequences = PackedSequences { query: &cu_query, key: &cu_key, align_end };
            let found = attention_packed(&query, &key, &value, &sequences, &packed, &mask, Some(&bias), 0.5);
            // Over all keys at once, where the key mask leaves only those of the sequence.
            for i in 0..4 {
                let (q0, k0) = (cu_query[i] as usize, cu_key[i] as usize);
                let own: Vec<bool> = (0..11).map(|s| shown[s] && s >= k0 && s < k0 + keys[i]).collect();
                let start = if align_end { keys[i] as i64 - lengths[i] as i64 } else { 1 };
                let q_offset = k0 as i64 + start - q0 as i64;
                let mask = AttentionMask { q_offset, key_mask: Some(&own), ..mask };
                let rows: Vec<usize> = (q0..q0 + lengths[i]).collect();
                let part = attention_rows(&query, &key, &value, &packed, &mask, Some(&bias), 0.5, &rows);
                assert_close(&found.out[q0 * 18..][..lengths[i] * 18], &part.out, 1e-14);
                assert_close(&found.lse[q0 * 6..][..lengths[i] * 6], &part.lse, 1e-14);
            }
            assert_eq!((found.out.len(), found.lse.len()), (8 * 18, 8 * 6));
        }
    }
}
