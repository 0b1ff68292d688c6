//! The work and the memory traffic of Native Sparse Attention (arXiv 2502.11089) in closed form, beside dense causal attention.
//! A multiply-add counts as 2 FLOP; everything is for one sequence and one layer.

use crate::kernels::native_sparse::NativeSparseConfig;

/// Sizes that decide the cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeSparseCost {
    /// Query heads.
    pub query_heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a query and of a key.
    pub head_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
    /// l: tokens of a compressed block.
    pub cmp_block: usize,
    /// d: tokens from one compressed block to the next.
    pub cmp_stride: usize,
    /// l': tokens of a selected block.
    pub sel_block: usize,
    /// n: selected blocks of a query.
    pub top_n: usize,
    /// w: tokens of the window; 0 without one.
    pub window: usize,
}

/// The paper's 27B model: 64 query heads on 4, keys of 192, values of 128, blocks of 32 every 16 tokens, 16 of 64 selected, a
/// window of 512 (arXiv 2502.11089, section 4.1).
pub const PAPER: NativeSparseCost = NativeSparseCost {
    query_heads: 64,
    kv_heads: 4,
    head_dim: 192,
    value_dim: 128,
    cmp_block: 32,
    cmp_stride: 16,
    sel_block: 64,
    top_n: 16,
    window: 512,
};

/// VideoNSA's model: 28 query heads on 4, 128 elements, blocks of one frame's 64 tokens, 32 selected, a window of 256 (arXiv
/// 2510.02295).
pub const VIDEO: NativeSparseCost = NativeSparseCost {
    query_heads: 28,
    kv_heads: 4,
    head_dim: 128,
    value_dim: 128,
    cmp_block: 64,
    cmp_stride: 64,
    sel_block: 64,
    top_n: 32,
    window: 256,
};

/// The paper's speedup of the forward pass over FlashAttention-2 on an A100 with the sizes of [`PAPER`], by tokens (arXiv
/// 2502.11089, figure 6).
pub const PAPER_FORWARD_SPEEDUPS: [(usize, f64); 4] = [(8192, 2.1), (16384, 3.8), (32768, 6.3), (65536, 9.0)];

/// FLOP of the parts of Native Sparse Attention.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BranchFlops {
    /// Attention to the compressed blocks.
    pub compressed: f64,
    /// Scores of the compressed blocks, computed once more to rank the blocks.
    pub rescoring: f64,
    /// Attention to the selected blocks.
    pub selected: f64,
    /// Attention to the window.
    pub window: f64,
}

impl BranchFlops {
    /// The three branches, without a second pass over the scores: what the paper counts.
    pub fn branches(&self) -> f64 {
        self.compressed + self.selected + self.window
    }

    /// The branches and the second pass: what these kernels do.
    pub fn total(&self) -> f64 {
        self.branches() + self.rescoring
    }
}

impl NativeSparseCost {
    /// The cost of a configuration on the given heads.
    pub fn new(
        config: &NativeSparseConfig,
        query_heads: usize,
        kv_heads: usize,
        head_dim: usize,
        value_dim: usize,
    ) -> Self {
        let &NativeSparseConfig { cmp_block, cmp_stride, sel_block, top_n, window, .. } = config;
        Self { query_heads, kv_heads, head_dim, value_dim, cmp_block, cmp_stride, sel_block, top_n, window }
    }

    /// FLOP of prefill, query rows 0 to `tokens` - 1: with a row at t, 2 · query_heads · (head_dim + value_dim) for each of its
    /// ⌊(t + 1 - l) / d⌋ + 1 compressed blocks, min(n l', t + 1) selected tokens and min(w, t + 1) tokens of the window;
    /// re-scoring is 2 · query_heads · head_dim for each compressed block.
    pub fn prefill_flops(&self, tokens: usize) -> BranchFlops {
        let pair = self.pair_flops();
        let compressed = compressed_pairs(tokens, self.cmp_block, self.cmp_stride) as f64;
        BranchFlops {
            compressed: pair * compressed,
            rescoring: 2.0 * (self.query_heads * self.head_dim) as f64 * compressed,
            selected: pair * recent_pairs(tokens, self.selected_tokens()) as f64,
            window: pair * recent_pairs(tokens, self.window) as f64,
        }
    }

