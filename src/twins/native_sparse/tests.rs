use super::super::attention::attention;
use super::super::{assert_close, noise};
use super::*;
use crate::kernels::linear_types::Activation;

const NONE: f64 = f64::NEG_INFINITY;

/// Blocks of 8 every 4 tokens, 3 of 16 selected.
const OPTIONS: NativeSparseOptions = NativeSparseOptions {
    cmp_block: 8,
    cmp_stride: 4,
    sel_block: 16,
    top_n: 3,
    window: 9,
    n_init: 1,
    n_local: 1,
    q_offset: None,
    scale: None,
};

const SHAPE: AttentionShape = AttentionShape {
    batch: 2,
    query_tokens: 75,
    tokens: 75,
    query_heads: 6,
    kv_heads: 2,
    head_dim: 5,
    value_dim: 3,
};

struct Data {
    query: Vec<f64>,
    key: Vec<f64>,
    value: Vec<f64>,
    gates: Vec<f64>,
}

impl Data {
    fn new(shape: &AttentionShape) -> Self {
        let queries = shape.batch * shape.query_tokens * shape.query_heads;
        let keys = shape.batch * shape.tokens * shape.kv_heads;
        Self {
            query: noise(1, queries * shape.head_dim).iter().map(|q| 3.0 * q).collect(),
            key: noise(2, keys * shape.head_dim),
            value: noise(3, keys * shape.value_dim),
            gates: gate_values(&noise(4, queries * 3)),
        }
    }

    /// One branch alone: 0 compressed, 1 selected, 2 window.
    fn only(mut self, branch: usize) -> Self {
        self.gates.iter_mut().enumerate().for_each(|(i, gate)| *gate = (i % 3 == branch) as u32 as f64);
        self
    }

    fn sources(&self) -> NativeSparseSources<'_> {
        NativeSparseSources::new(&self.query, &self.key, &self.value, &self.gates)
    }

    fn dense(&self, shape: &AttentionShape) -> AttentionResult {
        let q_offset = shape.tokens as i64 - shape.query_tokens as i64;
        let causal = AttentionMask { causal: true, q_offset, ..Default::default() };
        let scale = (shape.head_dim as f64).powf(-0.5);
        attention(&self.query, &self.key, &self.value, shape, &causal, None, scale)
    }
}

#[test]
fn a_block_is_visible_to_its_last_token() {
    let paper = NativeSparseOptions::default();
    for (position, blocks) in [(-5, 0), (0, 0), (30, 0), (31, 1), (46, 1), (47, 2), (63, 3), (1299, 80)] {
        assert_eq!(paper.visible_blocks(position), blocks, "position {position}");
    }
    for (tokens, complete, to_select) in [(0, 0, 0), (31, 0, 1), (32, 1, 1), (65, 3, 2), (1300, 80, 21)] {
        assert_eq!(paper.compressed_blocks(tokens), complete, "{tokens} tokens");
        assert_eq!(paper.selection_blocks(tokens), to_select, "{tokens} tokens");
    }
}

#[test]
fn blocks_are_pooled_by_hand() {
    let options = NativeSparseOptions { cmp_block: 2, cmp_stride: 1, ..OPTIONS };
    // Tokens (1, 10), (2, 20), (4, 40) of one head.
    let x = [1.0, 10.0, 2.0, 20.0, 4.0, 40.0];
    let pool = |pool, positions| compress(&x, &Phi { pool, positions }, 1, 2, &options);
    assert_close(&pool(Pool::Mean, None), &[1.5, 15.0, 3.0, 30.0], 1e-15);
    let shift = [1.0, 0.0, 0.0, 2.0];
    assert_close(&pool(Pool::Mean, Some(&shift)), &[2.0, 16.0, 3.5, 31.0], 1e-15);
    assert_close(&pool(Pool::Weighted(&[2.0, -1.0]), None), &[0.0, 0.0, 0.0, 0.0], 1e-15);
    assert_close(&pool(Pool::Weighted(&[0.0, 3.0]), Some(&shift)), &[6.0, 66.0, 12.0, 126.0], 1e-14);
    // Hidden 0: the second token minus the first one's first element, minus 5; hidden 1: the whole block's first elements.
    let mlp = |activation| CompressionMlp {
        w1: &[-1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0],
        b1: &[-20.0, 0.5],
        w2: &[1.0, 0.0, 10.0, 1.0],
        b2: &[0.25, 0.0],
        activation,
    };
    // Hidden before the activation: (20 - 1 - 20, 1 + 2 + 0.5), (40 - 2 - 20, 2 + 4 + 0.5).
    let relu = pool(Pool::Mlp(mlp(Activation::Relu)), None);
    assert_close(&relu, &[35.25, 3.5, 83.25, 6.5], 1e-13);
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let [a, b, c, d] = [-1.0, 3.5, 18.0, 6.5].map(silu);
    let found = pool(Pool::Mlp(mlp(Activation::Silu)), None);
    assert_close(&found, &[a + 10.0 * b + 0.25, b, c + 10.0 * d + 0.25, d], 1e-13);
    assert_eq!(pool(Pool::Given(&[9.0; 4]), None), [9.0; 4]);
}

