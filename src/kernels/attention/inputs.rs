//! What attention reads, and every rule its shapes follow.

use super::{NAME, UNBOUNDED};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::{Constants, FLOATS, dims, expect_dtype, expect_shape, load_type};
use crate::schedule::Recorder;
use crate::tensor::{Dtype, Tensor};

/// Largest head dim that the kernels are tiled for.
pub(crate) const MOST_DIM: usize = 256;

/// Tensors of one attention.
///
/// A packed batch has no batch dimension: query `[all query tokens, query_heads, head_dim]`, key and value `[all tokens,
/// kv_heads, dim]`, mask and bias `[all tokens]`. query_heads is a multiple of kv_heads, and query head i reads kv head
/// i / (query_heads / kv_heads); [`AttentionConfig::tile_queries`](super::AttentionConfig::tile_queries)
/// allows the reverse.
#[derive(Clone, Copy, Debug)]
pub struct AttentionInputs<'a> {
    /// `[batch, query_tokens, query_heads, head_dim]`, f32 or f16.
    pub query: &'a Tensor,
    /// `[batch, tokens, kv_heads, head_dim]`, f32 or f16.
    pub key: &'a Tensor,
    /// `[batch, tokens, kv_heads, value_dim]`, dtype of the keys.
    pub value: &'a Tensor,
    /// `[batch, tokens]` u32, 1 = visible; ANDed with the causal mask and the window.
    pub key_mask: Option<&'a Tensor>,
    /// `[batch, tokens]` f32, added to the logits of a key in natural-log units: log-sizes of merged tokens, -|k|²/h² of a
    /// Gaussian kernel.
    pub key_bias: Option<&'a Tensor>,
    /// Sequences of different lengths behind each other; excludes `lengths`.
    pub sequences: Option<&'a PackedSequences>,
    /// `[batch]` u32: keys per sequence where `key` and `value` are caches with room for more. Lengths past the capacity
    /// count as the capacity.
    pub lengths: Option<&'a Tensor>,
    /// `[batch, query_tokens]` u32, packed `[all query tokens]`: where each query stands, below 2^29 and rising within a
    /// sequence; instead of positions that follow each other from `q_offset`. Nothing on the GPU checks this.
    pub positions: Option<&'a Tensor>,
}

impl<'a> AttentionInputs<'a> {
    /// Queries, keys and values alone.
    pub fn new(query: &'a Tensor, key: &'a Tensor, value: &'a Tensor) -> Self {
        Self {
            query,
            key,
            value,
            key_mask: None,
            key_bias: None,
            sequences: None,
            lengths: None,
            positions: None,
        }
    }

