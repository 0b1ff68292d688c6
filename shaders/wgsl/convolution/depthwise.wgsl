// A depthwise convolution: every channel with a kernel of its own. Few multiply-adds a pixel, so it is bound by its loads.
//
// An invocation owns four channels of PIXELS neighbours of a line: with STRIDE 1 the pixels of x under them are loaded once for
// every line of the kernel, PIXELS + KERNEL_WIDTH - 1 instead of PIXELS * KERNEL_WIDTH. Neighbouring invocations own
// neighbouring channels. The weight is [kernel_height, KERNEL_WIDTH, channels].
// Compiled by RADV for navi21 without spills: 3 x 3 has 96 registers, 7 x 7 has 128 and 43 % multiply-adds in the loop.
#import convolution/bindings
#import linear/epilogue in_place=0

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let quads = params.weight_outputs / 4u;
    let runs = (params.out_width + {PIXELS-1}u) / {PIXELS}u;
    let index = group * {WORKGROUP}u + local;
    let run = index / quads;
    let line = run / runs;
    if (group >= grid.end || line * params.out_width >= params.rows) {
        return;
    }
    let channel = (index - run * quads) * 4u;
    let out_x = (run - line * runs) * {PIXELS}u;
    let picture = line / params.out_height;
    let corner_y = (line - picture * params.out_height) * {STRIDE}u - params.padding;    // wraps around outside the picture
    let corner_x = out_x * {STRIDE}u - params.padding;
#for p in 0..PIXELS
    var sum{p} = vec4f(0.0);
#endfor
    for (var tap_y = 0u; tap_y < params.kernel_height; tap_y++) {
        let y_at = corner_y + tap_y;
        if (y_at >= params.height) {
            continue;
        }
        let start = (picture * params.height + y_at) * params.width;
        let weight_row = tap_y * {KERNEL_WIDTH}u;
#for i in 0..(PIXELS-1)*STRIDE+KERNEL_WIDTH
        let x{i} = x_quad(pixel_start(start, corner_x + {i}u), channel);
#endfor
#for k in 0..KERNEL_WIDTH
        let weight{k} = weight_quad(weight_row + {k}u, channel);
#for p in 0..PIXELS
        sum{p} = fma(x{p*STRIDE+k}, weight{k}, sum{p});
#endfor
#endfor
    }
    let row = line * params.out_width + out_x;
#for p in 0..PIXELS
    store(select(params.rows, row + {p}u, out_x + {p}u < params.out_width), channel, sum{p});
#endfor
}

fn pixel_start(line_start: u32, pixel: u32) -> u32 {
    return select(OUTSIDE, (line_start + pixel) * params.inputs, pixel < params.width);
}
