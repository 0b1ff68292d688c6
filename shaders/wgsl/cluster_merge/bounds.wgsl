// Where the merged sequence of each image begins: the prefix sum of the lengths, for queries and for keys, and the number of
// all rows. One invocation, since an image is one addition. Workgroups: 1.
#import shared/grid

struct BoundsParams {
    batch: u32,
}

@group(0) @binding(1) var<uniform> params: BoundsParams;
@group(0) @binding(2) var<storage, read> lengths: array<u32>;           // [batch]
@group(0) @binding(3) var<storage, read_write> bounds: array<u32>;      // [2 (batch + 1)], cu_seqlens twice
@group(0) @binding(4) var<storage, read_write> row_count: array<u32>;   // [1]

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
    if (grid_index(workgroup, workgroups) >= grid.end) { return; }
    var total = 0u;
    for (var image = 0u; image < params.batch; image += 1u) {
        bounds[image] = total;
        bounds[params.batch + 1u + image] = total;
        total += lengths[image];
    }
    bounds[params.batch] = total;
    bounds[2u * params.batch + 1u] = total;
    row_count[0] = total;
}
