// Keys of the dictionary's tokens as unit vectors times their scale: 1 + clamp(scale, 0, 1) ln M (ATD, arXiv 2401.08209, Eq. 5).
// One invocation per token. Workgroups: ceil(tokens / WORKGROUP).
#import shared/grid

struct KeyParams {
    tokens: u32,  // M
    dim: u32,
    log_tokens: f32,
}

@group(0) @binding(1) var<uniform> params: KeyParams;
@group(0) @binding(2) var<storage, read> keys: array<f32>;              // [tokens, dim]
@group(0) @binding(3) var<storage, read> scale: array<f32>;             // [tokens]
@group(0) @binding(4) var<storage, read_write> scaled: array<f32>;      // [tokens, dim]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let token = group * {WORKGROUP}u + local;
    if (group >= grid.end || token >= params.tokens) { return; }
    var square = 0.0;
    for (var d = 0u; d < params.dim; d += 1u) {
        let element = keys[token * params.dim + d];
        square = fma(element, element, square);
    }
    let factor = (1.0 + clamp(scale[token], 0.0, 1.0) * params.log_tokens) / max(sqrt(square), 1e-12);
    for (var d = 0u; d < params.dim; d += 1u) {
        scaled[token * params.dim + d] = factor * keys[token * params.dim + d];
    }
}
