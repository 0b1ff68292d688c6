//! Every kernel on this adapter against its f64 twin, on random data: for a first look at an unknown GPU or browser.

mod attention;
mod clustvit;
mod convolution;
mod lowrank_vq;
mod native_sparse;
mod pure_pass;

use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::convert::record_cast;
use crate::kernels::finite::check_finite;
use crate::kernels::linear::{Linear, LinearConfig};
use crate::kernels::linear_types::{Activation, WeightLayout};
use crate::kernels::norm::{Norm, NormConfig};
use crate::kernels::rope::{Rope, RopeConfig, RopePosition};
use crate::models::denoise::{Denoise, DenoiseConfig, PatchBasis};
use crate::models::non_local_means::{NonLocalMeans, NonLocalMeansConfig};
use crate::models::sqa::{SqaConfig, SqaDecoder, SqaLayer, SqaWeights};
use crate::schedule::{Schedule, no_progress};
use crate::tensor::{Dtype, Tensor};
use crate::twins;
use crate::twins::attention::AttentionShape;
use crate::variant::VariantKind;

/// One kernel's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Kernel and shape.
    pub name: String,
    /// Whether the largest error is within the tolerance.
    pub passed: bool,
    /// Error and tolerance in words.
    pub detail: String,
}

/// Runs all checks; `seen` is called after each.
///
/// Errors: what stopped a kernel from running at all.
pub async fn self_check(
    gpu: &Gpu,
    variant: Option<VariantKind>,
    seen: impl FnMut(&Check),
) -> Result<Vec<Check>> {
    let mut checker = Checker { gpu, variant, random: 0x2545_f491_4f6c_dd1d, checks: Vec::new(), seen };
    for case in attention::CASES {
        checker.attention(case).await?;
    }
    checker.packed_attention().await?;
    checker.flash_lla().await?;
    checker.native_sparse().await?;
    checker.video_nsa().await?;
    checker.linear().await?;
    checker.convolution().await?;
    checker.norm().await?;
    checker.rope().await?;
    checker.cast_and_finite().await?;
    checker.sqa().await?;
    checker.non_local_means().await?;
    checker.denoise().await?;
    checker.pure_pass().await?;
    checker.atd().await?;
    checker.lowrank_vq().await?;
    checker.vq_nearest().await?;
    checker.cluster_merge().await?;
    checker.tome().await?;
    Ok(checker.checks)
}

const fn shape(sizes: [usize; 7]) -> AttentionShape {
    let [batch, query_tokens, tokens, query_heads, kv_heads, head_dim, value_dim] = sizes;
    AttentionShape { batch, query_tokens, tokens, query_heads, kv_heads, head_dim, value_dim }
}

struct Checker<'g, F> {
    gpu: &'g Gpu,
    variant: Option<VariantKind>,
    random: u64,
    checks: Vec<Check>,
    seen: F,
}

