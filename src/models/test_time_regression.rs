//! Test-time regression (arXiv 2510.01450): attention as a predictor that learns a piecewise linear function while it reads it.
//!
//! A sequence is cut into segments. In each, keys come from a region of their own and values are a linear function of them with a new
//! random matrix. The value at every key is predicted from the pairs before it. What a method makes of this depends on what it fits:
//! softmax attention a local mean, linear attention one line through all pairs (the limit of scale 0), local linear attention a line
//! through the pairs near the query.

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::attention::{Attention, AttentionConfig, AttentionInputs};
use crate::kernels::flash_lla::{FlashLla, FlashLlaConfig, FlashLlaInputs};
use crate::schedule::{Schedule, no_progress};
use crate::tensor::Tensor;
use crate::variant::VariantKind;

/// Sizes of a task.
///
/// Keys of a segment are (c + n) / √2 with a centre c of the segment and n of the token, both N(0, I), scaled to the length √dim: two
/// keys of a segment have a cosine of about 1/2, keys of different segments of about 0. Values are A k plus noise, the elements of A
/// are N(0, 1/dim), so that values have the variance 1. (With keys of one distribution for all segments nothing would tell an
/// old pair from a new one, and no method could do better than 1 after the first segment.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TestTimeRegression {
    /// Independent sequences, at least 1.
    pub sequences: usize,
    /// Pairs of a sequence, at least 1.
    pub tokens: usize,
    /// Pairs of a segment, at least 1; the last one may be shorter.
    pub segment: usize,
    /// Elements of a key and of a value, 1 to 128.
    pub dim: usize,
    /// Deviation of the noise on the values; errors are measured against the values without it.
    pub noise: f64,
    /// The same seed gives the same task on every machine.
    pub seed: u64,
}

impl Default for TestTimeRegression {
    /// The paper's 1024 pairs; segments of 128, 16 dimensions, noise 0.1, 8 sequences.
    fn default() -> Self {
        Self { sequences: 8, tokens: 1024, segment: 128, dim: 16, noise: 0.1, seed: 1 }
    }
}

/// Keys and values of a task; each is `[sequences, tokens, 1, dim]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RegressionData {
    /// What they were made for.
    pub task: TestTimeRegression,
    /// Keys, of length √dim.
    pub keys: Vec<f32>,
    /// Values with their noise.
    pub values: Vec<f32>,
    /// Values without it.
    pub truth: Vec<f32>,
}

/// A way to predict a value from the pairs before it. `scale` multiplies q · k, `ridge` is that of [`FlashLlaConfig`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Regressor {
    /// Softmax attention: the mean of the values, weighted by exp(scale q · k).
    Softmax {
        /// Sharpness of the weights.
        scale: f32,
    },
    /// Ridge regression with intercept over all pairs so far: local linear attention of scale 0.
    Linear {
        /// λ, relative to the mean over the pairs.
        ridge: f32,
    },
    /// Local linear attention.
    Lla {
        /// Sharpness of the weights.
        scale: f32,
        /// λ, relative to weights that sum to 1.
        ridge: f32,
    },
}

const SCALES: [f32; 7] = [0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0];
const RIDGES: [f32; 4] = [0.001, 0.01, 0.1, 0.3];

/// Far below the noise: the error of a row is about half of this share of what the line adds to the mean.
const RTOL: f32 = 1e-3;

const NAME: &str = "test_time_regression";

impl Regressor {
    /// `softmax`, `linear` or `LLA`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Softmax { .. } => "softmax",
            Self::Linear { .. } => "linear",
            Self::Lla { .. } => "LLA",
        }
    }

    /// What softmax, linear and local linear attention may be set to: the scales 0.25 to 2, the ridges 0.001 to 0.3, all pairs of
    /// them. [`best`] chooses.
    pub fn candidates() -> [Vec<Regressor>; 3] {
        let lla = SCALES.iter().flat_map(|&scale| RIDGES.map(|ridge| Self::Lla { scale, ridge }));
        [
            SCALES.map(|scale| Self::Softmax { scale }).into(),
            RIDGES.map(|ridge| Self::Linear { ridge }).into(),
            lla.collect(),
        ]
    }
}

