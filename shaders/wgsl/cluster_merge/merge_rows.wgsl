// The merged sequences behind each other: class token, kept tokens, representatives. A representative is the mean of its
// members: the chunks' sums in their order, divided once; 0 without members. One invocation per (image, row, four channels), where
// rows are the class token, all tokens and the representatives. Workgroups: ceil(batch * (1 + tokens + K) * ceil(width / 4) / WORKGROUP).
#import shared/grid
#import cluster_merge/params

@group(0) @binding(2) var<storage, read> x: array<{X_TYPE}>;                // [batch, 1 + tokens, width]
@group(0) @binding(3) var<storage, read> row_map: array<u32>;               // [batch, tokens]
@group(0) @binding(4) var<storage, read> own_rows: array<u32>;              // [batch]
@group(0) @binding(5) var<storage, read> bounds: array<u32>;                // cu_seqlens
@group(0) @binding(6) var<storage, read> counts: array<u32>;                // [batch, K + 1]
@group(0) @binding(7) var<storage, read> sums: array<vec4f>;                // [batch, chunks, K, ceil(width / 4)]
@group(0) @binding(8) var<storage, read_write> means: array<{Y_TYPE}>;      // [batch, K, width]
@group(0) @binding(9) var<storage, read_write> packed: array<{Y_TYPE}>;     // [rows, width]
#import shared/load tensor=x f16={X_F16} aligned={ALIGNED}
#import shared/store tensor=means aligned={ALIGNED}
#import shared/store tensor=packed aligned={ALIGNED}

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let rows = 1u + params.tokens + params.clusters;
    let quad = index % quads();
    let row = index / quads() % rows;
    let image = index / quads() / rows;
    if (group >= grid.end || image >= params.batch) { return; }
    let column = 4u * quad;
    let count = params.width - column;
    let own = own_rows[image];

    // 1. A representative.
    if (row > params.tokens) {
        let cluster = row - params.tokens - 1u;
        var sum = vec4f(0.0);
        for (var chunk = 0u; chunk < params.chunks; chunk += 1u) {
            sum += sums[((image * params.chunks + chunk) * params.clusters + cluster) * quads() + quad];
        }
        let members = max(counts[image * (params.clusters + 1u) + cluster + 1u], 1u);
        let mean = sum / f32(members);
        store_means((image * params.clusters + cluster) * params.width + column, count, mean);
        let place = bounds[image] + own + cluster;
        if (place < bounds[image + 1u]) { store_packed(place * params.width + column, count, mean); }
        return;
    }

    // 2. The class token, and a token that is kept.
    var place = 0u;
    if (row > 0u) { place = row_map[image * params.tokens + row - 1u]; }
    if (place < own) {
        let value = load_x(x_row(image, row) + column, count);
        store_packed((bounds[image] + place) * params.width + column, count, value);
    }
}
