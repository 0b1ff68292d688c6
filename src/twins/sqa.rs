//! Twin of the Sparse Query Attention layer (SQA, arXiv 2510.01817): attention with fewer query heads.
//!
//! q = x Wq, k = x Wk, v = x Wv; RoPE on q and k; heads = attention(q, k, v) with the scale 1/√head_dim;
//! out = heads Wo + bo.

use super::attention::{AttentionMask, AttentionResult, AttentionShape, attention};
use super::linear::linear;
use super::rope::rope;
use crate::kernels::linear_types::{Activation, WeightLayout};

/// Sizes of an SQA layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SqaShape {
    /// Sequences.
    pub batch: usize,
    /// Tokens of x in each sequence.
    pub tokens: usize,
    /// Elements of a token of x and of out.
    pub model_dim: usize,
    /// Query heads; the larger of the two head counts is a multiple of the smaller.
    pub query_heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
}

impl SqaShape {
    /// Heads of the attention's output, the larger of the two head counts.
    pub fn out_heads(&self) -> usize {
        self.query_heads.max(self.kv_heads)
    }
}

/// Weights of an SQA layer, `[in, out]` as in the paper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SqaWeights<'a> {
    /// `[model_dim, query_heads * head_dim]`.
    pub wq: &'a [f64],
    /// `[model_dim, kv_heads * head_dim]`.
    pub wk: &'a [f64],
    /// `[model_dim, kv_heads * head_dim]`.
    pub wv: &'a [f64],
    /// `[out_heads * head_dim, model_dim]`.
    pub wo: &'a [f64],
    /// `[model_dim]`.
    pub bo: Option<&'a [f64]>,
}

/// What an SQA layer does between its projections. The default is full attention without RoPE.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SqaOptions {
    /// A token sees itself and those before it.
    pub causal: bool,
    /// As [`AttentionMask::window`].
    pub window: Option<usize>,
    /// Base of the rotary embedding (10000 in the published code), on the pairs (2i, 2i + 1), de-interleaved.
    pub rope: Option<f64>,
}

/// What an SQA layer gives.
#[derive(Clone, Debug, PartialEq)]
pub struct SqaResult {
    /// `[batch, tokens, model_dim]`.
    pub out: Vec<f64>,
    /// `[batch, tokens, query_heads, head_dim]`, after RoPE.
    pub q: Vec<f64>,
    /// `[batch, tokens, kv_heads, head_dim]`, after RoPE.
    pub k: Vec<f64>,
    /// `[batch, tokens, kv_heads, head_dim]`.
    pub v: Vec<f64>,
    /// `[batch, tokens, out_heads, head_dim]`, before Wo.
    pub heads: Vec<f64>,
    /// `[batch, tokens, out_heads]`.
    pub lse: Vec<f64>,
}

/// The layer over whole sequences. x `[batch, tokens, model_dim]`.
pub fn sqa_layer(x: &[f64], weights: &SqaWeights, shape: &SqaShape, options: &SqaOptions) -> SqaResult {
    let [q, k, v] = project(x, weights, shape, options, 0);
    let heads = attend(&q, &k, &v, shape, options, 0);
    let out = project_out(&heads.out, weights, shape);
    SqaResult { out, q, k, v, heads: heads.out, lse: heads.lse }
}

/// Keys (after RoPE) and values of the tokens so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SqaCache {
    /// One `[tokens, kv_heads, head_dim]` per sequence.
    pub key: Vec<Vec<f64>>,
    /// One `[tokens, kv_heads, head_dim]` per sequence.
    pub value: Vec<Vec<f64>>,
    /// Tokens of every sequence.
    pub tokens: usize,
}