impl TestTimeRegression {
    /// Draws keys, matrices and noise. Errors: `Config`.
    pub fn data(&self) -> Result<RegressionData> {
        let &Self { sequences, tokens, segment, dim, noise, seed } = self;
        for (key, value, most) in [
            ("sequences", sequences, 1 << 16),
            ("tokens", tokens, 1 << 20),
            ("segment", segment, 1 << 20),
            ("dim", dim, 128),
        ] {
            if value < 1 || value > most {
                return Err(Error::config(NAME, key, value, format!("1 to {most}")));
            }
        }
        if !(noise >= 0.0 && noise.is_finite()) {
            return Err(Error::config(NAME, "noise", noise, "a finite number, at least 0"));
        }
        let mut random = Normal(seed);
        let mut data = RegressionData { task: *self, keys: vec![], values: vec![], truth: vec![] };
        let (mut centre, mut matrix) = (vec![], vec![]);
        for token in 0..sequences * tokens {
            if (token % tokens).is_multiple_of(segment) {
                centre = random.take(dim);
                matrix = random.take(dim * dim);
            }
            let mut key: Vec<f64> = random.take(dim).iter().zip(&centre).map(|(n, c)| n + c).collect();
            let length = key.iter().map(|x| x * x).sum::<f64>().sqrt();
            key.iter_mut().for_each(|x| *x *= (dim as f64).sqrt() / length);
            let truth = matrix
                .chunks_exact(dim)
                .map(|row| row.iter().zip(&key).map(|(a, x)| a * x).sum::<f64>() / (dim as f64).sqrt());
            for value in truth {
                data.truth.push(value as f32);
                data.values.push((value + noise * random.next()) as f32);
            }
            data.keys.extend(key.iter().map(|&x| x as f32));
        }
        Ok(data)
    }
}

impl RegressionData {
    /// The predictions of one method for every pair, from the pairs before it alone: `[sequences, tokens, 1, dim]`. The first pair
    /// of a sequence has none before it and is predicted as 0.
    ///
    /// Errors: those of the operators and of [`Plan::run`](crate::Plan::run).
    pub async fn predict(
        &self,
        gpu: &Gpu,
        regressor: Regressor,
        variant: Option<VariantKind>,
    ) -> Result<Vec<f32>> {
        let TestTimeRegression { sequences, tokens, dim, .. } = self.task;
        let shape = [sequences, tokens, 1, dim];
        let keys = Tensor::upload(gpu, "keys", &shape, &self.keys)?;
        let values = Tensor::upload(gpu, "values", &shape, &self.values)?;
        // Row t stands at position t - 1: it sees the pairs before its own.
        let (causal, q_offset) = (true, Some(-1));
        let mut schedule = Schedule::new(gpu);
        let out = match regressor {
            Regressor::Softmax { scale } => {
                let config =
                    AttentionConfig { causal, q_offset, scale: Some(scale), variant, ..Default::default() };
                let inputs = AttentionInputs::new(&keys, &keys, &values);
                Attention::new(gpu, config)?.record(&mut schedule, inputs)?.out
            }
            Regressor::Linear { ridge } | Regressor::Lla { ridge, .. } => {
                let scale = if let Regressor::Lla { scale, .. } = regressor { scale } else { 0.0 };
                let config = FlashLlaConfig {
                    causal,
                    q_offset,
                    scale: Some(scale),
                    ridge,
                    rtol: RTOL,
                    variant,
                    ..Default::default()
                };
                let inputs = FlashLlaInputs::new(&keys, &keys, &values);
                FlashLla::new(gpu, config)?.record(&mut schedule, inputs)?.out
            }
        };
        schedule.compile()?.run(no_progress).await?;
        out.read::<f32>(gpu).await
    }

