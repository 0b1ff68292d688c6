//! One native sparse attention to be compared: sizes and storage, its data, the twin's result and the GPU's.

use super::common::{Random, assert_close, doubles, gpu, read, upload, upload_floats, variants};
use gristmill::kernels::attention::{PackedSequences, lse_to_host};
use gristmill::kernels::native_sparse::{
    BlockPool, Compression, Gates, NativeSparseAttention, NativeSparseConfig, NativeSparseInputs,
    NativeSparseOutput,
};
use gristmill::twins::attention::AttentionShape;
use gristmill::twins::native_sparse::{
    NO_BLOCK, NativeSparseOptions, NativeSparseResult, NativeSparseSources, Phi, Pool, gate_values,
    native_sparse,
};
use gristmill::{Schedule, Tensor, VariantKind, no_progress};
use half::f16;

/// Documentation of `NativeSparseAttention`.
pub const TOLERANCE: f64 = 2e-5;

/// Where two blocks score so close, either may be selected: 1e-5 for each head that is summed.
pub fn score_tolerance(group: usize) -> f64 {
    1e-5 * group as f64
}

/// How the sequences lie in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    /// [batch, tokens, heads, dim]: all sequences are alike.
    Dense,
    /// Behind each other, with their bounds; as many queries as keys.
    Packed,
    /// Keys in caches of this capacity, this value behind the last key.
    Cache(usize, f32),
}

/// How the gates are given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GateKind {
    Values,
    Logits,
    Tempered(f32),
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
    pub config: NativeSparseConfig,
    pub gates: GateKind,
    /// Weights and positions for the tokens of a block, instead of their mean.
    pub weighted: bool,
    /// Each branch has its own keys and values.
    pub own_branches: bool,
    pub query_f16: bool,
    pub key_f16: bool,
    pub seed: u64,
}

/// Blocks of 8 every 4 tokens, 3 of 16 selected, and a window of 9.
pub fn small_blocks() -> NativeSparseConfig {
    NativeSparseConfig {
        cmp_block: 8,
        cmp_stride: 4,
        sel_block: 16,
        top_n: 3,
        window: 9,
        n_init: 1,
        n_local: 1,
        ..Default::default()
    }
}

impl Default for Case {
    fn default() -> Self {
        Self {
            sequences: vec![(93, 93)],
            layout: Layout::Dense,
            query_heads: 4,
            kv_heads: 2,
            head_dim: 16,
            value_dim: 16,
            config: small_blocks(),
            gates: GateKind::Values,
            weighted: false,
            own_branches: false,
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
    /// Keys and values of the selected branch, the compressed one and the window; of the first alone where all are the same.
    pub kv: Vec<[Vec<f32>; 2]>,
    /// Gates or logits.
    pub gates: Vec<f32>,
    /// Weights `[kv_heads, l]` and positions `[kv_heads, l, dim]` of keys and of values.
    pub weights: Option<[[Vec<f32>; 2]; 2]>,
    /// Block lists to read, and how long each is.
    pub blocks: Option<(usize, Vec<i32>)>,
}

impl Data {
    pub fn k(&mut self) -> &mut Vec<f32> {
        &mut self.kv[0][0]
    }

    pub fn v(&mut self) -> &mut Vec<f32> {
        &mut self.kv[0][1]
    }

    /// The weights of the three branches, the same in every row.
    pub fn set_gates(&mut self, gates: [f32; 3]) {
        self.gates.chunks_exact_mut(3).for_each(|row| row.copy_from_slice(&gates));
    }
}

/// What the GPU gives; lse is -inf without a visible key.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub out: Vec<f32>,
    /// Compressed, selected, window.
    pub branches: [Vec<f32>; 3],
    pub lse: [Vec<f32>; 3],
    pub blocks: Vec<i32>,
}

impl Case {
    /// One sequence whose last query row stands at the last key.
    pub fn of(query_tokens: usize, tokens: usize) -> Self {
        Self { sequences: vec![(query_tokens, tokens)], ..Self::default() }
    }

    pub fn group(&self) -> usize {
        self.query_heads / self.kv_heads
    }

