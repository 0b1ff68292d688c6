// Bits of a row's status; those from ACTIVE on never leave the GPU. An ILL row has a ridge so small that f32 may fail to solve it.
const EMPTY = 1u;
const SINGULAR = 2u;
const NON_FINITE = 4u;
const NOT_CONVERGED = 8u;
const ACTIVE = 16u;
const ILL = 32u;

// Logits are kept in base 2. A masked key has MASKED, a running maximum starts at FLOOR: exp2(MASKED - FLOOR) is 0, so
// a row without a visible key sums to 0 without a branch, and no infinity is ever formed. A key or value that is not finite
// has the logit BROKEN, above all others: rows that see it know by their maximum.
const LOG2_E = 1.4426950408889634;
const LN_2 = 0.6931471805599453;
const MASKED = -1.0e30;
const FLOOR = -1.0e29;
const BIAS_LIMIT = 5.0e28;
const BROKEN = 8.0e28;
const BROKEN_LIMIT = 7.5e28;
// The lse of a row without a result; the host turns it into -inf.
const EMPTY_LSE = -1.0e30;

fn is_finite(quad: vec4f) -> bool {
    return all((bitcast<vec4u>(quad) & vec4u(0x7f800000u)) != vec4u(0x7f800000u));
}

// WGSL lets an implementation assume that there is no NaN, so the bits are asked. 0 * NaN would spoil rows that don't see it.
fn finite_or_zero(quad: vec4f) -> vec4f {
    return select(quad, vec4f(0.0), (bitcast<vec4u>(quad) & vec4u(0x7f800000u)) == vec4u(0x7f800000u));
}
