// The windows of both grids: one from the corner of the picture, one `window / 2` further down and right. Windows at the border are cut
// off and stand for the pixels that they have; nothing wraps around.
struct WindowParams {
    pictures: u32,
    height: u32,
    width: u32,
    window: u32,
    shift: u32,           // pixels that the second grid's first window lacks, up and left
    columns: u32,         // windows in a line of the first grid
    windows: u32,         // of the first grid in one picture
    shifted_columns: u32,
    all_windows: u32,     // of both grids in one picture
}

@group(0) @binding(1) var<uniform> params: WindowParams;
