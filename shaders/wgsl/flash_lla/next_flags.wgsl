// Below this a curvature is none.
const TINY = 1.0e-37;

// What a row is after an iteration that left |residual|² = `square`; `first_square` is |g|².
fn next_flags(flags: u32, steps: bool, square: f32, first_square: f32) -> u32 {
    if ((flags & ACTIVE) == 0u) { return flags; }
    let rest = flags & ~ACTIVE;
    if (!is_finite(vec4f(square))) { return rest | NON_FINITE; }
    if (!steps) { return rest | NOT_CONVERGED; }
    return select(flags, rest, square <= params.rtol * params.rtol * first_square);
}

// What a row is once its true |residual|² is known: f32 leaves more than 1e-3 of the first one where the ridge is too small for it.
fn verified_flags(flags: u32, square: f32, first_square: f32) -> u32 {
    let limit = max(params.rtol, 1.0e-3);
    let unsolved = !is_finite(vec4f(square)) || square > limit * limit * first_square;
    return select(flags, flags | NOT_CONVERGED, unsolved && (flags & ILL) != 0u && (flags & (EMPTY | NON_FINITE)) == 0u);
}
