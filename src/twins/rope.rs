//! Twin of the rotary position embedding kernel (RoPE, arXiv 2104.09864).

/// Rotates the pairs (2i, 2i + 1) of each head by the angle t · base^(-2i / dim) at position t = offset +
/// token.
///
/// x `[batch, tokens, heads, dim]` with an even dim, and so is the result. `deinterleave` writes the first
/// components of all pairs, then the second ones, instead of each pair in its place: one permutation of query
/// and key alike, so the scores stay the same.
pub fn rope(
    x: &[f64],
    tokens: usize,
    heads: usize,
    dim: usize,
    base: f64,
    offset: i64,
    deinterleave: bool,
) -> Vec<f64> {
    assert!(dim.is_multiple_of(2), "dim {dim} has no pairs");
    assert!(x.len().is_multiple_of(tokens * heads * dim), "x");
    let mut y = vec![0.0; x.len()];
    for (row, (from, to)) in x.chunks_exact(dim).zip(y.chunks_exact_mut(dim)).enumerate() {
        let token = row / heads % tokens;
        for i in 0..dim / 2 {
            let angle = (offset + token as i64) as f64 * base.powf(-((2 * i) as f64) / dim as f64);
            let (sin, cos) = angle.sin_cos();
            let (a, b) = (from[2 * i], from[2 * i + 1]);
            let (first, second) = if deinterleave { (i, dim / 2 + i) } else { (2 * i, 2 * i + 1) };
            to[first] = a * cos - b * sin;
            to[second] = a * sin + b * cos;
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::super::{assert_close, noise};
    use super::*;

    #[test]
    fn rotates_by_hand() {
        // dim 4, base 100: angles t and t / 10.
        let x = [1.0, 0.0, 0.0, 2.0];
        let (s, c, s10, c10) = (3f64.sin(), 3f64.cos(), 0.3f64.sin(), 0.3f64.cos());
        assert_close(&rope(&x, 1, 1, 4, 100.0, 3, false), &[c, s, -2.0 * s10, 2.0 * c10], 1e-15);
        assert_close(&rope(&x, 1, 1, 4, 100.0, 3, true), &[c, -2.0 * s10, s, 2.0 * c10], 1e-15);
    }

    #[test]
    fn the_position_is_the_token_in_every_sequence_and_head() {
        let (tokens, heads, dim) = (3, 2, 6);
        let one = noise(4, dim);
        let x = one.repeat(2 * tokens * heads);
        let y = rope(&x, tokens, heads, dim, 1e4, 0, true);
        for (row, y) in y.chunks_exact(dim).enumerate() {
            let token = (row / heads % tokens) as i64;
            assert_close(y, &rope(&one, 1, 1, dim, 1e4, token, true), 0.0);
        }
        assert_ne!(y[..dim], y[heads * dim..][..dim]);
    }

    #[test]
    fn scores_depend_on_the_distance_only_in_either_order() {
        let (q, k) = (noise(5, 8), noise(6, 8));
        let score = |t, s, order| {
            let (q, k) = (rope(&q, 1, 1, 8, 1e4, t, order), rope(&k, 1, 1, 8, 1e4, s, order));
            q.iter().zip(&k).map(|(a, b)| a * b).sum::<f64>()
        };
        assert_close(&[score(9, 4, true)], &[score(105, 100, true)], 1e-12);
        assert_close(&[score(9, 4, true)], &[score(9, 4, false)], 1e-14);
        assert!((score(9, 4, true) - score(9, 5, true)).abs() > 1e-3);
    }
}
