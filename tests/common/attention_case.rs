//! One attention to be compared: sizes, masks and storage, its data, the twin's result and the GPU's.

use super::common::{Random, assert_close, doubles, gpu, read, upload, upload_floats, variants};
use gristmill::kernels::attention::{
    Attention, AttentionConfig, AttentionInputs, PackedSequences, lse_to_host,
};
use gristmill::twins::attention as twin;
use gristmill::{Schedule, VariantKind, no_progress};
use half::f16;

/// How the sequences lie in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    /// [batch, tokens, heads, dim]: all sequences are alike.
    Dense,
    /// Behind each other, with their bounds.
    Packed,
    /// Keys in caches of this capacity, NaN behind the last key.
    Cache(usize),
}

/// What a failing test prints.
#[derive(Clone, Debug)]
pub struct Case {
    /// (query tokens, keys) of every sequence.
    pub sequences: Vec<(usize, usize)>,
    pub layout: Layout,
    pub query_heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub value_dim: usize,
    pub causal: bool,
    pub window: Option<usize>,
    pub q_offset: Option<i64>,
    pub scale: Option<f32>,
    pub key_mask: bool,
    pub key_bias: bool,
    pub query_f16: bool,
    pub key_f16: bool,
    pub seed: u64,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            sequences: vec![(33, 33)],
            layout: Layout::Dense,
            query_heads: 2,
            kv_heads: 1,
            head_dim: 16,
            value_dim: 16,
            causal: false,
            window: None,
            q_offset: None,
            scale: None,
            key_mask: false,
            key_bias: false,
            query_f16: false,
            key_f16: false,
            seed: 1,
        }
    }
}

/// The numbers of a case, sequences behind each other; values are those that the storage can hold.
#[derive(Clone, Debug)]
pub struct Data {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    pub key_mask: Option<Vec<u32>>,
    pub key_bias: Option<Vec<f32>>,
}

/// out and lse (-inf without a visible key).
#[derive(Clone, Debug, PartialEq)]
pub struct Result {
    pub out: Vec<f32>,
    pub lse: Vec<f32>,
}

impl Case {
    pub fn data(&self) -> Data {
        let mut random = Random::new(self.seed);
        let (queries, keys) = self.totals();
        let mut normal = |rows: usize, heads: usize, dim: usize, half: bool| {
            let mut values = random.normal(rows * heads * dim, 1.0);
            if half {
                values.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
            }
            values
        };
        let q = normal(queries, self.query_heads, self.head_dim, self.query_f16);
        let k = normal(keys, self.kv_heads, self.head_dim, self.key_f16);
        let v = normal(keys, self.kv_heads, self.value_dim, self.key_f16);
        let key_mask = self.key_mask.then(|| random.mask(keys, 0.7));
        let key_bias = self.key_bias.then(|| random.normal(keys, 2.0));
        Data { q, k, v, key_mask, key_bias }
    }

