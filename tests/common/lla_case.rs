//! One local linear attention to be compared: sizes, masks and storage, its data, the twin's result and the GPU's.

use super::common::{Random, assert_close, doubles, gpu, read, upload, upload_floats, variants};
use gristmill::kernels::attention::{Attention, AttentionConfig, AttentionInputs, lse_to_host};
use gristmill::kernels::flash_lla::{FlashLla, FlashLlaConfig, FlashLlaInputs, FlashLlaOutput, pack_mask};
use gristmill::twins::attention::AttentionShape;
use gristmill::twins::flash_lla::{LlaOptions, LlaResult, flash_lla};
use gristmill::{Schedule, Tensor, VariantKind, no_progress};
use half::f16;

/// What a failing test prints.
#[derive(Clone, Debug)]
pub struct Case {
    /// Keys of every sequence; alike, unless they lie in caches.
    pub tokens: Vec<usize>,
    pub query_tokens: usize,
    /// Keys lie in caches of this capacity, NaN behind the last.
    pub capacity: Option<usize>,
    pub query_heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub value_dim: usize,
    pub causal: bool,
    pub q_offset: Option<i64>,
    pub scale: Option<f32>,
    pub mask: bool,
    pub key_bias: bool,
    pub query_f16: bool,
    pub key_f16: bool,
    pub ridge: f32,
    pub ridge_floor: f32,
    pub rtol: f32,
    pub max_iters: usize,
    pub seed: u64,
}

impl Default for Case {
    /// The solver of the golden vectors.
    fn default() -> Self {
        Self {
            tokens: vec![33],
            query_tokens: 33,
            capacity: None,
            query_heads: 2,
            kv_heads: 1,
            head_dim: 16,
            value_dim: 16,
            causal: false,
            q_offset: None,
            scale: None,
            mask: false,
            key_bias: false,
            query_f16: false,
            key_f16: false,
            ridge: 0.1,
            ridge_floor: 0.0,
            rtol: 1e-6,
            max_iters: 64,
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
    /// `[query_tokens, tokens]`.
    pub mask: Option<Vec<bool>>,
    pub key_bias: Option<Vec<f32>>,
}

/// What the GPU gives, -inf in rows without a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub out: Vec<f32>,
    pub lse: Vec<f32>,
    pub iterations: Vec<u32>,
    pub status: Vec<u32>,
}

impl Case {
    /// The same sizes for every sequence.
    pub fn of(batch: usize, query_tokens: usize, tokens: usize) -> Self {
        Self { tokens: vec![tokens; batch], query_tokens, ..Self::default() }
    }

    pub fn data(&self) -> Data {
        let mut random = Random::new(self.seed);
        let (queries, keys) = (self.tokens.len() * self.query_tokens, self.tokens.iter().sum::<usize>());
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
        let mask = self.mask.then(|| random.mask(self.query_tokens * self.tokens[0], 0.7));
        let mask = mask.map(|mask| mask.iter().map(|&visible| visible == 1).collect());
        let key_bias = self.key_bias.then(|| random.normal(keys, 1.0));
        Data { q, k, v, mask, key_bias }
    }

    /// Rows of out, lse, iterations and status.
    pub fn rows(&self) -> usize {
        self.tokens.len() * self.query_tokens * self.query_heads
    }

    pub fn shape(&self, tokens: usize) -> AttentionShape {
        AttentionShape {
            batch: 1,
            query_tokens: self.query_tokens,
            tokens,
            query_heads: self.query_heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            value_dim: self.value_dim,
        }
    }

    /// The direct solution of every sequence, with the kernels' rule for singular rows.
    pub fn twin(&self, data: &Data) -> LlaResult {
        let (mut whole, mut first) = (LlaResult::default(), 0);
        for (sequence, &tokens) in self.tokens.iter().enumerate() {
            let shape = self.shape(tokens);
            let part = |tensor: &[f32], start: usize, rows: usize, width: usize| {
                doubles(&tensor[start * width..(start + rows) * width])
            };
            let keys = |tensor: &[f32], width: usize| part(tensor, first, tokens, width);
            let key_bias = data.key_bias.as_ref().map(|bias| keys(bias, 1));
            let options = LlaOptions {
                causal: self.causal,
                q_offset: self.q_offset,
                mask: data.mask.as_deref(),
                key_bias: key_bias.as_deref(),
                scale: self.scale.map(f64::from),
                ridge: self.ridge.into(),
                ridge_floor: self.ridge_floor.into(),
                singular_floor: true,
            };
            let width = self.query_heads * self.head_dim;
            let q = part(&data.q, sequence * self.query_tokens, self.query_tokens, width);
            let (k, v) =
                (keys(&data.k, self.kv_heads * self.head_dim), keys(&data.v, self.kv_heads * self.value_dim));
            let result = flash_lla(&q, &k, &v, &shape, &options);
            whole.out.extend(result.out);
            whole.lse.extend(result.lse);
            whole.beta.extend(result.beta);
            whole.mean_key.extend(result.mean_key);
            whole.eta.extend(result.eta);
            whole.iterations.extend(result.iterations);
            whole.status.extend(result.status);
            first += tokens;
        }
        whole
    }

    pub fn config(&self, kind: VariantKind) -> FlashLlaConfig {
        FlashLlaConfig {
            causal: self.causal,
            q_offset: self.q_offset,
            scale: self.scale,
            ridge: self.ridge,
            ridge_floor: self.ridge_floor,
            rtol: self.rtol,
            max_iters: self.max_iters,
            variant: Some(kind),
        }
    }

