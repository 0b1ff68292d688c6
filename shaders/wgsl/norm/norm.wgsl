// RMSNorm or LayerNorm, one workgroup per row: a tree sum, or with SUBGROUP a subgroup sum and one exchange.
// Workgroups: rows. WORKGROUP is a power of two.
#import norm/bindings

#if SUBGROUP
// One slot for each subgroup of at least 4 invocations.
var<workgroup> partial: array<vec2f, {WORKGROUP/4}>;
#else
var<workgroup> partial: array<vec2f, {WORKGROUP}>;
#endif

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
#if SUBGROUP
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
    @builtin(subgroup_id) subgroup_id: u32,
    @builtin(num_subgroups) num_subgroups: u32,
#endif
) {
    let row = grid_index(workgroup_id, num_workgroups);
    if (row >= grid.end || is_past_rows(row)) { return; }

    var mean = 0.0;
#if CENTER
    var total = vec2f(0.0);
    for (var column = 4u * local; column < params.width; column += {4*WORKGROUP}u) {
        total.x += dot(deviation(row, column, 0.0), vec4f(1.0));
    }
#import norm/workgroup_sum value=total
    mean = total.x / f32(params.width);
#endif

    var moments = vec2f(0.0);
    for (var column = 4u * local; column < params.width; column += {4*WORKGROUP}u) {
        moments += moments_of(deviation(row, column, mean));
    }
#import norm/workgroup_sum value=moments
    let spread = spread_of(moments);

    for (var column = 4u * local; column < params.width; column += {4*WORKGROUP}u) {
        store(row, column, (deviation(row, column, mean) - spread.mean) * spread.inverse);
    }
}
