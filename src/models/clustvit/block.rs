//! One pre-norm block of a vision transformer, over whole images or over merged sequences.

use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::attention::{Attention, AttentionConfig, AttentionInputs};
use crate::kernels::cluster_merge::RowMap;
use crate::kernels::linear::{Linear, LinearConfig};
use crate::kernels::linear_types::{Activation, WeightLayout};
use crate::kernels::norm::{Norm, NormConfig};
use crate::models::named_tensors::{NamedTensors, upload_part};
use crate::schedule::Schedule;
use crate::tensor::{Dtype, Tensor};
use crate::variant::VariantKind;

/// The operators that all blocks of a model share.
#[derive(Clone, Debug)]
pub(super) struct BlockOperators {
    norm: Norm,
    linear: Linear,
    gelu: Linear,
    attention: Attention,
    heads: usize,
}

/// x + attention(norm(x)), then x + MLP(norm(x)) with GELU.
#[derive(Clone, Debug)]
pub(super) struct Block {
    norms: [[Tensor; 2]; 2],
    /// Weight and bias of query, key and value.
    qkv: [[Tensor; 2]; 3],
    out: [Tensor; 2],
    mlp: [[Tensor; 2]; 2],
}

impl BlockOperators {
    pub fn new(gpu: &Gpu, heads: usize, epsilon: f32, variant: Option<VariantKind>) -> Result<Self> {
        let linear = |activation| {
            let layout = WeightLayout::OutIn;
            Linear::new(gpu, LinearConfig { layout, activation, variant, ..Default::default() })
        };
        Ok(Self {
            norm: Norm::new(gpu, NormConfig { center: true, epsilon, variant })?,
            linear: linear(Activation::None)?,
            gelu: linear(Activation::Gelu)?,
            attention: Attention::new(gpu, AttentionConfig { variant, ..Default::default() })?,
            heads,
        })
    }

    pub fn norm(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        [weight, bias]: &[Tensor; 2],
        rows: Option<&RowMap>,
    ) -> Result<Tensor> {
        match rows {
            Some(map) => self.norm.record_rows(schedule, x, weight, Some(bias), &map.row_count),
            None => self.norm.record(schedule, x, weight, Some(bias)),
        }
    }

    pub fn linear(&self) -> &Linear {
        &self.linear
    }
}

/// Names and shapes of a block's weights, `hidden` being the width of its MLP.
#[cfg(feature = "diagnostics")]
pub(crate) fn block_shapes(width: usize, hidden: usize) -> [(&'static str, Vec<usize>); 12] {
    [
        ("ln1_g", vec![width]),
        ("ln1_b", vec![width]),
        ("ln2_g", vec![width]),
        ("ln2_b", vec![width]),
        ("wqkv", vec![3 * width, width]),
        ("bqkv", vec![3 * width]),
        ("wo", vec![width, width]),
        ("bo", vec![width]),
        ("w1", vec![hidden, width]),
        ("b1", vec![hidden]),
        ("w2", vec![width, hidden]),
        ("b2", vec![width]),
    ]
}

impl Block {
    /// The weights `{prefix}ln1_g` and so on. Errors: `Shape`, `Limit`, `OutOfMemory`.
    pub fn new(gpu: &Gpu, weights: &NamedTensors, prefix: &str, width: usize, dtype: Dtype) -> Result<Self> {
        let name = |name: &str| format!("{prefix}{name}");
        let vector = |part: &str, length: usize| weights.upload(gpu, &name(part), &[length]);
        let matrix = |part: &str, shape| weights.upload_matrix(gpu, &name(part), shape, dtype);
        let [hidden, _] = weights.dims(&name("w1"), "[hidden, D]")?;
        let (qkv, qkv_bias) = (
            weights.floats(&name("wqkv"), &[3 * width, width])?,
            weights.floats(&name("bqkv"), &[3 * width])?,
        );
        let third = |index: usize| -> Result<[Tensor; 2]> {
            let weight = &qkv[index * width * width..(index + 1) * width * width];
            let bias = &qkv_bias[index * width..(index + 1) * width];
            Ok([
                upload_part(gpu, &name("wqkv"), [width, width], weight, dtype)?,
                Tensor::upload(gpu, &name("bqkv"), &[width], bias)?,
            ])
        };
        Ok(Self {
            norms: [
                [vector("ln1_g", width)?, vector("ln1_b", width)?],
                [vector("ln2_g", width)?, vector("ln2_b", width)?],
            ],
            qkv: [third(0)?, third(1)?, third(2)?],
            out: [matrix("wo", [width, width])?, vector("bo", width)?],
            mlp: [
                [matrix("w1", [hidden, width])?, vector("b1", hidden)?],
                [matrix("w2", [width, hidden])?, vector("b2", width)?],
            ],
        })
    }

    /// x `[batch, tokens, width]`, or with `merged` `[rows, width]`; the result likewise. `key_bias` is added to the logits of a key.
    pub fn record(
        &self,
        schedule: &mut Schedule,
        operators: &BlockOperators,
        x: &Tensor,
        merged: Option<&RowMap>,
        key_bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let layer =
            |schedule: &mut Schedule, op: &Linear, x: &Tensor, [weight, bias]: &[Tensor; 2], residual| {
                match merged {
                    Some(map) => op.record_rows(schedule, x, weight, Some(bias), residual, &map.row_count),
                    None => op.record(schedule, x, weight, Some(bias), residual),
                }
            };
        let linear = &operators.linear;

        // 1. x + attention(norm(x)).
        let normal = operators.norm(schedule, x, &self.norms[0], merged)?;
        let (rows, width) = x.shape().split_at(x.shape().len() - 1);
        let heads = [rows, &[operators.heads, width[0] / operators.heads]].concat();
        let [q, k, v] =
            [0, 1, 2].map(|i| layer(schedule, linear, &normal, &self.qkv[i], None)?.reshape(&heads));
        let (q, k, v) = (q?, k?, v?);
        drop(normal);
        let sequences = merged.map(RowMap::sequences).transpose()?;
        let inputs =
            AttentionInputs { key_bias, sequences: sequences.as_ref(), ..AttentionInputs::new(&q, &k, &v) };
        let attended = operators.attention.record(schedule, inputs)?.out.reshape(x.shape())?;
        drop((q, k, v));
        let x = layer(schedule, linear, &attended, &self.out, Some(x))?;
        drop(attended);

        // 2. x + W2 gelu(W1 norm(x) + b1) + b2.
        let normal = operators.norm(schedule, &x, &self.norms[1], merged)?;
        let hidden = layer(schedule, &operators.gelu, &normal, &self.mlp[0], None)?;
        drop(normal);
        layer(schedule, linear, &hidden, &self.mlp[1], Some(&x))
    }
}
