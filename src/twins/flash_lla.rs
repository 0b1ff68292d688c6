//! Twins of local linear attention (FlashLLA, arXiv 2510.01450): solved directly, by conjugate gradients, and with a given beta.
//!
//! With p = softmax(scale · q kᵀ + key_bias) over the keys that a row sees, k̄ and v̄ the means of keys and values under p, C the
//! covariance of the keys and C_vk that of values and keys:
//!
//! ```text
//! beta = (C + λ I)⁻¹ (k̄ - q)          out = Σ_j p_j (1 - (k_j - k̄) · beta) v_j = v̄ - C_vk beta
//! ```

mod decode;

pub use decode::{LlaState, lla_decode};

use super::attention::{AttentionMask, AttentionResult, AttentionShape, dot, vector};
use super::symmetric::{add_scaled, solve, with_ridge};
use crate::kernels::flash_lla::status::{EMPTY, NON_FINITE, NOT_CONVERGED, SINGULAR};

/// What a row sees and how it is fitted. The default is that of
/// [`FlashLlaConfig`](crate::kernels::flash_lla::FlashLlaConfig): bidirectional, ridge 0.1, floor 1e-6.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LlaOptions<'a> {
    /// A query sees keys at its own position and before.
    pub causal: bool,
    /// Position of the first query row; `None`: the last query row stands at the last key.
    pub q_offset: Option<i64>,
    /// `[query_tokens, tokens]`, true = visible, for every sequence and head.
    pub mask: Option<&'a [bool]>,
    /// `[batch, tokens]`, added to the logits of a key in natural-log units.
    pub key_bias: Option<&'a [f64]>,
    /// Factor of q · k; `None`: 1 / √head_dim.
    pub scale: Option<f64>,
    /// λ, relative to weights that sum to 1.
    pub ridge: f64,
    /// λ is at least this share of the mean variance of the keys, trace(C) / head_dim.
    pub ridge_floor: f64,
    /// A row of at most head_dim keys whose λ is below 1e-4 of the mean variance takes 1e-3 of it instead, as the kernels do,
    /// which can't reach the limit of a falling ridge in f32. Without it that limit is taken where C has no full rank.
    pub singular_floor: bool,
}

impl Default for LlaOptions<'_> {
    fn default() -> Self {
        Self {
            causal: false,
            q_offset: None,
            mask: None,
            key_bias: None,
            scale: None,
            ridge: 0.1,
            ridge_floor: 1e-6,
            singular_floor: true,
        }
    }
}

/// What local linear attention gives; `rows` are the query tokens that were asked for. Rows without a key and rows that see a
/// NaN or an infinity are 0, their lse is -inf.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LlaResult {
    /// `[batch, rows, query_heads, value_dim]`.
    pub out: Vec<f64>,
    /// `[batch, rows, query_heads]`: natural logarithm of the sum of exp(logits).
    pub lse: Vec<f64>,
    /// `[batch, rows, query_heads, head_dim]`: (C + λ I)⁻¹ (k̄ - q).
    pub beta: Vec<f64>,
    /// `[batch, rows, query_heads, head_dim]`: k̄.
    pub mean_key: Vec<f64>,
    /// `[batch, rows, query_heads]`: (k̄ - q) · beta.
    pub eta: Vec<f64>,
    /// `[batch, rows, query_heads]`: conjugate-gradient iterations, 0 where there are none.
    pub iterations: Vec<u32>,
    /// `[batch, rows, query_heads]`: bits of [`status`](crate::kernels::flash_lla::status).
    pub status: Vec<u32>,
}

/// Local linear attention of every query row, each system solved directly.
///
/// query `[batch, query_tokens, query_heads, head_dim]`, key `[batch, tokens, kv_heads, head_dim]`, value
/// `[batch, tokens, kv_heads, value_dim]`; query_heads is a multiple of kv_heads.
pub fn flash_lla(
    query: &[f64],
    key: &[f64],
    value: &[f64],
    shape: &AttentionShape,
    options: &LlaOptions,
) -> LlaResult {
    let rows: Vec<usize> = (0..shape.query_tokens).collect();
    flash_lla_rows(query, key, value, shape, options, &rows)
}

/// [`flash_lla`] of the query rows `rows` only, in their order, for checks of sizes where all rows would take too long.
pub fn flash_lla_rows(
    query: &[f64],
    key: &[f64],
    value: &[f64],
    shape: &AttentionShape,
    options: &LlaOptions,
    rows: &[usize],
) -> LlaResult {
    each_row([query, key, value], shape, options, rows, |_, row| {
        let system = row.system(options);
        let (beta, deficient) = solve(&system.covariance, system.ridge, &system.right);
        let status = system.status | if deficient { SINGULAR } else { 0 };
        row.finish(beta, &system.right, 0, status)
    })
}

