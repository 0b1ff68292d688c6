// The patches of images as rows, what a patch embedding multiplies: row 0 of an image is the class token's, all zeros, then come
// the patches in raster order, each [channel][row][column]. One invocation per element.
// Workgroups: ceil(batch * (1 + patch rows * patch columns) * channels * patch^2 / WORKGROUP).
#import shared/grid

struct PatchParams {
    batch: u32,
    channels: u32,
    height: u32,  // of the image: a multiple of side, as is width
    width: u32,
    side: u32,    // of a patch
}

@group(0) @binding(1) var<uniform> params: PatchParams;
@group(0) @binding(2) var<storage, read> image: array<f32>;         // [batch, channels, height, width]
@group(0) @binding(3) var<storage, read_write> rows: array<f32>;    // [batch, 1 + patches, channels * patch^2]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let columns = params.width / params.side;
    let tokens = 1u + params.height / params.side * columns;
    let pixels = params.side * params.side;
    let element = index % (params.channels * pixels);
    let row = index / (params.channels * pixels);
    if (group >= grid.end || row >= params.batch * tokens) { return; }
    let token = row % tokens;
    if (token == 0u) {
        rows[index] = 0.0;
        return;
    }
    let plane = row / tokens * params.channels + element / pixels;
    let y = (token - 1u) / columns * params.side + element % pixels / params.side;
    let x = (token - 1u) % columns * params.side + element % params.side;
    rows[index] = image[(plane * params.height + y) * params.width + x];
}
