// The refined dictionary: sigmoid(sigma) · token + (1 - sigmoid(sigma)) · weighted mean of the pixels (ATD, arXiv 2401.08209, section 3.2);
// the chunks' sums are added in order. One invocation per token and channel. Workgroups: ceil(tokens * channels / WORKGROUP).
#import shared/grid
#import token_dictionary/refine_params

@group(0) @binding(2) var<storage, read> dictionary: array<f32>;        // [tokens, channels]
@group(0) @binding(3) var<storage, read> sums: array<f32>;              // [chunks, tokens, channels]
@group(0) @binding(4) var<storage, read> weight_sums: array<f32>;       // [chunks, tokens]
@group(0) @binding(5) var<storage, read> sigma: array<f32>;             // [tokens]
@group(0) @binding(6) var<storage, read_write> refined: array<f32>;     // [tokens, channels]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    if (group >= grid.end || index >= params.tokens * params.channels) { return; }
    let token = index / params.channels;
    var sum = 0.0;
    var weight_sum = 0.0;
    for (var chunk = 0u; chunk < params.chunks; chunk += 1u) {
        sum += sums[chunk * params.tokens * params.channels + index];
        weight_sum += weight_sums[chunk * params.tokens + token];
    }
    let keep = 1.0 / (1.0 + exp(-clamp(sigma[token], -80.0, 80.0)));
    refined[index] = mix(sum / weight_sum, dictionary[index], keep);
}
