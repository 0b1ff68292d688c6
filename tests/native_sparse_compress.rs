//! Blocks that are compressed when their last token arrives, and the networks that make the gates, against their twins.

mod common;

use common::{Random, assert_close, doubles, gpu, read, upload};
use gristmill::kernels::linear_types::Activation;
use gristmill::kernels::native_sparse::{
    BlockMlp, BlockPool, CacheShape, Compression, NativeSparseAttention, NativeSparseCache,
    NativeSparseConfig, NewTokens,
};
use gristmill::models::branch_gates::{BranchGates, BranchGatesConfig, BranchGatesWeights};
use gristmill::twins::native_sparse::{
    CompressionMlp, GateNetwork, NativeSparseOptions, Phi, Pool, compress,
};
use gristmill::{Dtype, Schedule, no_progress};

const BATCH: usize = 2;
const KV_HEADS: usize = 3;
const HIDDEN: usize = 7;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Mean,
    Weighted,
    Mlp,
}

/// Random weights of every kind for one of keys and values.
struct Weights {
    weights: Vec<f32>,
    position: Vec<f32>,
    layers: [Vec<f32>; 4],
}

impl Weights {
    fn new(random: &mut Random, block: usize, dim: usize) -> Self {
        let inputs = block * dim;
        Self {
            weights: random.normal(KV_HEADS * block, 0.3),
            position: random.normal(KV_HEADS * block * dim, 0.5),
            layers: [inputs * HIDDEN, HIDDEN, HIDDEN * dim, dim].map(|count| random.normal(count, 0.2)),
        }
    }

    fn twin(&self, kind: Kind, x: &[f32], dim: usize, options: &NativeSparseOptions) -> Vec<f64> {
        let [w1, b1, w2, b2] = self.layers.each_ref().map(|layer| doubles(layer));
        let (weights, position) = (doubles(&self.weights), doubles(&self.position));
        let mlp = CompressionMlp { w1: &w1, b1: &b1, w2: &w2, b2: &b2, activation: Activation::Silu };
        let pool = match kind {
            Kind::Mean => Pool::Mean,
            Kind::Weighted => Pool::Weighted(&weights),
            Kind::Mlp => Pool::Mlp(mlp),
        };
        let positions = (kind != Kind::Mean).then_some(position.as_slice());
        compress(&doubles(x), &Phi { pool, positions }, KV_HEADS, dim, options)
    }
}

/// Appends tokens in pieces of these lengths and compares all compressed blocks with the twin's of the whole.
fn append_in_pieces(kind: Kind, dims: [usize; 2], block: usize, stride: usize, pieces: &[usize], seed: u64) {
    let mut random = Random::new(seed);
    let tokens: usize = pieces.iter().sum();
    let (capacity, [head_dim, value_dim]) = (tokens + 5, dims);
    let config =
        NativeSparseConfig { cmp_block: block, cmp_stride: stride, sel_block: stride, ..Default::default() };
    let operator = NativeSparseAttention::new(gpu(), config).unwrap();
    let shape = CacheShape {
        batch: BATCH,
        capacity,
        kv_heads: KV_HEADS,
        head_dim,
        value_dim,
        dtype: Dtype::F32,
        own_compressed: false,
        own_window: false,
    };
    let cache = NativeSparseCache::new(gpu(), &operator, shape).unwrap();
    let data = dims.map(|dim| random.normal(BATCH * tokens * KV_HEADS * dim, 1.0));
    let weights = dims.map(|dim| Weights::new(&mut random, block, dim));

    let tensors: Vec<_> = [0, 1]
        .map(|i| {
            let dim = dims[i];
            let Weights { weights, position, layers } = &weights[i];
            let [w1, b1, w2, b2] = layers;
            (
                upload("weights", &[KV_HEADS, block], weights),
                upload("position", &[KV_HEADS, block, dim], position),
                upload("w1", &[block * dim, HIDDEN], w1),
                upload("b1", &[HIDDEN], b1),
                upload("w2", &[HIDDEN, dim], w2),
                upload("b2", &[dim], b2),
            )
        })
        .into_iter()
        .collect();
    let pool = |i: usize| BlockPool { weights: Some(&tensors[i].0), position: Some(&tensors[i].1) };
    let mlp = |i: usize| BlockMlp {
        w1: &tensors[i].2,
        b1: &tensors[i].3,
        w2: &tensors[i].4,
        b2: &tensors[i].5,
        position: Some(&tensors[i].1),
        activation: Activation::Silu,
    };
    let compression = match kind {
        Kind::Mean => Compression::Mean,
        Kind::Weighted => Compression::Pool { key: pool(0), value: pool(1) },
        Kind::Mlp => Compression::Mlp { key: mlp(0), value: mlp(1) },
    };

    let mut first = 0;
    for &count in pieces {
        let piece = [0, 1].map(|i| {
            let width = KV_HEADS * dims[i];
            let of_sequence = |b: usize| &data[i][(b * tokens + first) * width..][..count * width];
            let rows: Vec<f32> = (0..BATCH).flat_map(of_sequence).copied().collect();
            upload("piece", &[BATCH, count, KV_HEADS, dims[i]], &rows)
        });
        let mut schedule = Schedule::new(gpu());
        let new = NewTokens { compression, ..NewTokens::new(&piece[0], &piece[1]) };
        operator.record_append(&mut schedule, &cache, &new).unwrap();
        pollster::block_on(schedule.compile().unwrap().run(no_progress)).unwrap();
        first += count;
    }

    let options = NativeSparseOptions {
        cmp_block: block,
        cmp_stride: stride,
        sel_block: stride,
        ..NativeSparseOptions::default()
    };
    for (i, (name, tensor)) in
        [("keys", &cache.cmp_key), ("values", &cache.cmp_value)].into_iter().enumerate()
    {
        let found = read(tensor);
        let rows = found.len() / BATCH;
        let width = tokens * KV_HEADS * dims[i];
        for b in 0..BATCH {
            let expected = weights[i].twin(kind, &data[i][b * width..][..width], dims[i], &options);
            let what =
                format!("{kind:?} {name} of sequence {b}, blocks of {block} every {stride}, seed {seed}");
            assert_close(&what, &found[b * rows..][..expected.len()], &expected, 3e-6 * block as f64);
            assert!(
                found[b * rows + expected.len()..(b + 1) * rows].iter().all(|v| *v == 0.0),
                "{what}: past the end"
            );
        }
    }
}

