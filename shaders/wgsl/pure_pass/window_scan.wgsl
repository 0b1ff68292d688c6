// Whether all pixels of a window have one label (Pure-Pass, arXiv 2510.01997), in both grids.
// One invocation per window; it stops at the first pixel that differs. Workgroups: ceil(pictures * all_windows / WORKGROUP).
#import shared/grid
#import pure_pass/windows

@group(0) @binding(2) var<storage, read> labels: array<u32>;            // [pictures, height, width]
@group(0) @binding(3) var<storage, read_write> uniform_windows: array<u32>;   // [pictures, all_windows], 1 = one label

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    if (group >= grid.end || index >= params.pictures * params.all_windows) { return; }
    let picture = index / params.all_windows;
    let place = index % params.all_windows;
    let shifted = place >= params.windows;
    let columns = select(params.columns, params.shifted_columns, shifted);
    let shift = select(0u, params.shift, shifted);
    let window = select(place, place - params.windows, shifted);

    // The second grid's first windows begin before the picture.
    let top = window / columns * params.window;
    let left = window % columns * params.window;
    let bottom = min(top + params.window - shift, params.height);
    let right = min(left + params.window - shift, params.width);
    let first_row = max(top, shift) - shift;
    let first_column = max(left, shift) - shift;

    let origin = picture * params.height * params.width;
    let label = labels[origin + first_row * params.width + first_column];
    var differs = false;
    for (var y = first_row; y < bottom && !differs; y += 1u) {
        for (var x = first_column; x < right; x += 1u) {
            differs |= labels[origin + y * params.width + x] != label;
        }
    }
    uniform_windows[index] = u32(!differs);
}
