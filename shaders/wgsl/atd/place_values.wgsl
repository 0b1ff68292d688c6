// The values of the pixels that a sorted list leaves out, into their rows behind those of the list: attention is the identity for them.
// One invocation per {ROW_TYPE} of a row. Workgroups: ceil(pixels * UNITS / WORKGROUP).
#import shared/grid

struct RowParams {
    pixels: u32,
}

@group(0) @binding(1) var<uniform> params: RowParams;
@group(0) @binding(2) var<storage, read> order: array<u32>;                     // [pixels]
@group(0) @binding(3) var<storage, read> active_count: array<u32>;              // [1]
@group(0) @binding(4) var<storage, read> qkv: array<{ROW_TYPE}>;                // [pixels, 3, UNITS]
@group(0) @binding(5) var<storage, read_write> rows: array<{ROW_TYPE}>;         // [pixels, UNITS], in the order of the list

// Elements of the row type in a pixel's row: a constant, as a software adapter divides by any other number lane by lane.
const UNITS = {UNITS}u;

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let place = index / UNITS;
    if (group >= grid.end || place >= params.pixels || place < active_count[0]) { return; }
    rows[index] = qkv[(order[place] * 3u + 2u) * UNITS + index % UNITS];
}
