// Decode, step 2: the moments of a row's ranges joined into its means and covariances. FlashLLA, arXiv 2510.01450.
// The ranges' moments are about centers c of their own; about the mean x̄ of all, with t = x̄ - c, each contributes
//   sum w (x - x̄) (k - k̄)^T = sum w (x - c) (k - c)^T - t (sum w (k - c))^T - (sum w (x - c)) t^T + omega t t^T
// times exp(its maximum - the maximum of all): the parallel form of the covariance. Order is fixed, so runs agree to the bit.
// One invocation owns four rows of x by four columns of the keys. WORKGROUP: 8 on CPU adapters, 64 on GPUs.
#import flash_lla/decode_bindings

@group(0) @binding(2) var<storage, read> moments: array<vec4f>;            // [batch, kv_heads, rows, splits] records
@group(0) @binding(3) var<storage, read_write> merged: array<vec4f>;       // [batch, kv_heads, rows] merged records

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = grid_index(workgroup, workgroups);
    if (group >= grid.end) {
        return;
    }
    let at = group * {WORKGROUP}u + thread;
    let column = at % KEY_QUADS;
    let x = at / KEY_QUADS % QUADS;
    let row = at / KEY_QUADS / QUADS;
    if (row >= params.batch * params.query_tokens * params.query_heads || (x < KEY_QUADS && column > x)) {
        return;
    }
    let first = row * params.splits;

    // 1. The maximum of all, and the means of these rows and columns.
    var maximum = FLOOR;
    for (var split = 0u; split < params.splits; split += 1u) {
        maximum = max(maximum, moments[(first + split) * RECORD].x);
    }
    var total = 0.0;
    var row_mean = vec4f(0.0);
    var column_mean = vec4f(0.0);
    for (var split = 0u; split < params.splits; split += 1u) {
        let record = (first + split) * RECORD;
        let state = moments[record];
        if (state.y > 0.0) {
            let share = exp2(state.x - maximum);
            total += share * state.y;
            row_mean += share * (state.y * moments[record + CENTER + x] + moments[record + SUM + x]);
            column_mean += share * (state.y * moments[record + CENTER + column] + moments[record + SUM + column]);
        }
    }
    let inverse = select(0.0, 1.0 / total, total > 0.0);
    row_mean *= inverse;
    column_mean *= inverse;

    // 2. The covariance about them.
#for r in 0..4
    var covariance{r} = vec4f(0.0);
#endfor
    for (var split = 0u; split < params.splits; split += 1u) {
        let record = (first + split) * RECORD;
        let state = moments[record];
        if (state.y > 0.0) {
            let share = exp2(state.x - maximum);
            let row_step = row_mean - moments[record + CENTER + x];
            let column_step = column_mean - moments[record + CENTER + column];
            let row_sum = moments[record + SUM + x];
            let pull = state.y * column_step - moments[record + SUM + column];
#for r in 0..4
            covariance{r} += share * (moments[record + PRODUCT + (x * 4u + {r}u) * KEY_QUADS + column]
                + (row_step[{r}] * pull - row_sum[{r}] * column_step));
#endfor
        }
    }

    let target_record = row * MERGED_RECORD;
    if (x == 0u && column == 0u) {
        merged[target_record] = vec4f(maximum, total, 0.0, 0.0);
    }
    if (column == 0u) {
        merged[target_record + MEAN + x] = row_mean;
    }
#for r in 0..4
    merged[target_record + COVARIANCE + (x * 4u + {r}u) * KEY_QUADS + column] = inverse * covariance{r};
#endfor
}
