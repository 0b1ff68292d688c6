// Between the two layers of the regenerator: hidden = gelu(V1a original + (V1b representative + c1)) for members of a cluster, 0
// for kept tokens. V1 [original ; representative] is split in two products, so that a representative is multiplied once, not once
// for every member (ClustViT, arXiv 2510.01948). One invocation per (image, token, four channels).
// Workgroups: ceil(batch * tokens * ceil(width / 4) / WORKGROUP).
#import shared/grid
#import cluster_merge/params
#import linear/activation

@group(0) @binding(2) var<storage, read> original: array<{Y_TYPE}>;           // [batch, original_rows, width], V1a times the tokens
@group(0) @binding(3) var<storage, read> representative: array<{Y_TYPE}>;     // [batch, K, width], V1b times the representatives + c1
@group(0) @binding(4) var<storage, read> row_map: array<u32>;                 // [batch, tokens]
@group(0) @binding(5) var<storage, read> own_rows: array<u32>;                // [batch]
@group(0) @binding(6) var<storage, read_write> hidden: array<{Y_TYPE}>;       // [batch, tokens, width]
#import shared/load tensor=original f16=0 aligned={ALIGNED}
#import shared/load tensor=representative f16=0 aligned={ALIGNED}
#import shared/store tensor=hidden aligned={ALIGNED}

// Rows of an image before its first token in `original`: 1 where the class token is there too.
const FIRST = {CLASS_ROW}u;

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let row = index / quads();
    let image = row / params.tokens;
    if (group >= grid.end || image >= params.batch) { return; }
    let column = index % quads() * 4u;
    let count = params.width - column;
    let place = row_map[row];
    let own = own_rows[image];
    var value = vec4f(0.0);
    if (place >= own) {
        let original_row = image * (FIRST + params.tokens) + FIRST + row % params.tokens;
        let cluster_row = image * params.clusters + min(place - own, params.clusters - 1u);
        value = activate(
            load_original(original_row * params.width + column, count)
                + load_representative(cluster_row * params.width + column, count),
        );
    }
    store_hidden(row * params.width + column, count, value);
}