    /// FLOP of dense causal prefill: 2 · query_heads · (head_dim + value_dim) · tokens (tokens + 1) / 2.
    pub fn dense_flops(&self, tokens: usize) -> f64 {
        self.pair_flops() * recent_pairs(tokens, tokens) as f64
    }

    /// Dense FLOP over those of the three branches: the most that prefill can gain if ranking costs nothing.
    pub fn ratio(&self, tokens: usize) -> f64 {
        self.dense_flops(tokens) / self.prefill_flops(tokens).branches()
    }

    /// Dense FLOP over all that these kernels do, the second pass over the scores included.
    pub fn ratio_with_rescoring(&self, tokens: usize) -> f64 {
        self.dense_flops(tokens) / self.prefill_flops(tokens).total()
    }

    /// Keys that a query of prefill reads on average: the sum of what [`prefill_flops`](Self::prefill_flops) counts, over `tokens`.
    /// Dense attention reads (tokens + 1) / 2.
    pub fn mean_keys(&self, tokens: usize) -> f64 {
        let pairs = compressed_pairs(tokens, self.cmp_block, self.cmp_stride)
            + recent_pairs(tokens, self.selected_tokens())
            + recent_pairs(tokens, self.window);
        pairs as f64 / tokens as f64
    }

    /// Keys that one decode step reads for each kv head, the query being the last of `tokens`: compressed blocks, min(n l', tokens)
    /// and min(w, tokens). Dense attention reads `tokens`. (Up to l' - 1 fewer where the query's own block is not full.)
    pub fn decode_keys(&self, tokens: usize) -> usize {
        compressed_blocks(tokens, self.cmp_block, self.cmp_stride)
            + self.selected_tokens().min(tokens)
            + self.window.min(tokens)
    }

    /// The same as the paper's table 4 counts it: tokens / d + n l' + w.
    pub fn decode_keys_simple(&self, tokens: usize) -> usize {
        tokens / self.cmp_stride + self.selected_tokens() + self.window
    }

    /// Bytes of the keys and values that one decode step reads: [`decode_keys`](Self::decode_keys) · kv_heads · (head_dim +
    /// value_dim) · bytes_per_element.
    pub fn decode_bytes(&self, tokens: usize, bytes_per_element: usize) -> u64 {
        self.cache_bytes(self.decode_keys(tokens), bytes_per_element)
    }

    /// Bytes that dense attention reads in one decode step: tokens · kv_heads · (head_dim + value_dim) · bytes_per_element.
    pub fn dense_decode_bytes(&self, tokens: usize, bytes_per_element: usize) -> u64 {
        self.cache_bytes(tokens, bytes_per_element)
    }

    /// FLOP of one decode step, the query being the last of `tokens`, re-scoring included.
    pub fn decode_flops(&self, tokens: usize) -> f64 {
        let blocks = compressed_blocks(tokens, self.cmp_block, self.cmp_stride);
        self.pair_flops() * self.decode_keys(tokens) as f64
            + 2.0 * (self.query_heads * self.head_dim * blocks) as f64
    }

    /// Share of the causal pairs that selection and window may attend to, 2 (n l' + w) / (tokens - 1): VideoNSA's attention budget
    /// (arXiv 2510.02295), which leaves the compressed keys out.
    pub fn attention_budget(&self, tokens: usize) -> f64 {
        2.0 * (self.selected_tokens() + self.window) as f64 / (tokens as f64 - 1.0)
    }

    fn selected_tokens(&self) -> usize {
        self.top_n * self.sel_block
    }

    /// A score and a weighted value in every query head.
    fn pair_flops(&self) -> f64 {
        2.0 * (self.query_heads * (self.head_dim + self.value_dim)) as f64
    }

