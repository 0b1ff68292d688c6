//! Attention to listed blocks on its own, against its twin, in every build.

mod common;

use common::{Random, assert_close, doubles, gpu, read, round_to_half, upload, upload_floats, variants};
use gristmill::kernels::attention::{AttentionInputs, PackedSequences, lse_to_host};
use gristmill::kernels::native_sparse::{EMPTY_SLOT, SelectedAttention, SelectedConfig};
use gristmill::twins::attention::AttentionShape;
use gristmill::twins::native_sparse::{NativeSparseOptions, selected_attention_rows};
use gristmill::{Dtype, Schedule, Tensor, VariantKind, no_progress};

/// What the lists hold.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lists {
    /// Different blocks up to the query's own, in any order, some slots empty.
    Shuffled,
    /// Any blocks: twice, behind the query, past the sequence.
    Wild,
    /// Nothing.
    Empty,
}

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    query_tokens: usize,
    tokens: usize,
    kv_heads: usize,
    group: usize,
    dims: [usize; 2],
    sel_block: usize,
    slots: usize,
    q_offset: Option<i64>,
    lists: Lists,
    /// Room for more tokens behind these, whose number is on the GPU.
    spare: Option<usize>,
    dtype: Dtype,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            batch: 1,
            query_tokens: 70,
            tokens: 70,
            kv_heads: 1,
            group: 16,
            dims: [20, 12],
            sel_block: 16,
            slots: 4,
            q_offset: None,
            lists: Lists::Shuffled,
            spare: None,
            dtype: Dtype::F32,
        }
    }
}

impl Case {
    fn shape(&self) -> AttentionShape {
        AttentionShape {
            batch: self.batch,
            query_tokens: self.query_tokens,
            tokens: self.tokens,
            query_heads: self.kv_heads * self.group,
            kv_heads: self.kv_heads,
            head_dim: self.dims[0],
            value_dim: self.dims[1],
        }
    }

    fn options(&self) -> NativeSparseOptions {
        NativeSparseOptions { sel_block: self.sel_block, q_offset: self.q_offset, ..Default::default() }
    }

    fn random_lists(&self, random: &mut Random) -> Vec<i32> {
        let mut lists = Vec::new();
        let all = self.tokens.div_ceil(self.sel_block);
        for _ in 0..self.batch {
            for row in 0..self.query_tokens {
                let position = self.options().position(&self.shape(), row).max(0) as usize;
                for _ in 0..self.kv_heads {
                    let mut list: Vec<i32> = match self.lists {
                        Lists::Shuffled => {
                            let own = (position / self.sel_block).min(all - 1);
                            let mut blocks: Vec<usize> = (0..=own).collect();
                            let count = blocks.len().min(self.slots);
                            let take = |_| blocks.swap_remove(random.below(blocks.len())) as i32;
                            (0..count).map(take).collect()
                        }
                        Lists::Wild => (0..self.slots).map(|_| random.below(all + 3) as i32 - 1).collect(),
                        Lists::Empty => Vec::new(),
                    };
                    list.resize(self.slots, -1);
                    if self.lists == Lists::Shuffled {
                        let (a, b) = (random.below(self.slots), random.below(self.slots));
                        list.swap(a, b);
                    }
                    lists.extend(list);
                }
            }
        }
        lists
    }

