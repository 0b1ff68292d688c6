//! Blocks of tokens become single keys and values.

use super::{NAME, NativeSparseConfig, NativeSparseInputs};
use crate::error::{Error, Result};
use crate::kernels::attention::{PackedSequences, Shape};
use crate::kernels::linear::{Linear, LinearConfig};
use crate::kernels::linear_types::Activation;
use crate::kernels::{Constants, ELEMENTWISE, expect_dtype, expect_shape, load_type};
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};
use crate::variant::VariantKind;

/// How a block of l tokens becomes one key and one value (φ of arXiv 2502.11089, Eq. 7).
#[derive(Clone, Copy, Debug, Default)]
pub enum Compression<'a> {
    /// Their mean (VideoNSA and most public implementations).
    #[default]
    Mean,
    /// A mean or weighted sum of each.
    Pool {
        /// Of the keys.
        key: BlockPool<'a>,
        /// Of the values.
        value: BlockPool<'a>,
    },
    /// A network of two layers for each (the paper's form; it names neither width nor activation).
    Mlp {
        /// Of the keys.
        key: BlockMlp<'a>,
        /// Of the values.
        value: BlockMlp<'a>,
    },
    /// Already compressed: `[batch, blocks, kv_heads, head_dim]` and `[.., value_dim]`, f32.
    Given {
        /// Compressed keys.
        key: &'a Tensor,
        /// Compressed values.
        value: &'a Tensor,
    },
}

/// A weighted sum over the tokens of a block; the default is their mean.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockPool<'a> {
    /// `[kv_heads, cmp_block]` f32, one per token of the block; `None`: 1 / cmp_block.
    pub weights: Option<&'a Tensor>,
    /// `[kv_heads, cmp_block, dim]` f32, added to each token of the block.
    pub position: Option<&'a Tensor>,
}

/// activation(x W1 + b1) W2 + b2 of a block's tokens side by side, the same for all kv heads.
#[derive(Clone, Copy, Debug)]
pub struct BlockMlp<'a> {
    /// `[cmp_block · dim, hidden]`, f32 or f16; row t · dim + i multiplies element i of the block's token t.
    pub w1: &'a Tensor,
    /// `[hidden]` f32.
    pub b1: &'a Tensor,
    /// `[hidden, dim]`, f32 or f16.
    pub w2: &'a Tensor,
    /// `[dim]` f32.
    pub b2: &'a Tensor,
    /// `[kv_heads, cmp_block, dim]` f32, added to each token of the block.
    pub position: Option<&'a Tensor>,
    /// Between the layers.
    pub activation: Activation,
}

/// `CompressParams` of native_sparse/blocks.wgsl.
#[derive(encase::ShaderType)]
struct CompressParams {
    batch: u32,
    tokens: u32,
    kv_heads: u32,
    block: u32,
    stride: u32,
    blocks: u32,
    block_capacity: u32,
}

#[derive(encase::ShaderType)]
struct BoundsParams {
    batch: u32,
    block: u32,
    stride: u32,
}

/// The slots of a compression: which blocks of which tokens, and where they go.
pub(super) struct Slots<'a> {
    pub batch: usize,
    /// Tokens of one sequence; of all in a packed batch.
    pub tokens: usize,
    pub kv_heads: usize,
    pub block: usize,
    pub stride: usize,
    /// Blocks of one sequence to compress.
    pub blocks: usize,
    /// Rows of one sequence in the result.
    pub capacity: usize,
    /// Bounds of tokens and of blocks.
    pub packed: Option<(&'a Tensor, &'a Tensor)>,
    /// Tokens per sequence of a cache, whose last `blocks` blocks are compressed.
    pub lengths: Option<&'a Tensor>,
    pub variant: VariantKind,
}

