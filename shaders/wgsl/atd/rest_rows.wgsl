// Rows of the pixels that a sorted list leaves out: `sum`, with VALUES plus their own values.
// One invocation per EACH units of a row: 1 on GPUs, the whole row on software adapters, which so pass over the list's pixels quickly.
// Workgroups: ceil(pixels * UNITS / EACH / WORKGROUP).
#import shared/grid
#import atd/rows

@group(0) @binding(2) var<storage, read> order: array<u32>;                 // [pixels]: the list, then the rest
@group(0) @binding(3) var<storage, read> active_count: array<u32>;          // [1], pixels on the list
@group(0) @binding(4) var<storage, read> sum: array<{ROW_TYPE}>;            // [pixels, UNITS]
@group(0) @binding(5) var<storage, read_write> out: array<{ROW_TYPE}>;      // [pixels, UNITS]
#if VALUES
@group(0) @binding(6) var<storage, read> qkv: array<{ROW_TYPE}>;            // [pixels, 3, UNITS]
#endif

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let place = index / {UNITS/EACH}u;
    if (group >= grid.end || place >= params.pixels) { return; }
    let pixel = order[place];
    let first = index % {UNITS/EACH}u * {EACH}u;
    let end = select(first + {EACH}u, first, place < active_count[0]);
    for (var unit = first; unit < end; unit += 1u) {
        let element = pixel * UNITS + unit;
#if VALUES
        out[element] = sum[element] + qkv[(pixel * 3u + 2u) * UNITS + unit];
#else
        out[element] = sum[element];
#endif
    }
}