#[test]
fn blocks_are_compressed_when_their_last_token_arrives() {
    for kind in [Kind::Mean, Kind::Weighted, Kind::Mlp] {
        append_in_pieces(kind, [12, 8], 6, 2, &[1, 4, 1, 1, 17, 2, 1, 1, 30, 3], 1);
        append_in_pieces(kind, [5, 3], 4, 4, &[3, 1, 1, 9, 26], 2);
    }
    append_in_pieces(Kind::Mean, [12, 8], 1, 1, &[1, 2, 5, 1], 3);
    append_in_pieces(Kind::Mean, [12, 8], 32, 16, &[31, 1, 15, 16, 1, 100], 4);
}

#[test]
fn a_cache_refuses_what_it_does_not_hold() {
    let operator = NativeSparseAttention::new(gpu(), NativeSparseConfig::default()).unwrap();
    let shape = CacheShape {
        batch: 1,
        capacity: 64,
        kv_heads: 1,
        head_dim: 4,
        value_dim: 4,
        dtype: Dtype::F32,
        own_compressed: false,
        own_window: true,
    };
    let cache = NativeSparseCache::new(gpu(), &operator, shape).unwrap();
    let x = upload("x", &[1, 2, 1, 4], &[0.0; 8]);
    let mut schedule = Schedule::new(gpu());
    let new = NewTokens::new(&x, &x);
    let error = operator.record_append(&mut schedule, &cache, &new).unwrap_err().to_string();
    assert_eq!(error, "native_sparse: `window` = not given; expected given, as in the cache");
    let new = NewTokens { window: Some((&x, &x)), compressed: Some((&x, &x)), ..new };
    let error = operator.record_append(&mut schedule, &cache, &new).unwrap_err().to_string();
    assert_eq!(error, "native_sparse: `compressed` = given; expected not given, as in the cache");
    let compression = Compression::Given { key: &x, value: &x };
    let new = NewTokens { compressed: None, compression, ..new };
    let error = operator.record_append(&mut schedule, &cache, &new).unwrap_err().to_string();
    assert_eq!(error, "native_sparse: `compression` = given blocks; expected a rule for new blocks");
}

#[test]
fn gate_networks_equal_their_twin() {
    let (tokens, model_dim, hidden, heads) = (19, 24, 40, 5);
    let mut random = Random::new(5);
    let x = random.normal(2 * tokens * model_dim, 1.0);
    for (with_hidden, temperature) in [(false, 1.0), (true, 0.3)] {
        let inputs = if with_hidden { hidden } else { model_dim };
        let first = (random.normal(model_dim * hidden, 0.2), random.normal(hidden, 0.2));
        let last = (random.normal(inputs * 3 * heads, 0.2), random.normal(3 * heads, 0.5));
        let config = BranchGatesConfig { temperature, ..BranchGatesConfig::new(heads) };
        let network = BranchGates::new(gpu(), config).unwrap();
        let weights = BranchGatesWeights {
            hidden: with_hidden
                .then(|| (upload("w", &[model_dim, hidden], &first.0), upload("b", &[hidden], &first.1))),
            weight: upload("w", &[inputs, 3 * heads], &last.0),
            bias: with_hidden.then(|| upload("b", &[3 * heads], &last.1)),
        };
        let mut schedule = Schedule::new(gpu());
        let x_tensor = upload("x", &[2, tokens, model_dim], &x);
        let logits = network.record(&mut schedule, &x_tensor, &weights).unwrap();
        assert_eq!(logits.shape(), [2, tokens, heads, 3]);
        pollster::block_on(schedule.compile().unwrap().run(no_progress)).unwrap();
        let found: Vec<f32> =
            read(&logits).iter().map(|logit| 1.0 / (1.0 + (-logit / temperature).exp())).collect();

        let (w, b, first_w, first_b) =
            (doubles(&last.0), doubles(&last.1), doubles(&first.0), doubles(&first.1));
        let twin = GateNetwork {
            hidden: with_hidden.then_some((first_w.as_slice(), first_b.as_slice())),
            weight: &w,
            bias: with_hidden.then_some(b.as_slice()),
            temperature: temperature as f64,
        };
        assert_close("gates", &found, &twin.gates(&doubles(&x), model_dim), 2e-6);
    }
}
