//! The work and the memory of one SQA layer in closed form (SQA, arXiv 2510.01817). A multiply-add counts as
//! 2 FLOP; everything is for one sequence.

/// Heads and dims of an SQA layer, which decide its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqaCost {
    /// Elements of a token.
    pub model_dim: usize,
    /// Query heads.
    pub query_heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
}

impl SqaCost {
    /// Heads of the output, the larger of the two head counts: attention costs as much as they are many.
    pub fn out_heads(&self) -> usize {
        self.query_heads.max(self.kv_heads)
    }

    /// FLOP of scores and weighted values over `pairs` visible (query, key) pairs, see [`visible_pairs`]:
    /// 4 · out_heads · pairs · head_dim.
    pub fn attention_flops(&self, pairs: u64) -> f64 {
        4.0 * self.out_heads() as f64 * pairs as f64 * self.head_dim as f64
    }

    /// FLOP of the four projections of `query_tokens` tokens whose keys and values come from `tokens` tokens
    /// (the same number in self-attention): query_tokens · 2 model_dim head_dim (query_heads + out_heads) +
    /// tokens · 4 model_dim head_dim kv_heads.
    pub fn projection_flops(&self, query_tokens: usize, tokens: usize) -> f64 {
        let weights_of = |heads: usize| (self.model_dim * self.head_dim * heads) as f64;
        2.0 * query_tokens as f64 * weights_of(self.query_heads + self.out_heads())
            + 4.0 * tokens as f64 * weights_of(self.kv_heads)
    }

    /// Weights of the four projections, model_dim · head_dim · (query_heads + 2 kv_heads + out_heads), and
    /// model_dim more with a bias on the output.
    pub fn parameters(&self, output_bias: bool) -> u64 {
        let heads = self.query_heads + 2 * self.kv_heads + self.out_heads();
        product([self.model_dim, self.head_dim, heads]) + if output_bias { self.model_dim as u64 } else { 0 }
    }

    /// Bytes of keys and values of `tokens` tokens: 2 · tokens · kv_heads · head_dim · bytes_per_element.
    pub fn kv_cache_bytes(&self, tokens: usize, bytes_per_element: usize) -> u64 {
        product([2, tokens, self.kv_heads, self.head_dim, bytes_per_element])
    }

    /// Bytes that one decode step moves over a cache of `tokens` tokens: keys and values once, the query and
    /// the heads' output, all of `bytes_per_element`.
    pub fn decode_bytes(&self, tokens: usize, bytes_per_element: usize) -> u64 {
        let heads = self.query_heads + self.out_heads();
        self.kv_cache_bytes(tokens, bytes_per_element) + product([heads, self.head_dim, bytes_per_element])
    }

    /// FLOP of the attention of one decode step over `tokens` tokens: 4 · out_heads · tokens · head_dim.
    pub fn decode_flops(&self, tokens: usize) -> f64 {
        self.attention_flops(tokens as u64)
    }

    /// FLOP per byte of a decode step over a long cache, 2 · (out_heads / kv_heads) / bytes_per_element. It
    /// is low: decode waits for memory and its time follows the kv heads alone.
    pub fn decode_intensity(&self, bytes_per_element: usize) -> f64 {
        2.0 * self.out_heads() as f64 / self.kv_heads as f64 / bytes_per_element as f64
    }

    /// How many times less attention work than MHA of `heads` heads: heads / out_heads.
    pub fn speedup_over_mha(&self, heads: usize) -> f64 {
        heads as f64 / self.out_heads() as f64
    }
}

/// Pairs of a query row and a key that it sees; row r stands at position q_offset + r.
///
/// Causal: keys up to the position, with a window the last `window` of them. Otherwise all keys, with a
/// window those at most `window / 2` (rounded down) away. Without a window and an offset: N² pairs, or N (N +
/// 1) / 2 causal.
pub fn visible_pairs(
    query_tokens: usize,
    tokens: usize,
    causal: bool,
    window: Option<usize>,
    q_offset: i64,
) -> u64 {
    let (before, after) = match (causal, window) {
        (true, None) => (i128::MAX / 2, 0),
        (true, Some(window)) => (window as i128 - 1, 0),
        (false, None) => (i128::MAX / 2, i128::MAX / 2),
        (false, Some(window)) => ((window / 2) as i128, (window / 2) as i128),
    };
    let visible = |row: usize| {
        let position = q_offset as i128 + row as i128;
        let first = (position - before).max(0);
        let end = (position + after + 1).min(tokens as i128);
        (end - first).max(0) as u64
    };
    (0..query_tokens).map(visible).sum()
}

fn product<const N: usize>(factors: [usize; N]) -> u64 {
    factors.iter().map(|factor| *factor as u64).product()
}

#[cfg(test)]
mod tests {
    use super::super::sqa_presets::{PAPER_MODEL, SqaPreset};
    use super::*;

    const TOKENS: usize = 200_000;

    fn paper(preset: SqaPreset) -> SqaCost {
        let (query_heads, kv_heads) = preset.heads(PAPER_MODEL.heads, PAPER_MODEL.gqa_kv_heads).unwrap();
        SqaCost { model_dim: PAPER_MODEL.model_dim, query_heads, kv_heads, head_dim: PAPER_MODEL.head_dim }
    }

