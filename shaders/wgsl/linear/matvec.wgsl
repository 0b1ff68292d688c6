// y = epilogue(x * weight) for at most 8 rows: every weight is read once, so the kernel is bound by memory.
//
// ROWS: rows of x, exactly. A workgroup owns COLUMN_QUADS quads of outputs and splits the inputs over
// WORKGROUP / COLUMN_QUADS lanes, four neighbouring inputs each. Neighbouring invocations read neighbouring weights:
// outputs where the weight is [inputs, outputs], inputs where it is [outputs, inputs] (COLUMN_QUADS 1).
// WORKGROUP and COLUMN_QUADS are powers of two; WORKGROUP / 4 >= the number of subgroups.
// Workgroup memory: ROWS * WORKGROUP * 16 bytes, so WORKGROUP 256 for up to 4 rows and 128 for more; with SUBGROUP
// (COLUMN_QUADS 1 only) a quarter of it and one barrier instead of log2(WORKGROUP).
// Compiled by RADV for navi21: 32 registers with one row, 64 with eight, no spill.
#import linear/bindings
#import linear/epilogue in_place={PLACED}

const LANES = {WORKGROUP/COLUMN_QUADS}u;

#if SUBGROUP
// One slot per subgroup, of 4 invocations or more.
var<workgroup> partial: array<vec4f, {ROWS*WORKGROUP/4}>;     // [row][subgroup]
#else
var<workgroup> partial: array<vec4f, {ROWS*WORKGROUP}>;       // [row][lane][quad]
#endif

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
#if SUBGROUP
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
#endif
) {
    let group = grid_index(workgroup, workgroups);
    if (group >= grid.end) {
        return;
    }
    let quad = local % {COLUMN_QUADS}u;
    let lane = local / {COLUMN_QUADS}u;
    let column = (group * {COLUMN_QUADS}u + quad) * 4u;

#if WEIGHT_OUT_IN
#for c in 0..4
    let weight_start{c} = weight_row(column + {c}u);
#endfor
#endif
#for r in 0..ROWS
    let x_start{r} = x_row({r}u);
    var sum{r} = vec4f(0.0);
#endfor
    for (var input = lane * 4u; input < params.inputs; input += LANES * 4u) {
#if WEIGHT_OUT_IN
#for c in 0..4
        let weight{c} = weight_at(weight_start{c}, input);
#endfor
#else
#for k in 0..4
        let weight{k} = weight_at(input + {k}u, column);
#endfor
#endif
#for r in 0..ROWS
        let x{r} = x_at(x_start{r}, input);
#if WEIGHT_OUT_IN
        sum{r} += vec4f(dot(x{r}, weight0), dot(x{r}, weight1), dot(x{r}, weight2), dot(x{r}, weight3));
#else
        sum{r} = fma(vec4f(x{r}.x), weight0, sum{r});
        sum{r} = fma(vec4f(x{r}.y), weight1, sum{r});
        sum{r} = fma(vec4f(x{r}.z), weight2, sum{r});
        sum{r} = fma(vec4f(x{r}.w), weight3, sum{r});
#endif
#endfor
    }

#if SUBGROUP
#for r in 0..ROWS
    let whole{r} = subgroupAdd(sum{r});
#endfor
    if (subgroup_lane == 0u) {
#for r in 0..ROWS
        partial[{r*WORKGROUP/4}u + subgroup] = whole{r};
#endfor
    }
    workgroupBarrier();
    if (local < {ROWS}u) {
        var sum = partial[local * {WORKGROUP/4}u];
        for (var s = 1u; s < subgroups; s++) {
            sum += partial[local * {WORKGROUP/4}u + s];
        }
        store(target_row(local), column, with_addend(local, column, sum));
    }
#else
#for r in 0..ROWS
    partial[{r*WORKGROUP}u + local] = sum{r};
#endfor
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) {
#for r in 0..ROWS
            sum{r} += partial[{r*WORKGROUP}u + local + half * {COLUMN_QUADS}u];
            partial[{r*WORKGROUP}u + local] = sum{r};
#endfor
        }
    }
    if (lane == 0u) {
#for r in 0..ROWS
        store(target_row({r}u), column, with_addend({r}u, column, sum{r}));
#endfor
    }
#endif
}
