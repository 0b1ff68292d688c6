//! Decode: one pass over keys and values that are split among several workers, whose statistics merge.

use super::{
    Attended, AttentionShape, LlaOptions, LlaResult, Solved, add_outer, add_scaled, difference, dot,
    each_attended, effective_ridge, solve,
};
use crate::kernels::flash_lla::status::SINGULAR;

/// Statistics of one query over some of its keys, enough to solve its system: 2 + d + dv + d² + dv d numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct LlaState {
    /// Keys.
    pub keys: usize,
    /// Largest logit.
    pub maximum: f64,
    /// Sum of the weights exp(logit - maximum).
    pub sum: f64,
    /// Mean key under the weights, `[head_dim]`.
    pub mean_key: Vec<f64>,
    /// Mean value under the weights, `[value_dim]`.
    pub mean_value: Vec<f64>,
    /// Σ weight (k - mean_key) (k - mean_key)ᵀ, `[head_dim, head_dim]`.
    pub key_key: Vec<f64>,
    /// Σ weight (v - mean_value) (k - mean_key)ᵀ, `[value_dim, head_dim]`.
    pub value_key: Vec<f64>,
}

impl LlaState {
    /// The statistics of no key, neutral in a merge.
    pub fn empty(head_dim: usize, value_dim: usize) -> Self {
        Self {
            keys: 0,
            maximum: f64::NEG_INFINITY,
            sum: 0.0,
            mean_key: vec![0.0; head_dim],
            mean_value: vec![0.0; value_dim],
            key_key: vec![0.0; head_dim * head_dim],
            value_key: vec![0.0; value_dim * head_dim],
        }
    }

    /// The statistics of one key with this logit.
    pub fn one(key: &[f64], value: &[f64], logit: f64) -> Self {
        let empty = Self::empty(key.len(), value.len());
        Self { keys: 1, maximum: logit, sum: 1.0, mean_key: key.into(), mean_value: value.into(), ..empty }
    }

    /// The statistics of the keys of both; associative and commutative up to rounding.
    pub fn merge(&self, other: &Self) -> Self {
        if self.keys == 0 || other.keys == 0 {
            return if self.keys == 0 { other.clone() } else { self.clone() };
        }
        let maximum = self.maximum.max(other.maximum);
        let (own, its) = ((self.maximum - maximum).exp(), (other.maximum - maximum).exp());
        let sum = own * self.sum + its * other.sum;
        let share = its * other.sum / sum;
        let between = own * self.sum * share;
        let key_offset = difference(&other.mean_key, &self.mean_key);
        let value_offset = difference(&other.mean_value, &self.mean_value);
        let mut merged = Self { keys: self.keys + other.keys, maximum, sum, ..self.clone() };
        add_scaled(&mut merged.mean_key, share, &key_offset);
        add_scaled(&mut merged.mean_value, share, &value_offset);
        for (moments, its_moments, offset) in [
            (&mut merged.key_key, &other.key_key, &key_offset),
            (&mut merged.value_key, &other.value_key, &value_offset),
        ] {
            moments
                .iter_mut()
                .zip(its_moments)
                .for_each(|(own_m, its_m)| *own_m = own * *own_m + its * its_m);
            add_outer(moments, between, offset, &key_offset);
        }
        merged
    }

    fn solve(&self, query: &[f64], options: &LlaOptions) -> Solved {
        let covariance: Vec<f64> = self.key_key.iter().map(|moment| moment / self.sum).collect();
        let (ridge, status) = effective_ridge(&covariance, self.keys, query.len(), options);
        let right = difference(&self.mean_key, query);
        let (beta, deficient) = solve(&covariance, ridge, &right);
        let correction = self.value_key.chunks_exact(query.len()).map(|row| dot(row, &beta) / self.sum);
        Solved {
            out: self.mean_value.iter().zip(correction).map(|(mean, correction)| mean - correction).collect(),
            lse: self.maximum + self.sum.ln(),
            eta: dot(&right, &beta),
            beta,
            mean_key: self.mean_key.clone(),
            iterations: 0,
            status: status | if deficient { SINGULAR } else { 0 },
        }
    }
}

/// [`flash_lla`](super::flash_lla) from the merged statistics of `splits` parts of each row's keys. Tensors and options are the
/// same.
pub fn lla_decode(
    query: &[f64],
    key: &[f64],
    value: &[f64],
    shape: &AttentionShape,
    options: &LlaOptions,
    splits: usize,
) -> LlaResult {
    let rows: Vec<usize> = (0..shape.query_tokens).collect();
    let mut result = LlaResult::default();
    each_attended([query, key, value], shape, options, &rows, |_, attended| match attended.refusal() {
        0 => result.push(state(&attended, shape, splits).solve(attended.query, options)),
        status => result.push_nothing(shape, status),
    });
    result
}

fn state(attended: &Attended, shape: &AttentionShape, splits: usize) -> LlaState {
    let nothing = || LlaState::empty(shape.head_dim, shape.value_dim);
    let count = attended.keys.len();
    let part = |split: usize| {
        let keys = split * count / splits..(split + 1) * count / splits;
        let one = |s: usize| LlaState::one(attended.keys[s], attended.values[s], attended.logits[s]);
        keys.map(one).fold(nothing(), |sum, one| sum.merge(&one))
    };
    (0..splits).map(part).fold(nothing(), |sum, part| sum.merge(&part))
}
