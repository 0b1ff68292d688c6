// `count` rows of every image from one tensor into another: out of the class token's way, or behind other rows.
// One invocation per element. Workgroups: ceil(batch * count * width / WORKGROUP).
#import shared/grid

struct CopyParams {
    batch: u32,
    count: u32,
    width: u32,
    source_rows: u32,   // of one image; 0: every image takes the same rows
    source_first: u32,
    result_rows: u32,
    result_first: u32,
}

@group(0) @binding(1) var<uniform> params: CopyParams;
@group(0) @binding(2) var<storage, read> source: array<f32>;          // [batch, source_rows, width]
@group(0) @binding(3) var<storage, read_write> result: array<f32>;    // [batch, result_rows, width]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let row = index / params.width % params.count;
    let image = index / params.width / params.count;
    if (group >= grid.end || image >= params.batch) { return; }
    let column = index % params.width;
    let to = image * params.result_rows + params.result_first + row;
    let origin = image * params.source_rows + params.source_first + row;
    result[to * params.width + column] = source[origin * params.width + column];
}
