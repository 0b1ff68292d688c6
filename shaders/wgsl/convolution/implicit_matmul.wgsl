// A convolution as a product, on GPUs: a row is an output pixel, and its inputs are those of the pixels under the kernel, read
// where they lie. The product is that of linear/matmul.
//
// Tile: ROWS pixels by COLUMNS outputs by 64 invocations; ROWS x COLUMNS is 64 x 64, 128 x 32 (8 x 8 sums each) or 32 x 32
// (4 x 4), for few outputs or few pixels. The taps of the kernel and the inputs of each are one dimension, which passes through
// workgroup memory in chunks of 1024 / ROWS: 3 inputs and 9 taps fill them as well as 64 inputs do.
// Compiled by RADV for navi21, without spills: 64 x 64 has 152 registers, 6 waves per SIMD and 78 % multiply-adds in the loop (as
// linear/matmul; f16 weights and transposed 77 %, inputs that are no multiple of four 69 %), 128 x 32 has 128 registers and 72 %,
// 32 x 32 has 112 and 63 %.
#import convolution/bindings
#import convolution/geometry
#import linear/epilogue in_place=0

const CHUNK = {1024/ROWS}u;
const CHUNK_QUADS = {256/ROWS}u;
const ROW_QUADS = {ROWS/4}u;

// As in linear/matmul: [row of the chunk][quad], x turned and swizzled.
var<workgroup> x_tile: array<vec4f, 256>;
var<workgroup> weight_tile: array<vec4f, {256*COLUMNS/ROWS}>;

@compute @workgroup_size(64)
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
    let first_row = tile % params.row_tiles * {ROWS}u;
    let first_column = group % params.column_tiles * {COLUMNS}u;
#if TRANSPOSED
    let taps_across = max(phase.taps.y, 1u);
#else
    let taps_across = {KERNEL_WIDTH}u;
#endif
    let depth = phase.taps.x * phase.taps.y * params.weight_inputs;

    // The block this invocation brings: four pixels by four inputs, and {4*COLUMNS/ROWS} quads of the weight.
    let input = local % CHUNK_QUADS * 4u;
    let quad = local / CHUNK_QUADS;
    let turned = input * ROW_QUADS + (quad ^ (local % CHUNK_QUADS * {ROWS/32}u));
    let weight_row = local / {COLUMNS/4}u;
    let weight_column = first_column + local % {COLUMNS/4}u * 4u;
    let first = depth_at(input, taps_across);
#for r in 0..4
    let pixel{r} = pixel_at(phase, first_row + quad * 4u + {r}u);
    var x{r} = x_block(pixel{r}, first, input < depth);
#endfor
#for r in 0..4*COLUMNS/ROWS
    var weight{r} = weight_quad(phase.weight_row + min(weight_row + {r*256/COLUMNS}u, depth - 1u), weight_column);
#endfor

    // The sums of this invocation: see linear/tile_product.
    let row = local / {COLUMN_LANES}u;
    let column = local % {COLUMN_LANES}u;
#for r in 0..ROWS*COLUMN_LANES/64
#for c in 0..COLUMNS/4/COLUMN_LANES
    var sum{r}_{c} = vec4f(0.0);
#endfor
#endfor

    for (var chunk = 0u; chunk < depth; chunk += CHUNK) {
        workgroupBarrier();
        x_tile[turned] = vec4f(x0.x, x1.x, x2.x, x3.x);
        x_tile[turned + ROW_QUADS] = vec4f(x0.y, x1.y, x2.y, x3.y);
        x_tile[turned + 2u * ROW_QUADS] = vec4f(x0.z, x1.z, x2.z, x3.z);
        x_tile[turned + 3u * ROW_QUADS] = vec4f(x0.w, x1.w, x2.w, x3.w);
#for r in 0..4*COLUMNS/ROWS
        weight_tile[local + {r*64}u] = weight{r};
#endfor
        workgroupBarrier();

        // The next chunk is on its way while this one is multiplied.
        let next = chunk + CHUNK;
        let place = depth_at(next + input, taps_across);
#for r in 0..4
        x{r} = x_block(pixel{r}, place, next + input < depth);
#endfor
#for r in 0..4*COLUMNS/ROWS
        weight{r} = weight_quad(phase.weight_row + min(next + weight_row + {r*256/COLUMNS}u, depth - 1u), weight_column);
#endfor

#import linear/tile_product rows={ROWS} columns={COLUMNS} row_lanes={64/COLUMN_LANES} column_lanes={COLUMN_LANES} weight_turned=0
    }

#for q in 0..ROWS*COLUMN_LANES/256
#for r in 0..4
    let out{q*4+r} = output_row(phase, first_row + row * 4u + {q*256/COLUMN_LANES+r}u);
#for c in 0..COLUMNS/4/COLUMN_LANES
    store(out{q*4+r}, first_column + column * 4u + {c*4*COLUMN_LANES}u, sum{q*4+r}_{c});
#endfor
#endfor
#endfor
}

// The tap (y, x) and the input at a depth.
fn depth_at(depth: u32, taps_across: u32) -> vec3u {
    let tap = depth / params.weight_inputs;
    let line = tap / taps_across;
    return vec3u(line, tap - line * taps_across, depth - tap * params.weight_inputs);
}

// Four inputs of a pixel under a tap; 0 past the last tap.
fn x_block(pixel: Pixel, place: vec3u, exists: bool) -> vec4f {
    return x_quad(select(OUTSIDE, tap_start(pixel, place.xy), exists), place.z);
}
