// Mean, sum of squared deviations, least and largest similarity of a token in one chunk of pixels.
// One invocation per chunk and token. Workgroups: ceil(chunks * tokens / WORKGROUP).
#import shared/grid
#import token_dictionary/refine_params

@group(0) @binding(2) var<storage, read> similarity: array<f32>;            // [pixels, tokens]
@group(0) @binding(3) var<storage, read_write> statistics: array<vec4f>;    // [chunks, tokens]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    if (group >= grid.end || index >= params.chunks * params.tokens) { return; }
    let token = index % params.tokens;
    let first = index / params.tokens * CHUNK;
    let end = min(first + CHUNK, params.pixels);
    var sum = 0.0;
    var least = 1.0e30;
    var most = -1.0e30;
    for (var pixel = first; pixel < end; pixel += 1u) {
        let s = similarity[pixel * params.tokens + token];
        sum += s;
        least = min(least, s);
        most = max(most, s);
    }
    let mean = sum / f32(end - first);
    var squares = 0.0;
    for (var pixel = first; pixel < end; pixel += 1u) {
        let deviation = similarity[pixel * params.tokens + token] - mean;
        squares = fma(deviation, deviation, squares);
    }
    statistics[index] = vec4f(mean, squares, least, most);
}
