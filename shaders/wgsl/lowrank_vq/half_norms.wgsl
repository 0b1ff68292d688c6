// Half of |c|^2 for every codeword, which nearest and nearest_cpu start their scores from. Places past the last codeword get a
// norm that no row is near to, so that whole tiles of codewords can be searched.
// One invocation per codeword. Workgroups: ceil(padded / WORKGROUP).
#import shared/grid

struct NormParams {
    codewords: u32,
    padded: u32,     // places of the result, a multiple of 256
}

const FAR = 3e38;

@group(0) @binding(1) var<uniform> params: NormParams;
@group(0) @binding(2) var<storage, read> codebook: array<{CODEBOOK_TYPE}>; // [codewords, PATCH]
@group(0) @binding(3) var<storage, read_write> half_norms: array<f32>;     // [padded]

#import shared/load tensor=codebook f16={CODEBOOK_F16} aligned=1

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let codeword = group * {WORKGROUP}u + local;
    if (group >= grid.end || codeword >= params.padded) { return; }
    if (codeword >= params.codewords) {
        half_norms[codeword] = FAR;
        return;
    }
    var norm = 0.0;
    for (var k = 0u; k < {PATCH}u; k += 4u) {
        let quad = load_codebook(codeword * {PATCH}u + k, 4u);
        norm += dot(quad, quad);
    }
    half_norms[codeword] = 0.5 * norm;
}