/// Local linear attention of every query row by plain conjugate gradients from 0, which end where the residual is at most
/// `rtol` times the first, or after `max_iters` iterations; rows that have not come so far are `NOT_CONVERGED`.
pub fn flash_lla_cg(
    query: &[f64],
    key: &[f64],
    value: &[f64],
    shape: &AttentionShape,
    options: &LlaOptions,
    rtol: f64,
    max_iters: usize,
) -> LlaResult {
    let rows: Vec<usize> = (0..shape.query_tokens).collect();
    each_row([query, key, value], shape, options, &rows, |_, row| {
        let system = row.system(options);
        let matrix = with_ridge(&system.covariance, system.ridge, shape.head_dim);
        let (beta, iterations, converged) = conjugate_gradients(&matrix, &system.right, rtol, max_iters);
        let status = system.status | if converged { 0 } else { NOT_CONVERGED };
        row.finish(beta, &system.right, iterations, status)
    })
}

/// v̄ - C_vk beta with a given beta `[batch, query_tokens, query_heads, head_dim]` (Parallax, arXiv 2605.29157). Ridge and floor of
/// the options are not read.
pub fn lla_probe(
    query: &[f64],
    key: &[f64],
    value: &[f64],
    beta: &[f64],
    shape: &AttentionShape,
    options: &LlaOptions,
) -> AttentionResult {
    assert_eq!(beta.len(), query.len(), "beta");
    let rows: Vec<usize> = (0..shape.query_tokens).collect();
    let result = each_row([query, key, value], shape, options, &rows, |index, row| {
        let beta = vector(beta, index, shape.head_dim).to_vec();
        row.finish(beta, &row.residual(), 0, 0)
    });
    AttentionResult { out: result.out, lse: result.lse }
}

/// The keys and values that one query row sees, with their logits.
struct Attended<'a> {
    query: &'a [f64],
    keys: Vec<&'a [f64]>,
    values: Vec<&'a [f64]>,
    logits: Vec<f64>,
}

impl Attended<'_> {
    /// Why the row has no result, as a status; 0 where it has one.
    fn refusal(&self) -> u32 {
        if self.keys.is_empty() {
            return EMPTY;
        }
        let vectors = self.keys.iter().chain(&self.values).copied();
        let finite = vectors.chain([self.query, &self.logits]).flatten().all(|x| x.is_finite());
        if finite { 0 } else { NON_FINITE }
    }
}

/// Calls `visit` for every (sequence, row, head), in the order of the output, with its index in
/// `[batch, query_tokens, query_heads]`.
fn each_attended<'a>(
    [query, key, value]: [&'a [f64]; 3],
    shape: &AttentionShape,
    options: &LlaOptions,
    rows: &[usize],
    mut visit: impl FnMut(usize, Attended<'a>),
) {
    shape.check(query, key, value);
    let &AttentionShape { batch, query_tokens, tokens, query_heads, kv_heads, head_dim, value_dim } = shape;
    assert!(query_heads.is_multiple_of(kv_heads), "heads {query_heads} / {kv_heads}");
    assert!(options.mask.is_none_or(|mask| mask.len() == query_tokens * tokens), "mask");
    assert!(options.key_bias.is_none_or(|bias| bias.len() == batch * tokens), "key_bias");
    let scale = options.scale.unwrap_or((head_dim as f64).powf(-0.5));
    let q_offset = options.q_offset.unwrap_or(tokens as i64 - query_tokens as i64);
    let visible = AttentionMask { causal: options.causal, q_offset, ..Default::default() };
    for b in 0..batch {
        for &row in rows {
            let shown = |s: &usize| options.mask.is_none_or(|mask| mask[row * tokens + s]);
            let seen: Vec<usize> = visible.keys(row, tokens).filter(shown).collect();
            for head in 0..query_heads {
                let (query_head, kv_head) = shape.heads_of(head);
                let index = (b * query_tokens + row) * query_heads + query_head;
                let query = vector(query, index, head_dim);
                let at = |s: &usize| (b * tokens + s) * kv_heads + kv_head;
                let bias = |s: &usize| options.key_bias.map_or(0.0, |bias| bias[b * tokens + s]);
                let keys: Vec<_> = seen.iter().map(|s| vector(key, at(s), head_dim)).collect();
                let values = seen.iter().map(|s| vector(value, at(s), value_dim)).collect();
                let logits = seen.iter().zip(&keys).map(|(s, k)| scale * dot(query, k) + bias(s)).collect();
                visit(index, Attended { query, keys, values, logits });
            }
        }
    }
}

/// A row's softmax: weights that sum to 1, and the means under them.
struct Row<'a> {
    attended: Attended<'a>,
    weights: Vec<f64>,
    lse: f64,
    mean_key: Vec<f64>,
    mean_value: Vec<f64>,
}

/// (covariance + ridge I) beta = right.
struct System {
    covariance: Vec<f64>,
    ridge: f64,
    right: Vec<f64>,
    status: u32,
}

/// One row of a result.
struct Solved {
    out: Vec<f64>,
    lse: f64,
    beta: Vec<f64>,
    mean_key: Vec<f64>,
    eta: f64,
    iterations: u32,
    status: u32,
}