    /// q, k and v on the GPU.
    pub fn upload(&self, data: &Data) -> [Tensor; 3] {
        let batch = self.tokens.len();
        let tokens = self.capacity.unwrap_or(self.tokens[0]);
        let q_shape = [batch, self.query_tokens, self.query_heads, self.head_dim];
        let (k_shape, v_shape) =
            ([batch, tokens, self.kv_heads, self.head_dim], [batch, tokens, self.kv_heads, self.value_dim]);
        [
            upload_floats("q", &q_shape, &data.q, self.query_f16),
            upload_floats("k", &k_shape, &self.store(&data.k, f32::NAN), self.key_f16),
            upload_floats("v", &v_shape, &self.store(&data.v, f32::NAN), self.key_f16),
        ]
    }

    /// Records the operator in a schedule of its own.
    pub fn record(&self, data: &Data, kind: VariantKind) -> (Schedule, FlashLlaOutput) {
        let [q, k, v] = self.upload(data);
        let (batch, tokens) = (self.tokens.len(), self.tokens[0]);
        let capacity = self.capacity.unwrap_or(tokens);
        let mask = data
            .mask
            .as_ref()
            .map(|mask| upload("mask", &[self.query_tokens, tokens.div_ceil(32)], &pack_mask(mask, tokens)));
        let key_bias = data.key_bias.as_ref();
        let key_bias = key_bias.map(|bias| upload("bias", &[batch, capacity], &self.store(bias, f32::NAN)));
        let lengths = self.capacity.map(|_| {
            let lengths: Vec<u32> = self.tokens.iter().map(|&tokens| tokens as u32).collect();
            upload("lengths", &[batch], &lengths)
        });
        let mut schedule = Schedule::new(gpu());
        let inputs = FlashLlaInputs {
            mask: mask.as_ref(),
            key_bias: key_bias.as_ref(),
            lengths: lengths.as_ref(),
            ..FlashLlaInputs::new(&q, &k, &v)
        };
        let found = FlashLla::new(gpu(), self.config(kind)).unwrap().record(&mut schedule, inputs);
        let found = found.unwrap_or_else(|error| panic!("{self:?} by {kind}: {error}"));
        (schedule, found)
    }

    /// Three runs of one plan over outputs full of NaN, which must give the same bits.
    pub fn run(&self, data: &Data, kind: VariantKind) -> Found {
        self.run_times(3, data, kind)
    }

    pub fn run_times(&self, times: usize, data: &Data, kind: VariantKind) -> Found {
        let (schedule, found) = self.record(data, kind);
        let plan = schedule.compile().unwrap();
        let results: Vec<Found> = (0..times)
            .map(|_| {
                plan.poison();
                pollster::block_on(plan.run(no_progress)).unwrap();
                let mut lse = read(&found.lse);
                lse_to_host(&mut lse);
                let words = |tensor: &Tensor| pollster::block_on(tensor.read::<u32>(gpu())).unwrap();
                Found {
                    out: read(&found.out),
                    lse,
                    iterations: words(&found.iterations),
                    status: words(&found.status),
                }
            })
            .collect();
        for (again, result) in results.iter().enumerate().skip(1) {
            let (first, now) = (results[0].bits(), result.bits());
            if let Some(at) = (0..now.len()).find(|&i| first[i] != now[i]) {
                let (was, is) = (f32::from_bits(first[at]), f32::from_bits(now[at]));
                panic!("{self:?} by {kind}: a race: index {at} was {was}, in run {again} it is {is}");
            }
        }
        results.into_iter().next_back().unwrap()
    }

    /// out of dense attention on the GPU over the same tensors; without a mask.
    pub fn softmax(&self, data: &Data, kind: VariantKind) -> Vec<f32> {
        let [q, k, v] = self.upload(data);
        let config = AttentionConfig {
            causal: self.causal,
            q_offset: self.q_offset,
            scale: self.scale,
            variant: Some(kind),
            ..AttentionConfig::default()
        };
        let mut schedule = Schedule::new(gpu());
        let inputs = AttentionInputs::new(&q, &k, &v);
        let out = Attention::new(gpu(), config).unwrap().record(&mut schedule, inputs).unwrap().out;
        pollster::block_on(schedule.compile().unwrap().run(no_progress)).unwrap();
        read(&out)
    }

    /// What lies in memory for values of the keys: in a cache every sequence is filled up to the capacity.
    fn store<T: Copy>(&self, values: &[T], beyond: T) -> Vec<T> {
        let Some(capacity) = self.capacity else { return values.to_vec() };
        let width = values.len().checked_div(self.tokens.iter().sum()).unwrap_or(0);
        let mut stored = Vec::new();
        let mut rest = values;
        for tokens in &self.tokens {
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
            self.compare(&self.run(&data, kind), &expected, kind, tolerance);
        }
    }

    /// Out, lse, and a status that is equal in every row.
    #[track_caller]
    pub fn compare(&self, found: &Found, expected: &LlaResult, kind: VariantKind, tolerance: f64) {
        if let Some(row) = (0..self.rows()).find(|&row| found.status[row] != expected.status[row]) {
            let (found, expected, after) = (found.status[row], expected.status[row], found.iterations[row]);
            panic!(
                "{self:?} by {kind}: row {row} has status {found} after {after} iterations, not {expected}"
            );
        }
        assert_close(&format!("{self:?} by {kind}: out"), &found.out, &expected.out, tolerance);
        assert_close(&format!("{self:?} by {kind}: lse"), &found.lse, &expected.lse, 2e-5);
    }
}

impl Found {
    fn bits(&self) -> Vec<u32> {
        let floats = self.out.iter().chain(&self.lse).map(|value| value.to_bits());
        floats.chain(self.iterations.iter().chain(&self.status).copied()).collect()
    }
}
