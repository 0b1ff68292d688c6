// The patches of images as rows, what a patch embedding multiplies: row 0 of an image is the class token's, all zeros, then come
// the patches in raster order, each [channel][row][column]. One invocation per row of pixels in a patch: the divisions that find it cost a software adapter
// more than the pixels. Workgroups: ceil(batch * (1 + patches) * channels * side / WORKGROUP).
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
    let line = index % (params.channels * params.side);   // row of pixels in the patch, over all channels
    let row = index / (params.channels * params.side);
    if (group >= grid.end || row >= params.batch * tokens) { return; }
    let token = row % tokens;
    let to = index * params.side;
    if (token == 0u) {
        for (var x = 0u; x < params.side; x += 1u) { rows[to + x] = 0.0; }
        return;
    }
    let plane = row / tokens * params.channels + line / params.side;
    let y = (token - 1u) / columns * params.side + line % params.side;
    let origin = (plane * params.height + y) * params.width + (token - 1u) % columns * params.side;
    for (var x = 0u; x < params.side; x += 1u) { rows[to + x] = image[origin + x]; }
}
