//! One decode step to be compared: its shape, fresh data, runs of it on the GPU, and the closed form in f64.

use super::common::{Random, assert_close, gpu};
use gristmill::kernels::attention::lse_to_host;
use gristmill::kernels::flash_lla::{FlashLla, FlashLlaConfig, FlashLlaInputs, status};
use gristmill::{Schedule, Tensor, VariantKind, no_progress};
use half::f16;

/// A decode step over caches. `seed` is printed by failing tests.
#[derive(Clone, Debug)]
pub struct Case {
    /// Keys of each sequence in a cache of `capacity` with NaN behind them.
    pub lengths: Vec<usize>,
    pub capacity: usize,
    pub query_tokens: usize,
    pub kv_heads: usize,
    pub group: usize,
    pub head_dim: usize,
    pub value_dim: usize,
    pub half: bool,
    pub key_bias: bool,
    pub causal: bool,
    pub q_offset: Option<i64>,
    pub scale: Option<f32>,
    pub ridge: f32,
    pub ridge_floor: f32,
    /// Factor of the queries, and what is added to queries and keys.
    pub gain: f32,
    pub offset: f32,
    pub seed: u64,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            lengths: vec![300],
            capacity: 300,
            query_tokens: 1,
            kv_heads: 1,
            group: 4,
            head_dim: 16,
            value_dim: 16,
            half: false,
            key_bias: false,
            causal: false,
            q_offset: None,
            scale: None,
            ridge: 0.1,
            ridge_floor: 1e-6,
            gain: 1.0,
            offset: 0.0,
            seed: 1,
        }
    }
}

/// Host data, tightly packed: keys and values [batch, capacity, kv_heads, dim].
#[derive(Clone, Debug)]
pub struct Data {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    pub bias: Vec<f32>,
}

/// What the GPU gives, or f64 expects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub out: Vec<f32>,
    pub lse: Vec<f32>,
    pub iterations: Vec<u32>,
    pub status: Vec<u32>,
}

impl Case {
    pub fn query_heads(&self) -> usize {
        self.kv_heads * self.group
    }

    pub fn data(&self) -> Data {
        let mut random = Random::new(self.seed);
        let (batch, tokens) = (self.lengths.len(), self.capacity);
        let mut normal = |count: usize, factor: f32, offset: f32| -> Vec<f32> {
            let values = random.normal(count, 1.0);
            values.into_iter().map(|value| self.stored(factor * value + offset)).collect()
        };
        let queries = batch * self.query_tokens * self.query_heads() * self.head_dim;
        let mut data = Data {
            q: normal(queries, self.gain, self.offset),
            k: normal(batch * tokens * self.kv_heads * self.head_dim, 1.0, self.offset),
            v: normal(batch * tokens * self.kv_heads * self.value_dim, 1.0, 0.0),
            bias: normal(batch * tokens, 1.0, 0.0),
        };
        // Whatever lies behind a sequence's length must not matter.
        for (sequence, &length) in self.lengths.iter().enumerate() {
            let behind = |width: usize| (sequence * tokens + length) * width..(sequence + 1) * tokens * width;
            data.k[behind(self.kv_heads * self.head_dim)].fill(f32::NAN);
            data.v[behind(self.kv_heads * self.value_dim)].fill(f32::NAN);
            data.bias[behind(1)].fill(f32::NAN);
        }
        data
    }

    /// What the storage makes of a value.
    fn stored(&self, value: f32) -> f32 {
        if self.half { f16::from_f32(value).to_f32() } else { value }
    }

    fn upload(&self, label: &str, shape: &[usize], data: &[f32]) -> Tensor {
        if self.half {
            let halves: Vec<f16> = data.iter().map(|&value| f16::from_f32(value)).collect();
            return Tensor::upload(gpu(), label, shape, &halves).unwrap();
        }
        Tensor::upload(gpu(), label, shape, data).unwrap()
    }