    fn cache_bytes(&self, keys: usize, bytes_per_element: usize) -> u64 {
        let elements = [keys, self.kv_heads, self.head_dim + self.value_dim, bytes_per_element];
        elements.iter().map(|factor| *factor as u64).product()
    }
}

/// Complete blocks of `block` tokens that start every `stride` tokens.
pub fn compressed_blocks(tokens: usize, block: usize, stride: usize) -> usize {
    if tokens < block { 0 } else { (tokens - block) / stride + 1 }
}

/// Pairs of a row and a compressed block that it sees, rows 0 to `tokens` - 1: Σ over x < X of ⌊x / stride⌋ + 1, where X =
/// tokens - block + 1 rows see a block at all.
pub fn compressed_pairs(tokens: usize, block: usize, stride: usize) -> u64 {
    let rows = (tokens + 1).saturating_sub(block) as u64;
    let stride = stride as u64;
    let (full, rest) = (rows / stride, rows % stride);
    rows + stride * full * full.saturating_sub(1) / 2 + rest * full
}

/// Pairs of a row and a compressed block that it sees, of `rows` query rows from position `first` on, any, in a sequence of
/// `tokens` tokens.
pub(crate) fn seen_blocks(rows: usize, first: i64, tokens: usize, block: usize, stride: usize) -> u64 {
    let end = first + rows as i64;
    let before = |position: i64| compressed_pairs(position.clamp(0, tokens as i64) as usize, block, stride);
    // Rows past the last token see what that one sees.
    let beyond = (end - first.max(tokens as i64)).max(0) as u64;
    before(end) - before(first) + beyond * compressed_blocks(tokens, block, stride) as u64
}

