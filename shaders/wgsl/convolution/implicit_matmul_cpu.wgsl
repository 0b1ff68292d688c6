// A convolution as a product: a row is an output pixel, and its inputs are those of the pixels under the kernel, read where they
// lie. The product is that of linear/matmul_cpu, for adapters that run on a CPU, tap by tap.
//
// Tile: 8 * ROWS pixels by COLUMNS outputs; each of 8 invocations owns ROWS x COLUMNS sums.
#import convolution/bindings
#import convolution/geometry
#import linear/epilogue

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
