struct RowParams {
    pixels: u32,
    step: u32,    // from one place of an invocation to its next
}

@group(0) @binding(1) var<uniform> params: RowParams;

// Elements of the row type in a pixel's row: a constant, as a software adapter divides by any other number lane by lane.
const UNITS = {UNITS}u;