/// Appends the tokens of x `[batch, tokens, model_dim]` to the cache and lets them attend to all of it: one
/// token is a decode step, several are a chunk of a prefill. `q`, `k` and `v` of the result are those of the
/// new tokens.
///
/// Panics unless `options.causal`: earlier tokens can't see the new ones any more.
pub fn sqa_decode(
    x: &[f64],
    cache: &mut SqaCache,
    weights: &SqaWeights,
    shape: &SqaShape,
    options: &SqaOptions,
) -> SqaResult {
    assert!(options.causal, "a cache needs causal attention");
    cache.key.resize(shape.batch, Vec::new());
    cache.value.resize(shape.batch, Vec::new());
    let position = cache.tokens;
    let [q, k, v] = project(x, weights, shape, options, position);
    let [query_row, key_row] =
        [shape.query_heads, shape.kv_heads].map(|heads| shape.tokens * heads * shape.head_dim);
    let (mut heads, mut lse) = (Vec::new(), Vec::new());
    for b in 0..shape.batch {
        cache.key[b].extend(&k[b * key_row..][..key_row]);
        cache.value[b].extend(&v[b * key_row..][..key_row]);
        let one = SqaShape { batch: 1, ..*shape };
        let q = &q[b * query_row..][..query_row];
        let part = attend(q, &cache.key[b], &cache.value[b], &one, options, position);
        heads.extend(part.out);
        lse.extend(part.lse);
    }
    cache.tokens += shape.tokens;
    SqaResult { out: project_out(&heads, weights, shape), q, k, v, heads, lse }
}

/// Query, key (both after RoPE) and value of x, whose first token stands at `position`.
fn project(
    x: &[f64],
    weights: &SqaWeights,
    shape: &SqaShape,
    options: &SqaOptions,
    position: usize,
) -> [Vec<f64>; 3] {
    assert_eq!(x.len(), shape.batch * shape.tokens * shape.model_dim, "x");
    let heads = |weight, heads| {
        let outputs = heads * shape.head_dim;
        linear(x, weight, None, shape.model_dim, outputs, WeightLayout::InOut, Activation::None)
    };
    let rotate = |x: Vec<f64>, heads| match options.rope {
        Some(base) => rope(&x, shape.tokens, heads, shape.head_dim, base, position as i64, true),
        None => x,
    };
    let q = rotate(heads(weights.wq, shape.query_heads), shape.query_heads);
    let k = rotate(heads(weights.wk, shape.kv_heads), shape.kv_heads);
    [q, k, heads(weights.wv, shape.kv_heads)]
}

/// Attention of the queries, the first of which stands at `position`, to all keys.
fn attend(
    q: &[f64],
    k: &[f64],
    v: &[f64],
    shape: &SqaShape,
    options: &SqaOptions,
    position: usize,
) -> AttentionResult {
    let &SqaShape { batch, tokens, query_heads, kv_heads, head_dim, .. } = shape;
    let heads = AttentionShape {
        batch,
        query_tokens: tokens,
        tokens: position + tokens,
        query_heads,
        kv_heads,
        head_dim,
        value_dim: head_dim,
    };
    let &SqaOptions { causal, window, .. } = options;
    let mask = AttentionMask { causal, window, q_offset: position as i64, key_mask: None };
    attention(q, k, v, &heads, &mask, None, 1.0 / (head_dim as f64).sqrt())
}

fn project_out(heads: &[f64], weights: &SqaWeights, shape: &SqaShape) -> Vec<f64> {
    let inputs = shape.out_heads() * shape.head_dim;
    linear(heads, weights.wo, weights.bo, inputs, shape.model_dim, WeightLayout::InOut, Activation::None)
}

/// The properties that the published layer has, each to 1e-12.
#[cfg(test)]
mod tests {
    use super::super::{assert_close, noise};
    use super::*;

    const TOLERANCE: f64 = 1e-12;
    const SHAPE: SqaShape =
        SqaShape { batch: 2, tokens: 13, model_dim: 24, query_heads: 4, kv_heads: 2, head_dim: 6 };
    const CAUSAL: SqaOptions = SqaOptions { causal: true, window: None, rope: Some(1e4) };
    const FULL: SqaOptions = SqaOptions { causal: false, window: None, rope: None };

    /// A layer with noise for weights.
    #[derive(Clone)]
    struct Layer {
        shape: SqaShape,
        wq: Vec<f64>,
        wk: Vec<f64>,
        wv: Vec<f64>,
        wo: Vec<f64>,
        bo: Vec<f64>,
    }

