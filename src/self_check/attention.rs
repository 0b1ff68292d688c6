//! Dense and local linear attention.

use super::{Check, Checker, doubles, shape};
use crate::error::Result;
use crate::kernels::attention::{Attention, AttentionConfig, AttentionInputs, PackedSequences};
use crate::kernels::flash_lla::{FlashLla, FlashLlaConfig, FlashLlaInputs};
use crate::schedule::Schedule;
use crate::tensor::{Dtype, Tensor};
use crate::twins;
use crate::twins::attention::{AttentionMask, AttentionShape};
use crate::twins::flash_lla::LlaOptions;

pub(super) struct AttentionCase {
    name: &'static str,
    shape: AttentionShape,
    causal: bool,
    window: Option<usize>,
    masked: bool,
    dtype: Dtype,
}

/// Sizes that divide nothing.
pub(super) const CASES: &[AttentionCase] = &[
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

impl<F: FnMut(&Check)> Checker<'_, F> {
    pub(super) async fn attention(&mut self, case: &AttentionCase) -> Result<()> {
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

    pub(super) async fn packed_attention(&mut self) -> Result<()> {
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
            let shape = super::shape([1, count, count, heads, heads, dim, dim]);
            let mask = AttentionMask { causal: false, window: None, q_offset: 0, key_mask: None };
            let scale = (dim as f64).powf(-0.5);
            expected.extend(twins::attention::attention(q, k, v, &shape, &mask, None, scale).out);
        }
        self.compare("attention, packed sequences", &found, &expected, 2e-5);
        Ok(())
    }

    pub(super) async fn flash_lla(&mut self) -> Result<()> {
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
}
