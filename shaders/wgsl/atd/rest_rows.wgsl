// Rows of the pixels that a sorted list leaves out: `sum`, with VALUES plus their own values.
// One invocation per EACH units of a row, of every `step`-th row behind the list: 1 unit and at most one row on GPUs, whole rows and
// several on software adapters, where an invocation without work is not free.
// Workgroups: ceil(step * UNITS / EACH / WORKGROUP).
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
    if (group >= grid.end || index / {UNITS/EACH}u >= params.step) { return; }
    let first = index % {UNITS/EACH}u * {EACH}u;
    for (var place = active_count[0] + index / {UNITS/EACH}u; place < params.pixels; place += params.step) {
        let pixel = order[place];
        for (var unit = first; unit < first + {EACH}u; unit += 1u) {
            let element = pixel * UNITS + unit;
#if VALUES
            out[element] = sum[element] + qkv[(pixel * 3u + 2u) * UNITS + unit];
#else
            out[element] = sum[element];
#endif
        }
    }
}