    /// GFLOP of full attention, weights, MiB of an f16 cache, each at 200 000 tokens.
    #[test]
    fn the_paper_model_has_the_published_cost() {
        let table = [
            (SqaPreset::Mha, 40960.0, 262144, 195.3),
            (SqaPreset::Gqa, 40960.0, 163840, 48.8),
            (SqaPreset::Mqa, 40960.0, 139264, 12.2),
            (SqaPreset::Sqa, 20480.0, 98304, 48.8),
            (SqaPreset::Ssqa, 20480.0, 131072, 97.7),
            (SqaPreset::Xsqa, 10240.0, 65536, 48.8),
            (SqaPreset::Xsmqa, 10240.0, 40960, 12.2),
        ];
        let pairs = visible_pairs(TOKENS, TOKENS, false, None, 0);
        for (preset, gflop, weights, mebibytes) in table {
            let cost = paper(preset);
            assert_eq!(cost.attention_flops(pairs) / 1e9, gflop, "{preset}");
            assert_eq!(cost.parameters(false), weights, "{preset}");
            let cache = cost.kv_cache_bytes(TOKENS, 2) as f64 / 1048576.0;
            assert!((cache - mebibytes).abs() < 0.05, "{preset}: {cache} MiB");
        }
    }

    /// 12 million parameters for MHA, and the others less by what eight layers save.
    #[test]
    fn parameter_differences_explain_the_published_model_sizes() {
        let published = [
            (SqaPreset::Gqa, 11.2),
            (SqaPreset::Mqa, 11.0),
            (SqaPreset::Sqa, 10.7),
            (SqaPreset::Ssqa, 10.9),
            (SqaPreset::Xsqa, 10.4),
            (SqaPreset::Xsmqa, 10.2),
        ];
        for (preset, millions) in published {
            let saved = paper(SqaPreset::Mha).parameters(false) - paper(preset).parameters(false);
            let size = 12.0 - (saved * PAPER_MODEL.layers as u64) as f64 / 1e6;
            assert!((size - millions).abs() < 0.06, "{preset}: {size} million, published {millions}");
        }
        assert_eq!(paper(SqaPreset::Mha).parameters(true), 262144 + 256);
    }

    #[test]
    fn visible_pairs_by_hand_and_by_counting() {
        assert_eq!(visible_pairs(TOKENS, TOKENS, true, None, 0), 200_000 * 200_001 / 2);
        assert_eq!(visible_pairs(10, 37, false, None, 27), 370);
        assert_eq!(visible_pairs(1, 150, true, None, 149), 150);
        assert_eq!(visible_pairs(5, 5, true, Some(2), 0), 9);
        assert_eq!(visible_pairs(5, 5, false, Some(3), 0), 13);
        assert_eq!(visible_pairs(3, 5, true, Some(usize::MAX), -2), 1);
        for (causal, window, q_offset) in
            [(true, Some(4), 3), (false, Some(5), -4), (true, None, -2), (true, Some(0), 0)]
        {
            let seen = |t: i64, s: i64| match window {
                _ if causal && s > t => false,
                Some(w) if causal => s > t - w as i64,
                Some(w) => (t - s).abs() <= (w / 2) as i64,
                None => true,
            };
            let counted =
                (0..9).flat_map(|r| (0..11).map(move |s| seen(q_offset + r, s))).filter(|seen| *seen).count();
            assert_eq!(visible_pairs(9, 11, causal, window, q_offset), counted as u64);
        }
    }

    #[test]
    fn projections_count_two_flop_per_weight_and_token() {
        for preset in SqaPreset::ALL {
            let cost = paper(preset);
            assert_eq!(cost.projection_flops(7, 7), 2.0 * 7.0 * cost.parameters(false) as f64, "{preset}");
        }
        // Cross-attention: 3 queries, 5 keys; Q and O have 8 heads of 16, K and V have 4.
        let cross = paper(SqaPreset::Sqa).projection_flops(3, 5);
        assert_eq!(cross, (2 * 3 * 256 * 16 * 16 + 4 * 5 * 256 * 16 * 4) as f64);
    }

    #[test]
    fn decode_follows_the_kv_heads() {
        let [sqa, gqa, xsqa, ssqa] =
            [SqaPreset::Sqa, SqaPreset::Gqa, SqaPreset::Xsqa, SqaPreset::Ssqa].map(paper);
        assert_eq!(sqa.kv_cache_bytes(TOKENS, 2), gqa.kv_cache_bytes(TOKENS, 2));
        assert_eq!(sqa.kv_cache_bytes(TOKENS, 2), xsqa.kv_cache_bytes(TOKENS, 2));
        assert_eq!(2 * sqa.kv_cache_bytes(TOKENS, 2), ssqa.kv_cache_bytes(TOKENS, 2));
        assert_eq!(sqa.decode_bytes(10, 2), 2 * 10 * 4 * 16 * 2 + (8 + 8) * 16 * 2);
        assert_eq!(sqa.decode_flops(10), 4.0 * 8.0 * 10.0 * 16.0);
        assert_eq!(sqa.decode_intensity(2), 2.0);
        // 2 query heads, tiled over 4 kv heads.
        assert_eq!(paper(SqaPreset::Rsqa).decode_intensity(2), 1.0);
        // Over a long cache the two agree.
        let intensity = gqa.decode_flops(TOKENS) / gqa.decode_bytes(TOKENS, 2) as f64;
        assert!((intensity / gqa.decode_intensity(2) - 1.0).abs() < 1e-4);
    }

    #[test]
    fn attention_is_cheaper_by_the_ratio_of_the_heads() {
        let speedups = [1.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 4.0 / 3.0, 4.0];
        let mha = paper(SqaPreset::Mha).attention_flops(1000);
        for (preset, expected) in SqaPreset::ALL.into_iter().zip(speedups) {
            let speedup = paper(preset).speedup_over_mha(PAPER_MODEL.heads);
            assert!((speedup - expected).abs() < 1e-15, "{preset}");
            assert!((mha / paper(preset).attention_flops(1000) - speedup).abs() < 1e-12, "{preset}");
        }
    }
}
