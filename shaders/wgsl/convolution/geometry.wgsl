// Which pixels of x an output pixel sees. Needs convolution/bindings.
//
// A transposed convolution with stride s is s x s ordinary ones: the output pixels whose position plus padding leaves one
// remainder by s, a phase, see the same taps of the kernel, every s-th, and neighbouring pixels of x. Its weight holds the taps phase
// by phase, in the order of the pixels they meet. An ordinary convolution is one phase.

// (y, x) of everything; the same for all pixels of a workgroup.
struct Phase {
    taps: vec2u,         // of the kernel
    first: vec2i,        // where the first tap of the phase's pixel (0, 0) lies in x
    step: u32,           // pixels of x from one pixel of the phase to the next
    out: vec2u,          // the phase's pixel (0, 0) in y
    out_step: u32,       // pixels of y from one to the next
    weight_row: u32,     // the first row of its weight
}

fn phase_at(index: u32) -> Phase {
    let kernel = vec2u(params.kernel_height, params.kernel_width);
#if TRANSPOSED
    let stride = params.stride;
    let remainder = vec2u(index / stride, index % stride);
    let whole = kernel / stride;
    let rest = kernel % stride;
    let taps = whole + select(vec2u(0u), vec2u(1u), remainder < rest);
    let before = remainder * whole + min(remainder, rest);
    let out = (remainder + stride - params.padding % stride) % stride;
    let first = vec2i((out + params.padding) / stride) + 1 - vec2i(taps);
    let weight_row = (before.x * kernel.y + before.y * taps.x) * params.weight_inputs;
    return Phase(taps, first, 1u, out, stride, weight_row);
#else
    return Phase(kernel, vec2i(-i32(params.padding)), params.stride, vec2u(0u), 1u, 0u);
#endif
}

struct Pixel {
    corner: vec2i,       // its first tap in x
    start: u32,          // element of x there, if it wraps around where that is outside
}

// The pixel `row` of a phase; pixels past the end repeat the last one.
fn pixel_at(phase: Phase, row: u32) -> Pixel {
    let pixel = min(row, params.phase_rows - 1u);
    let line = pixel / params.phase_width;
    let picture = line / params.phase_height;
    let place = vec2u(line - picture * params.phase_height, pixel - line * params.phase_width);
    let corner = vec2i(place * phase.step) + phase.first;
    let start = (i32(picture * params.height) + corner.x) * i32(params.width) + corner.y;
    return Pixel(corner, u32(start) * params.inputs);
}

// Its element of x under a tap, or OUTSIDE.
fn tap_start(pixel: Pixel, tap: vec2u) -> u32 {
    let place = vec2u(pixel.corner) + tap;
    let inside = all(place < vec2u(params.height, params.width));
    return select(OUTSIDE, pixel.start + (tap.x * params.width + tap.y) * params.inputs, inside);
}

// The pixel's row in y; params.rows, which is never stored, past the end.
fn output_row(phase: Phase, row: u32) -> u32 {
#if TRANSPOSED
    let line = row / params.phase_width;
    let picture = line / params.phase_height;
    let place = vec2u(line - picture * params.phase_height, row - line * params.phase_width);
    let out = place * phase.out_step + phase.out;
    let inside = row < params.phase_rows && all(out < vec2u(params.out_height, params.out_width));
    return select(params.rows, (picture * params.out_height + out.x) * params.out_width + out.y, inside);
#else
    return row;
#endif
}
