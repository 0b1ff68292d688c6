// Rows of a sorted list back to their pixels, on top of `sum`. Pixels that the list leaves out get, by REST: 0 nothing, 1 their own value,
// 2 the row at their place behind the list. One invocation per {ROW_TYPE} of a row. Workgroups: ceil(pixels * UNITS / WORKGROUP).
#import shared/grid
#import atd/rows

@group(0) @binding(2) var<storage, read> order: array<u32>;                 // [pixels]: the list, then the rest
@group(0) @binding(3) var<storage, read> active_count: array<u32>;          // [1], pixels on the list
@group(0) @binding(4) var<storage, read> rows: array<{ROW_TYPE}>;           // [pixels, UNITS], in the order of the list
@group(0) @binding(5) var<storage, read> sum: array<{ROW_TYPE}>;            // [pixels, UNITS]
@group(0) @binding(6) var<storage, read_write> out: array<{ROW_TYPE}>;      // [pixels, UNITS]
#if REST == 1
@group(0) @binding(7) var<storage, read> qkv: array<{ROW_TYPE}>;            // [pixels, 3, UNITS]
#endif

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let place = index / UNITS;
    if (group >= grid.end || place >= params.pixels) { return; }
    let unit = index % UNITS;
    let pixel = order[place];
    var addend = {ROW_TYPE}(0.0);
    if (place < active_count[0] || {REST} == 2) {
        addend = rows[index];
    }
#if REST == 1
    else {
        addend = qkv[(pixel * 3u + 2u) * UNITS + unit];
    }
#endif
    out[pixel * UNITS + unit] = sum[pixel * UNITS + unit] + addend;
}
