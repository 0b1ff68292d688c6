// A convolution as a product: a row is an output pixel, and its inputs are those of the pixels under the kernel, read where they
// lie. The product is that of linear/matmul_cpu, tap by tap: for adapters that run on a CPU, and on GPUs for so few outputs that
// most of a tile of implicit_matmul would lie past them (WORKGROUP 64).
//
// Tile: WORKGROUP * ROWS pixels by COLUMNS outputs; an invocation owns ROWS x COLUMNS sums. On lavapipe, 3 x 3 over 64 channels,
// GFLOP per second of CPU time (linear/matmul_cpu: 25):
// - SUBGROUP (a workgroup is one subgroup of 8): 8 x 32 sums 28 (over 128 channels 31), 8 x 24 27, 4 x 32 23, 8 x 16 22, 8 x 8 16,
//   8 x 4 10; 12 x 32 is no quicker than 4 x 32.
// - otherwise 8 x 16 12, 8 x 8 11, 8 x 4 8 (linear/matmul_cpu: 13).
// Compiled by RADV for navi21 with 4 x 4 sums: 48 registers, no spill, 43 % multiply-adds in the loop.
#import convolution/bindings
#import convolution/geometry
#import linear/epilogue in_place=0

const STEP = {STEP}u;    // inputs per round, unrolled: one weight row per lane with SUBGROUP

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    if (group >= grid.end) {
        return;
    }
    let tile = group / params.column_tiles;
    let phase = phase_at(tile / params.row_tiles);
    // This invocation owns ROWS pixels, a workgroup apart, of COLUMNS outputs.
    let first_row = tile % params.row_tiles * {ROWS*WORKGROUP}u + local;
    let first_column = group % params.column_tiles * {COLUMNS}u;
#for r in 0..ROWS
    let pixel{r} = pixel_at(phase, first_row + {r*WORKGROUP}u);
#for c in 0..COLUMNS/4
    var sum{r}_{c} = vec4f(0.0);
#endfor
#endfor

    var weight_row = phase.weight_row;
    for (var tap_y = 0u; tap_y < phase.taps.x; tap_y++) {
        for (var tap_x = 0u; tap_x < phase.taps.y; tap_x++) {
#for r in 0..ROWS
            let x_start{r} = tap_start(pixel{r}, vec2u(tap_y, tap_x));
#endfor
            for (var input = 0u; input < params.weight_inputs; input += STEP) {
#import linear/lane_product weight_input=weight_row WEIGHT_OUT_IN=0
                weight_row += STEP;
            }
        }
    }

#for r in 0..ROWS
    let out{r} = output_row(phase, first_row + {r*WORKGROUP}u);
#for c in 0..COLUMNS/4
    store(out{r}, first_column + {c*4}u, sum{r}_{c});
#endfor
#endfor
}
