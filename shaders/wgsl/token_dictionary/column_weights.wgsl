// Weights of the pixels for each token, not yet divided by their sum. One invocation per quad of tokens of a pixel.
// Workgroups: ceil(pixels * ceil(tokens / 4) / WORKGROUP).
#import shared/grid
#import token_dictionary/refine_params

@group(0) @binding(2) var<storage, read> similarity: array<{ROW_TYPE}>;         // [pixels, tokens]
@group(0) @binding(3) var<storage, read> slopes: array<vec2f>;                  // [tokens]
@group(0) @binding(4) var<storage, read_write> weights: array<{ROW_TYPE}>;      // [pixels, tokens]
#import shared/load tensor=similarity f16=0 aligned={ALIGNED}
#import shared/store tensor=weights aligned={ALIGNED}

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let quads = (params.tokens + 3u) / 4u;
    let index = group * {WORKGROUP}u + local;
    if (group >= grid.end || index >= params.pixels * quads) { return; }
    let token = index % quads * 4u;
    let start = index / quads * params.tokens + token;
    let count = params.tokens - token;
    let s = load_similarity(start, count);
    let last = params.tokens - 1u;
#for i in 0..4
    let line{i} = slopes[min(token + {i}u, last)];
#endfor
    let slope = vec4f(line0.x, line1.x, line2.x, line3.x);
    let peak = vec4f(line0.y, line1.y, line2.y, line3.y);
    store_weights(start, count, exp2(slope * (s - peak)));
}