impl<F: FnMut(&Check)> Checker<'_, F> {
    /// Values in -1..1 (xorshift64*).
    fn values(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            self.random ^= self.random >> 12;
            self.random ^= self.random << 25;
            self.random ^= self.random >> 27;
            let bits = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40;
            bits as f32 / (1u32 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn upload(&self, label: &str, shape: &[usize], data: &[f32]) -> Result<Tensor> {
        Tensor::upload(self.gpu, label, shape, data)
    }

    fn compare(&mut self, name: &str, found: &[f32], expected: &[f64], tolerance: f64) {
        let error = found.iter().zip(expected).map(|(&a, &b)| (a as f64 - b).abs());
        let worst = error.fold(0.0, |worst: f64, e| if e.is_nan() { f64::INFINITY } else { worst.max(e) });
        let passed = worst <= tolerance && found.len() == expected.len();
        let detail = format!("largest error {worst:.1e}, tolerance {tolerance:.0e}");
        self.push(name, passed, detail);
    }

    fn push(&mut self, name: &str, passed: bool, detail: String) {
        let check = Check { name: name.into(), passed, detail };
        (self.seen)(&check);
        self.checks.push(check);
    }

    async fn run(&self, schedule: Schedule, out: &Tensor) -> Result<Vec<f32>> {
        let plan = schedule.compile()?;
        plan.poison();
        plan.run(no_progress).await?;
        out.read(self.gpu).await
    }

    async fn linear(&mut self) -> Result<()> {
        for (name, rows, layout, activation) in [
            ("linear, gelu", 77, WeightLayout::InOut, Activation::Gelu),
            ("linear, [out, in], silu", 130, WeightLayout::OutIn, Activation::Silu),
            ("linear, one row", 1, WeightLayout::InOut, Activation::None),
        ] {
            let (inputs, outputs) = (51, 90);
            let (x, weight) = (self.values(rows * inputs), self.values(inputs * outputs));
            let bias = self.values(outputs);
            let shape = if layout == WeightLayout::InOut { [inputs, outputs] } else { [outputs, inputs] };
            let config = LinearConfig { layout, activation, variant: self.variant, ..Default::default() };
            let mut schedule = Schedule::new(self.gpu);
            let tensors = [
                self.upload("x", &[rows, inputs], &x)?,
                self.upload("weight", &shape, &weight)?,
                self.upload("bias", &[outputs], &bias)?,
            ];
            let linear = Linear::new(self.gpu, config)?;
            let y = linear.record(&mut schedule, &tensors[0], &tensors[1], Some(&tensors[2]), None)?;
            let found = self.run(schedule, &y).await?;
            let (x, weight, bias) = (doubles(x), doubles(weight), doubles(bias));
            let expected =
                twins::linear::linear(&x, &weight, Some(&bias), inputs, outputs, layout, activation);
            self.compare(name, &found, &expected, 2e-5);
        }
        Ok(())
    }

    async fn norm(&mut self) -> Result<()> {
        let (rows, width) = (19, 70);
        for center in [false, true] {
            let x: Vec<f32> = self.values(rows * width).iter().map(|v| v + 100.0).collect();
            let (weight, bias) = (self.values(width), self.values(width));
            let mut schedule = Schedule::new(self.gpu);
            let norm =
                Norm::new(self.gpu, NormConfig { center, variant: self.variant, ..Default::default() })?;
            let bias_tensor = self.upload("bias", &[width], &bias)?;
            let y = norm.record(
                &mut schedule,
                &self.upload("x", &[rows, width], &x)?,
                &self.upload("weight", &[width], &weight)?,
                center.then_some(&bias_tensor),
            )?;
            let found = self.run(schedule, &y).await?;
            let (x, weight, bias) = (doubles(x), doubles(weight), doubles(bias));
            let (name, expected) = if center {
                ("layer norm", twins::norm::layer_norm(&x, Some(&weight), Some(&bias), width, 1e-6f32 as f64))
            } else {
                ("RMS norm", twins::norm::rms_norm(&x, Some(&weight), width, 1e-6f32 as f64))
            };
            self.compare(name, &found, &expected, 2e-5);
        }
        Ok(())
    }

    async fn rope(&mut self) -> Result<()> {
        let (tokens, heads, head_dim, offset) = (13, 3, 18, 100_000);
        let x = self.values(tokens * heads * head_dim);
        let config = RopeConfig { head_dim, base: 10000.0, deinterleave: true };
        let mut schedule = Schedule::new(self.gpu);
        let tensor = self.upload("x", &[1, tokens, heads, head_dim], &x)?;
        let y = Rope::new(self.gpu, config)?.record(&mut schedule, &tensor, RopePosition::From(offset))?;
        let found = self.run(schedule, &y).await?;
        let expected = twins::rope::rope(&doubles(x), tokens, heads, head_dim, 10000.0, offset as i64, true);
        self.compare("rotary embedding at 100000", &found, &expected, 2e-6);
        Ok(())
    }

    async fn cast_and_finite(&mut self) -> Result<()> {
        let x = self.values(333);
        let tensor = self.upload("x", &[333], &x)?;
        let mut schedule = Schedule::new(self.gpu);
        let half = record_cast(&mut schedule, &tensor, Dtype::F16)?;
        let back = record_cast(&mut schedule, &half, Dtype::F32)?;
        let found = self.run(schedule, &back).await?;
        let expected: Vec<f64> = x.iter().map(|v| half::f16::from_f32(*v).to_f64()).collect();
        // WGSL lets a conversion round either way.
        self.compare("f16 storage and back", &found, &expected, 1e-3);
        let clean = check_finite(self.gpu, &tensor).await.is_ok();
        let mut broken = x;
        broken[271] = f32::NAN;
        let broken = self.upload("broken", &[333], &broken)?;
        let found = check_finite(self.gpu, &broken).await.err().map(|error| error.to_string());
        let passed = clean && found.as_deref() == Some("tensor `broken` is not finite at index 271");
        self.push("scan for NaN", passed, found.unwrap_or_else(|| "nothing found".into()));
        Ok(())
    }

    async fn sqa(&mut self) -> Result<()> {
        let config = SqaConfig {
            model_dim: 48,
            query_heads: 6,
            kv_heads: 2,
            head_dim: 12,
            causal: true,
            window: None,
            rope: Some(10000.0),
            variant: self.variant,
        };
        let shapes = [[48, 72], [48, 24], [48, 24], [72, 48]];
        let tokens = 21;
        let x = self.values(tokens * 48);
        let data =
            shapes.map(|[rows, columns]| self.values(rows * columns).iter().map(|v| v * 0.3).collect());
        let data: [Vec<f32>; 4] = data;
        let weights = SqaWeights {
            wq: self.upload("Wq", &shapes[0], &data[0])?,
            wk: self.upload("Wk", &shapes[1], &data[1])?,
            wv: self.upload("Wv", &shapes[2], &data[2])?,
            wo: self.upload("Wo", &shapes[3], &data[3])?,
            bo: None,
        };
        let layer = SqaLayer::new(self.gpu, config)?;
        let mut schedule = Schedule::new(self.gpu);
        let tensor = self.upload("x", &[1, tokens, 48], &x)?;
        let out = layer.record(&mut schedule, &tensor, &weights)?.out;
        let found = self.run(schedule, &out).await?;
        let [wq, wk, wv, wo] = data.map(doubles);
        let twin_weights = twins::sqa::SqaWeights { wq: &wq, wk: &wk, wv: &wv, wo: &wo, bo: None };
        let shape = twins::sqa::SqaShape {
            batch: 1,
            tokens,
            model_dim: 48,
            query_heads: 6,
            kv_heads: 2,
            head_dim: 12,
        };
        let options = twins::sqa::SqaOptions { causal: true, window: None, rope: Some(10000.0) };
        let expected = twins::sqa::sqa_layer(&doubles(x.clone()), &twin_weights, &shape, &options).out;
        self.compare("SQA layer", &found, &expected, 2e-5);

        let mut decoder = SqaDecoder::new(self.gpu, &layer, &weights, 1, tokens, Dtype::F32)?;
        let mut found = Vec::new();
        for token in x.chunks(48) {
            found.extend(decoder.step(token).await?);
        }
        self.compare("SQA layer, token by token", &found, &expected, 2e-5);
        Ok(())
    }

    async fn non_local_means(&mut self) -> Result<()> {
        let config =
            NonLocalMeansConfig { tile: 8, margin: 3, ..NonLocalMeansConfig::for_noise(21, 30, 3, 0.1) };
        let image: Vec<f32> = self.values(21 * 30 * 3).iter().map(|v| v * 0.5 + 0.5).collect();
        let twin_shape = twins::non_local_means::NonLocalMeansShape {
            height: 21,
            width: 30,
            channels: 3,
            tile: config.tile,
            margin: config.margin,
            radius: config.radius,
        };
        let h = config.h as f64;
        let config = NonLocalMeansConfig { variant: self.variant, ..config };
        let mut schedule = Schedule::new(self.gpu);
        let tensor = self.upload("image", &[21, 30, 3], &image)?;
        let out = NonLocalMeans::new(self.gpu, config)?.record(&mut schedule, &tensor)?;
        let found = self.run(schedule, &out).await?;
        let expected = twins::non_local_means::non_local_means(&doubles(image), &twin_shape, h);
        self.compare("non-local means", &found, &expected, 2e-5);
        Ok(())
    }

    async fn denoise(&mut self) -> Result<()> {
        let (height, width, sigma) = (13, 22, 0.2);
        let image: Vec<f32> = self.values(height * width * 3).iter().map(|v| v * 0.5 + 0.5).collect();
        let basis = PatchBasis::new(&image, height, width, 3)?;
        let config = DenoiseConfig { rtol: 1e-6, variant: self.variant, ..Default::default() };
        let twin_shape = twins::denoise::DenoiseShape {
            height,
            width,
            channels: 3,
            tile: config.tile,
            margin: config.margin,
        };
        let method = config.method;
        let mut schedule = Schedule::new(self.gpu);
        let tensor = self.upload("image", &[height, width, 3], &image)?;
        let uploaded = basis.upload(self.gpu, sigma)?;
        let out = Denoise::new(self.gpu, config)?.record(&mut schedule, &tensor, &uploaded)?;
        let found = self.run(schedule, &out).await?;
        let image = doubles(image);
        let tokens = basis.project(&image, height, width, sigma as f64);
        let expected = twins::denoise::denoise(&tokens, &image, &twin_shape, method);
        self.compare("denoising by local lines", &found, &expected, 5e-5);
        Ok(())
    }
}

fn doubles(data: Vec<f32>) -> Vec<f64> {
    data.into_iter().map(f64::from).collect()
}
