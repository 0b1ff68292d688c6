// Similarity of each pixel to the tokens of the dictionary: softmax of cosines (ATD, arXiv 2401.08209, Eq. 5), and its category, the
// most similar token, of equals the first. One invocation per pixel. Workgroups: ceil(pixels / WORKGROUP).
#import shared/grid

struct SimilarityParams {
    pixels: u32,
    tokens: u32,  // M
    dim: u32,     // of a query
}

@group(0) @binding(1) var<uniform> params: SimilarityParams;
@group(0) @binding(2) var<storage, read> queries: array<f32>;                   // [pixels, dim]
@group(0) @binding(3) var<storage, read> products: array<{ROW_TYPE}>;           // [pixels, tokens]: query · scaled key
@group(0) @binding(4) var<storage, read_write> similarity: array<{ROW_TYPE}>;   // [pixels, tokens]
@group(0) @binding(5) var<storage, read_write> category: array<u32>;            // [pixels]
#import shared/load tensor=products f16=0 aligned={ALIGNED}
#import shared/store tensor=similarity aligned={ALIGNED}

const LOG2_E = 1.4426950408889634;

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let pixel = group * {WORKGROUP}u + local;
    if (group >= grid.end || pixel >= params.pixels) { return; }
    var square = 0.0;
    for (var d = 0u; d < params.dim; d += 1u) {
        let element = queries[pixel * params.dim + d];
        square = fma(element, element, square);
    }
    let factor = LOG2_E / max(sqrt(square), 1e-12);

    let row = pixel * params.tokens;
    var peak = -1.0e30;
    var nearest = 0u;
    for (var m = 0u; m < params.tokens; m += 4u) {
        let quad = factor * load_products(row + m, params.tokens - m);
#for i in 0..4
        if ({i}u < params.tokens - m && quad[{i}] > peak) {
            peak = quad[{i}];
            nearest = m + {i}u;
        }
#endfor
    }
    var sum = 0.0;
    for (var m = 0u; m < params.tokens; m += 4u) {
        let weights = exp2(factor * load_products(row + m, params.tokens - m) - peak);
        let there = vec4u(0u, 1u, 2u, 3u) < vec4u(params.tokens - m);
        sum += dot(select(vec4f(0.0), weights, there), vec4f(1.0));
    }
    for (var m = 0u; m < params.tokens; m += 4u) {
        let weights = exp2(factor * load_products(row + m, params.tokens - m) - peak);
        store_similarity(row + m, params.tokens - m, weights / sum);
    }
    category[pixel] = nearest;
}
