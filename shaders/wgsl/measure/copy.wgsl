// Bandwidth of a copy: every vec4f is read once and written once (32 bytes moved).
// Each invocation copies PER_INVOCATION vectors, a workgroup apart, so that loads are coalesced and several are in flight.
// WORKGROUP: 8 on CPU adapters, 256 on GPUs; PER_INVOCATION: 4.
#import shared/grid

struct CopyParams {
    vectors: u32,
}

@group(0) @binding(1) var<uniform> params: CopyParams;
@group(0) @binding(2) var<storage, read> source: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> target_vectors: array<vec4f>;

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    if (group >= grid.end) {
        return;
    }
    let first = group * {WORKGROUP*PER_INVOCATION}u + local;
    // Past the end the last vector is read again and nothing is written.
    let last = params.vectors - 1u;
#for i in 0..PER_INVOCATION
    let vector{i} = source[min(first + {i*WORKGROUP}u, last)];
#endfor
#for i in 0..PER_INVOCATION
    if (first + {i*WORKGROUP}u <= last) { target_vectors[first + {i*WORKGROUP}u] = vector{i}; }
#endfor
}