    /// Runs one plan three times over results full of NaN: all must have the same bits, and the twin's values.
    fn check(&self, kind: VariantKind, seed: u64) {
        let &Case { batch, query_tokens, tokens, kv_heads, group, dims, .. } = self;
        let mut random = Random::new(seed);
        let capacity = tokens + self.spare.unwrap_or(0);
        let heads = kv_heads * group;
        let round = |values: Vec<f32>| -> Vec<f32> {
            if self.dtype == Dtype::F16 { round_to_half(&values) } else { values }
        };
        let q = round(random.normal(batch * query_tokens * heads * dims[0], 1.0));
        // Rows past the length are huge.
        let cached = |random: &mut Random, dim: usize| {
            let most = if self.dtype == Dtype::F16 { 6e4 } else { 1e30 };
            let mut data = vec![most; batch * capacity * kv_heads * dim];
            let mut twin = Vec::new();
            for sequence in data.chunks_exact_mut(capacity * kv_heads * dim) {
                let rows = round(random.normal(tokens * kv_heads * dim, 1.0));
                sequence[..rows.len()].copy_from_slice(&rows);
                twin.extend(doubles(&rows));
            }
            (data, twin)
        };
        let (key, twin_key) = cached(&mut random, dims[0]);
        let (value, twin_value) = cached(&mut random, dims[1]);
        let lists = self.random_lists(&mut random);

        let half = self.dtype == Dtype::F16;
        let query = upload_floats("q", &[batch, query_tokens, heads, dims[0]], &q, half);
        let key = upload_floats("k", &[batch, capacity, kv_heads, dims[0]], &key, half);
        let value = upload_floats("v", &[batch, capacity, kv_heads, dims[1]], &value, half);
        let words: Vec<u32> = lists.iter().map(|block| *block as u32).collect();
        let blocks =
            Tensor::upload(gpu(), "idx", &[batch, query_tokens, kv_heads, self.slots], &words).unwrap();
        let lengths = Tensor::upload(gpu(), "lengths", &[batch], &vec![tokens as u32; batch]).unwrap();
        let inputs = AttentionInputs {
            lengths: self.spare.map(|_| &lengths),
            ..AttentionInputs::new(&query, &key, &value)
        };
        let config = SelectedConfig {
            sel_block: self.sel_block,
            q_offset: self.q_offset,
            scale: None,
            variant: Some(kind),
        };
        let mut schedule = Schedule::new(gpu());
        let result =
            SelectedAttention::new(gpu(), config).unwrap().record(&mut schedule, inputs, &blocks).unwrap();
        let plan = schedule.compile().unwrap();
        let mut runs = (0..3).map(|_| {
            for tensor in [&result.out, &result.lse] {
                tensor.write(gpu(), &vec![f32::NAN; tensor.elements()]).unwrap();
            }
            pollster::block_on(plan.run(no_progress)).unwrap();
            (read(&result.out), read(&result.lse))
        });
        let (out, mut lse) = runs.next().unwrap();
        let what = format!("{kind:?} {self:?} seed {seed}");
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        for (again, lse_again) in runs {
            assert_eq!(bits(&out), bits(&again), "{what}: runs differ");
            assert_eq!(bits(&lse), bits(&lse_again), "{what}: runs differ");
        }
        lse_to_host(&mut lse);
        let rows: Vec<usize> = (0..query_tokens).collect();
        // A block past the sequence holds nothing.
        let all = tokens.div_ceil(self.sel_block) as i32;
        let twin_lists: Vec<i32> = lists.iter().map(|block| if *block < all { *block } else { -1 }).collect();
        let twin = selected_attention_rows(
            &doubles(&q),
            &twin_key,
            &twin_value,
            &twin_lists,
            &self.shape(),
            &self.options(),
            &rows,
        );
        assert_close(&format!("{what}: out"), &out, &twin.out, 2e-5);
        assert_close(&format!("{what}: lse"), &lse, &twin.lse, 2e-5);
    }
}

#[test]
fn every_build_equals_the_twin() {
    let cases = [
        Case::default(),
        Case { batch: 2, kv_heads: 2, group: 4, ..Default::default() },
        Case { kv_heads: 3, group: 1, query_tokens: 33, tokens: 71, ..Default::default() },
        Case { group: 3, kv_heads: 2, dims: [5, 3], sel_block: 7, ..Default::default() },
        Case { group: 7, sel_block: 1, slots: 9, ..Default::default() },
        Case { group: 20, sel_block: 37, slots: 1, ..Default::default() },
    ];
    for kind in variants() {
        for (seed, case) in cases.iter().enumerate() {
            case.check(kind, seed as u64);
        }
    }
}

#[test]
fn lists_may_hold_anything() {
    for kind in variants() {
        for group in [16, 7, 4] {
            for lists in [Lists::Wild, Lists::Empty] {
                Case { lists, group, slots: 6, ..Default::default() }.check(kind, 1);
            }
            Case { lists: Lists::Wild, group, q_offset: Some(-20), ..Default::default() }.check(kind, 2);
        }
        Case { sel_block: 1 << 20, slots: 3, lists: Lists::Wild, ..Default::default() }.check(kind, 3);
    }
}

#[test]
fn few_queries_share_the_work_on_long_lists() {
    for kind in variants() {
        for group in [16, 4] {
            let case = Case { query_tokens: 1, tokens: 1999, slots: 64, group, ..Default::default() };
            case.check(kind, 4);
            Case { batch: 2, query_tokens: 2, spare: Some(50), ..case }.check(kind, 5);
        }
    }
}