    pub(crate) fn bind<'s>(&self, recorder: Recorder<'s>) -> Result<Recorder<'s>> {
        let mut recorder =
            recorder.bind("query", self.query)?.bind("key", self.key)?.bind("value", self.value)?;
        if let Some(key_bias) = self.key_bias {
            recorder = recorder.bind("key_bias", key_bias)?;
        }
        if let Some(key_mask) = self.key_mask {
            recorder = recorder.bind("key_mask", key_mask)?;
        }
        if let Some(sequences) = self.sequences.map(|s| &s.bounds).or(self.lengths) {
            recorder = recorder.bind("sequences", sequences)?;
        }
        if self.sequences.is_some_and(|sequences| sequences.host.is_none()) {
            recorder = recorder.may_end_early();
        }
        if let Some(positions) = self.positions {
            recorder = recorder.bind("positions", positions)?;
        }
        Ok(recorder)
    }

    /// The constants that every kernel reading these has: dims, how elements are stored, where sequences lie.
    pub(crate) fn constants(&self, shape: &Shape) -> Constants {
        let (head_dim, value_dim) = (shape.head_dim, shape.value_dim);
        Constants::new()
            .set("HEAD_DIM", head_dim)
            .set("VALUE_DIM", value_dim)
            .flag("QUERY_F16", self.query.dtype() == Dtype::F16)
            .flag("KEY_F16", self.key.dtype() == Dtype::F16)
            .set("QUERY_TYPE", load_type(self.query.dtype(), head_dim))
            .set("KEY_TYPE", load_type(self.key.dtype(), head_dim))
            .set("VALUE_TYPE", load_type(self.value.dtype(), value_dim))
            .flag("PACKED", self.sequences.is_some())
            .flag("LENGTHS", self.lengths.is_some())
    }

    /// Every shape rule of attention, for the operator that errors name.
    pub(crate) fn check(&self, operator: &'static str, tile_queries: bool) -> Result<Shape> {
        let with_batch = |name: &str, tensor: &Tensor, meaning: &str| -> Result<[usize; 4]> {
            match (self.sequences, tensor.shape()) {
                (None, _) => dims(operator, name, tensor, meaning),
                (Some(_), &[tokens, heads, dim]) => Ok([1, tokens, heads, dim]),
                (Some(_), _) => {
                    let found = format!("has shape {:?}", tensor.shape());
                    Err(Error::shape(operator, name, found, "[all tokens, heads, dim] of packed sequences"))
                }
            }
        };
        let [batch, query_tokens, query_heads, head_dim] =
            with_batch("q", self.query, "[batch, query_tokens, query_heads, head_dim]")?;
        let [key_batch, tokens, kv_heads, key_dim] =
            with_batch("k", self.key, "[batch, tokens, kv_heads, head_dim]")?;
        let [value_batch, value_tokens, value_heads, value_dim] =
            with_batch("v", self.value, "[batch, tokens, kv_heads, value_dim]")?;
        let both = format!("(q: {:?}, k: {:?})", self.query.shape(), self.key.shape());
        for (name, tensor) in [("q", self.query), ("k", self.key), ("v", self.value)] {
            if tensor.elements() == 0 {
                let found = format!("has shape {:?}", tensor.shape());
                return Err(Error::shape(operator, name, found, "no empty dimension"));
            }
            expect_dtype(operator, name, tensor, &FLOATS)?;
        }
        if key_dim != head_dim {
            let found = format!("has head dim {key_dim}");
            return Err(Error::shape(operator, "k", found, format!("{head_dim}, as q {both}")));
        }
        if key_batch != batch {
            let found = format!("has batch {key_batch}");
            return Err(Error::shape(operator, "k", found, format!("{batch}, as q {both}")));
        }
        if (value_batch, value_tokens, value_heads) != (key_batch, tokens, kv_heads) {
            let found = format!("has shape {:?}", self.value.shape());
            let expected = format!("[{key_batch}, {tokens}, {kv_heads}, value_dim], as k");
            return Err(Error::shape(operator, "v", found, expected));
        }
        expect_dtype(operator, "v", self.value, &[self.key.dtype()])?;
        for (name, dim) in [("q", head_dim), ("v", value_dim)] {
            if dim > MOST_DIM {
                let found = format!("has head dim {dim}");
                return Err(Error::shape(operator, name, found, format!("1 to {MOST_DIM}")));
            }
        }
        let grouped = query_heads.is_multiple_of(kv_heads);
        let tiled = tile_queries && kv_heads.is_multiple_of(query_heads);
        if !grouped && !tiled {
            let expected = if tile_queries {
                format!("a multiple or a divisor of the {kv_heads} heads of k")
            } else {
                format!("a multiple of the {kv_heads} heads of k {both}")
            };
            return Err(Error::shape(operator, "q", format!("has {query_heads} heads"), expected));
        }
        if tokens.max(query_tokens) >= UNBOUNDED as usize / 2 {
            let found = format!("has {} tokens", tokens.max(query_tokens));
            return Err(Error::shape(operator, "q", found, "fewer than 2^29"));
        }
        let key_shape: &[usize] = if self.sequences.is_some() { &[tokens] } else { &[batch, tokens] };
        if let Some(key_mask) = self.key_mask {
            expect_dtype(operator, "key_mask", key_mask, &[Dtype::U32])?;
            expect_shape(operator, "key_mask", key_mask, key_shape)?;
        }
        if let Some(key_bias) = self.key_bias {
            expect_dtype(operator, "key_bias", key_bias, &[Dtype::F32])?;
            expect_shape(operator, "key_bias", key_bias, key_shape)?;
        }
        if let Some(lengths) = self.lengths {
            if self.sequences.is_some() {
                return Err(Error::config(operator, "lengths", "given", "none beside packed sequences"));
            }
            expect_dtype(operator, "lengths", lengths, &[Dtype::U32])?;
            expect_shape(operator, "lengths", lengths, &[batch])?;
        }
        if let Some(positions) = self.positions {
            expect_dtype(operator, "positions", positions, &[Dtype::U32])?;
            let packed: &[usize] = &[query_tokens];
            let expected = if self.sequences.is_some() { packed } else { &[batch, query_tokens] };
            expect_shape(operator, "positions", positions, expected)?;
        }
        let mut shape = Shape {
            batch,
            query_tokens,
            tokens,
            query_heads,
            kv_heads,
            group: (query_heads / kv_heads).max(1),
            head_dim,
            value_dim,
            packed_tokens: None,
        };
        if let Some(sequences) = self.sequences {
            sequences.check(query_tokens, tokens)?;
            shape.batch = sequences.count;
            shape.packed_tokens = Some(query_tokens);
            shape.query_tokens = sequences.most_query_tokens;
            shape.tokens = sequences.most_tokens;
        }
        Ok(shape)
    }
}

/// Sizes of one attention, once every rule holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    /// Sequences.
    pub batch: usize,
    /// Query tokens of a sequence (the longest of a packed batch).
    pub query_tokens: usize,
    /// Keys of a sequence (the longest of a packed batch; a cache's capacity).
    pub tokens: usize,
    pub query_heads: usize,
    pub kv_heads: usize,
    /// Output heads per kv head.
    pub group: usize,
    pub head_dim: usize,
    pub value_dim: usize,
    /// All query tokens of a packed batch.
    pub packed_tokens: Option<usize>,
}

