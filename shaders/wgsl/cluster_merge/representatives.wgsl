// The rows of the representatives out of merged sequences; 0 for an image that has none.
// One invocation per (image, cluster, four channels). Workgroups: ceil(batch * K * ceil(width / 4) / WORKGROUP).
#import shared/grid
#import cluster_merge/params

@group(0) @binding(2) var<storage, read> rows: array<{X_TYPE}>;               // [rows, width], merged sequences
@group(0) @binding(3) var<storage, read> own_rows: array<u32>;                // [batch]
@group(0) @binding(4) var<storage, read> bounds: array<u32>;                  // cu_seqlens
@group(0) @binding(5) var<storage, read_write> result: array<{Y_TYPE}>;       // [batch, K, width]
#import shared/load tensor=rows f16={X_F16} aligned={ALIGNED}
#import shared/store tensor=result aligned={ALIGNED}

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let cluster = index / quads() % params.clusters;
    let image = index / quads() / params.clusters;
    if (group >= grid.end || image >= params.batch) { return; }
    let column = index % quads() * 4u;
    let count = params.width - column;
    let place = bounds[image] + own_rows[image] + cluster;
    var value = vec4f(0.0);
    if (place < bounds[image + 1u]) { value = load_rows(place * params.width + column, count); }
    store_result((image * params.clusters + cluster) * params.width + column, count, value);
}
