// Un-merging: every token takes the row that stands for it. With REGENERATED a member of a cluster takes a row of its own instead.
// One invocation per (image, row, four channels); CLASS_ROW: an image's first row is its class token, which has no entry in the map.
// Workgroups: ceil(batch * (CLASS_ROW + tokens) * ceil(width / 4) / WORKGROUP).
#import shared/grid
#import cluster_merge/params

@group(0) @binding(2) var<storage, read> rows: array<{X_TYPE}>;               // [rows, width], merged sequences
@group(0) @binding(3) var<storage, read> row_map: array<u32>;                 // [batch, tokens]
@group(0) @binding(4) var<storage, read> bounds: array<u32>;                  // cu_seqlens
#if REGENERATED
@group(0) @binding(5) var<storage, read> own_rows: array<u32>;                // [batch]
@group(0) @binding(6) var<storage, read> regenerated: array<{Y_TYPE}>;        // [batch, tokens, width]
#import shared/load tensor=regenerated f16=0 aligned={ALIGNED}
#endif
@group(0) @binding(7) var<storage, read_write> result: array<{Y_TYPE}>;       // [batch, CLASS_ROW + tokens, width]
#import shared/load tensor=rows f16={X_F16} aligned={ALIGNED}
#import shared/store tensor=result aligned={ALIGNED}

const FIRST = {CLASS_ROW}u;

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let row = index / quads() % (FIRST + params.tokens);
    let image = index / quads() / (FIRST + params.tokens);
    if (group >= grid.end || image >= params.batch) { return; }
    let column = index % quads() * 4u;
    let count = params.width - column;

    var place = 0u;
    if (row >= FIRST) { place = row_map[image * params.tokens + row - FIRST]; }
    var value: vec4f;
#if REGENERATED
    if (place >= own_rows[image]) {
        value = load_regenerated((image * params.tokens + row - FIRST) * params.width + column, count);
    } else {
        value = load_rows((bounds[image] + place) * params.width + column, count);
    }
#else
    value = load_rows((bounds[image] + place) * params.width + column, count);
#endif
    store_result((image * (FIRST + params.tokens) + row) * params.width + column, count, value);
}
