//! A cache of keys and values whose length lives on the GPU, so that one plan serves every decode step.

use super::{Constants, ELEMENTWISE, dims, expect_dtype};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::schedule::{Cost, Schedule};
use crate::tensor::{Dtype, Tensor};

/// Keys and values of earlier tokens.
///
/// Clones share the memory. Attention reads it with `lengths` as [`AttentionInputs::lengths`].
///
/// [`AttentionInputs::lengths`]: super::attention::AttentionInputs::lengths
#[derive(Clone, Debug)]
pub struct KvCache {
    /// Keys `[batch, capacity, kv_heads, head_dim]`, f32 or f16.
    pub key: Tensor,
    /// Values `[batch, capacity, kv_heads, value_dim]`, dtype of the keys.
    pub value: Tensor,
    /// Keys that each sequence has so far, `[batch]` u32.
    pub lengths: Tensor,
}

#[derive(encase::ShaderType)]
struct AppendParams {
    batch: u32,
    new_tokens: u32,
    capacity: u32,
    width: u32,
}

#[derive(encase::ShaderType)]
struct AdvanceParams {
    batch: u32,
    new_tokens: u32,
    capacity: u32,
}

const NAME: &str = "kv_cache";

impl KvCache {
    /// An empty cache for `capacity` tokens of each sequence. With f16 the rows (kv_heads · dim) must be even.
    ///
    /// Errors: `Config`, `Limit`, `OutOfMemory`.
    pub fn new(
        gpu: &Gpu,
        batch: usize,
        capacity: usize,
        kv_heads: usize,
        head_dim: usize,
        value_dim: usize,
        dtype: Dtype,
    ) -> Result<Self> {
        if [batch, capacity, kv_heads, head_dim, value_dim].contains(&0) {
            let found = format!("[{batch}, {capacity}, {kv_heads}, {head_dim} / {value_dim}]");
            return Err(Error::config(NAME, "shape", found, "no empty dimension"));
        }
        let odd = !(kv_heads * head_dim).is_multiple_of(2) || !(kv_heads * value_dim).is_multiple_of(2);
        match dtype {
            Dtype::F32 => {}
            Dtype::F16 if !odd => {}
            Dtype::F16 => return Err(Error::config(NAME, "dtype", "f16", "f32, as kv_heads · dim is odd")),
            _ => return Err(Error::config(NAME, "dtype", dtype.name(), "f32 or f16")),
        }
        Ok(Self {
            key: Tensor::zeros(gpu, "cached keys", &[batch, capacity, kv_heads, head_dim], dtype)?,
            value: Tensor::zeros(gpu, "cached values", &[batch, capacity, kv_heads, value_dim], dtype)?,
            lengths: Tensor::zeros(gpu, "cache lengths", &[batch], Dtype::U32)?,
        })
    }

    /// Tokens that one sequence can hold.
    pub fn capacity(&self) -> usize {
        self.key.shape()[1]
    }

    /// Sets every sequence's length, such as 0 to start anew; takes effect before the next submit.
    ///
    /// Errors: `Shape` unless there is one for each sequence, `DeviceLost`.
    pub fn set_lengths(&self, gpu: &Gpu, lengths: &[u32]) -> Result<()> {
        self.lengths.write(gpu, lengths)
    }

    /// Records: write `key` and `value` `[batch, new_tokens, kv_heads, dim]` (f32) behind the cached ones, then lengthen.
    ///
    /// Tokens past the capacity are dropped on the GPU; a caller that counts them refuses earlier. In an f16 cache finite
    /// values past the range of f16 become ±65504. Errors: `Shape`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record_append(&self, schedule: &mut Schedule, key: &Tensor, value: &Tensor) -> Result<()> {
        let [batch, new_tokens, _, _] = dims(NAME, "key", key, "[batch, new_tokens, kv_heads, head_dim]")?;
        let [_, value_tokens, _, _] = dims(NAME, "value", value, "[batch, new_tokens, kv_heads, value_dim]")?;
        if value_tokens != new_tokens {
            let found = format!("has {value_tokens} tokens");
            return Err(Error::shape(NAME, "value", found, format!("{new_tokens}, as key")));
        }
        append_one(schedule, "append key", "key", key, &self.key, &self.lengths)?;
        append_one(schedule, "append value", "value", value, &self.value, &self.lengths)?;
        let params = AdvanceParams {
            batch: batch as u32,
            new_tokens: new_tokens as u32,
            capacity: self.capacity() as u32,
        };
        let constants = Constants::new().set("WORKGROUP", ELEMENTWISE);
        schedule
            .kernel("advance cache", "cache/advance", &constants.pairs())?
            .params(&params)
            .bind("lengths", &self.lengths)?
            .dispatch(batch.div_ceil(ELEMENTWISE), Cost::default())
    }
}

fn append_one(
    schedule: &mut Schedule,
    label: &'static str,
    name: &str,
    source: &Tensor,
    cache: &Tensor,
    lengths: &Tensor,
) -> Result<()> {
    let [batch, new_tokens, heads, dim] = dims(NAME, name, source, "[batch, new_tokens, kv_heads, dim]")?;
    let [cache_batch, capacity, cache_heads, cache_dim] = dims(NAME, name, cache, "a cache")?;
    if (batch, heads, dim) != (cache_batch, cache_heads, cache_dim)
        || new_tokens > capacity
        || new_tokens == 0
    {
        let found = format!("has shape {:?}", source.shape());
        let expected = format!("[{cache_batch}, 1..={capacity}, {cache_heads}, {cache_dim}]");
        return Err(Error::shape(NAME, name, found, expected));
    }
    expect_dtype(NAME, name, source, &[Dtype::F32])?;
    let width = heads * dim;
    let (aligned, f16) = (width.is_multiple_of(4), cache.dtype() == Dtype::F16);
    let unit = match (aligned, f16) {
        (true, _) => 4,
        (false, true) => 2,
        (false, false) => 1,
    };
    let constants =
        Constants::new().flag("CACHE_F16", f16).flag("ALIGNED", aligned).set("WORKGROUP", ELEMENTWISE);
    let params = AppendParams {
        batch: batch as u32,
        new_tokens: new_tokens as u32,
        capacity: capacity as u32,
        width: width as u32,
    };
    let units = (batch * new_tokens * width).div_ceil(unit);
    schedule
        .kernel(label, "cache/append", &constants.pairs())?
        .params(&params)
        .bind("lengths", lengths)?
        .bind("source", source)?
        .bind("cache", cache)?
        .dispatch(units.div_ceil(ELEMENTWISE), Cost { flops: 0.0, bytes: 2.0 * source.bytes() as f64 })
}
