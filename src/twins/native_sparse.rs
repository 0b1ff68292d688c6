//! Twins of Native Sparse Attention (arXiv 2502.11089), stage by stage and as a whole.
//!
//! ```text
//! out_t = g_cmp · A(q_t, pooled blocks) + g_slc · A(q_t, selected blocks) + g_swa · A(q_t, window)
//! ```
//!
//! Query row r stands at position t = q_offset + r. Every stage takes the query rows it works on as `rows`, so that a few rows of
//! a long sequence cost no more than they are; its results have `rows.len()` tokens, in the order of `rows`.

mod compress;
mod gates;
mod select;

pub use compress::{CompressionMlp, Phi, Pool, compress};
pub use gates::{GateNetwork, gate_values, gated_sum};
pub use select::{NO_BLOCK, Selection, block_importance, select_blocks};

use super::attention::{AttentionMask, AttentionResult, AttentionShape, attention_rows, dot, vector};
use crate::kernels::native_sparse::NativeSparseConfig;

/// Block sizes and counts, in the names of [`NativeSparseConfig`]. The default is the paper's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NativeSparseOptions {
    /// l: tokens of a compressed block.
    pub cmp_block: usize,
    /// d: tokens from one compressed block's first to the next one's.
    pub cmp_stride: usize,
    /// l': tokens of a selected block.
    pub sel_block: usize,
    /// n: blocks of a query, forced ones included.
    pub top_n: usize,
    /// w: tokens of the window, the query's own included; 0: no window.
    pub window: usize,
    /// First blocks that every query reads.
    pub n_init: usize,
    /// Own and earlier blocks that every query reads.
    pub n_local: usize,
    /// Position of the first query row; `None`: the last query row stands at the last key.
    pub q_offset: Option<i64>,
    /// Factor of q · k; `None`: 1 / √head_dim.
    pub scale: Option<f64>,
}

impl Default for NativeSparseOptions {
    fn default() -> Self {
        Self::from(&NativeSparseConfig::default())
    }
}

impl From<&NativeSparseConfig> for NativeSparseOptions {
    fn from(config: &NativeSparseConfig) -> Self {
        Self {
            cmp_block: config.cmp_block,
            cmp_stride: config.cmp_stride,
            sel_block: config.sel_block,
            top_n: config.top_n,
            window: config.window,
            n_init: config.n_init,
            n_local: config.n_local,
            q_offset: config.q_offset,
            scale: config.scale.map(f64::from),
        }
    }
}

impl NativeSparseOptions {
    /// C: complete compressed blocks of `tokens` tokens.
    pub fn compressed_blocks(&self, tokens: usize) -> usize {
        self.visible_blocks(tokens as i64 - 1)
    }

    /// Compressed blocks i with i · d + l <= t + 1: those whose last token is not after position t.
    pub fn visible_blocks(&self, position: i64) -> usize {
        let behind = position + 1 - self.cmp_block as i64;
        if behind < 0 { 0 } else { behind as usize / self.cmp_stride + 1 }
    }

    /// NB: blocks to select from, the last one perhaps not full.
    pub fn selection_blocks(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.sel_block)
    }

    /// Where query row `row` stands.
    pub fn position(&self, shape: &AttentionShape, row: usize) -> i64 {
        self.q_offset.unwrap_or(shape.tokens as i64 - shape.query_tokens as i64) + row as i64
    }

    fn scale(&self, shape: &AttentionShape) -> f64 {
        self.scale.unwrap_or((shape.head_dim as f64).powf(-0.5))
    }
}