/// Pairs of a row and one of at most `most` earlier tokens, its own included, rows 0 to `tokens` - 1: Σ min(most, t + 1).
pub fn recent_pairs(tokens: usize, most: usize) -> u64 {
    let (tokens, ramp) = (tokens as u64, tokens.min(most) as u64);
    ramp * (ramp + 1) / 2 + (tokens - ramp) * ramp
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many digits as a table prints.
    #[track_caller]
    fn printed(found: f64, digits: usize, expected: &str) {
        assert_eq!(format!("{found:.digits$}"), expected);
    }

    /// TFLOP of the compressed, selected and window branch, of re-scoring and of dense attention; both ratios.
    #[test]
    fn rows_anywhere_see_the_blocks_that_are_complete() {
        for (block, stride, tokens) in [(8, 4, 50), (4, 4, 16), (1, 1, 9), (12, 4, 7)] {
            for first in [-30, -3, 0, 5, 40, 60] {
                let seen =
                    |row: i64| compressed_blocks((first + row + 1).clamp(0, tokens) as usize, block, stride);
                let expected: usize = (0..23).map(seen).sum();
                let found = seen_blocks(23, first, tokens as usize, block, stride);
                assert_eq!(found, expected as u64, "{block} / {stride}, {tokens} tokens, from {first}");
            }
        }
    }

    #[test]
    fn the_paper_model_has_these_costs() {
        let table = [
            (8192, ["0.09", "0.32", "0.17", "0.05", "1.37", "2.4", "2.2"]),
            (16384, ["0.34", "0.67", "0.34", "0.21", "5.50", "4.1", "3.5"]),
            (32768, ["1.37", "1.35", "0.68", "0.82", "21.99", "6.5", "5.2"]),
            (65536, ["5.49", "2.73", "1.37", "3.30", "87.96", "9.2", "6.8"]),
            (131072, ["21.98", "5.48", "2.74", "13.19", "351.85", "11.65", "8.1"]),
        ];
        for (tokens, expected) in table {
            let flops = PAPER.prefill_flops(tokens);
            let tera =
                [flops.compressed, flops.selected, flops.window, flops.rescoring, PAPER.dense_flops(tokens)];
            tera.iter().zip(expected).for_each(|(flops, text)| printed(flops / 1e12, 2, text));
            // The last one is 11.650, which one digit cannot tell from 11.6 or 11.7.
            printed(PAPER.ratio(tokens), expected[5].split('.').next_back().unwrap().len(), expected[5]);
            printed(PAPER.ratio_with_rescoring(tokens), 1, expected[6]);
        }
    }

    #[test]
    fn published_speedups_are_the_ratio_of_the_branches() {
        for (tokens, speedup) in PAPER_FORWARD_SPEEDUPS {
            let ratio = PAPER.ratio(tokens);
            assert!((speedup / ratio - 1.0).abs() < 0.13, "{tokens} tokens: {speedup} of {ratio}");
        }
    }

    #[test]
    fn decode_reads_what_table_4_says() {
        let table = [(8192, 2048, "4.0"), (16384, 2560, "6.4"), (32768, 3584, "9.1"), (65536, 5632, "11.6")];
        for (tokens, keys, ratio) in table {
            assert_eq!(PAPER.decode_keys_simple(tokens), keys);
            // The first l - d tokens start no block of their own.
            assert_eq!(PAPER.decode_keys(tokens), keys - 1);
            printed(tokens as f64 / keys as f64, 1, ratio);
        }
        printed(PAPER.decode_bytes(65536, 2) as f64 / 1e6, 1, "14.4");
        printed(PAPER.dense_decode_bytes(65536, 2) as f64 / 1e6, 1, "167.8");
    }

    #[test]
    fn short_sequences_read_every_token_twice() {
        assert_eq!(PAPER.decode_keys(31), 31 + 31);
        assert_eq!(PAPER.decode_keys(32), 1 + 32 + 32);
        assert_eq!(PAPER.decode_keys(600), (600 - 32) / 16 + 1 + 600 + 512);
        let step = PAPER.decode_flops(600);
        assert_eq!(step, 2.0 * 64.0 * (320.0 * PAPER.decode_keys(600) as f64 + 192.0 * 36.0));
    }

    #[test]
    fn keys_of_prefill_are_the_mean_over_its_rows() {
        let rows = (1..=700).map(|tokens| PAPER.decode_keys(tokens)).sum::<usize>();
        assert_eq!(PAPER.mean_keys(700), rows as f64 / 700.0);
    }

    #[test]
    fn video_gains_what_its_length_allows() {
        let table = [(8192, "1.9"), (36864, "6.9"), (65536, "10.8"), (131072, "17.1")];
        table.iter().for_each(|&(tokens, ratio)| printed(VIDEO.ratio_with_rescoring(tokens), 1, ratio));
        assert_eq!(VIDEO.selected_tokens() + VIDEO.window, 2304);
        printed(100.0 * VIDEO.attention_budget(128_000), 1, "3.6");
    }

    #[test]
    fn closed_forms_equal_counting() {
        for tokens in 0..90 {
            for (block, stride) in [(1, 1), (4, 4), (6, 2), (9, 3), (32, 16), (64, 64)] {
                let counted: usize = (1..=tokens).map(|seen| compressed_blocks(seen, block, stride)).sum();
                assert_eq!(
                    compressed_pairs(tokens, block, stride),
                    counted as u64,
                    "{tokens} {block} {stride}"
                );
            }
            for most in [0, 1, 7, 64, 100] {
                let counted: usize = (1..=tokens).map(|seen| seen.min(most)).sum();
                assert_eq!(recent_pairs(tokens, most), counted as u64, "{tokens} {most}");
            }
        }
    }

    #[test]
    fn a_configuration_has_its_own_cost() {
        let config = NativeSparseConfig::default();
        assert_eq!(NativeSparseCost::new(&config, 64, 4, 192, 128), PAPER);
        let video = NativeSparseConfig { cmp_block: 64, cmp_stride: 64, top_n: 32, window: 256, ..config };
        assert_eq!(NativeSparseCost::new(&video, 28, 4, 128, 128), VIDEO);
    }
}
