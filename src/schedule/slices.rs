//! Submits of bounded cost: a long run reports progress, can be cancelled, and never trips a driver's watchdog.

use std::ops::ControlFlow;

/// Where a run stands, after each submit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Pieces of dispatches done.
    pub done: usize,
    /// Pieces in all.
    pub total: usize,
    /// Share of the work done, by the cost models: 0 to 1.
    pub fraction: f64,
    /// What was last submitted.
    pub label: &'static str,
}

/// A progress function that lets the run go on.
pub fn no_progress(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// How long a submit should take: short enough for a page to draw and far below any watchdog (2 s on Windows).
pub(super) const SUBMIT_SECONDS: f64 = 0.05;

/// Most pieces one dispatch is cut into; bounds the memory of their uniforms.
const MOST_PIECES: u64 = 4096;

/// One part of a dispatch: workgroups `first..end` of its grid, folded into two dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub first: u32,
    pub end: u32,
}

impl Piece {
    /// Workgroups in x and y; the last row may be partly past `end`, where a kernel returns at once.
    pub fn fold(self, most_per_dimension: u32) -> (u32, u32) {
        let groups = self.end - self.first;
        if groups <= most_per_dimension {
            return (groups, 1);
        }
        let rows = groups.div_ceil(most_per_dimension);
        (groups.div_ceil(rows), rows)
    }
}

/// Cuts `groups` workgroups of `work` units into pieces of at most `budget` units.
pub(super) fn cut(groups: u64, work: f64, budget: f64) -> Vec<Piece> {
    let wanted = (work / budget).ceil().clamp(1.0, MOST_PIECES as f64) as u64;
    let pieces = wanted.min(groups);
    (0..pieces)
        .map(|i| Piece { first: (groups * i / pieces) as u32, end: (groups * (i + 1) / pieces) as u32 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_grid_once() {
        for (groups, work, budget) in
            [(1, 1e12, 1.0), (7, 10.0, 3.0), (100_000, 1e9, 1e8), (u32::MAX as u64, 1.0, 1e9)]
        {
            let pieces = cut(groups, work, budget);
            assert_eq!(pieces[0].first, 0);
            assert_eq!(pieces.last().unwrap().end as u64, groups);
            assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].first));
            assert!(pieces.iter().all(|piece| piece.first < piece.end));
        }
    }

    #[test]
    fn folds_past_the_limit() {
        let (x, y) = Piece { first: 0, end: 200_000 }.fold(65535);
        assert!(x <= 65535 && y <= 65535 && x as u64 * y as u64 >= 200_000);
        assert!((x as u64) * (y as u64) < 200_000 + y as u64);
        assert_eq!(Piece { first: 10, end: 20 }.fold(65535), (10, 1));
        let (x, y) = Piece { first: 0, end: u32::MAX }.fold(65535);
        assert!(x > 65535 || y > 65535, "past the square of the limit: {x} x {y}");
    }
}