/// Records the compressed keys and values `[batch, max(blocks, 1), kv_heads, dim]` f32, of packed sequences
/// `[max(all blocks, 1), kv_heads, dim]`.
pub(super) fn record(
    schedule: &mut Schedule,
    config: &NativeSparseConfig,
    inputs: &NativeSparseInputs<'_>,
    shape: &Shape,
    block_bounds: Option<&Tensor>,
    variant: VariantKind,
) -> Result<(Tensor, Tensor)> {
    let blocks = config.compressed_blocks(shape.tokens).max(1);
    let rows = match inputs.sequences {
        // Every block begins at a token of its own.
        Some(_) => vec![inputs.key.shape()[0].div_ceil(config.cmp_stride)],
        None => vec![shape.batch, blocks],
    };
    let result_shape = |dim: usize| [rows.as_slice(), &[shape.kv_heads, dim]].concat();
    let dims = [("compressed key", shape.head_dim), ("compressed value", shape.value_dim)];
    if let Compression::Given { key, value } = inputs.compression {
        for ((name, dim), tensor) in dims.iter().zip([key, value]) {
            expect_dtype(NAME, name, tensor, &[Dtype::F32])?;
            expect_shape(NAME, name, tensor, &result_shape(*dim))?;
        }
        return Ok((key.clone(), value.clone()));
    }
    let slots = Slots {
        batch: shape.batch,
        tokens: shape.tokens,
        kv_heads: shape.kv_heads,
        block: config.cmp_block,
        stride: config.cmp_stride,
        blocks,
        capacity: blocks,
        packed: inputs.sequences.map(|sequences| &sequences.bounds).zip(block_bounds),
        lengths: None,
        variant,
    };
    let (key, value) = inputs.compressed.unwrap_or((inputs.key, inputs.value));
    let [cmp_key, cmp_value] =
        dims.map(|(label, dim)| schedule.tensor(label, &result_shape(dim), Dtype::F32));
    let (cmp_key, cmp_value) = (cmp_key?, cmp_value?);
    record_into(schedule, &inputs.compression, &slots, [key, value], [&cmp_key, &cmp_value])?;
    Ok((cmp_key, cmp_value))
}

/// Compresses the slots of keys and values into their rows of `results`.
pub(super) fn record_into(
    schedule: &mut Schedule,
    compression: &Compression<'_>,
    slots: &Slots<'_>,
    sources: [&Tensor; 2],
    results: [&Tensor; 2],
) -> Result<()> {
    for (i, name) in ["k", "v"].into_iter().enumerate() {
        let (source, result) = (sources[i], results[i]);
        match *compression {
            Compression::Mean => slots.pool(schedule, name, &BlockPool::default(), source, result)?,
            Compression::Pool { key, value } => {
                slots.pool(schedule, name, &[key, value][i], source, result)?;
            }
            Compression::Mlp { key, value } => slots.mlp(schedule, name, &[key, value][i], source, result)?,
            Compression::Given { .. } => {
                return Err(Error::config(NAME, "compression", "given blocks", "a rule for new blocks"));
            }
        }
    }
    Ok(())
}

/// Records the bounds of the blocks of packed sequences.
pub(super) fn record_bounds(
    schedule: &mut Schedule,
    config: &NativeSparseConfig,
    sequences: &PackedSequences,
) -> Result<Tensor> {
    let bounds = schedule.tensor("block bounds", sequences.bounds.shape(), Dtype::U32)?;
    let params = BoundsParams {
        batch: sequences.count as u32,
        block: config.cmp_block as u32,
        stride: config.cmp_stride as u32,
    };
    schedule
        .kernel("block bounds", "native_sparse/block_bounds", &[])?
        .params(&params)
        .bind("sequences", &sequences.bounds)?
        .bind("block_bounds", &bounds)?
        .dispatch(1, Cost { flops: 0.0, bytes: 2.0 * bounds.bytes() as f64 })?;
    Ok(bounds)
}

