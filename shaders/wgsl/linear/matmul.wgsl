// y = epilogue(x * weight) for many rows, on GPUs.
//
// Tile: TILE x TILE outputs by 8 x 8 invocations, 8 x 8 (TILE 64) or 4 x 4 (TILE 32) sums each in named registers. Compiled by
// RADV for navi21: TILE 64 has 128 registers, no spill, 8 waves per SIMD, 78 % multiply-adds in the loop (f16 75 %, rows that
// are no multiple of four 63 %); TILE 32 has 80 registers and 63 %, so it is for products with few tiles.
// Workgroup memory: 8 KiB at either tile; x and weight pass through it in chunks of 1024 / TILE inputs.
#import linear/bindings
#import linear/epilogue in_place={PLACED}

const QUADS = {TILE/4}u;          // of rows, and of columns, in a tile
const CHUNK = {1024/TILE}u;       // inputs staged at once: each invocation brings one 4 x 4 block of x and one of weight
const CHUNK_QUADS = {256/TILE}u;

// Both are [input of the chunk][quad], so that the product reads whole quads. A block read along the inputs is turned in
// registers; its quads are swizzled so that the 8 lanes that store together meet 8 different banks (unswizzled: 4 to 8 in one).
var<workgroup> x_tile: array<vec4f, 256>;
var<workgroup> weight_tile: array<vec4f, 256>;

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
    let first_row = group / params.column_tiles * {TILE}u;
    let first_column = group % params.column_tiles * {TILE}u;
    if (is_past_rows(first_row)) {
        return;
    }

    // The block this invocation brings: four rows (or outputs) by four inputs.
    let input = local % CHUNK_QUADS * 4u;
    let quad = local / CHUNK_QUADS;
    let turned = input * QUADS + (quad ^ (local % CHUNK_QUADS * {TILE/32}u));
#for r in 0..4
    let x_start{r} = x_row(first_row + quad * 4u + {r}u);
    var x{r} = x_at(x_start{r}, input);
#endfor
#if WEIGHT_OUT_IN
#for r in 0..4
    let weight_start{r} = weight_row(first_column + quad * 4u + {r}u);
    var weight{r} = weight_at(weight_start{r}, input);
#endfor
#else
    let weight_input = local / QUADS;
    let weight_column = first_column + local % QUADS * 4u;
#for r in 0..4
    var weight{r} = weight_at(weight_input + {r*256/TILE}u, weight_column);
#endfor
#endif

    // The sums of this invocation: quads `row` and `row` + 8 of the tile by quads `column` and `column` + 8.
    let row = local / 8u;
    let column = local % 8u;
#for r in 0..TILE/8
#for c in 0..TILE/32
    var sum{r}_{c} = vec4f(0.0);
#endfor
#endfor

    for (var chunk = 0u; chunk < params.inputs; chunk += CHUNK) {
        workgroupBarrier();
        x_tile[turned] = vec4f(x0.x, x1.x, x2.x, x3.x);
        x_tile[turned + QUADS] = vec4f(x0.y, x1.y, x2.y, x3.y);
        x_tile[turned + 2u * QUADS] = vec4f(x0.z, x1.z, x2.z, x3.z);
        x_tile[turned + 3u * QUADS] = vec4f(x0.w, x1.w, x2.w, x3.w);
#if WEIGHT_OUT_IN
        weight_tile[turned] = vec4f(weight0.x, weight1.x, weight2.x, weight3.x);
        weight_tile[turned + QUADS] = vec4f(weight0.y, weight1.y, weight2.y, weight3.y);
        weight_tile[turned + 2u * QUADS] = vec4f(weight0.z, weight1.z, weight2.z, weight3.z);
        weight_tile[turned + 3u * QUADS] = vec4f(weight0.w, weight1.w, weight2.w, weight3.w);
#else
#for r in 0..4
        weight_tile[local + {r*64}u] = weight{r};
#endfor
#endif
        workgroupBarrier();

        // The next chunk is on its way while this one is multiplied.
        let next = chunk + CHUNK;
#for r in 0..4
        x{r} = x_at(x_start{r}, next + input);
#if WEIGHT_OUT_IN
        weight{r} = weight_at(weight_start{r}, next + input);
#else
        weight{r} = weight_at(next + weight_input + {r*256/TILE}u, weight_column);
#endif
#endfor

#import linear/tile_product rows={TILE} columns={TILE} row_lanes=8 column_lanes=8 weight_turned={WEIGHT_OUT_IN}
    }

#for q in 0..TILE/32
#for r in 0..4
#for c in 0..TILE/32
    {
        let row = first_row + row * 4u + {q*32+r}u;
        let column = first_column + column * 4u + {c*32}u;
        store(target_row(row), column, with_addend(row, column, sum{q*4+r}_{c}));
    }
#endfor
#endfor
#endfor
}