#[test]
fn kv_heads_are_pooled_by_their_own_weights() {
    let options = NativeSparseOptions { cmp_block: 2, cmp_stride: 2, ..OPTIONS };
    // [tokens 5, heads 2, dim 1]: the last token is in no complete block.
    let x = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0, 5.0, 50.0];
    let phi = Phi { pool: Pool::Weighted(&[1.0, 0.0, 0.5, 2.0]), positions: None };
    assert_close(&compress(&x, &phi, 2, 1, &options), &[1.0, 45.0, 3.0, 95.0], 1e-13);
}

#[test]
fn importance_is_the_overlap_of_blocks() {
    // Tokens of compressed block c that stand in block j, counted one by one.
    for (cmp_block, cmp_stride, sel_block) in [(8, 4, 16), (32, 16, 64), (16, 4, 8), (4, 4, 4), (12, 2, 4)] {
        let options = NativeSparseOptions { cmp_block, cmp_stride, sel_block, ..OPTIONS };
        let tokens = 5 * sel_block + 3;
        let (compressed, blocks) = (options.compressed_blocks(tokens), options.selection_blocks(tokens));
        for c in 0..compressed {
            let mut weights = vec![0.0; compressed];
            weights[c] = 0.5;
            let found = block_importance(&weights, 1, 1, tokens, &options);
            let mut expected = vec![0.0; blocks];
            (c * cmp_stride..c * cmp_stride + cmp_block)
                .for_each(|token| expected[token / sel_block] += 0.5 / cmp_stride as f64);
            assert_close(&found, &expected, 1e-15);
        }
    }
}

#[test]
fn the_scores_of_a_head_sum_to_the_blocks_per_stride() {
    let data = Data::new(&SHAPE);
    let options = NativeSparseOptions { q_offset: Some(0), ..OPTIONS };
    let one = AttentionShape { batch: 1, ..SHAPE };
    let key = compress(&data.key[..data.key.len() / 2], &Phi::default(), 2, 5, &options);
    let value = compress(&data.value[..data.value.len() / 2], &Phi::default(), 2, 3, &options);
    let rows: Vec<usize> = (0..75).collect();
    let query = &data.query[..data.query.len() / 2];
    let result = compressed_attention_rows(query, &key, &value, &one, &options, &rows);
    let heads = block_importance(&result.weights, 75 * 6, 1, 75, &options);
    for (row, scores) in heads.chunks_exact(5).enumerate() {
        let expected = if row / 6 < 7 { 0.0 } else { 2.0 };
        assert_close(&[scores.iter().sum()], &[expected], 1e-13);
        assert_eq!(result.lse[row] == NONE, row / 6 < 7, "row {row}");
    }
    // A group's score is the sum of its heads'.
    let groups = block_importance(&result.weights, 75 * 2, 3, 75, &options);
    let summed: Vec<f64> =
        (0..groups.len()).map(|i| (0..3).map(|g| heads[(i / 5 * 3 + g) * 5 + i % 5]).sum()).collect();
    assert_close(&groups, &summed, 1e-14);
    // Blocks of one kind: the scores are the weights.
    let alike = NativeSparseOptions { cmp_stride: 8, sel_block: 8, ..options };
    let weights = noise(9, 4 * 9);
    let scores = block_importance(&weights, 4, 1, 75, &alike);
    for (weights, scores) in weights.chunks_exact(9).zip(scores.chunks_exact(10)) {
        assert_eq!((weights, 0.0), (&scores[..9], scores[9]));
    }
}