    /// Mean squared error of predictions at every position, `[tokens]`: 1 is what predicting 0 gives.
    pub fn errors(&self, predictions: &[f32]) -> Vec<f64> {
        let TestTimeRegression { sequences, tokens, dim, .. } = self.task;
        let mut errors = vec![0.0; tokens];
        let rows = predictions.chunks_exact(dim).zip(self.truth.chunks_exact(dim));
        for (row, (found, truth)) in rows.enumerate() {
            let squares: f64 = found.iter().zip(truth).map(|(a, b)| ((a - b) as f64).powi(2)).sum();
            errors[row % tokens] += squares / (sequences * dim) as f64;
        }
        errors
    }
}

/// The candidate with the least mean squared error on this data, which should not be the data that is reported. Errors: those of
/// [`RegressionData::predict`].
pub async fn best(
    gpu: &Gpu,
    data: &RegressionData,
    candidates: &[Regressor],
    variant: Option<VariantKind>,
) -> Result<Regressor> {
    let mut least = (f64::INFINITY, None);
    for &candidate in candidates {
        let errors = data.errors(&data.predict(gpu, candidate, variant).await?);
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        if mean < least.0 {
            least = (mean, Some(candidate));
        }
    }
    least.1.ok_or_else(|| Error::config(NAME, "candidates", "none", "at least one with a finite error"))
}

/// Standard normal numbers (splitmix64, Box-Muller).
struct Normal(u64);

impl Normal {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&mut self) -> f64 {
        // 1 - u lies in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn take(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.next()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: TestTimeRegression =
        TestTimeRegression { sequences: 3, tokens: 200, segment: 64, dim: 12, noise: 0.1, seed: 7 };

    #[test]
    fn keys_tell_segments_apart_and_values_have_variance_1() {
        let data = TASK.data().unwrap();
        let key = |token: usize| &data.keys[token * 12..][..12];
        let cosine = |a: usize, b: usize| -> f64 {
            key(a).iter().zip(key(b)).map(|(x, y)| (x * y) as f64).sum::<f64>() / 12.0
        };
        let mean = |offset: usize| (0..60).map(|token| cosine(token, token + offset)).sum::<f64>() / 60.0;
        assert!((cosine(5, 5) - 1.0).abs() < 1e-6);
        assert!((mean(3) - 0.5).abs() < 0.15 && mean(70).abs() < 0.35, "{} {}", mean(3), mean(70));
        let variance = data.truth.iter().map(|y| (y * y) as f64).sum::<f64>() / data.truth.len() as f64;
        assert!((variance - 1.0).abs() < 0.25, "{variance}");
        let noise: f64 =
            data.truth.iter().zip(&data.values).map(|(a, b)| ((a - b) as f64).powi(2)).sum::<f64>();
        assert!(((noise / data.truth.len() as f64).sqrt() - 0.1).abs() < 0.01);
        assert_eq!(data, TASK.data().unwrap());
    }

    #[test]
    fn errors_are_per_position() {
        let data = TASK.data().unwrap();
        let mut guess = data.truth.clone();
        guess[5 * 12..6 * 12].iter_mut().for_each(|value| *value += 3.0);
        let errors = data.errors(&guess);
        assert!((errors[5] - 3.0).abs() < 1e-5 && errors.iter().sum::<f64>() < 3.1, "{}", errors[5]);
    }

    #[test]
    fn sizes_out_of_range_are_refused_by_name() {
        for (task, words) in [
            (TestTimeRegression { dim: 129, ..TASK }, "`dim` = 129; expected 1 to 128"),
            (TestTimeRegression { segment: 0, ..TASK }, "`segment` = 0; expected 1 to 1048576"),
            (
                TestTimeRegression { noise: f64::NAN, ..TASK },
                "`noise` = NaN; expected a finite number, at least 0",
            ),
        ] {
            assert_eq!(task.data().unwrap_err().to_string(), format!("test_time_regression: {words}"));
        }
    }
}
