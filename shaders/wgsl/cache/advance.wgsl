// The lengths of the cached sequences, after all of a step's keys and values were appended.
// One invocation per sequence. Workgroups: ceil(batch / WORKGROUP).
#import shared/grid

struct AdvanceParams {
    batch: u32,
    new_tokens: u32,
    capacity: u32,
}

@group(0) @binding(1) var<uniform> params: AdvanceParams;
@group(0) @binding(2) var<storage, read_write> lengths: array<u32>;    // [batch]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let sequence = group * {WORKGROUP}u + local;
    if (group >= grid.end || sequence >= params.batch) { return; }
    lengths[sequence] = min(lengths[sequence] + params.new_tokens, params.capacity);
}
