// RMSNorm or LayerNorm, one row per invocation: on a software adapter a barrier costs more than a whole short row.
// Workgroups: ceil(rows / 8).
#import norm/bindings

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let row = group * 8u + local;
    if (group >= grid.end || row >= params.rows || is_past_rows(row)) { return; }

    var mean = 0.0;
#if CENTER
    var total = vec4f(0.0);
    for (var column = 0u; column < params.width; column += 4u) {
        total += deviation(row, column, 0.0);
    }
    mean = dot(total, vec4f(1.0)) / f32(params.width);
#endif

    var sums = vec4f(0.0);
    var squares = vec4f(0.0);
    for (var column = 0u; column < params.width; column += 4u) {
        let difference = deviation(row, column, mean);
        sums += difference;
        squares += difference * difference;
    }
    let spread = spread_of(vec2f(dot(sums, vec4f(1.0)), dot(squares, vec4f(1.0))));

    for (var column = 0u; column < params.width; column += 4u) {
        store(row, column, (deviation(row, column, mean) - spread.mean) * spread.inverse);
    }
}