/// What Native Sparse Attention reads.
#[derive(Clone, Copy, Debug)]
pub struct NativeSparseSources<'a> {
    /// `[batch, query_tokens, query_heads, head_dim]`.
    pub query: &'a [f64],
    /// `[batch, tokens, kv_heads, head_dim]`.
    pub key: &'a [f64],
    /// `[batch, tokens, kv_heads, value_dim]`.
    pub value: &'a [f64],
    /// `[batch, query_tokens, query_heads, 3]`: weights of the compressed branch, the selected one and the window.
    pub gates: &'a [f64],
    /// How blocks of keys are pooled.
    pub phi_key: Phi<'a>,
    /// How blocks of values are pooled.
    pub phi_value: Phi<'a>,
    /// Keys and values that are pooled instead of `key` and `value`.
    pub compressed: Option<(&'a [f64], &'a [f64])>,
    /// Keys and values of the window instead of `key` and `value`.
    pub window: Option<(&'a [f64], &'a [f64])>,
    /// `[batch, query_tokens, kv_heads, n]`, [`NO_BLOCK`] in empty slots: blocks to read instead of the best ones.
    pub blocks: Option<&'a [i32]>,
}

impl<'a> NativeSparseSources<'a> {
    /// The same keys and values for all branches, pooled by their mean.
    pub fn new(query: &'a [f64], key: &'a [f64], value: &'a [f64], gates: &'a [f64]) -> Self {
        let (phi_key, phi_value) = (Phi::default(), Phi::default());
        Self { query, key, value, gates, phi_key, phi_value, compressed: None, window: None, blocks: None }
    }
}

/// What Native Sparse Attention gives; `rows` are the query tokens that were asked for. A branch without a visible key gives 0,
/// its lse is -inf.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativeSparseResult {
    /// `[batch, rows, query_heads, value_dim]`.
    pub out: Vec<f64>,
    /// `[batch, blocks, kv_heads, head_dim]`: pooled keys.
    pub cmp_key: Vec<f64>,
    /// `[batch, blocks, kv_heads, value_dim]`: pooled values.
    pub cmp_value: Vec<f64>,
    /// The compressed branch, shape of `out`.
    pub o_cmp: Vec<f64>,
    /// The selected branch, shape of `out`.
    pub o_slc: Vec<f64>,
    /// The window, shape of `out`.
    pub o_swa: Vec<f64>,
    /// `[batch, rows, query_heads]`: natural logarithm of the sum of exp(logits) of the compressed branch.
    pub lse_cmp: Vec<f64>,
    /// The same of the selected branch.
    pub lse_slc: Vec<f64>,
    /// The same of the window.
    pub lse_swa: Vec<f64>,
    /// `[batch, rows, kv_heads, NB]`: scores of the blocks.
    pub importance: Vec<f64>,
    /// The blocks that score best, and by how much.
    pub selection: Selection,
    /// `[batch, rows, kv_heads, n]`, ascending, the blocks that were read: those selected, or those given.
    pub blocks: Vec<i32>,
}

/// Native Sparse Attention of every query row.
pub fn native_sparse(
    sources: &NativeSparseSources,
    shape: &AttentionShape,
    options: &NativeSparseOptions,
) -> NativeSparseResult {
    let rows: Vec<usize> = (0..shape.query_tokens).collect();
    native_sparse_rows(sources, shape, options, &rows)
}