    impl Layer {
        fn new(shape: SqaShape) -> Self {
            let [queries, keys, heads] = [shape.query_heads, shape.kv_heads, shape.out_heads()]
                .map(|h| h * shape.head_dim * shape.model_dim);
            let (wq, wk, wv) = (noise(11, queries), noise(12, keys), noise(13, keys));
            Self { shape, wq, wk, wv, wo: noise(14, heads), bo: noise(15, shape.model_dim) }
        }

        fn weights(&self) -> SqaWeights<'_> {
            SqaWeights { wq: &self.wq, wk: &self.wk, wv: &self.wv, wo: &self.wo, bo: Some(&self.bo) }
        }

        fn run(&self, x: &[f64], options: &SqaOptions) -> SqaResult {
            sqa_layer(x, &self.weights(), &self.shape, options)
        }

        fn x(&self) -> Vec<f64> {
            noise(16, self.shape.batch * self.shape.tokens * self.shape.model_dim)
        }
    }

    /// Rows of head_dim elements of the listed heads, from a tensor whose rows hold `heads` of them.
    fn take_heads(tensor: &[f64], heads: usize, width: usize, list: &[usize]) -> Vec<f64> {
        let rows = tensor.chunks_exact(heads * width);
        rows.flat_map(|row| list.iter().flat_map(|h| row[h * width..][..width].to_vec())).collect()
    }

    /// The block of rows of Wo that the listed heads multiply.
    fn take_wo(layer: &Layer, list: &[usize]) -> Vec<f64> {
        let block = layer.shape.head_dim * layer.shape.model_dim;
        list.iter().flat_map(|h| layer.wo[h * block..][..block].to_vec()).collect()
    }

    #[test]
    fn one_token_by_hand() {
        let shape = SqaShape { batch: 1, tokens: 1, model_dim: 2, query_heads: 2, kv_heads: 1, head_dim: 1 };
        let weights = SqaWeights {
            wq: &[1.0, 0.0, 0.0, 1.0],
            wk: &[1.0, 1.0],
            wv: &[2.0, 3.0],
            wo: &[1.0, 2.0, 10.0, 20.0],
            bo: Some(&[0.5, -0.5]),
        };
        let found = sqa_layer(&[1.0, -1.0], &weights, &shape, &FULL);
        assert_eq!((found.q, found.k, found.v), (vec![1.0, -1.0], vec![0.0], vec![-1.0]));
        assert_eq!((found.heads, found.lse), (vec![-1.0, -1.0], vec![0.0, 0.0]));
        assert_eq!(found.out, [-11.0 + 0.5, -22.0 - 0.5]);
    }

    /// Two tokens, head_dim 4: q·k is 4 ln 3 or 0, and 1/√4 makes it 2 ln 3, a weight of 9 to 1.
    #[test]
    fn the_scale_is_one_over_the_root_of_head_dim() {
        let shape = SqaShape { batch: 1, tokens: 2, model_dim: 2, query_heads: 1, kv_heads: 1, head_dim: 4 };
        let ln3 = 3f64.ln();
        let weights = SqaWeights {
            wq: &[1.0; 8],
            wk: &[ln3, ln3, ln3, ln3, 0.0, 0.0, 0.0, 0.0],
            wv: &[10.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            wo: &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
            bo: None,
        };
        let found = sqa_layer(&[1.0, 0.0, 0.0, 1.0], &weights, &shape, &FULL);
        assert_close(&found.lse, &[10f64.ln(), 10f64.ln()], TOLERANCE);
        assert_close(&found.out, &[9.0, 0.0, 9.0, 0.0], TOLERANCE);
    }

    #[test]
    fn equals_multi_head_attention_with_repeated_keys_and_values() {
        let layer = Layer::new(SHAPE);
        let repeat = |w: &[f64]| take_heads(w, 2, SHAPE.head_dim, &[0, 0, 1, 1]);
        let wide = Layer {
            shape: SqaShape { kv_heads: 4, ..SHAPE },
            wk: repeat(&layer.wk),
            wv: repeat(&layer.wv),
            ..layer.clone()
        };
        let (a, b) = (layer.run(&layer.x(), &CAUSAL), wide.run(&layer.x(), &CAUSAL));
        assert_close(&a.out, &b.out, TOLERANCE);
        assert_close(&a.heads, &b.heads, TOLERANCE);
    }

    #[test]
    fn permuted_heads_permute_the_head_outputs_only() {
        let layer = Layer::new(SHAPE);
        let expected = layer.run(&layer.x(), &CAUSAL);
        let dim = SHAPE.head_dim;
        // The heads of each group change places; then the groups do, together with their kv heads.
        for (heads, kv_heads) in [([1, 0, 3, 2], [0, 1]), ([2, 3, 0, 1], [1, 0])] {
            let permuted = Layer {
                wq: take_heads(&layer.wq, 4, dim, &heads),
                wk: take_heads(&layer.wk, 2, dim, &kv_heads),
                wv: take_heads(&layer.wv, 2, dim, &kv_heads),
                wo: take_wo(&layer, &heads),
                ..layer.clone()
            };
            let found = permuted.run(&layer.x(), &CAUSAL);
            assert_close(&found.heads, &take_heads(&expected.heads, 4, dim, &heads), TOLERANCE);
            assert_close(&found.out, &expected.out, TOLERANCE);
        }
    }

    #[test]
    fn permuted_tokens_permute_the_rows() {
        let layer = Layer::new(SHAPE);
        let width = SHAPE.model_dim;
        // 5 and 13 have no common factor: every token is met once.
        let order: Vec<usize> = (0..13).map(|t| t * 5 % 13).collect();
        let permute = |x: &[f64]| take_heads(x, 13, width, &order);
        let found = layer.run(&permute(&layer.x()), &FULL).out;
        assert_close(&found, &permute(&layer.run(&layer.x(), &FULL).out), TOLERANCE);
    }

    #[test]
    fn a_sequence_does_not_depend_on_the_batch() {
        let layer = Layer::new(SHAPE);
        let alone = Layer { shape: SqaShape { batch: 1, ..SHAPE }, ..layer.clone() };
        let x = layer.x();
        let half = x.len() / 2;
        let both = layer.run(&x, &CAUSAL).out;
        assert_close(&both[..half], &alone.run(&x[..half], &CAUSAL).out, 0.0);
        assert_close(&both[half..], &alone.run(&x[half..], &CAUSAL).out, 0.0);
    }

    #[test]
    fn decode_and_chunked_prefill_equal_the_rows_of_prefill() {
        for (query_heads, kv_heads) in [(4, 2), (2, 4)] {
            let layer = Layer::new(SqaShape { query_heads, kv_heads, ..SHAPE });
            let (x, width) = (layer.x(), SHAPE.model_dim);
            for window in [None, Some(1), Some(4)] {
                let options = SqaOptions { window, ..CAUSAL };
                let whole = layer.run(&x, &options);
                for chunks in [vec![1; 13], vec![6, 1, 4, 2], vec![13]] {
                    let mut cache = SqaCache::default();
                    for tokens in chunks {
                        let rows: Vec<usize> = (cache.tokens..cache.tokens + tokens).collect();
                        let shape = SqaShape { tokens, ..layer.shape };
                        let chunk = take_heads(&x, 13, width, &rows);
                        let step = sqa_decode(&chunk, &mut cache, &layer.weights(), &shape, &options);
                        assert_close(&step.out, &take_heads(&whole.out, 13, width, &rows), TOLERANCE);
                        assert_close(&step.lse, &take_heads(&whole.lse, 13, 4, &rows), TOLERANCE);
                    }
                    assert_close(&cache.key.concat(), &whole.k, TOLERANCE);
                    assert_close(&cache.value.concat(), &whole.v, TOLERANCE);
                }
            }
        }
    }

    #[test]
    fn later_tokens_do_not_change_earlier_rows() {
        let layer = Layer::new(SqaShape { batch: 1, ..SHAPE });
        let (mut x, width) = (layer.x(), SHAPE.model_dim);
        let before = layer.run(&x, &CAUSAL).out;
        x[8 * width..].iter_mut().for_each(|x| *x = 5.0 - *x);
        let after = layer.run(&x, &CAUSAL).out;
        assert_close(&after[..8 * width], &before[..8 * width], 0.0);
        assert!((after[8 * width] - before[8 * width]).abs() > 1e-3);
    }

    #[test]
    fn a_long_window_is_dense_and_a_window_of_one_gives_the_own_value() {
        let layer = Layer::new(SqaShape { query_heads: 4, kv_heads: 4, ..SHAPE });
        let x = layer.x();
        let run = |window, causal| layer.run(&x, &SqaOptions { window, causal, ..CAUSAL });
        let dense = run(None, true);
        assert_close(&run(Some(13), true).out, &dense.out, 0.0);
        assert_close(&run(Some(24), false).out, &run(None, false).out, 0.0);
        assert!((run(Some(12), true).out[12 * 24] - dense.out[12 * 24]).abs() > 1e-9);
        for own in [run(Some(1), true), run(Some(1), false)] {
            assert_close(&own.heads, &own.v, TOLERANCE);
        }
    }

    #[test]
    fn constant_values_pass_and_zero_keys_average() {
        let mut layer = Layer::new(SHAPE);
        // The first input is 1 and is all that v reads.
        let (width, heads) = (SHAPE.model_dim, SHAPE.kv_heads * SHAPE.head_dim);
        let mut x = layer.x();
        x.chunks_exact_mut(width).for_each(|row| row[0] = 1.0);
        layer.wv[heads..].fill(0.0);
        let found = layer.run(&x, &CAUSAL);
        let expected = take_heads(&layer.wv[..heads], 2, SHAPE.head_dim, &[0, 0, 1, 1]);
        found.heads.chunks_exact(expected.len()).for_each(|row| assert_close(row, &expected, TOLERANCE));

        let mut layer = Layer::new(SHAPE);
        layer.wk.fill(0.0);
        let found = layer.run(&x, &CAUSAL);
        for t in 0..SHAPE.tokens {
            let mean: f64 = (0..=t).map(|s| found.v[s * heads]).sum::<f64>() / (t + 1) as f64;
            assert_close(&[found.heads[t * 4 * SHAPE.head_dim]], &[mean], TOLERANCE);
            assert_close(&[found.lse[t * 4]], &[((t + 1) as f64).ln()], TOLERANCE);
        }
    }

    #[test]
    fn dropping_heads_equals_zeroing_their_rows_of_wo() {
        let full = Layer::new(SqaShape { query_heads: 4, kv_heads: 4, ..SHAPE });
        let (kept, dim) = ([1, 3], SHAPE.head_dim);
        let sparse = Layer {
            shape: SqaShape { query_heads: 2, kv_heads: 2, ..SHAPE },
            wq: take_heads(&full.wq, 4, dim, &kept),
            wk: take_heads(&full.wk, 4, dim, &kept),
            wv: take_heads(&full.wv, 4, dim, &kept),
            wo: take_wo(&full, &kept),
            bo: full.bo.clone(),
        };
        let mut zeroed = full.clone();
        let block = dim * SHAPE.model_dim;
        for dropped in [0, 2] {
            zeroed.wo[dropped * block..][..block].fill(0.0);
        }
        let x = full.x();
        assert_close(&sparse.run(&x, &CAUSAL).out, &zeroed.run(&x, &CAUSAL).out, TOLERANCE);
    }

    #[test]
    fn reverse_tiles_the_queries_over_the_kv_heads() {
        let dim = SHAPE.head_dim;
        for (query_heads, tiled) in [(1, [0, 0, 0, 0]), (2, [0, 1, 0, 1])] {
            let reverse = Layer::new(SqaShape { query_heads, kv_heads: 4, ..SHAPE });
            let symmetric = Layer {
                shape: SqaShape { query_heads: 4, ..reverse.shape },
                wq: take_heads(&reverse.wq, query_heads, dim, &tiled),
                ..reverse.clone()
            };
            let x = reverse.x();
            let (found, expected) = (reverse.run(&x, &CAUSAL), symmetric.run(&x, &CAUSAL));
            assert_close(&found.heads, &expected.heads, TOLERANCE);
            assert_close(&found.out, &expected.out, TOLERANCE);
        }
    }
}