    /// Query rows and keys of all sequences.
    fn totals(&self) -> (usize, usize) {
        self.sequences.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    fn bounds(&self) -> (Vec<u32>, Vec<u32>) {
        let (mut queries, mut keys) = (vec![0], vec![0]);
        for (query_tokens, tokens) in &self.sequences {
            queries.push(queries.last().unwrap() + *query_tokens as u32);
            keys.push(keys.last().unwrap() + *tokens as u32);
        }
        (queries, keys)
    }

    pub fn twin(&self, data: &Data) -> twin::AttentionResult {
        let (query, key) = self.bounds();
        let sequences =
            twin::PackedSequences { query: &query, key: &key, align_end: self.q_offset.is_none() };
        // Only heads and dims are read of the shape of packed sequences.
        let shape = twin::AttentionShape {
            batch: 1,
            query_tokens: 0,
            tokens: 0,
            query_heads: self.query_heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            value_dim: self.value_dim,
        };
        let visible: Option<Vec<bool>> =
            data.key_mask.as_ref().map(|mask| mask.iter().map(|&m| m == 1).collect());
        let mask = twin::AttentionMask {
            causal: self.causal,
            window: self.window,
            q_offset: self.q_offset.unwrap_or(0),
            key_mask: visible.as_deref(),
        };
        let [q, k, v] = [&data.q, &data.k, &data.v].map(|tensor| doubles(tensor));
        let key_bias = data.key_bias.as_ref().map(|bias| doubles(bias));
        let scale = self.scale.map_or((self.head_dim as f64).powf(-0.5), f64::from);
        twin::attention_packed(&q, &k, &v, &sequences, &shape, &mask, key_bias.as_deref(), scale)
    }

    pub fn config(&self, kind: VariantKind) -> AttentionConfig {
        AttentionConfig {
            causal: self.causal,
            window: self.window,
            q_offset: self.q_offset,
            scale: self.scale,
            tile_queries: self.query_heads < self.kv_heads,
            variant: Some(kind),
            ..Default::default()
        }
    }

    /// Three runs of one plan over outputs full of NaN, which must give the same bits.
    pub fn run(&self, data: &Data, kind: VariantKind) -> Result {
        self.run_times(3, data, kind)
    }

    pub fn run_times(&self, times: usize, data: &Data, kind: VariantKind) -> Result {
        let (queries, keys) = self.bounds();
        let (query_tokens, tokens) = self.sequences[0];
        let batch = self.sequences.len();
        let (query_rows, key_rows) = match self.layout {
            Layout::Dense => (vec![batch, query_tokens], vec![batch, tokens]),
            Layout::Packed => (vec![data.q.len() / self.query_heads / self.head_dim], vec![self.totals().1]),
            Layout::Cache(capacity) => (vec![batch, query_tokens], vec![batch, capacity]),
        };
        let shape = |rows: &[usize], heads, dim| [rows, &[heads, dim]].concat();
        let q =
            upload_floats("q", &shape(&query_rows, self.query_heads, self.head_dim), &data.q, self.query_f16);
        let key_shape = shape(&key_rows, self.kv_heads, self.head_dim);
        let k = upload_floats("k", &key_shape, &self.store(&data.k, f32::NAN), self.key_f16);
        let value_shape = shape(&key_rows, self.kv_heads, self.value_dim);
        let v = upload_floats("v", &value_shape, &self.store(&data.v, f32::NAN), self.key_f16);
        let key_mask = data.key_mask.as_ref();
        let key_mask = key_mask.map(|mask| upload("key_mask", &key_rows, &self.store(mask, 1)));
        let key_bias = data.key_bias.as_ref();
        let key_bias = key_bias.map(|bias| upload("key_bias", &key_rows, &self.store(bias, f32::NAN)));
        let packed =
            (self.layout == Layout::Packed).then(|| PackedSequences::new(gpu(), &queries, &keys).unwrap());
        let lengths = matches!(self.layout, Layout::Cache(_)).then(|| {
            let lengths: Vec<u32> = self.sequences.iter().map(|(_, keys)| *keys as u32).collect();
            upload("lengths", &[batch], &lengths)
        });

        let mut schedule = Schedule::new(gpu());
        let inputs = AttentionInputs {
            key_mask: key_mask.as_ref(),
            key_bias: key_bias.as_ref(),
            sequences: packed.as_ref(),
            lengths: lengths.as_ref(),
            ..AttentionInputs::new(&q, &k, &v)
        };
        let attention = Attention::new(gpu(), self.config(kind)).unwrap();
        let found = attention
            .record(&mut schedule, inputs)
            .unwrap_or_else(|error| panic!("{self:?} by {kind}: {error}"));
        let plan = schedule.compile().unwrap();
        let results: Vec<Result> = (0..times)
            .map(|_| {
                plan.poison();
                pollster::block_on(plan.run(no_progress)).unwrap();
                let mut lse = read(&found.lse);
                lse_to_host(&mut lse);
                Result { out: read(&found.out), lse }
            })
            .collect();
        let bits = |result: &Result| -> Vec<u32> {
            result.out.iter().chain(&result.lse).map(|value| value.to_bits()).collect()
        };
        for (again, result) in results.iter().enumerate().skip(1) {
            let (first, now) = (bits(&results[0]), bits(result));
            if let Some(at) = (0..now.len()).find(|&i| first[i] != now[i]) {
                let [first, now] = [first[at], now[at]].map(f32::from_bits);
                panic!("{self:?} by {kind}: a race: index {at} was {first}, in run {again} it is {now}");
            }
        }
        results.into_iter().next_back().unwrap()
    }

    /// What lies in memory for values of the keys: in a cache every sequence is filled up to the capacity.
    fn store<T: Copy>(&self, values: &[T], beyond: T) -> Vec<T> {
        let Layout::Cache(capacity) = self.layout else { return values.to_vec() };
        let width = values.len().checked_div(self.totals().1).unwrap_or(0);
        let mut stored = Vec::new();
        let mut rest = values;
        for (_, tokens) in &self.sequences {
            let (own, others) = rest.split_at(tokens * width);
            stored.extend_from_slice(own);
            stored.resize(stored.len() + (capacity - tokens) * width, beyond);
            rest = others;
        }
        stored
    }

    /// Every variant gives the twin's result.
    #[track_caller]
    pub fn check(&self, tolerance: f64) {
        let data = self.data();
        let expected = self.twin(&data);
        for kind in variants() {
            let found = self.run(&data, kind);
            assert_close(&format!("{self:?} by {kind}: out"), &found.out, &expected.out, tolerance);
            assert_close(&format!("{self:?} by {kind}: lse"), &found.lse, &expected.lse, tolerance);
        }
    }
}