impl Shape {
    pub fn out_heads(&self) -> usize {
        self.kv_heads * self.group
    }

    /// Rows of one sequence and kv head: query tokens times the heads that share the kv head.
    pub fn rows(&self) -> usize {
        self.query_tokens * self.group
    }

    pub fn lse_shape(&self) -> Vec<usize> {
        match self.packed_tokens {
            Some(tokens) => vec![tokens, self.out_heads()],
            None => vec![self.batch, self.query_tokens, self.out_heads()],
        }
    }

    pub fn out_shape(&self) -> Vec<usize> {
        [self.lse_shape(), vec![self.value_dim]].concat()
    }
}

/// Bounds of sequences that lie behind each other: sequence i has the tokens `bounds[i]..bounds[i + 1]`.
#[derive(Clone, Debug)]
pub struct PackedSequences {
    /// cu_seqlens of the queries, then of the keys.
    pub(crate) bounds: Tensor,
    pub(crate) count: usize,
    pub(crate) most_query_tokens: usize,
    pub(crate) most_tokens: usize,
    /// The bounds, where the host knows them.
    host: Option<(Vec<u32>, Vec<u32>)>,
}

impl PackedSequences {
    /// Uploads cumulative lengths: both start at 0, don't fall, and have one entry more than there are sequences.
    ///
    /// A sequence may have no queries or no keys. Errors: `Config` naming the first entry that breaks a rule, `OutOfMemory`.
    pub fn new(gpu: &Gpu, query_bounds: &[u32], key_bounds: &[u32]) -> Result<Self> {
        let most_query_tokens = check_bounds("query_bounds", query_bounds)?;
        let most_tokens = check_bounds("key_bounds", key_bounds)?;
        if query_bounds.len() != key_bounds.len() {
            let expected = format!("{} entries, as query_bounds", query_bounds.len());
            return Err(Error::config(NAME, "key_bounds", format!("{} entries", key_bounds.len()), expected));
        }
        let both = [query_bounds, key_bounds].concat();
        Ok(Self {
            bounds: Tensor::upload(gpu, "cu_seqlens", &[both.len()], &both)?,
            count: query_bounds.len() - 1,
            most_query_tokens,
            most_tokens,
            host: Some((query_bounds.to_vec(), key_bounds.to_vec())),
        })
    }

    /// Bounds that only the GPU knows: `bounds` `[2 (count + 1)]` u32 holds those of the queries, then of the keys, with the
    /// rules of [`new`](Self::new). No sequence may be longer than the two maxima, which fix the size of the dispatch: rows
    /// past them are not written. Nothing on the GPU checks this.
    ///
    /// Errors: `Shape`.
    pub fn from_tensor(bounds: &Tensor, most_query_tokens: usize, most_tokens: usize) -> Result<Self> {
        expect_dtype(NAME, "bounds", bounds, &[Dtype::U32])?;
        let [length] = dims(NAME, "bounds", bounds, "[2 (count + 1)]")?;
        if length < 4 || length % 2 == 1 {
            let found = format!("has {length} entries");
            return Err(Error::shape(NAME, "bounds", found, "2 (count + 1), at least 4"));
        }
        let count = length / 2 - 1;
        Ok(Self { bounds: bounds.clone(), count, most_query_tokens, most_tokens, host: None })
    }

    /// Query tokens and keys of each sequence, where the host knows them.
    pub(crate) fn lengths(&self) -> Option<impl Iterator<Item = (usize, usize)>> {
        let (queries, keys) = self.host.as_ref()?;
        let steps = queries.windows(2).zip(keys.windows(2));
        Some(steps.map(|(q, k)| ((q[1] - q[0]) as usize, (k[1] - k[0]) as usize)))
    }

    fn check(&self, query_tokens: usize, tokens: usize) -> Result<()> {
        let Some((queries, keys)) = &self.host else { return Ok(()) };
        for (name, bounds, rows) in [("q", queries, query_tokens), ("k", keys, tokens)] {
            let last = *bounds.last().expect("checked when made") as usize;
            if last != rows {
                let expected = format!("{last}, where the last sequence ends");
                return Err(Error::shape(NAME, name, format!("has {rows} packed tokens"), expected));
            }
        }
        Ok(())
    }
}

fn check_bounds(name: &'static str, bounds: &[u32]) -> Result<usize> {
    if bounds.len() < 2 || bounds[0] != 0 {
        return Err(Error::config(NAME, name, format!("{bounds:?}"), "at least two entries, the first 0"));
    }
    if let Some(at) = bounds.windows(2).position(|pair| pair[1] < pair[0]) {
        let found = format!("{} after {} at entry {}", bounds[at + 1], bounds[at], at + 1);
        return Err(Error::config(NAME, name, found, "entries that do not fall"));
    }
    Ok(bounds.windows(2).map(|pair| (pair[1] - pair[0]) as usize).max().unwrap_or(0))
}