    /// Three runs of one plan over outputs full of NaN, which must give the same bits.
    pub fn run(&self, data: &Data, kind: VariantKind) -> Found {
        let (batch, tokens, kv_heads) = (self.lengths.len(), self.capacity, self.kv_heads);
        let q = self.upload("q", &[batch, self.query_tokens, self.query_heads(), self.head_dim], &data.q);
        let k = self.upload("k", &[batch, tokens, kv_heads, self.head_dim], &data.k);
        let v = self.upload("v", &[batch, tokens, kv_heads, self.value_dim], &data.v);
        let bias =
            self.key_bias.then(|| Tensor::upload(gpu(), "bias", &[batch, tokens], &data.bias).unwrap());
        let lengths: Vec<u32> = self.lengths.iter().map(|&length| length as u32).collect();
        let lengths = Tensor::upload(gpu(), "lengths", &[batch], &lengths).unwrap();
        let filled = self.lengths.iter().all(|&length| length == tokens);

        let config = FlashLlaConfig {
            causal: self.causal,
            q_offset: self.q_offset,
            scale: self.scale,
            ridge: self.ridge,
            ridge_floor: self.ridge_floor,
            variant: Some(kind),
            ..Default::default()
        };
        let mut schedule = Schedule::new(gpu());
        let inputs = FlashLlaInputs {
            key_bias: bias.as_ref(),
            lengths: (!filled).then_some(&lengths),
            ..FlashLlaInputs::new(&q, &k, &v)
        };
        let output = FlashLla::new(gpu(), config).unwrap().record(&mut schedule, inputs).unwrap();
        let plan = schedule.compile().unwrap();
        let bits = |found: &Found| -> Vec<u32> {
            found.out.iter().chain(&found.lse).map(|value| value.to_bits()).collect()
        };
        let mut first: Option<Found> = None;
        for run in 0..3 {
            plan.poison();
            let found = pollster::block_on(async {
                plan.run(no_progress).await.unwrap();
                let mut lse = output.lse.read(gpu()).await.unwrap();
                lse_to_host(&mut lse);
                Found {
                    out: output.out.read(gpu()).await.unwrap(),
                    lse,
                    iterations: output.iterations.read(gpu()).await.unwrap(),
                    status: output.status.read(gpu()).await.unwrap(),
                }
            });
            if let Some(first) = &first {
                assert_eq!(bits(first), bits(&found), "{self:?} by {kind}: run {run} gave other bits");
            }
            first = Some(found);
        }
        first.unwrap()
    }

    /// Keys that a query token of a sequence sees.
    pub fn seen(&self, sequence: usize, token: usize) -> usize {
        let length = self.lengths[sequence] as i64;
        if !self.causal {
            return length as usize;
        }
        let first = self.q_offset.unwrap_or(length - self.query_tokens as i64);
        (first + token as i64 + 1).clamp(0, length) as usize
    }

    /// Weighted ridge regression of every row in f64: out and lse.
    pub fn expected(&self, data: &Data) -> (Vec<f64>, Vec<f64>) {
        let (mut out, mut lse) = (Vec::new(), Vec::new());
        let (d, dv) = (self.head_dim, self.value_dim);
        let take = |from: &[f32], at: usize, width: usize| -> Vec<f64> {
            from[at * width..][..width].iter().map(|&value| value as f64).collect()
        };
        for sequence in 0..self.lengths.len() {
            for row in 0..self.query_tokens * self.query_heads() {
                let (token, head) = (row / self.query_heads(), row % self.query_heads());
                let q = take(&data.q, sequence * self.query_tokens * self.query_heads() + row, d);
                let entry = |s: usize| (sequence * self.capacity + s) * self.kv_heads + head / self.group;
                let keys: Vec<_> = (0..self.seen(sequence, token))
                    .map(|s| {
                        let bias = data.bias[sequence * self.capacity + s] as f64;
                        (take(&data.k, entry(s), d), take(&data.v, entry(s), dv), bias)
                    })
                    .collect();
                let (row_out, row_lse) = self.solved(&q, &keys);
                out.extend(row_out);
                lse.push(row_lse);
            }
        }
        (out, lse)
    }