impl Slots<'_> {
    fn pool(
        &self,
        schedule: &mut Schedule,
        name: &str,
        pool: &BlockPool<'_>,
        source: &Tensor,
        result: &Tensor,
    ) -> Result<()> {
        let dim = last_dim(source);
        if let Some(weights) = pool.weights {
            let name = format!("weights of {name}");
            expect_dtype(NAME, &name, weights, &[Dtype::F32])?;
            expect_shape(NAME, &name, weights, &[self.kv_heads, self.block])?;
        }
        self.check_position(name, pool.position, dim)?;
        let constants =
            self.constants(source, pool.position.is_some()).flag("WEIGHTS", pool.weights.is_some());
        let mut recorder = schedule
            .kernel("compress", "native_sparse/compress", &constants.pairs())?
            .params(&self.params())
            .bind("source", source)?
            .bind("compressed", result)?;
        if let Some(weights) = pool.weights {
            recorder = recorder.bind("weights", weights)?;
        }
        if let Some(position) = pool.position {
            recorder = recorder.bind("position", position)?;
        }
        let elements = (self.count() * self.kv_heads * dim) as f64;
        let cost = Cost {
            flops: elements * self.block as f64 * if pool.weights.is_some() { 2.0 } else { 1.0 },
            bytes: source.bytes() as f64 + 4.0 * elements,
        };
        let invocations = self.count() * self.kv_heads * dim.div_ceil(4);
        self.bind(recorder)?.dispatch(invocations.div_ceil(ELEMENTWISE), cost)
    }

    fn mlp(
        &self,
        schedule: &mut Schedule,
        name: &str,
        mlp: &BlockMlp<'_>,
        source: &Tensor,
        result: &Tensor,
    ) -> Result<()> {
        let dim = last_dim(source);
        self.check_position(name, mlp.position, dim)?;
        let hidden = mlp.b1.elements();
        expect_shape(NAME, &format!("w1 of {name}"), mlp.w1, &[self.block * dim, hidden])?;
        expect_shape(NAME, &format!("w2 of {name}"), mlp.w2, &[hidden, dim])?;
        let rows =
            schedule.tensor("block rows", &[self.count() * self.kv_heads, self.block * dim], Dtype::F32)?;
        let constants = self.constants(source, mlp.position.is_some());
        let mut recorder = schedule
            .kernel("gather blocks", "native_sparse/gather_blocks", &constants.pairs())?
            .params(&self.params())
            .bind("source", source)?
            .bind("rows", &rows)?;
        if let Some(position) = mlp.position {
            recorder = recorder.bind("position", position)?;
        }
        let invocations = self.count() * self.kv_heads * self.block * dim.div_ceil(4);
        self.bind(recorder)?.dispatch(
            invocations.div_ceil(ELEMENTWISE),
            Cost { flops: 0.0, bytes: 2.0 * rows.bytes() as f64 },
        )?;

        let gpu = schedule.gpu().clone();
        let layer = |activation| {
            Linear::new(&gpu, LinearConfig { activation, variant: Some(self.variant), ..Default::default() })
        };
        let hidden = layer(mlp.activation)?.record(schedule, &rows, mlp.w1, Some(mlp.b1), None)?;
        let compressed = layer(Activation::None)?.record(schedule, &hidden, mlp.w2, Some(mlp.b2), None)?;

        let constants = Constants::new()
            .set("DIM", dim)
            .flag("PACKED", self.packed.is_some())
            .flag("LENGTHS", self.lengths.is_some())
            .set("WORKGROUP", ELEMENTWISE);
        let recorder = schedule
            .kernel("place blocks", "native_sparse/place_blocks", &constants.pairs())?
            .params(&self.params())
            .bind("rows", &compressed)?
            .bind("compressed", result)?;
        self.bind(recorder)?.dispatch(
            compressed.elements().div_ceil(ELEMENTWISE),
            Cost { flops: 0.0, bytes: 2.0 * compressed.bytes() as f64 },
        )
    }

    /// Slots of the dispatch.
    fn count(&self) -> usize {
        self.batch * self.blocks
    }

    fn check_position(&self, name: &str, position: Option<&Tensor>, dim: usize) -> Result<()> {
        let Some(position) = position else { return Ok(()) };
        let name = format!("position of {name}");
        expect_dtype(NAME, &name, position, &[Dtype::F32])?;
        expect_shape(NAME, &name, position, &[self.kv_heads, self.block, dim])
    }

    fn constants(&self, source: &Tensor, position: bool) -> Constants {
        let dim = last_dim(source);
        Constants::new()
            .set("DIM", dim)
            .flag("F16", source.dtype() == Dtype::F16)
            .set("SOURCE_TYPE", load_type(source.dtype(), dim))
            .set("POSITION_TYPE", load_type(Dtype::F32, dim))
            .flag("POSITION", position)
            .flag("PACKED", self.packed.is_some())
            .flag("LENGTHS", self.lengths.is_some())
            .set("WORKGROUP", ELEMENTWISE)
    }

    fn params(&self) -> CompressParams {
        CompressParams {
            batch: self.batch as u32,
            tokens: self.tokens as u32,
            kv_heads: self.kv_heads as u32,
            block: self.block as u32,
            stride: self.stride as u32,
            blocks: self.blocks as u32,
            block_capacity: self.capacity as u32,
        }
    }

    fn bind<'s>(&self, mut recorder: crate::schedule::Recorder<'s>) -> Result<crate::schedule::Recorder<'s>> {
        if let Some((tokens, blocks)) = self.packed {
            recorder = recorder.bind("sequences", tokens)?.bind("block_bounds", blocks)?;
        }
        if let Some(lengths) = self.lengths {
            recorder = recorder.bind("lengths", lengths)?;
        }
        Ok(recorder)
    }
}

fn last_dim(tensor: &Tensor) -> usize {
    *tensor.shape().last().expect("checked before")
}
