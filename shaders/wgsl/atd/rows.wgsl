struct RowParams {
    pixels: u32,
    units: u32,   // elements of the row type in a pixel's row
}

@group(0) @binding(1) var<uniform> params: RowParams;