#[test]
fn blocks_are_taken_in_order() {
    let scores = [0.1, 0.5, 0.3, 0.5, 0.9, 0.2, 0.7];
    let select = |position, top_n, n_init, n_local| {
        let options = NativeSparseOptions { top_n, n_init, n_local, ..OPTIONS };
        select_blocks(&scores, &[position], 1, 110, &options)
    };
    // Own block 5, then 4, then 0, then 1 before 3: equal scores.
    let found = select(95, 4, 1, 2);
    assert_eq!((found.rank, found.blocks), (vec![5, 4, 0, 1], vec![0, 1, 4, 5]));
    assert_eq!(found.margin, [0.0]);
    let found = select(95, 6, 0, 1);
    assert_eq!(found.rank, [5, 4, 1, 3, 2, 0]);
    assert_eq!(found.margin, [f64::INFINITY]);
    let found = select(95, 3, 0, 1);
    assert_eq!((found.rank, found.blocks), (vec![5, 4, 1], vec![1, 4, 5]));
    assert_close(&found.margin, &[0.0], 0.0);
    let found = select(80, 2, 0, 1);
    assert_eq!(found.rank, [5, 4]);
    assert_close(&found.margin, &[0.4], 1e-15);
    // The list is cut in the same order; blocks after the query and repeated ones are none.
    assert_eq!(select(95, 1, 3, 2).rank, [5]);
    assert_eq!(select(95, 2, 3, 2).rank, [5, 4]);
    assert_eq!(select(95, 4, 9, 9).rank, [5, 4, 3, 2]);
    assert_eq!(select(31, 4, 2, 3).rank, [1, 0, NO_BLOCK, NO_BLOCK]);
    assert_eq!(select(0, 2, 1, 2).rank, [0, NO_BLOCK]);
    assert_eq!(select(-1, 2, 1, 2).rank, [NO_BLOCK, NO_BLOCK]);
    // Past the end there is no own block.
    assert_eq!(select(16 * 7, 2, 0, 2).rank, [6, 4]);
    // No more than there are.
    let found = select(109, 9, 0, 0);
    assert_eq!(found.rank, [4, 6, 1, 3, 2, 5, 0, NO_BLOCK, NO_BLOCK]);
    assert_eq!(found.blocks, [0, 1, 2, 3, 4, 5, 6, NO_BLOCK, NO_BLOCK]);
}

#[test]
fn a_block_listed_twice_counts_twice() {
    let shape = AttentionShape {
        batch: 1,
        query_tokens: 1,
        tokens: 4,
        query_heads: 1,
        kv_heads: 1,
        head_dim: 1,
        value_dim: 1,
    };
    let options = NativeSparseOptions { sel_block: 2, q_offset: Some(2), ..OPTIONS };
    let (key, value) = ([0.0, 2f64.ln(), 0.0, 7.0], [1.0, 2.0, 4.0, 1000.0]);
    let selected =
        |blocks: &[i32]| selected_attention_rows(&[1.0], &key, &value, blocks, &shape, &options, &[0]);
    // Weights 1, 2 of block 0, 1 of block 1, whose second token is in the future.
    let once = selected(&[1, 0, NO_BLOCK]);
    assert_close(&once.out, &[(1.0 + 4.0 + 4.0) / 4.0], 1e-14);
    assert_close(&once.lse, &[4f64.ln()], 1e-14);
    let twice = selected(&[0, 1, 0]);
    assert_close(&twice.out, &[(2.0 + 8.0 + 4.0) / 7.0], 1e-14);
    assert_close(&twice.lse, &[7f64.ln()], 1e-14);
    let none = selected(&[NO_BLOCK, NO_BLOCK]);
    assert_eq!((none.out[0], none.lse[0]), (0.0, NONE));
}

#[test]
fn each_branch_alone_can_be_dense_attention() {
    let dense = Data::new(&SHAPE).dense(&SHAPE).out;
    let branch = |branch, options| native_sparse(&Data::new(&SHAPE).only(branch).sources(), &SHAPE, &options);
    assert_close(
        &branch(0, NativeSparseOptions { cmp_block: 1, cmp_stride: 1, ..OPTIONS }).out,
        &dense,
        1e-13,
    );
    assert_close(&branch(1, NativeSparseOptions { top_n: 5, ..OPTIONS }).out, &dense, 1e-13);
    assert_close(&branch(2, NativeSparseOptions { window: 75, ..OPTIONS }).out, &dense, 1e-13);
    let off = branch(2, NativeSparseOptions { window: 0, ..OPTIONS });
    assert!(off.out.iter().all(|out| *out == 0.0) && off.lse_swa.iter().all(|lse| *lse == NONE));
}

