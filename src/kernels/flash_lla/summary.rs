//! How the rows of a run were solved, counted on the host.

use super::status;

/// How the rows of one run were solved.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FlashLlaSummary {
    /// Rows: query tokens of all sequences times heads.
    pub rows: usize,
    /// Share of the rows that were solved to `rtol`, 0 to 1. Empty rows count as solved.
    pub converged: f64,
    /// Mean iterations of a row.
    pub mean_iterations: f64,
    /// Most iterations of a row.
    pub most_iterations: u32,
    /// Iterations that the tiles of rows executed, each until its slowest row was solved: the mean, weighted by the keys that a
    /// tile attends to. The work of a run is 3 + 1.5 of these times that of dense attention.
    pub tile_iterations: f64,
    /// Rows without a visible key.
    pub empty: usize,
    /// Rows with [`status::SINGULAR`].
    pub singular: usize,
    /// Rows with [`status::NON_FINITE`].
    pub non_finite: usize,
    /// Rows with [`status::NOT_CONVERGED`].
    pub not_converged: usize,
}

/// Which rows share a tile, and what a tile attends to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tiling {
    pub query_tokens: usize,
    pub query_heads: usize,
    pub kv_heads: usize,
    /// Rows of one tile.
    pub rows: usize,
    pub tokens: usize,
    /// Position of the first query row; keys past the last row's are not visited.
    pub causal_offset: Option<i64>,
}

impl Tiling {
    pub fn summarize(&self, iterations: &[u32], status: &[u32]) -> FlashLlaSummary {
        let rows = status.len();
        let count = |bit: u32| status.iter().filter(|&&bits| bits & bit != 0).count();
        let unsolved = status.iter().filter(|&&bits| bits & !status::EMPTY != 0).count();
        let total: f64 = iterations.iter().map(|&i| i as f64).sum();
        FlashLlaSummary {
            rows,
            converged: 1.0 - unsolved as f64 / rows.max(1) as f64,
            mean_iterations: total / rows.max(1) as f64,
            most_iterations: iterations.iter().copied().max().unwrap_or(0),
            tile_iterations: self.tile_iterations(iterations),
            empty: count(status::EMPTY),
            singular: count(status::SINGULAR),
            non_finite: count(status::NON_FINITE),
            not_converged: count(status::NOT_CONVERGED),
        }
    }

    fn tile_iterations(&self, iterations: &[u32]) -> f64 {
        let group = self.query_heads / self.kv_heads;
        let sequence = self.query_tokens * self.query_heads;
        let (mut executed, mut keys) = (0.0, 0.0);
        for one in iterations.chunks_exact(sequence) {
            for kv_head in 0..self.kv_heads {
                for first in (0..self.query_tokens * group).step_by(self.rows) {
                    let last = (first + self.rows).min(self.query_tokens * group) - 1;
                    let row =
                        |row: usize| one[row / group * self.query_heads + kv_head * group + row % group];
                    let visited = self.causal_offset.map_or(self.tokens, |offset| {
                        (offset + (last / group) as i64 + 1).clamp(0, self.tokens as i64) as usize
                    }) as f64;
                    executed += visited * (first..=last).map(row).max().unwrap_or(0) as f64;
                    keys += visited;
                }
            }
        }
        if keys > 0.0 { executed / keys } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_runs_as_long_as_its_slowest_row() {
        let tiling = Tiling {
            query_tokens: 3,
            query_heads: 2,
            kv_heads: 1,
            rows: 4,
            tokens: 5,
            causal_offset: Some(1),
        };
        // Tiles: tokens 0 and 1 (3 keys), token 2 (4 keys).
        let summary = tiling.summarize(&[1, 5, 2, 2, 3, 1], &[0, 0, 8, 0, 1, 2 | 8]);
        assert_eq!(summary.tile_iterations, (3.0 * 5.0 + 4.0 * 3.0) / 7.0);
        assert_eq!((summary.most_iterations, summary.mean_iterations), (5, 14.0 / 6.0));
        assert_eq!((summary.empty, summary.singular, summary.not_converged), (1, 1, 2));
        assert!((summary.converged - 4.0 / 6.0).abs() < 1e-12);
    }
}
