//! One SQA layer to be compared: its configuration, fresh weights, and runs of it on the GPU and by the twin.

use super::common::{Random, assert_close, doubles, gpu, read, upload};
use gristmill::kernels::attention::lse_to_host;
use gristmill::models::sqa::{SqaConfig, SqaLayer, SqaWeights};
use gristmill::twins::sqa as twin;
use gristmill::{Schedule, VariantKind, no_progress};

/// A layer's host side; `seed` is printed by failing tests.
#[derive(Clone, Debug)]
pub struct Layer {
    pub config: SqaConfig,
    pub seed: u64,
    pub wq: Vec<f32>,
    pub wk: Vec<f32>,
    pub wv: Vec<f32>,
    pub wo: Vec<f32>,
    pub bo: Vec<f32>,
}

/// What a layer gives on the GPU.
#[derive(Clone, Debug)]
pub struct Found {
    pub out: Vec<f32>,
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    pub heads: Vec<f32>,
    pub lse: Vec<f32>,
}

impl Layer {
    pub fn new(config: SqaConfig, seed: u64) -> Self {
        let SqaConfig { model_dim, query_heads, kv_heads, head_dim, .. } = config;
        let mut random = Random::new(seed);
        // Deviations that keep q, k, v and out at size 1.
        let mut weight =
            |inputs: usize, outputs: usize| random.normal(inputs * outputs, (inputs as f32).powf(-0.5));
        let wq = weight(model_dim, query_heads * head_dim);
        let wk = weight(model_dim, kv_heads * head_dim);
        let wv = weight(model_dim, kv_heads * head_dim);
        let wo = weight(query_heads.max(kv_heads) * head_dim, model_dim);
        Self { wq, wk, wv, wo, bo: random.normal(model_dim, 1.0), config, seed }
    }

    /// Heads of the attention's output.
    pub fn out_heads(&self) -> usize {
        self.config.query_heads.max(self.config.kv_heads)
    }

    pub fn x(&self, batch: usize, tokens: usize) -> Vec<f32> {
        Random::new(self.seed + 1000).normal(batch * tokens * self.config.model_dim, 1.0)
    }

    pub fn weights(&self) -> SqaWeights {
        let SqaConfig { model_dim, query_heads, kv_heads, head_dim, .. } = self.config;
        SqaWeights {
            wq: upload("Wq", &[model_dim, query_heads * head_dim], &self.wq),
            wk: upload("Wk", &[model_dim, kv_heads * head_dim], &self.wk),
            wv: upload("Wv", &[model_dim, kv_heads * head_dim], &self.wv),
            wo: upload("Wo", &[self.out_heads() * head_dim, model_dim], &self.wo),
            bo: Some(upload("bo", &[model_dim], &self.bo)),
        }
    }

    /// The layer in one build.
    pub fn build(&self, kind: VariantKind) -> SqaLayer {
        SqaLayer::new(gpu(), SqaConfig { variant: Some(kind), ..self.config.clone() }).unwrap()
    }

    /// Whole sequences: x [batch, tokens, model_dim].
    pub fn run(&self, x: &[f32], batch: usize, kind: VariantKind) -> Found {
        let model_dim = self.config.model_dim;
        let x = upload("x", &[batch, x.len() / batch / model_dim, model_dim], x);
        let mut schedule = Schedule::new(gpu());
        let found = self.build(kind).record(&mut schedule, &x, &self.weights()).unwrap();
        let plan = schedule.compile().unwrap();
        plan.poison();
        pollster::block_on(plan.run(no_progress)).unwrap();
        let mut lse = read(&found.lse);
        lse_to_host(&mut lse);
        Found {
            out: read(&found.out),
            q: read(&found.q),
            k: read(&found.k),
            v: read(&found.v),
            heads: read(&found.heads),
            lse,
        }
    }

    pub fn twin(&self, x: &[f32], batch: usize) -> twin::SqaResult {
        let SqaConfig { model_dim, query_heads, kv_heads, head_dim, causal, window, rope, .. } = self.config;
        let tokens = x.len() / batch / model_dim;
        let shape = twin::SqaShape { batch, tokens, model_dim, query_heads, kv_heads, head_dim };
        let [wq, wk, wv, wo, bo] =
            [&self.wq, &self.wk, &self.wv, &self.wo, &self.bo].map(|weight| doubles(weight));
        let weights = twin::SqaWeights { wq: &wq, wk: &wk, wv: &wv, wo: &wo, bo: Some(&bo) };
        twin::sqa_layer(&doubles(x), &weights, &shape, &twin::SqaOptions { causal, window, rope })
    }

    /// Every output of this build equals the twin's.
    #[track_caller]
    pub fn check(&self, what: &str, batch: usize, tokens: usize, kind: VariantKind, tolerance: f64) {
        let x = self.x(batch, tokens);
        let (found, expected) = (self.run(&x, batch, kind), self.twin(&x, batch));
        let what =
            format!("{what} by {kind}, x [{batch}, {tokens}, ..], {:?}, seed {}", self.config, self.seed);
        for (name, found, expected) in [
            ("q", &found.q, &expected.q),
            ("k", &found.k, &expected.k),
            ("v", &found.v, &expected.v),
            ("lse", &found.lse, &expected.lse),
            ("heads", &found.heads, &expected.heads),
            ("out", &found.out, &expected.out),
        ] {
            assert_close(&format!("{name} of {what}"), found, expected, tolerance);
        }
    }

    /// The same layer with other heads: `queries` and `kvs` list heads of this one, in the new order.
    pub fn with_heads(&self, queries: &[usize], kvs: &[usize]) -> Self {
        let SqaConfig { model_dim, query_heads, kv_heads, head_dim, .. } = self.config;
        let outputs = if queries.len() >= kvs.len() { queries } else { kvs };
        let block = head_dim * model_dim;
        Self {
            config: SqaConfig { query_heads: queries.len(), kv_heads: kvs.len(), ..self.config.clone() },
            wq: take_heads(&self.wq, query_heads, head_dim, queries),
            wk: take_heads(&self.wk, kv_heads, head_dim, kvs),
            wv: take_heads(&self.wv, kv_heads, head_dim, kvs),
            wo: outputs.iter().flat_map(|head| self.wo[head * block..][..block].to_vec()).collect(),
            ..self.clone()
        }
    }
}

/// The listed heads of a tensor whose rows hold `heads` heads of `dim` elements.
pub fn take_heads(tensor: &[f32], heads: usize, dim: usize, list: &[usize]) -> Vec<f32> {
    let rows = tensor.chunks_exact(heads * dim);
    rows.flat_map(|row| list.iter().flat_map(|head| row[head * dim..][..dim].to_vec())).collect()
}
