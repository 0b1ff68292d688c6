//! Which blocks a query reads.

use crate::common::{Random, gpu, variants};
use crate::sparse_case::{Case, Data, small_blocks};
use gristmill::kernels::native_sparse::{NativeSparseAttention, NativeSparseConfig};
use gristmill::twins::native_sparse::NO_BLOCK;

#[test]
fn lists_hold_as_many_blocks_as_there_are_each_once_and_none_of_the_future() {
    for (top_n, n_init, n_local) in [(3, 1, 1), (3, 1, 2), (2, 3, 2), (1, 0, 1), (5, 0, 0), (9, 2, 1)] {
        let config = NativeSparseConfig { top_n, n_init, n_local, ..small_blocks() };
        let case = Case { config, ..Case::default() };
        let data = case.data();
        for kind in variants() {
            let found = case.run(&data, kind);
            for (list, blocks) in found.blocks.chunks_exact(top_n).enumerate() {
                let own = (list / 2 / 16) as i32;
                let what = format!("{case:?} by {kind}: {blocks:?} at position {}", list / 2);
                let count = top_n.min(own as usize + 1);
                assert!(blocks[..count].windows(2).all(|pair| pair[0] < pair[1]), "{what}: not ascending");
                assert!(
                    blocks[..count].iter().all(|block| (0..=own).contains(block)),
                    "{what}: no such block"
                );
                assert!(blocks[count..].iter().all(|block| *block == NO_BLOCK), "{what}: too many");
                // In the order in which a short list is cut.
                let local = (0..n_local as i32).map(|r| own - r).filter(|block| *block >= 0);
                let forced = local.chain((0..n_init as i32).filter(|block| *block <= own));
                let mut seen = Vec::new();
                for block in forced {
                    if !seen.contains(&block) && seen.len() < top_n {
                        seen.push(block);
                    }
                }
                assert!(seen.iter().all(|block| blocks.contains(block)), "{what}: {seen:?} are forced");
            }
        }
    }
}

/// Where all blocks weigh the same, the smaller number counts.
#[test]
fn ties_go_to_the_smaller_block() {
    let config = NativeSparseConfig { n_init: 0, ..small_blocks() };
    let case = Case { config, ..Case::default() };
    let mut data = case.data();
    data.k().fill(0.0);
    for kind in variants() {
        let found = case.run(&data, kind);
        case.compare(&data, &found, &format!("{case:?} by {kind}"));
        for (list, blocks) in found.blocks.chunks_exact(3).enumerate().skip(2 * 64) {
            // Block 0 shares fewer tokens with compressed blocks than the next ones, which are all alike.
            let own = (list / 2 / 16) as i32;
            assert_eq!(blocks, [1, 2, own], "by {kind} at position {}", list / 2);
        }
    }
}

/// With blocks of one kind and one head, the score of a block is its weight, so that its logit decides.
#[test]
fn blocks_of_one_kind_are_ranked_by_their_logits() {
    let config = NativeSparseConfig { cmp_block: 16, cmp_stride: 16, n_init: 0, ..small_blocks() };
    let case = Case { query_heads: 2, config, ..Case::default() };
    let data = case.data();
    let [k, _] = &data.kv[0];
    for kind in variants() {
        let found = case.run(&data, kind);
        for (list, blocks) in found.blocks.chunks_exact(3).enumerate() {
            let (t, head) = (list / 2, list % 2);
            let logit = |block: usize| -> f64 {
                let key = |e: usize| -> f64 {
                    (0..16).map(|m| k[((block * 16 + m) * 2 + head) * 16 + e] as f64 / 16.0).sum()
                };
                (0..16).map(|e| data.q[list * 16 + e] as f64 * key(e)).sum()
            };
            let own = t / 16;
            let mut others: Vec<usize> = (0..own).collect();
            others.sort_by(|a, b| logit(*b).total_cmp(&logit(*a)));
            let mut expected: Vec<i32> = others.iter().take(2).map(|block| *block as i32).collect();
            expected.push(own as i32);
            expected.sort();
            expected.resize(3, NO_BLOCK);
            assert_eq!(blocks, expected, "{case:?} by {kind} at position {t}, head {head}");
        }
    }
}

