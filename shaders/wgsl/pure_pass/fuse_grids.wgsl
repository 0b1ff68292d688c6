// Cross-shift mask fusion (Pure-Pass, arXiv 2510.01997): a pixel is pure where its window of either grid is.
// One invocation per pixel. Workgroups: ceil(pictures * height * width / WORKGROUP).
#import shared/grid
#import pure_pass/windows

@group(0) @binding(2) var<storage, read> uniform_windows: array<u32>;   // [pictures, all_windows]
@group(0) @binding(3) var<storage, read_write> mask: array<u32>;        // [pictures, height, width], 1 = pure

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    if (group >= grid.end || index >= params.pictures * params.height * params.width) { return; }
    let line = index / params.width;  // of all pictures
    let x = index % params.width;
    let y = line % params.height;
    let first = line / params.height * params.all_windows;
    let plain = first + y / params.window * params.columns + x / params.window;
    let shifted_row = (y + params.shift) / params.window;
    let shifted = first + params.windows + shifted_row * params.shifted_columns + (x + params.shift) / params.window;
    mask[index] = uniform_windows[plain] | uniform_windows[shifted];
}
