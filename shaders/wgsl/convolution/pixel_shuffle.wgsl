// y[b, h s + i, w s + j, c] = x[b, h, w, (c s + i) s + j]: s^2 channels become a square of pixels (arXiv 1609.05158), in the order of
// PyTorch's PixelShuffle. One invocation per element of y.
#import shared/grid

struct ShuffleParams {
    elements: u32,       // of y
    height: u32,         // of x
    width: u32,
    channels: u32,       // of y
    scale: u32,
    out_height: u32,     // of y, at most height * scale
    out_width: u32,
}

@group(0) @binding(1) var<uniform> params: ShuffleParams;
@group(0) @binding(2) var<storage, read> x: array<f32>;             // [batch, height, width, channels * scale^2]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;       // [batch, out_height, out_width, channels]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let element = group * {WORKGROUP}u + local;
    if (group >= grid.end || element >= params.elements) {
        return;
    }
    let pixel = element / params.channels;
    let channel = element - pixel * params.channels;
    let line = pixel / params.out_width;                 // of all pictures
    let column = pixel - line * params.out_width;
    let picture = line / params.out_height;
    let row = line - picture * params.out_height;
    let from_pixel = (picture * params.height + row / params.scale) * params.width + column / params.scale;
    let from_channel = (channel * params.scale + row % params.scale) * params.scale + column % params.scale;
    y[element] = x[from_pixel * params.channels * params.scale * params.scale + from_channel];
}
