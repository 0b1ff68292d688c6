// Where this workgroup stands in the whole grid. The host folds a grid past 65535 workgroups into two dimensions and may
// cut it into pieces, one submit each: `first` is the piece's first workgroup, `end` the one after its last.
struct Grid {
    first: u32,
    end: u32,
}

@group(0) @binding(0) var<uniform> grid: Grid;

// Uniform over the workgroup. A kernel returns at once where this is not below `grid.end`.
fn grid_index(workgroup: vec3u, workgroups: vec3u) -> u32 {
    return grid.first + workgroup.x + workgroup.y * workgroups.x;
}