fn each_row(
    tensors: [&[f64]; 3],
    shape: &AttentionShape,
    options: &LlaOptions,
    rows: &[usize],
    solve: impl Fn(usize, &Row) -> Solved,
) -> LlaResult {
    let mut result = LlaResult::default();
    each_attended(tensors, shape, options, rows, |index, attended| match attended.refusal() {
        0 => result.push(solve(index, &Row::new(attended))),
        status => result.push_nothing(shape, status),
    });
    result
}

impl<'a> Row<'a> {
    fn new(attended: Attended<'a>) -> Self {
        let maximum = attended.logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut weights: Vec<f64> = attended.logits.iter().map(|logit| (logit - maximum).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        // From the first one on, so that the mean of equal vectors is exact and their covariance 0.
        let mean = |vectors: &[&[f64]]| {
            let mut mean = vectors[0].to_vec();
            for (weight, vector) in weights.iter().zip(vectors) {
                add_scaled(&mut mean, *weight, &difference(vector, vectors[0]));
            }
            mean
        };
        let (mean_key, mean_value) = (mean(&attended.keys), mean(&attended.values));
        Self { lse: maximum + sum.ln(), attended, weights, mean_key, mean_value }
    }

    /// k̄ - q.
    fn residual(&self) -> Vec<f64> {
        difference(&self.mean_key, self.attended.query)
    }

    fn system(&self, options: &LlaOptions) -> System {
        let size = self.mean_key.len();
        let mut covariance = vec![0.0; size * size];
        for (weight, key) in self.weights.iter().zip(&self.attended.keys) {
            let offset = difference(key, &self.mean_key);
            add_outer(&mut covariance, *weight, &offset, &offset);
        }
        let (ridge, status) = effective_ridge(&covariance, self.weights.len(), size, options);
        System { covariance, ridge, right: self.residual(), status }
    }

    /// The output that `beta` gives.
    fn finish(&self, beta: Vec<f64>, right: &[f64], iterations: u32, status: u32) -> Solved {
        let mut out = self.mean_value.clone();
        for ((weight, key), value) in self.weights.iter().zip(&self.attended.keys).zip(&self.attended.values)
        {
            let slope = dot(&difference(key, &self.mean_key), &beta);
            add_scaled(&mut out, -weight * slope, &difference(value, &self.mean_value));
        }
        let (lse, eta) = (self.lse, dot(right, &beta));
        Solved { out, lse, beta, mean_key: self.mean_key.clone(), eta, iterations, status }
    }
}

impl LlaResult {
    fn push(&mut self, row: Solved) {
        self.out.extend(row.out);
        self.lse.push(row.lse);
        self.beta.extend(row.beta);
        self.mean_key.extend(row.mean_key);
        self.eta.push(row.eta);
        self.iterations.push(row.iterations);
        self.status.push(row.status);
    }

    fn push_nothing(&mut self, shape: &AttentionShape, status: u32) {
        let zeros = |count| vec![0.0; count];
        self.push(Solved {
            out: zeros(shape.value_dim),
            lse: f64::NEG_INFINITY,
            beta: zeros(shape.head_dim),
            mean_key: zeros(shape.head_dim),
            eta: 0.0,
            iterations: 0,
            status,
        });
    }
}

/// λ of a row with this covariance over so many keys, and its status.
fn effective_ridge(covariance: &[f64], keys: usize, size: usize, options: &LlaOptions) -> (f64, u32) {
    let variance = covariance.iter().step_by(size + 1).sum::<f64>() / size as f64;
    let ridge = options.ridge.max(options.ridge_floor * variance);
    if options.singular_floor && keys <= size && ridge < 1e-4 * variance {
        return (1e-3 * variance, SINGULAR);
    }
    (ridge, 0)
}

/// The solution, its iterations, and whether it has come to `rtol`.
fn conjugate_gradients(matrix: &[f64], right: &[f64], rtol: f64, max_iters: usize) -> (Vec<f64>, u32, bool) {
    let mut x = vec![0.0; right.len()];
    let (mut residual, mut direction) = (right.to_vec(), right.to_vec());
    let mut square = dot(right, right);
    let target = rtol * rtol * square;
    let mut iterations = 0;
    while square > target && iterations < max_iters as u32 {
        let image: Vec<f64> = matrix.chunks_exact(right.len()).map(|row| dot(row, &direction)).collect();
        iterations += 1;
        let curvature = dot(&direction, &image);
        if curvature <= f64::MIN_POSITIVE {
            break;
        }
        let step = square / curvature;
        add_scaled(&mut x, step, &direction);
        add_scaled(&mut residual, -step, &image);
        let before = std::mem::replace(&mut square, dot(&residual, &residual));
        let next = residual.iter().zip(&direction).map(|(r, d)| r + square / before * d).collect();
        direction = next;
    }
    (x, iterations, square <= target)
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// sum += factor · a bᵀ, row-major.
fn add_outer(sum: &mut [f64], factor: f64, a: &[f64], b: &[f64]) {
    sum.chunks_exact_mut(b.len()).zip(a).for_each(|(row, a)| add_scaled(row, factor * a, b));
}

#[cfg(test)]
mod tests;