    pub fn data(&self) -> Data {
        let mut random = Random::new(self.seed);
        let (queries, keys) = self.totals();
        let mut normal = |count: usize, deviation: f32, half: bool| {
            let mut values = random.normal(count, deviation);
            if half {
                values.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
            }
            values
        };
        let q = normal(queries * self.query_heads * self.head_dim, 1.5, self.query_f16);
        let dims = [self.head_dim, self.value_dim];
        let kv = (0..if self.own_branches { 3 } else { 1 })
            .map(|_| dims.map(|dim| normal(keys * self.kv_heads * dim, 1.0, self.key_f16)))
            .collect();
        let gates = normal(queries * self.query_heads * 3, 1.0, false);
        let block = self.kv_heads * self.config.cmp_block;
        let weights = self.weighted.then(|| {
            let deviation = (self.config.cmp_block as f32).powf(-0.5);
            dims.map(|dim| [normal(block, deviation, false), normal(block * dim, 0.5, false)])
        });
        Data { q, kv, gates, weights, blocks: None }
    }

    /// Query rows and keys of all sequences.
    pub fn totals(&self) -> (usize, usize) {
        self.sequences.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    pub fn shape(&self, (query_tokens, tokens): (usize, usize)) -> AttentionShape {
        let &Self { query_heads, kv_heads, head_dim, value_dim, .. } = self;
        AttentionShape { batch: 1, query_tokens, tokens, query_heads, kv_heads, head_dim, value_dim }
    }

    pub fn options(&self) -> NativeSparseOptions {
        NativeSparseOptions::from(&self.config)
    }

    /// The twin's result of each sequence; with `blocks`, it reads these.
    pub fn twin(&self, data: &Data, blocks: Option<&[i32]>) -> Vec<NativeSparseResult> {
        let blocks = blocks.or(data.blocks.as_ref().map(|(_, lists)| lists.as_slice()));
        let (mut query, mut key) = (0, 0);
        let lists = self.totals().0 * self.kv_heads;
        let gates: Vec<f64> = match self.gates {
            GateKind::Values => doubles(&data.gates),
            GateKind::Logits => gate_values(&doubles(&data.gates)),
            GateKind::Tempered(temperature) => {
                let cooled = data.gates.iter().map(|&logit| logit as f64 / temperature as f64);
                gate_values(&cooled.collect::<Vec<_>>())
            }
        };
        let weights =
            data.weights.as_ref().map(|both| both.each_ref().map(|w| w.each_ref().map(|w| doubles(w))));
        let phi = |of: usize| match &weights {
            None => Phi::default(),
            Some(weights) => Phi { pool: Pool::Weighted(&weights[of][0]), positions: Some(&weights[of][1]) },
        };
        let one = |&(query_tokens, tokens): &(usize, usize)| {
            let (first_query, first_key) = (query, key);
            (query, key) = (query + query_tokens, key + tokens);
            let queries = |width: usize| first_query * width..query * width;
            let keys = |width: usize| first_key * width..key * width;
            let q = doubles(&data.q[queries(self.query_heads * self.head_dim)]);
            let kv: Vec<[Vec<f64>; 2]> = (data.kv.iter())
                .map(|[k, v]| {
                    let k = &k[keys(self.kv_heads * self.head_dim)];
                    [doubles(k), doubles(&v[keys(self.kv_heads * self.value_dim)])]
                })
                .collect();
            let pair = |branch: usize| kv.get(branch).map(|[k, v]| (&k[..], &v[..]));
            let sources = NativeSparseSources {
                phi_key: phi(0),
                phi_value: phi(1),
                compressed: pair(1),
                window: pair(2),
                blocks: blocks.map(|blocks| &blocks[queries(self.kv_heads * (blocks.len() / lists))]),
                ..NativeSparseSources::new(&q, &kv[0][0], &kv[0][1], &gates[queries(self.query_heads * 3)])
            };
            native_sparse(&sources, &self.shape((query_tokens, tokens)), &self.options())
        };
        self.sequences.iter().map(one).collect()
    }

    /// Two runs of one plan over outputs full of NaN, which must give the same bits.
    pub fn run(&self, data: &Data, kind: VariantKind) -> Found {
        let (query_tokens, tokens) = self.sequences[0];
        let batch = self.sequences.len();
        let (query_rows, key_rows) = match self.layout {
            Layout::Dense => (vec![batch, query_tokens], vec![batch, tokens]),
            Layout::Packed => (vec![self.totals().0], vec![self.totals().1]),
            Layout::Cache(capacity, _) => (vec![batch, query_tokens], vec![batch, capacity]),
        };
        let shape = |rows: &[usize], rest: &[usize]| [rows, rest].concat();
        let q = upload_floats(
            "q",
            &shape(&query_rows, &[self.query_heads, self.head_dim]),
            &data.q,
            self.query_f16,
        );
        let key_shape = shape(&key_rows, &[self.kv_heads, self.head_dim]);
        let value_shape = shape(&key_rows, &[self.kv_heads, self.value_dim]);
        let kv: Vec<[Tensor; 2]> = (data.kv.iter())
            .map(|[k, v]| {
                let k = upload_floats("k", &key_shape, &self.store(k), self.key_f16);
                [k, upload_floats("v", &value_shape, &self.store(v), self.key_f16)]
            })
            .collect();
        let weights = upload("gates", &shape(&query_rows, &[self.query_heads, 3]), &data.gates);
        let gates = match self.gates {
            GateKind::Values => Gates::Values(&weights),
            GateKind::Logits => Gates::Logits(&weights),
            GateKind::Tempered(temperature) => Gates::Tempered { logits: &weights, temperature },
        };
        let pools = data.weights.as_ref().map(|both| {
            let shape = [self.kv_heads, self.config.cmp_block];
            [(&both[0], self.head_dim), (&both[1], self.value_dim)].map(|([weights, positions], dim)| {
                let positions = upload("positions", &[shape[0], shape[1], dim], positions);
                [upload("weights", &shape, weights), positions]
            })
        });
        let pool = |[weights, position]: &'_ [Tensor; 2]| (weights.clone(), position.clone());
        let pools = pools.as_ref().map(|pools| pools.each_ref().map(pool));
        let blocks = data.blocks.as_ref().map(|(count, lists)| {
            let words: Vec<u32> = lists.iter().map(|&block| block as u32).collect();
            upload("idx", &shape(&query_rows, &[self.kv_heads, *count]), &words)
        });
        let bounds = |of: fn(&(usize, usize)) -> usize| {
            let ends = self.sequences.iter().scan(0, |end, one| {
                *end += of(one) as u32;
                Some(*end)
            });
            std::iter::once(0).chain(ends).collect::<Vec<u32>>()
        };
        let packed = (self.layout == Layout::Packed)
            .then(|| PackedSequences::new(gpu(), &bounds(|one| one.0), &bounds(|one| one.1)).unwrap());
        let lengths = matches!(self.layout, Layout::Cache(..)).then(|| {
            let lengths: Vec<u32> = self.sequences.iter().map(|(_, keys)| *keys as u32).collect();
            upload("lengths", &[batch], &lengths)
        });

        let pair = |branch: usize| kv.get(branch).map(|[k, v]| (k, v));
        let inputs = NativeSparseInputs {
            compression: match &pools {
                None => Compression::Mean,
                Some(pools) => {
                    let [key, value] = pools.each_ref().map(|(weights, position)| BlockPool {
                        weights: Some(weights),
                        position: Some(position),
                    });
                    Compression::Pool { key, value }
                }
            },
            compressed: pair(1),
            window: pair(2),
            blocks: blocks.as_ref(),
            lengths: lengths.as_ref(),
            sequences: packed.as_ref(),
            ..NativeSparseInputs::new(&q, &kv[0][0], &kv[0][1], gates)
        };
        let config = NativeSparseConfig { variant: Some(kind), ..self.config.clone() };
        let mut schedule = Schedule::new(gpu());
        let outputs = NativeSparseAttention::new(gpu(), config)
            .and_then(|operator| operator.record(&mut schedule, &inputs))
            .unwrap_or_else(|error| panic!("{self:?} by {kind}: {error}"));
        let plan = schedule.compile().unwrap();
        let [first, again] = [(); 2].map(|()| {
            plan.poison();
            pollster::block_on(plan.run(no_progress)).unwrap();
            Found::read(&outputs)
        });
        let bits = |found: &Found| {
            let floats = found.branches.iter().chain(&found.lse).flatten();
            let floats = found.out.iter().chain(floats).map(|value| value.to_bits());
            floats.chain(found.blocks.iter().map(|block| *block as u32)).collect::<Vec<u32>>()
        };
        assert!(bits(&first) == bits(&again), "{self:?} by {kind}: a race, two runs differ");
        again
    }

    /// What lies in memory for keys or values: in a cache every sequence is filled up to the capacity.
    fn store(&self, values: &[f32]) -> Vec<f32> {
        let Layout::Cache(capacity, beyond) = self.layout else { return values.to_vec() };
        let width = values.len().checked_div(self.totals().1).unwrap_or(0);
        let (mut stored, mut rest) = (Vec::new(), values);
        for (_, tokens) in &self.sequences {
            let (own, others) = rest.split_at(tokens * width);
            stored.extend_from_slice(own);
            stored.resize(stored.len() + (capacity - tokens) * width, beyond);
            rest = others;
        }
        stored
    }

    /// Every variant gives the twin's result, or a selection as good.
    #[track_caller]
    pub fn check(&self) {
        let data = self.data();
        for kind in variants() {
            self.compare(&data, &self.run(&data, kind), &format!("{self:?} by {kind}"));
        }
    }

    #[track_caller]
    pub fn compare(&self, data: &Data, found: &Found, what: &str) {
        if data.blocks.is_none() {
            let free = self.twin(data, None);
            let mut rest = found.blocks.as_slice();
            for (sequence, expected) in self.sequences.iter().zip(&free) {
                let rows: Vec<usize> = (0..sequence.0).collect();
                let (lists, others) = rest.split_at(expected.blocks.len());
                self.compare_lists(*sequence, &rows, lists, expected, what);
                rest = others;
            }
        }
        // The twin reads the same blocks, so that a choice between equals makes no difference further on.
        let expected = self.twin(data, Some(&found.blocks));
        let join = |part: fn(&NativeSparseResult) -> &Vec<f64>| -> Vec<f64> {
            expected.iter().flat_map(|result| part(result).iter().copied()).collect()
        };
        let [cmp, slc, swa] = &found.branches;
        let [lse_cmp, lse_slc, lse_swa] = &found.lse;
        for (name, found, expected) in [
            ("o_cmp", cmp, join(|result| &result.o_cmp)),
            ("lse_cmp", lse_cmp, join(|result| &result.lse_cmp)),
            ("o_swa", swa, join(|result| &result.o_swa)),
            ("lse_swa", lse_swa, join(|result| &result.lse_swa)),
            ("o_slc", slc, join(|result| &result.o_slc)),
            ("lse_slc", lse_slc, join(|result| &result.lse_slc)),
            ("out", &found.out, join(|result| &result.out)),
        ] {
            assert_close(&format!("{what}: {name}"), found, &expected, TOLERANCE);
        }
    }

    /// Lists equal those of the twin where its margin is wide; otherwise no block that is left out may score visibly more than
    /// one that is taken.
    #[track_caller]
    pub fn compare_lists(
        &self,
        sequence: (usize, usize),
        rows: &[usize],
        lists: &[i32],
        expected: &NativeSparseResult,
        what: &str,
    ) {
        let (tolerance, blocks) =
            (score_tolerance(self.group()), self.options().selection_blocks(sequence.1));
        for (list, found) in lists.chunks_exact(self.config.top_n).enumerate() {
            let wanted = &expected.selection.blocks[list * self.config.top_n..][..self.config.top_n];
            if found == wanted {
                continue;
            }
            let (row, kv_head) = (rows[list / self.kv_heads], list % self.kv_heads);
            let what = format!(
                "{what}: blocks of row {row}, kv head {kv_head}: found {found:?}, expected {wanted:?}"
            );
            let margin = expected.selection.margin[list];
            assert!(margin <= tolerance, "{what}, whose margin is {margin}");
            let filled = found.iter().take_while(|block| **block != NO_BLOCK).count();
            let ascending = found[..filled].windows(2).all(|pair| pair[0] < pair[1]);
            assert!(ascending && found[filled..].iter().all(|block| *block == NO_BLOCK), "{what}");
            assert_eq!(filled, wanted.iter().filter(|block| **block != NO_BLOCK).count(), "{what}");
            let own = self.options().position(&self.shape(sequence), row) / self.config.sel_block as i64;
            let score = |block: i64| {
                let forced = own - block < self.config.n_local as i64 || block < self.config.n_init as i64;
                if forced { f64::INFINITY } else { expected.importance[list * blocks + block as usize] }
            };
            let taken = |block: &i64| found.contains(&(*block as i32));
            let (taken, left): (Vec<i64>, Vec<i64>) =
                (0..blocks.min(own as usize + 1) as i64).partition(taken);
            assert_eq!(taken.len(), filled, "{what}: a block after the query");
            let least = taken.into_iter().map(score).fold(f64::INFINITY, f64::min);
            let most = left.into_iter().map(score).fold(f64::NEG_INFINITY, f64::max);
            assert!(least >= most - tolerance, "{what}: takes a score of {least}, leaves {most}");
        }
    }
}

impl Found {
    pub fn read(outputs: &NativeSparseOutput) -> Self {
        let lse = |tensor: &Tensor| {
            let mut lse = read(tensor);
            lse_to_host(&mut lse);
            lse
        };
        let words = pollster::block_on(outputs.blocks.read::<u32>(gpu())).unwrap();
        Self {
            out: read(&outputs.out),
            branches: [&outputs.o_cmp, &outputs.o_slc, &outputs.o_swa].map(read),
            lse: [&outputs.lse_cmp, &outputs.lse_slc, &outputs.lse_swa].map(lse),
            blocks: words.into_iter().map(|block| block as i32).collect(),
        }
    }
}
