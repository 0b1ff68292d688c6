// How many vision tokens each chunk of CHUNK tokens has. One invocation per chunk.
// Workgroups: ceil(ceil(tokens / CHUNK) / WORKGROUP).
#import shared/grid
#import video_nsa/params

@group(0) @binding(2) var<storage, read> is_vision: array<u32>;      // [tokens]
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;   // [ceil(tokens / CHUNK)]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let first = (group * {WORKGROUP}u + local) * CHUNK;
    if (group >= grid.end || first >= params.tokens) { return; }
    var count = 0u;
    for (var t = first; t < min(first + CHUNK, params.tokens); t += 1u) {
        count += u32(is_vision[t] != 0u);
    }
    counts[first / CHUNK] = count;
}