#[test]
fn rows_chunks_and_the_whole_agree() {
    let data = Data::new(&SHAPE);
    let whole = native_sparse(&data.sources(), &SHAPE, &OPTIONS);
    let rows = [74, 3, 40];
    let some = native_sparse_rows(&data.sources(), &SHAPE, &OPTIONS, &rows);
    let pick = |tensor: &[f64], width: usize| -> Vec<f64> {
        let all = (0..2).flat_map(|b| rows.map(|row| b * 75 + row));
        all.flat_map(|row| tensor[row * width..][..width].to_vec()).collect()
    };
    assert_eq!(some.out, pick(&whole.out, 18));
    assert_eq!(some.lse_cmp, pick(&whole.lse_cmp, 6));
    assert_eq!(some.importance, pick(&whole.importance, 10));
    assert_eq!(some.selection.margin, pick(&whole.selection.margin, 2));
    assert_eq!((some.cmp_key, some.cmp_value), (whole.cmp_key.clone(), whole.cmp_value.clone()));
    // The blocks it chose, given.
    let given = NativeSparseSources { blocks: Some(&whole.blocks), ..data.sources() };
    assert_eq!(native_sparse_rows(&given, &SHAPE, &OPTIONS, &rows).out, some.out);
    let given = native_sparse(&given, &SHAPE, &OPTIONS);
    assert_eq!((&given.out, &given.blocks), (&whole.out, &whole.blocks));
    // What it pooled, given.
    let given = |tensor| Phi { pool: Pool::Given(tensor), positions: None };
    let (phi_key, phi_value) = (given(&whole.cmp_key), given(&whole.cmp_value));
    let pooled = NativeSparseSources { phi_key, phi_value, ..data.sources() };
    assert_eq!(native_sparse(&pooled, &SHAPE, &OPTIONS), whole);
}

#[test]
fn the_future_does_not_matter() {
    let shape = AttentionShape { batch: 1, query_tokens: 40, ..SHAPE };
    let mut data = Data::new(&AttentionShape { tokens: 75, ..shape });
    let options = NativeSparseOptions { q_offset: Some(0), ..OPTIONS };
    let before = native_sparse(&data.sources(), &shape, &options);
    data.key[40 * 10..].fill(f64::NAN);
    data.value[40 * 6..].fill(f64::NAN);
    let after = native_sparse(&data.sources(), &shape, &options);
    assert_eq!((before.out, before.blocks), (after.out, after.blocks));
}

#[test]
fn branches_may_have_their_own_keys() {
    let (data, other) = (Data::new(&SHAPE), Data::new(&SHAPE));
    let key: Vec<f64> = other.key.iter().rev().copied().collect();
    let value: Vec<f64> = other.value.iter().rev().copied().collect();
    let swapped = NativeSparseSources { key: &key, value: &value, ..data.sources() };
    let (plain, swapped) =
        (native_sparse(&data.sources(), &SHAPE, &OPTIONS), native_sparse(&swapped, &SHAPE, &OPTIONS));
    let own = NativeSparseSources { compressed: Some((&key, &value)), ..data.sources() };
    let own = native_sparse(&own, &SHAPE, &OPTIONS);
    assert_eq!((&own.o_cmp, &own.blocks), (&swapped.o_cmp, &swapped.blocks));
    assert_eq!(own.o_swa, plain.o_swa);
    let own = NativeSparseSources { window: Some((&key, &value)), ..data.sources() };
    let own = native_sparse(&own, &SHAPE, &OPTIONS);
    assert_eq!(own.o_swa, swapped.o_swa);
    assert_eq!((own.o_cmp, own.o_slc), (plain.o_cmp, plain.o_slc));
}

#[test]
fn gates_by_hand() {
    assert_close(&gate_values(&[0.0, 3f64.ln(), -(3f64.ln())]), &[0.5, 0.75, 0.25], 1e-15);
    // One head, one row of two inputs: logits (1, 2, 3), with the bias (1, 1, -3).
    let weight = [1.0, 0.0, 1.0, 0.0, 1.0, 1.0];
    let network = GateNetwork { hidden: None, weight: &weight, bias: None, temperature: 1.0 };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    assert_close(&network.gates(&[1.0, 2.0], 2), &[1.0, 2.0, 3.0].map(sigmoid), 1e-15);
    let network = GateNetwork { bias: Some(&[0.0, -1.0, -6.0]), temperature: 0.3, ..network };
    assert_close(&network.gates(&[1.0, 2.0], 2), &[1.0 / 0.3, 1.0 / 0.3, -10.0].map(sigmoid), 1e-15);
    // A hidden layer of one: GELU(1) = Φ(1).
    let hidden = Some((&[1.0, -0.5][..], &[1.0][..]));
    let network = GateNetwork { hidden, weight: &[1.0, 2.0, 0.0], bias: None, temperature: 1.0 };
    let gelu = 0.841_344_746_068_542_9;
    assert_close(&network.gates(&[1.0, 2.0], 2), &[gelu, 2.0 * gelu, 0.0].map(sigmoid), 1e-14);

    let out = gated_sum(&[0.5, 2.0, 1.0], [&[2.0, 4.0], &[1.0, 10.0], &[3.0, -1.0]], 2);
    assert_close(&out, &[6.0, 21.0], 1e-15);
}