/// [`native_sparse`] of the query rows `rows` only, in their order.
pub fn native_sparse_rows(
    sources: &NativeSparseSources,
    shape: &AttentionShape,
    options: &NativeSparseOptions,
    rows: &[usize],
) -> NativeSparseResult {
    shape.check(sources.query, sources.key, sources.value);
    let &AttentionShape { batch, query_tokens, tokens, query_heads, kv_heads, head_dim, value_dim } = shape;
    assert!(query_heads.is_multiple_of(kv_heads), "heads {query_heads} / {kv_heads}");
    assert_eq!(sources.gates.len(), batch * query_tokens * query_heads * 3, "gates");
    let one = AttentionShape { batch: 1, ..*shape };
    let mut result = NativeSparseResult::default();
    for b in 0..batch {
        let part = |tensor, width| vector(tensor, b, width);
        let query = part(sources.query, query_tokens * query_heads * head_dim);
        let gates = part(sources.gates, query_tokens * query_heads * 3);
        let keys = |tensor| part(tensor, tokens * kv_heads * head_dim);
        let values = |tensor| part(tensor, tokens * kv_heads * value_dim);
        let (key, value) = (keys(sources.key), values(sources.value));
        let (pooled_key, pooled_value) = sources.compressed.unwrap_or((sources.key, sources.value));
        let (window_key, window_value) = sources.window.unwrap_or((sources.key, sources.value));
        let (window_key, window_value) = (keys(window_key), values(window_value));
        let blocks = sources.blocks.map(|blocks| {
            let width = blocks.len() / batch;
            &blocks[b * width..][..width]
        });

        let phi = |x: &[f64], phi: &Phi, dim| compress(x, &phi.sequence(b, batch), kv_heads, dim, options);
        let cmp_key = phi(keys(pooled_key), &sources.phi_key, head_dim);
        let cmp_value = phi(values(pooled_value), &sources.phi_value, value_dim);
        // A few rows at a time: the weights of all of them would need rows x blocks.
        for rows in rows.chunks(64) {
            let compressed = compressed_attention_rows(query, &cmp_key, &cmp_value, &one, options, rows);
            let lists = rows.len() * kv_heads;
            let group = query_heads / kv_heads;
            let importance = block_importance(&compressed.weights, lists, group, tokens, options);
            let positions: Vec<i64> = rows.iter().map(|&row| options.position(shape, row)).collect();
            let selection = select_blocks(&importance, &positions, kv_heads, tokens, options);
            let listed = match blocks {
                Some(blocks) => {
                    let width = blocks.len() / query_tokens;
                    rows.iter().flat_map(|row| blocks[row * width..][..width].to_vec()).collect()
                }
                None => selection.blocks.clone(),
            };
            let selected = selected_attention_rows(query, key, value, &listed, &one, options, rows);
            let window = window_attention_rows(query, window_key, window_value, &one, options, rows);
            let weights: Vec<f64> =
                rows.iter().flat_map(|&row| vector(gates, row, query_heads * 3).to_vec()).collect();
            let branches = [&compressed.out[..], &selected.out, &window.out];
            result.out.extend(gated_sum(&weights, branches, value_dim));
            result.o_cmp.extend(compressed.out);
            result.o_slc.extend(selected.out);
            result.o_swa.extend(window.out);
            result.lse_cmp.extend(compressed.lse);
            result.lse_slc.extend(selected.lse);
            result.lse_swa.extend(window.lse);
            result.importance.extend(importance);
            result.selection.append(selection);
            result.blocks.extend(listed);
        }
        result.cmp_key.extend(cmp_key);
        result.cmp_value.extend(cmp_value);
    }
    result
}

/// What attention to the pooled blocks gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CompressedResult {
    /// `[batch, rows, query_heads, value_dim]`; 0 where no block is complete yet.
    pub out: Vec<f64>,
    /// `[batch, rows, query_heads]`; -inf where no block is complete yet.
    pub lse: Vec<f64>,
    /// `[batch, rows, query_heads, blocks]`: softmax weights, 0 of blocks that a row does not see (p_cmp, Eq. 8).
    pub weights: Vec<f64>,
}

/// Attention to pooled blocks: row t sees block i where i · d + l <= t + 1 (Eq. 7). Keys `[batch, blocks, kv_heads, head_dim]`
/// and values `[batch, blocks, kv_heads, value_dim]` with all complete blocks of `shape.tokens` tokens.
pub fn compressed_attention_rows(
    query: &[f64],
    cmp_key: &[f64],
    cmp_value: &[f64],
    shape: &AttentionShape,
    options: &NativeSparseOptions,
    rows: &[usize],
) -> CompressedResult {
    let blocks = options.compressed_blocks(shape.tokens);
    let seen = |at: Row| {
        let visible = options.visible_blocks(options.position(shape, at.row)).min(blocks);
        (0..visible).map(|block| at.sequence * blocks + block).collect()
    };
    let (result, weights) = attend(query, cmp_key, cmp_value, shape, options, rows, seen);
    let padded = weights.into_iter().flat_map(|mut weights| {
        weights.resize(blocks, 0.0);
        weights
    });
    CompressedResult { out: result.out, lse: result.lse, weights: padded.collect() }
}

