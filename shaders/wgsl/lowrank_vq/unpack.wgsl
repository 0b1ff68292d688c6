// Step 1 of 4 of decoding in plain steps: the bit stream to indices.
// One invocation per index. Workgroups: ceil(count / WORKGROUP).
#import shared/grid
#import lowrank_vq/params
#import lowrank_vq/stream

@group(0) @binding(2) var<storage, read> words: array<u32>;           // the bit stream
@group(0) @binding(3) var<storage, read_write> indices: array<u32>;   // [patches, iterations, CHANNELS, 2 rank]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let n = group * {WORKGROUP}u + local;
    if (group >= grid.end || n >= params.count) { return; }
    indices[n] = codeword_index(n);
}