    fn solved(&self, q: &[f64], keys: &[(Vec<f64>, Vec<f64>, f64)]) -> (Vec<f64>, f64) {
        let (d, dv) = (self.head_dim, self.value_dim);
        if keys.is_empty() {
            return (vec![0.0; dv], f64::NEG_INFINITY);
        }
        let scale = self.scale.map_or((d as f64).powf(-0.5), f64::from);
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let bias = |bias: f64| if self.key_bias { bias } else { 0.0 };
        let logits: Vec<f64> = keys.iter().map(|(k, _, b)| scale * dot(q, k) + bias(*b)).collect();
        let peak = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|logit| (logit - peak).exp()).sum();
        let weights: Vec<f64> = logits.iter().map(|logit| (logit - peak).exp() / sum).collect();
        // x = [key; value]: its mean, and its covariance with the keys.
        let x = |s: usize, i: usize| if i < d { keys[s].0[i] } else { keys[s].1[i - d] };
        let mean: Vec<f64> =
            (0..d + dv).map(|i| (0..keys.len()).map(|s| weights[s] * x(s, i)).sum()).collect();
        let mut rows: Vec<Vec<f64>> = vec![vec![0.0; d]; d + dv];
        for (s, weight) in weights.iter().enumerate() {
            let offset: Vec<f64> = (0..d + dv).map(|i| x(s, i) - mean[i]).collect();
            for (row, from) in rows.iter_mut().zip(&offset) {
                for (element, to) in row.iter_mut().zip(&offset) {
                    *element += weight * from * to;
                }
            }
        }
        let variance = (0..d).map(|i| rows[i][i]).sum::<f64>() / d as f64;
        let mut ridge = (self.ridge as f64).max(self.ridge_floor as f64 * variance);
        if keys.len() > 1 && keys.len() <= d && ridge < 1e-4 * variance {
            ridge = 1e-3 * variance;
        }
        let (covariance, cross) = rows.split_at_mut(d);
        (0..d).for_each(|i| covariance[i][i] += ridge);
        let mut beta: Vec<f64> = (0..d).map(|i| mean[i] - q[i]).collect();
        gauss(covariance, &mut beta);
        let out = (0..dv).map(|i| mean[d + i] - dot(&cross[i], &beta)).collect();
        (out, peak + sum.ln())
    }

    /// This build gives the closed form.
    #[track_caller]
    pub fn check(&self, kind: VariantKind, tolerance: f64) {
        let data = self.data();
        let found = self.run(&data, kind);
        let (out, lse) = self.expected(&data);
        if std::env::var("SHOW").is_ok() {
            let e = found.out.iter().zip(&out).map(|(a, b)| (*a as f64 - b).abs()).fold(0.0, f64::max);
            let le = found.lse.iter().zip(&lse).map(|(a, b)| (*a as f64 - b).abs()).fold(0.0, f64::max);
            println!(
                "SHOW {kind} lse {le:.1e} d {} dv {} g {} gain {} off {} ridge {}: {e:.2e}",
                self.head_dim, self.value_dim, self.group, self.gain, self.offset, self.ridge
            );
        }
        let what = format!("{self:?} by {kind}");
        assert_close(&format!("{what}: out"), &found.out, &out, tolerance);
        assert_close(&format!("{what}: lse"), &found.lse, &lse, tolerance * self.gain.max(1.0) as f64);
        assert!(found.iterations.iter().all(|&count| count == 0), "{what}: decode iterates");
        let empty = |lse: f64| if lse.is_finite() { 0 } else { status::EMPTY };
        for (row, &bits) in found.status.iter().enumerate() {
            assert_eq!(bits & !status::SINGULAR, empty(lse[row]), "{what}: status of row {row}");
        }
    }
}

/// Solves in place; a positive definite matrix needs no pivots. A direction without variance stays out.
fn gauss(matrix: &mut [Vec<f64>], right: &mut [f64]) {
    let n = right.len();
    for i in 0..n {
        if matrix[i][i] <= 0.0 {
            right[i] = 0.0;
            continue;
        }
        for j in i + 1..n {
            let factor = matrix[j][i] / matrix[i][i];
            for column in i..n {
                matrix[j][column] -= factor * matrix[i][column];
            }
            right[j] -= factor * right[i];
        }
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| matrix[i][j] * right[j]).sum();
        right[i] = if matrix[i][i] > 0.0 { (right[i] - known) / matrix[i][i] } else { 0.0 };
    }
}
