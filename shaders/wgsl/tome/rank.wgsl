// The place of every source by falling score, the first of equals before: the first `removed` give up their rows.
// One invocation per source. Workgroups: ceil(batch * ceil(tokens / 2) / WORKGROUP).
#import shared/grid
#import tome/params

@group(0) @binding(2) var<storage, read> scores: array<f32>;         // [batch, sources]
@group(0) @binding(3) var<storage, read_write> ranks: array<u32>;    // [batch, sources]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    if (group >= grid.end || index >= params.batch * sources()) { return; }
    let first = index / sources() * sources();
    let score = scores[index];
    var rank = 0u;
    for (var other = first; other < first + sources(); other += 1u) {
        rank += u32(scores[other] > score || (scores[other] == score && other < index));
    }
    ranks[index] = rank;
}
