// Step 2 of 4 of decoding in plain steps: indices to the codewords that they name.
// One invocation per four elements. Workgroups: ceil(count * PATCH / 4 / WORKGROUP).
#import shared/grid
#import lowrank_vq/params

@group(0) @binding(2) var<storage, read> codebook: array<{CODEBOOK_TYPE}>; // [codewords, PATCH]
@group(0) @binding(3) var<storage, read> indices: array<u32>;              // [count], of [patches, iterations, CHANNELS, 2 rank]
@group(0) @binding(4) var<storage, read_write> factors: array<vec4f>;      // [count, PATCH]

#import shared/load tensor=codebook f16={CODEBOOK_F16} aligned=1

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let quad = group * {WORKGROUP}u + local;
    let n = quad / {PATCH/4}u;
    if (group >= grid.end || n >= params.count) { return; }
    factors[quad] = load_codebook(indices[n] * {PATCH}u + quad % {PATCH/4}u * 4u, 4u);
}