/// Attention to the tokens, not after the query, of the listed blocks (Eq. 12): `blocks` `[batch, rows, kv_heads, n]`, in any
/// order, [`NO_BLOCK`] in empty slots; a block listed twice counts twice.
pub fn selected_attention_rows(
    query: &[f64],
    key: &[f64],
    value: &[f64],
    blocks: &[i32],
    shape: &AttentionShape,
    options: &NativeSparseOptions,
    rows: &[usize],
) -> AttentionResult {
    let lists = shape.batch * rows.len() * shape.kv_heads;
    let width = blocks.len() / lists.max(1);
    assert_eq!(blocks.len(), lists * width, "blocks");
    let seen = |at: Row| {
        let end = (options.position(shape, at.row) + 1).clamp(0, shape.tokens as i64) as usize;
        let list = (at.sequence * rows.len() + at.index) * shape.kv_heads + at.kv_head;
        let listed = blocks[list * width..][..width].iter().filter(|&&block| block != NO_BLOCK);
        let tokens = listed.flat_map(|&block| {
            let first = block as usize * options.sel_block;
            first..end.min(first + options.sel_block)
        });
        tokens.map(|token| at.sequence * shape.tokens + token).collect()
    };
    attend(query, key, value, shape, options, rows, seen).0
}

/// Attention to the last w tokens, the query's own included.
pub fn window_attention_rows(
    query: &[f64],
    key: &[f64],
    value: &[f64],
    shape: &AttentionShape,
    options: &NativeSparseOptions,
    rows: &[usize],
) -> AttentionResult {
    let q_offset = options.position(shape, 0);
    let mask = AttentionMask { causal: true, window: Some(options.window), q_offset, key_mask: None };
    attention_rows(query, key, value, shape, &mask, None, options.scale(shape), rows)
}

/// A query row of one head.
#[derive(Clone, Copy)]
struct Row {
    sequence: usize,
    /// Query token.
    row: usize,
    /// Its place among the rows asked for.
    index: usize,
    kv_head: usize,
}

/// Attention of each row to the keys `seen` lists for it (a key's index over all sequences), and the weights of those keys.
fn attend(
    query: &[f64],
    key: &[f64],
    value: &[f64],
    shape: &AttentionShape,
    options: &NativeSparseOptions,
    rows: &[usize],
    seen: impl Fn(Row) -> Vec<usize>,
) -> (AttentionResult, Vec<Vec<f64>>) {
    let &AttentionShape { batch, query_tokens, query_heads, kv_heads, head_dim, value_dim, .. } = shape;
    let scale = options.scale(shape);
    let mut result = AttentionResult { out: Vec::new(), lse: Vec::new() };
    let mut all_weights = Vec::new();
    for sequence in 0..batch {
        for (index, &row) in rows.iter().enumerate() {
            for head in 0..query_heads {
                let kv_head = head / (query_heads / kv_heads);
                let q = vector(query, (sequence * query_tokens + row) * query_heads + head, head_dim);
                let keys = seen(Row { sequence, row, index, kv_head });
                let logit = |&s: &usize| scale * dot(q, vector(key, s * kv_heads + kv_head, head_dim));
                let mut weights: Vec<f64> = keys.iter().map(logit).collect();
                result.lse.push(softmax(&mut weights));
                let mut out = vec![0.0; value_dim];
                for (s, weight) in keys.iter().zip(&weights) {
                    let v = vector(value, s * kv_heads + kv_head, value_dim);
                    out.iter_mut().zip(v).for_each(|(out, v)| *out += weight * v);
                }
                result.out.extend(out);
                all_weights.push(weights);
            }
        }
    }
    (result, all_weights)
}

/// Turns logits into weights that sum to 1, and gives the logarithm of the sum of their exponentials; -inf of none.
fn softmax(logits: &mut [f64]) -> f64 {
    let maximum = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logits.iter_mut().for_each(|logit| *logit = (*logit - maximum).exp());
    let sum: f64 = logits.iter().sum();
    logits.iter_mut().for_each(|weight| *weight /= sum);
    maximum + sum.ln()
}

#[cfg(test)]
mod tests;
