//! What must hold whatever the numbers: limits where a branch is dense attention, symmetries, and causality to the bit.

use crate::common::{Random, assert_close, doubles, gpu, read, upload, variants};
use crate::sparse_case::{Case, Data, Found, Layout, TOLERANCE, small_blocks};
use gristmill::kernels::attention::{Attention, AttentionConfig, AttentionInputs, lse_to_host};
use gristmill::kernels::native_sparse::NativeSparseConfig;
use gristmill::{Schedule, VariantKind, no_progress};

/// Compressed, selected, window.
const ONLY: [[f32; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// Our own dense causal attention of the first sequence's rows: out and lse.
fn dense(case: &Case, data: &Data, kind: VariantKind) -> [Vec<f64>; 2] {
    let (query_tokens, tokens) = case.sequences[0];
    let q = upload("q", &[1, query_tokens, case.query_heads, case.head_dim], &data.q);
    let [k, v] = &data.kv[0];
    let k = upload("k", &[1, tokens, case.kv_heads, case.head_dim], k);
    let v = upload("v", &[1, tokens, case.kv_heads, case.value_dim], v);
    let mut schedule = Schedule::new(gpu());
    let config = AttentionConfig { causal: true, variant: Some(kind), ..Default::default() };
    let inputs = AttentionInputs::new(&q, &k, &v);
    let found = Attention::new(gpu(), config).unwrap().record(&mut schedule, inputs).unwrap();
    pollster::block_on(schedule.compile().unwrap().run(no_progress)).unwrap();
    let mut lse = read(&found.lse);
    lse_to_host(&mut lse);
    [doubles(&read(&found.out)), doubles(&lse)]
}

fn with(config: NativeSparseConfig) -> Case {
    Case { config, ..Case::default() }
}

/// The rows of queries in a tensor of one sequence.
fn rows<T: Clone>(tensor: &[T], query_tokens: usize, range: std::ops::Range<usize>) -> Vec<T> {
    let width = tensor.len() / query_tokens;
    tensor[range.start * width..range.end * width].to_vec()
}

/// Rows of `width` elements picked by index.
fn pick<T: Copy>(values: &[T], width: usize, rows: &[usize]) -> Vec<T> {
    rows.iter().flat_map(|row| values[row * width..][..width].to_vec()).collect()
}

#[track_caller]
fn assert_dense(case: Case, gates: [f32; 3]) {
    let mut data = case.data();
    data.set_gates(gates);
    for kind in variants() {
        let expected = dense(&case, &data, kind);
        assert_close(&format!("{case:?} by {kind}"), &case.run(&data, kind).out, &expected[0], TOLERANCE);
    }
}

#[test]
fn equals_dense_when_all_blocks_are_selected() {
    assert_dense(with(NativeSparseConfig { top_n: 6, ..small_blocks() }), ONLY[1]);
    assert_dense(with(NativeSparseConfig { top_n: 40, n_init: 9, n_local: 9, ..small_blocks() }), ONLY[1]);
}

#[test]
fn equals_dense_when_the_window_reaches_the_start() {
    for window in [93, 1000, usize::MAX] {
        assert_dense(with(NativeSparseConfig { window, ..small_blocks() }), ONLY[2]);
    }
}

#[test]
fn equals_dense_when_every_block_is_one_token() {
    assert_dense(with(NativeSparseConfig { cmp_block: 1, cmp_stride: 1, ..small_blocks() }), ONLY[0]);
}

#[test]
fn closed_gates_give_zero_and_the_output_is_linear_in_them() {
    let case = Case::default();
    let data = case.data();
    let gated = |gates: &[f32]| Data { gates: gates.to_vec(), ..data.clone() };
    let mut random = Random::new(8);
    let (a, b) = (random.normal(data.gates.len(), 1.0), random.normal(data.gates.len(), 1.0));
    let mixed: Vec<f32> = a.iter().zip(&b).map(|(a, b)| 2.0 * a - 0.5 * b).collect();
    for kind in variants() {
        let closed = case.run(&gated(&vec![0.0; a.len()]), kind);
        assert!(closed.out.iter().all(|value| *value == 0.0), "{kind}");
        let [a, b, mixed] = [&a, &b, &mixed].map(|gates| case.run(&gated(gates), kind).out);
        let expected: Vec<f64> = a.iter().zip(&b).map(|(a, b)| 2.0 * *a as f64 - 0.5 * *b as f64).collect();
        assert_close(&format!("{case:?} by {kind}"), &mixed, &expected, 2e-5);
    }
}

/// t < n l' for the selected branch, t < w for the window.
#[test]
fn rows_that_a_branch_sees_all_of_are_dense_rows() {
    let case = with(NativeSparseConfig { window: 20, ..small_blocks() });
    let data = case.data();
    for kind in variants() {
        let (found, [out, lse]) = (case.run(&data, kind), dense(&case, &data, kind));
        for (branch, seen) in [(1, 48), (2, 20)] {
            let what = format!("{case:?} by {kind}: branch {branch}");
            let part = |tensor: &[f32]| rows(tensor, 93, 0..seen);
            assert_close(&what, &part(&found.branches[branch]), &rows(&out, 93, 0..seen), TOLERANCE);
            assert_close(&what, &part(&found.lse[branch]), &rows(&lse, 93, 0..seen), TOLERANCE);
            let rest = rows(&found.lse[branch], 93, seen..93);
            let (rest, all) = (doubles(&rest), rows(&lse, 93, seen..93));
            assert!(rest.iter().zip(all).all(|(some, all)| *some < all), "{what}: later rows see less");
        }
    }
}

#[test]
fn the_compressed_branch_begins_with_the_first_complete_block() {
    let case = Case::default();
    let data = case.data();
    for kind in variants() {
        let found = case.run(&data, kind);
        let [o_cmp, ..] = &found.branches;
        let [lse_cmp, ..] = &found.lse;
        assert!(rows(o_cmp, 93, 0..7).iter().all(|value| *value == 0.0), "{kind}");
        assert!(rows(lse_cmp, 93, 0..7).iter().all(|lse| *lse == f32::NEG_INFINITY), "{kind}");
        assert!(rows(lse_cmp, 93, 7..93).iter().all(|lse| lse.is_finite()), "{kind}");
        // Row 7 sees block 0 alone: the mean of its values.
        let [_, v] = &data.kv[0];
        let mean = |head: usize, e: usize| (0..8).map(|m| v[(m * 2 + head / 2) * 16 + e] as f64 / 8.0).sum();
        let expected: Vec<f64> = (0..64).map(|i| mean(i / 16, i % 16)).collect();
        assert_close(&format!("{case:?} by {kind}"), &rows(o_cmp, 93, 7..8), &expected, 2e-6);
    }
}

#[test]
fn later_tokens_change_nothing_before_them() {
    let case = Case::default();
    let data = case.data();
    let mut changed = data.clone();
    let mut random = Random::new(5);
    for kept in [93 - 16, 55, 31] {
        for tensor in &mut changed.kv[0] {
            let later = kept * 32;
            let noise = random.normal(tensor.len() - later, 5.0);
            tensor[later..].copy_from_slice(&noise);
        }
        for kind in variants() {
            let (before, after) = (case.run(&data, kind), case.run(&changed, kind));
            let what = format!("{case:?} by {kind}: tokens from {kept} changed");
            assert!(rows(&before.out, 93, 0..kept) == rows(&after.out, 93, 0..kept), "{what}");
            assert_eq!(rows(&before.blocks, 93, 0..kept), rows(&after.blocks, 93, 0..kept), "{what}");
            assert!(before.out != after.out, "{what}");
        }
    }
}

#[test]
fn sequences_do_not_see_each_other() {
    let case = Case { sequences: vec![(67, 67); 3], ..Case::default() };
    let data = case.data();
    let mut broken = data.clone();
    let third = |tensor: &[f32], b: usize| b * tensor.len() / 3..(b + 1) * tensor.len() / 3;
    let middle = third(broken.k(), 1);
    broken.k()[middle].fill(f32::NAN);
    let alone = Case { sequences: vec![(67, 67)], ..case.clone() };
    for kind in variants() {
        let (before, after) = (case.run(&data, kind), case.run(&broken, kind));
        for b in [0, 2] {
            let part = third(&data.q, b);
            let [k, v] = &data.kv[0];
            let one = Data {
                q: data.q[part].to_vec(),
                kv: vec![[k[third(k, b)].to_vec(), v[third(v, b)].to_vec()]],
                gates: data.gates[third(&data.gates, b)].to_vec(),
                ..data.clone()
            };
            let (one, what) = (alone.run(&one, kind), format!("{case:?} by {kind}: sequence {b}"));
            let part = third(&before.out, b);
            assert!(before.out[part.clone()] == after.out[part.clone()], "{what}");
            assert_close(&what, &one.out, &doubles(&before.out[part]), TOLERANCE);
            let lists = b * before.blocks.len() / 3..(b + 1) * before.blocks.len() / 3;
            assert_eq!(one.blocks, before.blocks[lists], "{what}");
        }
    }
}

/// Logits of a row all move by one number, and their mean with them.
#[test]
fn one_vector_added_to_all_keys_changes_nothing() {
    let case = Case::default();
    let data = case.data();
    let mut shifted = data.clone();
    let shift = Random::new(6).normal(32, 1.0);
    shifted.k().iter_mut().enumerate().for_each(|(i, k)| *k += shift[i % 32]);
    for kind in variants() {
        let (before, after) = (case.run(&data, kind), case.run(&shifted, kind));
        let what = format!("{case:?} by {kind}");
        // The twin of the shifted keys allows another choice between equals.
        case.compare(&shifted, &after, &what);
        let same: Vec<usize> =
            (0..93).filter(|&t| before.blocks[t * 6..][..6] == after.blocks[t * 6..][..6]).collect();
        assert!(same.len() >= 90, "{what}: {} rows select the same", same.len());
        let expected = doubles(&pick(&before.out, 64, &same));
        assert_close(&what, &pick(&after.out, 64, &same), &expected, 1e-4);
    }
}

/// Heads of query rows in another order.
fn permuted(data: &Data, heads: &[usize], kv_heads: &[usize]) -> Data {
    let order = |tensor: &[f32], heads: &[usize], width: usize| -> Vec<f32> {
        tensor.chunks_exact(heads.len() * width).flat_map(|token| pick(token, width, heads)).collect()
    };
    let [k, v] = &data.kv[0];
    Data {
        q: order(&data.q, heads, 16),
        kv: vec![[order(k, kv_heads, 16), order(v, kv_heads, 16)]],
        gates: order(&data.gates, heads, 3),
        ..data.clone()
    }
}

#[track_caller]
fn assert_permuted(heads: &[usize], kv_heads: &[usize]) {
    let case = Case { query_heads: 6, ..Case::default() };
    let data = case.data();
    for kind in variants() {
        let (before, after) = (case.run(&data, kind), case.run(&permuted(&data, heads, kv_heads), kind));
        let what = format!("{case:?} by {kind}: heads {heads:?}");
        let order = |tensor: &[f32], width: usize| -> Vec<f64> {
            tensor.chunks_exact(6 * width).flat_map(|token| doubles(&pick(token, width, heads))).collect()
        };
        let lists: Vec<i32> =
            before.blocks.chunks_exact(6).flat_map(|token| pick(token, 3, kv_heads)).collect();
        assert_eq!(after.blocks, lists, "{what}");
        assert_close(&what, &after.out, &order(&before.out, 16), TOLERANCE);
        assert_close(&what, &after.lse[1], &order(&before.lse[1], 1), TOLERANCE);
    }
}

#[test]
fn heads_of_a_group_are_all_alike() {
    assert_permuted(&[2, 0, 1, 3, 5, 4], &[0, 1]);
}

#[test]
fn groups_are_all_alike() {
    assert_permuted(&[3, 4, 5, 0, 1, 2], &[1, 0]);
}

#[test]
fn constant_values_come_back() {
    let case = Case::default();
    let mut data = case.data();
    let one = data.v()[..16].to_vec();
    *data.v() = one.repeat(2 * 93);
    let expected = doubles(&one.repeat(4 * 93));
    for kind in variants() {
        let found = case.run(&data, kind);
        for (branch, first) in [(0, 7), (1, 0), (2, 0)] {
            let what = format!("{case:?} by {kind}: branch {branch}");
            let part = rows(&found.branches[branch], 93, first..93);
            assert_close(&what, &part, &rows(&expected, 93, first..93), 4e-6);
        }
    }
}

/// Two sets of blocks that together are all: their outputs, weighed by exp(lse), are dense attention.
#[test]
fn disjoint_sets_of_blocks_merge_by_their_lse() {
    let case = Case::of(40, 93);
    let [mut even, mut odd] = [(); 2].map(|()| case.data());
    even.blocks = Some((3, [0, 2, 4].repeat(80)));
    odd.blocks = Some((3, [1, 3, 5].repeat(80)));
    for kind in variants() {
        let (even, odd, [out, lse]) =
            (case.run(&even, kind), case.run(&odd, kind), dense(&case, &even, kind));
        let (mut merged, mut sums) = (Vec::new(), Vec::new());
        for row in 0..160 {
            let [a, b] = [&even, &odd].map(|found| found.lse[1][row] as f64);
            let sum = a.max(b) + (-(a - b).abs()).exp().ln_1p();
            sums.push(sum as f32);
            for i in row * 16..(row + 1) * 16 {
                let [x, y] = [&even, &odd].map(|found| found.branches[1][i] as f64);
                merged.push(((a - sum).exp() * x + (b - sum).exp() * y) as f32);
            }
        }
        assert_close(&format!("{case:?} by {kind}: out"), &merged, &out, TOLERANCE);
        assert_close(&format!("{case:?} by {kind}: lse"), &sums, &lse, TOLERANCE);
    }
}

/// The selected branch of lists that are given: any order, empty slots anywhere, a block listed twice counts twice.
#[test]
fn the_order_of_a_list_does_not_matter() {
    let case = Case::of(40, 93);
    let with = |lists: &[i32]| {
        let count = lists.len() / 80;
        Data { blocks: Some((count, lists.to_vec())), ..case.data() }
    };
    let sorted = with(&[0, 2, 3, 4, -1].repeat(80));
    for list in [[4, 0, 3, 2, -1], [-1, 2, 3, 4, 0], [3, -1, 4, 2, 0]] {
        let shuffled = with(&list.repeat(80));
        for kind in variants() {
            let (found, expected) = (case.run(&shuffled, kind), case.run(&sorted, kind));
            let what = format!("{case:?} by {kind}: {list:?}");
            assert_close(&what, &found.out, &doubles(&expected.out), 4e-6);
        }
    }
    let twice = with(&[2, 0, 2, 5].repeat(80));
    let none = with(&[-1, -1].repeat(80));
    for kind in variants() {
        case.compare(&twice, &case.run(&twice, kind), &format!("{case:?} by {kind}: a block twice"));
        let found = case.run(&none, kind);
        assert!(found.branches[1].iter().all(|value| *value == 0.0), "{kind}: no block");
        assert!(found.lse[1].iter().all(|lse| *lse == f32::NEG_INFINITY), "{kind}: no block");
    }
}

/// Any prefix of a sequence gives the prefix of its rows, around the edges of blocks too.
#[test]
fn prefixes_and_chunks_are_rows_of_the_whole() {
    let whole = Case::default();
    let data = whole.data();
    let part = |first: usize, end: usize| Data {
        q: rows(&data.q, 93, first..end),
        kv: vec![data.kv[0].each_ref().map(|tensor| rows(tensor, 93, 0..end))],
        gates: rows(&data.gates, 93, first..end),
        ..data.clone()
    };
    for kind in variants() {
        let all = whole.run(&data, kind);
        let compare = |found: &Found, range: std::ops::Range<usize>| {
            let what = format!("{whole:?} by {kind}: rows {range:?}");
            assert_eq!(found.blocks, rows(&all.blocks, 93, range.clone()), "{what}");
            assert_close(&what, &found.out, &doubles(&rows(&all.out, 93, range)), TOLERANCE);
        };
        for tokens in [1, 3, 7, 8, 9, 15, 16, 17, 92] {
            compare(&Case::of(tokens, tokens).run(&part(0, tokens), kind), 0..tokens);
        }
        // Chunks of a prefill whose keys grow, and rows over all keys at their offset.
        for range in [0..30, 30..31, 31..64, 64..93] {
            let chunk = Case::of(range.len(), range.end);
            compare(&chunk.run(&part(range.start, range.end), kind), range.clone());
            let q_offset = Some(range.start as i64);
            let chunk = Case {
                config: NativeSparseConfig { q_offset, ..small_blocks() },
                ..Case::of(range.len(), 93)
            };
            let queries = part(range.start, range.end);
            compare(&chunk.run(&Data { kv: data.kv.clone(), ..queries }, kind), range);
        }
    }
}

#[test]
fn unused_slots_of_a_cache_may_hold_anything() {
    for beyond in [1e30, f32::NAN] {
        for query_tokens in [1, 3] {
            let case = Case {
                sequences: [3, 8, 16, 47, 90].map(|tokens| (query_tokens, tokens)).to_vec(),
                layout: Layout::Cache(96, beyond),
                ..Case::default()
            };
            case.check();
        }
    }
}