/// A key that one query alone looks for, anywhere in a long context.
#[test]
fn a_planted_needle_is_selected() {
    let tokens = 1500;
    let case = Case {
        query_heads: 8,
        config: NativeSparseConfig { top_n: 4, window: 16, ..small_blocks() },
        ..Case::of(1, tokens)
    };
    let mut random = Random::new(9);
    for _ in 0..8 {
        let mut data = Case { seed: random.below(1000) as u64, ..case.clone() }.data();
        let needle = random.below(tokens - 40);
        let direction = random.normal(16, 1.0);
        for head in 0..2 {
            let key = &mut data.k()[(needle * 2 + head) * 16..][..16];
            key.iter_mut().zip(&direction).for_each(|(k, d)| *k = 12.0 * d);
        }
        for head in 0..8 {
            let query = &mut data.q[head * 16..][..16];
            query.iter_mut().zip(&direction).for_each(|(q, d)| *q = 2.0 * d);
        }
        for kind in variants() {
            let found = case.run(&data, kind);
            let block = (needle / 16) as i32;
            for list in found.blocks.chunks_exact(4) {
                assert!(
                    list.contains(&block),
                    "by {kind}: {list:?} misses the needle at {needle} in block {block}"
                );
            }
            case.compare(&data, &found, &format!("{case:?} by {kind}: a needle at {needle}"));
            // The selected branch reads nothing but the needle's value.
            let [_, v] = &data.kv[0];
            for head in 0..8 {
                for e in 0..16 {
                    let (found, value) =
                        (found.branches[1][head * 16 + e], v[(needle * 2 + head / 4) * 16 + e]);
                    assert!((found - value).abs() < 0.05, "by {kind}: {found} instead of {value}");
                }
            }
        }
    }
}

/// Weights that are 0 in f32 leave no slot empty.
#[test]
fn blocks_whose_weight_underflows_are_still_taken() {
    let config = NativeSparseConfig { top_n: 5, scale: Some(60.0), ..small_blocks() };
    let case = Case { config, ..Case::default() };
    let data = case.data();
    for kind in variants() {
        let found = case.run(&data, kind);
        assert!(found.out.iter().all(|value| value.is_finite()), "{kind}");
        for (list, blocks) in found.blocks.chunks_exact(5).enumerate() {
            let count = 5.min(list / 2 / 16 + 1);
            let filled = blocks.iter().filter(|block| **block != NO_BLOCK).count();
            assert_eq!(filled, count, "by {kind} at position {}: {blocks:?}", list / 2);
            assert!(blocks[..count].windows(2).all(|pair| pair[0] < pair[1]), "{kind}: {blocks:?}");
        }
    }
}

/// Every block of a sequence is as good as the others.
#[test]
fn lists_longer_than_the_sequence_take_every_block() {
    let case = Case {
        config: NativeSparseConfig { top_n: 20, n_init: 30, n_local: 30, ..small_blocks() },
        ..Case::of(5, 93)
    };
    let data: Data = case.data();
    for kind in variants() {
        let found = case.run(&data, kind);
        for list in found.blocks.chunks_exact(20) {
            assert_eq!(list[..6], [0, 1, 2, 3, 4, 5], "{kind}");
            assert!(list[6..].iter().all(|block| *block == NO_BLOCK), "{kind}");
        }
    }
}

#[test]
fn rejects_what_does_not_divide() {
    let refused =
        |config: NativeSparseConfig| NativeSparseAttention::new(gpu(), config).unwrap_err().to_string();
    let error = refused(NativeSparseConfig { cmp_stride: 12, ..Default::default() });
    assert_eq!(error, "native_sparse: `cmp_block` = 32; expected a multiple of cmp_stride = 12");
    let error = refused(NativeSparseConfig { sel_block: 40, ..Default::default() });
    assert_eq!(error, "native_sparse: `sel_block` = 40; expected a multiple of cmp_stride = 16");
    let error = refused(NativeSparseConfig { top_n: 0, ..Default::default() });
    assert_eq!(error, "native_sparse: `top_n` = 0; expected 1 to 2^29 - 1");
    let error = refused(NativeSparseConfig { scale: Some(f32::NAN), ..Default::default() });
    assert_eq!(error, "native_sparse: `scale` = NaN; expected a finite number");
}
