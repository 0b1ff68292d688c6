// Below this a curvature is none.
const TINY = 1.0e-37;

// What a row is after an iteration that left |residual|² = `square`; solved at `target_square`.
fn next_flags(flags: u32, steps: bool, square: f32, target_square: f32) -> u32 {
    if ((flags & ACTIVE) == 0u) { return flags; }
    let rest = flags & ~ACTIVE;
    if (!is_finite(vec4f(square))) { return rest | NON_FINITE; }
    if (!steps) { return rest | NOT_CONVERGED; }
    return select(flags, rest, square <= target_square);
}
