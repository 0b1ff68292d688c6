// Where a row stands before the first iteration.
struct Start {
    ridge: f32,
    flags: u32,
}

// Without any ridge equal keys send the solution to 1e9, where not even constants are left of the output.
const LEAST_FLOOR = 1.0e-7;

// The ridge of a row whose covariance has the trace `trace`. With at most head_dim keys the covariance has no full rank, and with
// a ridge near 0 its inverse has no digits in f32: such a row gets 1e-3 of the mean variance instead, and says so.
// One key, or equal ones without a ridge: the covariance is 0, and v̄ is the answer.
fn starting_point(maximum: f32, sum: f32, trace: f32, residual: f32, seen: f32) -> Start {
    let variance = max(trace, 0.0) / {HEAD_DIM}.0;
    var start = Start(max(params.ridge, max(params.ridge_floor, LEAST_FLOOR) * variance), 0u);
    if (sum <= 0.0) {
        start.flags = EMPTY;
    } else if (maximum > BROKEN_LIMIT || !is_finite(vec4f(maximum, sum, trace, residual))) {
        start.flags = NON_FINITE;
    } else if (residual > 0.0 && seen > 1.0 && max(variance, start.ridge) > 0.0) {
        start.flags = ACTIVE;
        if (start.ridge < 1.0e-4 * variance) {
            if (seen <= {HEAD_DIM}.0) {
                start.ridge = 1.0e-3 * variance;
                start.flags |= SINGULAR;
            }
            start.flags |= ILL;
        }
    }
    return start;
}
