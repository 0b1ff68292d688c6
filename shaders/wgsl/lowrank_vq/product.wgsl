// Step 3 of 4 of decoding in plain steps: factors to patches, each channel a product of PATCH x products by products x PATCH.
// One invocation per sample. Workgroups: ceil(patches * CHANNELS * PATCH^2 / WORKGROUP).
#import shared/grid
#import lowrank_vq/params

@group(0) @binding(2) var<storage, read> factors: array<f32>;         // [patches, iterations, CHANNELS, 2 rank, PATCH]
@group(0) @binding(3) var<storage, read_write> samples: array<f32>;   // [patches, CHANNELS, PATCH, PATCH]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let sample = group * {WORKGROUP}u + local;
    let x = sample % {PATCH}u;
    let y = sample / {PATCH}u % {PATCH}u;
    let channel = sample / {PATCH*PATCH}u % {CHANNELS}u;
    let patch_index = sample / {PATCH*PATCH*CHANNELS}u;
    if (group >= grid.end || patch_index >= params.patches) { return; }

    var sum = 0.0;
    for (var iteration = 0u; iteration < params.iterations; iteration++) {
        let first = ((patch_index * params.iterations + iteration) * {CHANNELS}u + channel) * 2u * params.rank;
        for (var rank = 0u; rank < params.rank; rank++) {
            let left = factors[(first + rank) * {PATCH}u + y];
            let right = factors[(first + params.rank + rank) * {PATCH}u + x];
            sum = fma(left, right, sum);
        }
    }
    samples[sample] = sum * params.gain;
}
