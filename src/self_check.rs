//! Every kernel on this adapter against its f64 twin, on random data: for a first look at an unknown GPU or browser.

use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::attention::{Attention, AttentionConfig, AttentionInputs, PackedSequences};
use crate::kernels::convert::record_cast;
use crate::kernels::finite::check_finite;
use crate::kernels::flash_lla::{FlashLla, FlashLlaConfig, FlashLlaInputs};
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
use crate::twins::attention::{AttentionMask, AttentionShape};
use crate::twins::flash_lla::LlaOptions;
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
    for case in ATTENTION_CASES {
        checker.attention(case).await?;
    }
    checker.packed_attention().await?;
    checker.flash_lla().await?;
    checker.linear().await?;
    checker.norm().await?;
    checker.rope().await?;
    checker.cast_and_finite().await?;
    checker.sqa().await?;
    checker.non_local_means().await?;
    checker.denoise().await?;
    Ok(checker.checks)
}

struct AttentionCase {
    name: &'static str,
    shape: AttentionShape,
    causal: bool,
    window: Option<usize>,
    masked: bool,
    dtype: Dtype,
}

/// Sizes that divide nothing.
const ATTENTION_CASES: &[AttentionCase] = &[
    AttentionCase {
        name: "attention, full",
        shape: shape([2, 45, 45, 3, 3, 20, 20]),
        causal: false,
        window: None,
        masked: false,
        dtype: Dtype::F32,
    },
    AttentionCase {
        name: "attention, causal, groups of 7",
        shape: shape([1, 83, 83, 14, 2, 64, 64]),
        causal: true,
        window: None,
        masked: false,
        dtype: Dtype::F32,
    },
    AttentionCase {
        name: "attention, window, mask and bias",
        shape: shape([2, 70, 70, 2, 2, 16, 5]),
        causal: true,
        window: Some(9),
        masked: true,
        dtype: Dtype::F32,
    },
    AttentionCase {
        name: "attention, decode",
        shape: shape([2, 1, 517, 8, 2, 64, 64]),
        causal: true,
        window: None,
        masked: false,
        dtype: Dtype::F32,
    },
    AttentionCase {
        name: "attention, f16 storage",
        shape: shape([1, 61, 93, 4, 2, 32, 32]),
        causal: false,
        window: None,
        masked: false,
        dtype: Dtype::F16,
    },
];

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

    async fn attention(&mut self, case: &AttentionCase) -> Result<()> {
        let AttentionShape { batch, query_tokens, tokens, query_heads, kv_heads, head_dim, value_dim } =
            case.shape;
        let mut floats = |shape: &[usize]| -> Vec<f32> {
            let values = self.values(shape.iter().product());
            match case.dtype {
                Dtype::F16 => values.iter().map(|v| half::f16::from_f32(*v).to_f32()).collect(),
                _ => values,
            }
        };
        let shapes = [
            [batch, query_tokens, query_heads, head_dim],
            [batch, tokens, kv_heads, head_dim],
            [batch, tokens, kv_heads, value_dim],
        ];
        let data = shapes.map(|shape| floats(&shape));
        let bias = floats(&[batch, tokens]);
        let mask: Vec<bool> = floats(&[batch, tokens]).iter().map(|v| *v > -0.6).collect();
        let upload = |label, index: usize| match case.dtype {
            Dtype::F16 => {
                let halves: Vec<_> = data[index].iter().map(|v| half::f16::from_f32(*v)).collect();
                Tensor::upload(self.gpu, label, &shapes[index], &halves)
            }
            _ => self.upload(label, &shapes[index], &data[index]),
        };
        let (q, k, v) = (upload("q", 0)?, upload("k", 1)?, upload("v", 2)?);
        let key_bias = self.upload("key_bias", &[batch, tokens], &bias)?;
        let visible: Vec<u32> = mask.iter().map(|v| *v as u32).collect();
        let key_mask = Tensor::upload(self.gpu, "key_mask", &[batch, tokens], &visible)?;
        let (causal, window) = (case.causal, case.window);
        let config = AttentionConfig { causal, window, variant: self.variant, ..Default::default() };
        let mut schedule = Schedule::new(self.gpu);
        let inputs = AttentionInputs {
            key_bias: case.masked.then_some(&key_bias),
            key_mask: case.masked.then_some(&key_mask),
            ..AttentionInputs::new(&q, &k, &v)
        };
        let out = Attention::new(self.gpu, config)?.record(&mut schedule, inputs)?.out;
        let found = self.run(schedule, &out).await?;
        let twin_mask = AttentionMask {
            causal,
            window,
            q_offset: tokens as i64 - query_tokens as i64,
            key_mask: case.masked.then_some(&mask),
        };
        let [q, k, v] = data.map(doubles);
        let bias = case.masked.then(|| doubles(bias));
        let scale = (head_dim as f64).powf(-0.5);
        let expected =
            twins::attention::attention(&q, &k, &v, &case.shape, &twin_mask, bias.as_deref(), scale);
        self.compare(case.name, &found, &expected.out, 2e-5);
        Ok(())
    }

    async fn packed_attention(&mut self) -> Result<()> {
        let bounds = [0u32, 13, 13, 60, 101];
        let (tokens, heads, dim) = (101, 3, 24);
        let data = [(); 3].map(|()| self.values(tokens * heads * dim));
        let shape = [tokens, heads, dim];
        let q = self.upload("q", &shape, &data[0])?;
        let k = self.upload("k", &shape, &data[1])?;
        let v = self.upload("v", &shape, &data[2])?;
        let sequences = PackedSequences::new(self.gpu, &bounds, &bounds)?;
        let config = AttentionConfig { variant: self.variant, ..Default::default() };
        let mut schedule = Schedule::new(self.gpu);
        let inputs = AttentionInputs { sequences: Some(&sequences), ..AttentionInputs::new(&q, &k, &v) };
        let out = Attention::new(self.gpu, config)?.record(&mut schedule, inputs)?.out;
        let found = self.run(schedule, &out).await?;
        let data = data.map(doubles);
        let mut expected = Vec::new();
        for pair in bounds.windows(2).filter(|pair| pair[0] < pair[1]) {
            let count = (pair[1] - pair[0]) as usize;
            let part = pair[0] as usize * heads * dim..pair[1] as usize * heads * dim;
            let [q, k, v] = [0, 1, 2].map(|i: usize| &data[i][part.clone()]);
            let shape = self::shape([1, count, count, heads, heads, dim, dim]);
            let mask = AttentionMask { causal: false, window: None, q_offset: 0, key_mask: None };
            let scale = (dim as f64).powf(-0.5);
            expected.extend(twins::attention::attention(q, k, v, &shape, &mask, None, scale).out);
        }
        self.compare("attention, packed sequences", &found, &expected, 2e-5);
        Ok(())
    }

    async fn flash_lla(&mut self) -> Result<()> {
        for (name, sizes) in [
            ("local linear attention, causal, groups of 3", [1, 37, 53, 6, 2, 20, 12]),
            ("local linear attention, decode", [1, 1, 517, 4, 2, 20, 12]),
        ] {
            let shape = shape(sizes);
            let AttentionShape { query_tokens, tokens, query_heads, kv_heads, head_dim, value_dim, .. } =
                shape;
            let shapes = [
                [1, query_tokens, query_heads, head_dim],
                [1, tokens, kv_heads, head_dim],
                [1, tokens, kv_heads, value_dim],
            ];
            let data = shapes.map(|shape| self.values(shape.iter().product()));
            let q = self.upload("q", &shapes[0], &data[0])?;
            let k = self.upload("k", &shapes[1], &data[1])?;
            let v = self.upload("v", &shapes[2], &data[2])?;
            let config =
                FlashLlaConfig { causal: true, rtol: 1e-6, variant: self.variant, ..Default::default() };
            let mut schedule = Schedule::new(self.gpu);
            let inputs = FlashLlaInputs::new(&q, &k, &v);
            let out = FlashLla::new(self.gpu, config)?.record(&mut schedule, inputs)?.out;
            let found = self.run(schedule, &out).await?;
            let [q, k, v] = data.map(doubles);
            let options = LlaOptions { causal: true, ..Default::default() };
            let expected = twins::flash_lla::flash_lla(&q, &k, &v, &shape, &options).out;
            self.compare(name, &found, &expected, 2e-5);
        }
        Ok(())
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