#[test]
fn wide_heads_equal_the_twin() {
    for kind in variants() {
        for dims in [[64, 64], [128, 128], [192, 128]] {
            Case { dims, query_tokens: 9, tokens: 150, sel_block: 64, slots: 2, ..Default::default() }
                .check(kind, 6);
        }
    }
}

#[test]
fn half_storage_equals_the_twin_on_rounded_inputs() {
    for kind in variants() {
        Case { dtype: Dtype::F16, spare: Some(9), ..Default::default() }.check(kind, 7);
        Case { dtype: Dtype::F16, dims: [5, 3], group: 3, kv_heads: 2, ..Default::default() }.check(kind, 8);
    }
}

#[test]
fn packed_sequences_equal_each_sequence_alone() {
    let (bounds, heads, dim) = ([0u32, 13, 13, 60, 101], 7, 20);
    let mut random = Random::new(9);
    let [q, k, v] = [heads, 1, 1].map(|heads| random.normal(101 * heads * dim, 1.0));
    let lists: Vec<u32> = (0..101 * 3).map(|_| random.below(8) as u32).collect();
    for kind in variants() {
        let config = SelectedConfig { sel_block: 8, q_offset: None, scale: None, variant: Some(kind) };
        let operator = SelectedAttention::new(gpu(), config).unwrap();
        let sequences = PackedSequences::new(gpu(), &bounds, &bounds).unwrap();
        let run = |from: usize, to: usize, packed: bool| {
            let shape = |heads: usize| match packed {
                true => vec![to - from, heads, dim],
                false => vec![1, to - from, heads, dim],
            };
            let part = |data: &[f32], heads: usize| {
                upload("part", &shape(heads), &data[from * heads * dim..to * heads * dim])
            };
            let (q, k, v) = (part(&q, heads), part(&k, 1), part(&v, 1));
            let list_shape = [&shape(1)[..shape(1).len() - 1], &[3]].concat();
            let blocks = Tensor::upload(gpu(), "idx", &list_shape, &lists[from * 3..to * 3]).unwrap();
            let inputs = AttentionInputs {
                sequences: packed.then_some(&sequences),
                ..AttentionInputs::new(&q, &k, &v)
            };
            let mut schedule = Schedule::new(gpu());
            let result = operator.record(&mut schedule, inputs, &blocks).unwrap();
            pollster::block_on(schedule.compile().unwrap().run(no_progress)).unwrap();
            read(&result.out)
        };
        let packed = run(0, 101, true);
        for pair in bounds.windows(2).filter(|pair| pair[0] < pair[1]) {
            let (from, to) = (pair[0] as usize, pair[1] as usize);
            assert_close(
                &format!("{kind:?} tokens {from}..{to}"),
                &packed[from * heads * dim..to * heads * dim],
                &doubles(&run(from, to, false)),
                1e-6,
            );
        }
    }
}

#[test]
fn bad_input_is_refused_by_name() {
    let operator = |sel_block| {
        SelectedAttention::new(
            gpu(),
            SelectedConfig { sel_block, q_offset: None, scale: None, variant: None },
        )
    };
    let error = operator(0).unwrap_err().to_string();
    assert_eq!(error, "native_sparse: `sel_block` = 0; expected 1 to 2^29 - 1");
    let x = upload("x", &[1, 4, 2, 4], &[0.0; 32]);
    let bias = upload("bias", &[1, 4], &[0.0; 4]);
    let blocks = |shape: &[usize]| {
        Tensor::upload(gpu(), "idx", shape, &vec![EMPTY_SLOT; shape.iter().product()]).unwrap()
    };
    let record = |inputs, blocks: &Tensor| {
        let mut schedule = Schedule::new(gpu());
        operator(4).unwrap().record(&mut schedule, inputs, blocks).unwrap_err().to_string()
    };
    assert_eq!(
        record(AttentionInputs::new(&x, &x, &x), &blocks(&[1, 4, 1, 3])),
        "native_sparse: tensor `idx` has shape [1, 4, 1, 3]; expected [1, 4, 2] and the number of blocks"
    );
    assert_eq!(
        record(
            AttentionInputs { key_bias: Some(&bias), ..AttentionInputs::new(&x, &x, &x) },
            &blocks(&[1, 4, 2, 3])
        ),
        "native_sparse: `key_bias` = given; expected none, as keys come from a list"
    );
    assert_eq!(
        record(AttentionInputs::new(&x, &x, &x), &bias),
        "native_sparse: tensor `idx` is f32; expected u32"
    );
}
