//! Which blocks a query reads.

use super::NativeSparseOptions;

/// An empty slot of a block list.
pub const NO_BLOCK: i32 = -1;

/// The scores of the blocks to select from: imp_j = Σ_c p_c · (tokens that compressed block c and block j share) / d, summed over
/// the heads of a group (Eq. 9 and 10).
///
/// weights `[lists, group, compressed blocks]` of a sequence of `tokens` tokens (`[batch, rows, query_heads, blocks]` is such a
/// tensor: lists are batch · rows · kv_heads); a group of 1 scores for each head. Gives `[lists, NB]`.
pub fn block_importance(
    weights: &[f64],
    lists: usize,
    group: usize,
    tokens: usize,
    options: &NativeSparseOptions,
) -> Vec<f64> {
    let &NativeSparseOptions { cmp_block, cmp_stride, sel_block, .. } = options;
    let compressed = options.compressed_blocks(tokens);
    assert_eq!(weights.len(), lists * group * compressed, "weights");
    let blocks = options.selection_blocks(tokens);
    let mut importance = vec![0.0; lists * blocks];
    for list in 0..lists {
        for head in 0..group {
            let weights = &weights[(list * group + head) * compressed..][..compressed];
            for (c, weight) in weights.iter().enumerate() {
                let (first, end) = (c * cmp_stride, c * cmp_stride + cmp_block);
                for j in first / sel_block..end.div_ceil(sel_block) {
                    let shared = end.min((j + 1) * sel_block) - first.max(j * sel_block);
                    importance[list * blocks + j] += weight * (shared / cmp_stride) as f64;
                }
            }
        }
    }
    importance
}

/// The blocks of each query and kv head.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// `[batch, rows, kv_heads, n]` in the order of selection, [`NO_BLOCK`] behind the last.
    pub rank: Vec<i32>,
    /// The same blocks, ascending.
    pub blocks: Vec<i32>,
    /// `[batch, rows, kv_heads]`: by how much the last block that was taken for its score beats the best one left; infinite where
    /// none was taken or none left.
    pub margin: Vec<f64>,
}

impl Selection {
    pub(super) fn append(&mut self, other: Self) {
        self.rank.extend(other.rank);
        self.blocks.extend(other.blocks);
        self.margin.extend(other.margin);
    }
}

/// The top n of each list (Eq. 11): importance `[batch, rows, kv_heads, NB]` of a sequence of `tokens` tokens, positions `[rows]`.
///
/// A query at position t takes its own block ⌊t / l'⌋, then the local ones before it, then the first ones, then by score those
/// not after its own; equal scores by the smaller number.
pub fn select_blocks(
    importance: &[f64],
    positions: &[i64],
    kv_heads: usize,
    tokens: usize,
    options: &NativeSparseOptions,
) -> Selection {
    let &NativeSparseOptions { sel_block, top_n, n_init, n_local, .. } = options;
    let blocks = options.selection_blocks(tokens);
    let mut selection = Selection::default();
    for (list, scores) in importance.chunks_exact(blocks).enumerate() {
        let position = positions[list / kv_heads % positions.len()];
        let own = position.div_euclid(sel_block as i64);
        let candidates = (own + 1).clamp(0, blocks as i64);
        let local = (0..n_local as i64).map(|r| own - r).take_while(|block| *block >= 0);
        let mut rank: Vec<i64> = local.filter(|block| *block < candidates).collect();
        for block in 0..candidates.min(n_init as i64) {
            if !rank.contains(&block) {
                rank.push(block);
            }
        }
        rank.truncate(top_n);
        let forced = rank.len();
        let mut rest: Vec<i64> = (0..candidates).filter(|block| !rank.contains(block)).collect();
        // A stable sort: equal scores stay in the order of their numbers.
        rest.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]));
        let scored = rest.len().min(top_n - forced);
        rank.extend(&rest[..scored]);
        selection.margin.push(if scored == 0 || scored == rest.len() {
            f64::INFINITY
        } else {
            scores[rest[scored - 1] as usize] - scores[rest[scored] as usize]
        });
        let mut ascending = rank.clone();
        ascending.sort_unstable();
        let pad = |list: Vec<i64>| {
            let filled = list.into_iter().map(|block| block as i32);
            filled.chain(std::iter::repeat(NO_BLOCK)).take(top_n).collect::<Vec<_>>()
        };
        selection.rank.extend(pad(rank));
        selection.blocks.extend(pad(ascending));
    }
    selection
}
