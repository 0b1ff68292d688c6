// A picture continued to the right and below by its mirror image, the edge repeated, with a constant added per channel.
// One invocation per sample. Workgroups: ceil(padded_height * padded_width * 3 / WORKGROUP).
#import shared/grid

struct PadParams {
    height: u32,
    width: u32,
    padded_height: u32,  // at most 2 * height
    padded_width: u32,
    red: f32,            // added to each
    green: f32,
    blue: f32,
}

@group(0) @binding(1) var<uniform> params: PadParams;
@group(0) @binding(2) var<storage, read> picture: array<f32>;           // [height, width, 3]
@group(0) @binding(3) var<storage, read_write> padded: array<f32>;      // [padded_height, padded_width, 3]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let pixel = index / 3u;
    if (group >= grid.end || pixel >= params.padded_height * params.padded_width) { return; }
    let padded_x = pixel % params.padded_width;
    let padded_y = pixel / params.padded_width;
    let x = select(2u * params.width - 1u - padded_x, padded_x, padded_x < params.width);
    let y = select(2u * params.height - 1u - padded_y, padded_y, padded_y < params.height);
    let channel = index % 3u;
    let offset = select(select(params.blue, params.green, channel == 1u), params.red, channel == 0u);
    padded[index] = picture[(y * params.width + x) * 3u + channel] + offset;
}
