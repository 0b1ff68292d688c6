// y = epilogue(x * weight) for adapters that run on a CPU: no barrier, no workgroup memory, since there a barrier is a switch
// of fibers and every load is done lane by lane. So few loads per multiply-add is all that counts.
//
// Tile: 8 * ROWS rows by COLUMNS columns; each of 8 invocations owns ROWS x COLUMNS sums. Product of 512^3, share of the
// multiply-add peak of measure/fma in the same run:
// - SUBGROUP (a workgroup is one subgroup of 8, lavapipe): a lane loads one weight row and all lanes get it by broadcast. 4 x 32
//   sums, 8 inputs per round: 37 to 40 %; 8 x 16: 35 to 38 %; 2 x 32: 30 %; 1 x 32: 21 % (for 8 rows at most, where it wastes
//   least). 8 x 24 where 32 columns would be more padding: rows of 48 take 17 % less time than with 4 x 32.
// - otherwise (SwiftShader): each invocation loads all it needs. 8 x 16 sums, 4 inputs per round: 20 to 27 %; 8 x 8: 12 to
//   17 %; 16 x 8: 16 to 21 %.
#import linear/bindings
#import linear/epilogue in_place={PLACED}

const STEP = {STEP}u;    // inputs per round, unrolled: one weight row per lane with SUBGROUP

// Every load clamps instead of branching, and the weights past the end are 0.
#if X_ALIGNED
fn x_quad(start: u32, input: u32) -> vec4f {
    return load_x(start + min(input, params.inputs - 4u), 4u);
}
#else
fn x_quad(start: u32, input: u32) -> vec4f {
    return x_at(start, input);
}
#endif
#if WEIGHT_ALIGNED && WEIGHT_OUT_IN
fn weight_quad(start: u32, input: u32) -> vec4f {
    let value = load_weight(start + min(input, params.inputs - 4u), 4u);
    return select(vec4f(0.0), value, input < params.inputs);
}
#endif
#if WEIGHT_ALIGNED && !WEIGHT_OUT_IN
fn weight_quad(input: u32, output: u32) -> vec4f {
    let value = load_weight(min(input, params.inputs - 1u) * params.outputs + min(output, params.outputs - 4u), 4u);
    return select(vec4f(0.0), value, input < params.inputs);
}
#endif
#if !WEIGHT_ALIGNED
fn weight_quad(first: u32, second: u32) -> vec4f {
    return weight_at(first, second);
}
#endif

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    if (group >= grid.end) {
        return;
    }
    var tile_row = group / params.column_tiles * {ROWS*8}u;
    if (is_past_rows(tile_row)) {
        return;
    }
#if COUNTED && SUBGROUP
    // A few workgroups take all row tiles in turn: one that returns early still runs masked to its end there, epilogue included
    // (5 us of a ViT-t's GELU), so there must be few of those. Not for SwiftShader, which takes minutes and gigabytes to compile this loop.
    loop {
#endif
    // This invocation owns ROWS rows, 8 apart, of COLUMNS columns.
    let first_row = tile_row + local;
    let first_column = group % params.column_tiles * {COLUMNS}u;
#for r in 0..ROWS
    let x_start{r} = x_row(first_row + {r*8}u);
#for c in 0..COLUMNS/4
    var sum{r}_{c} = vec4f(0.0);
#endfor
#endfor
#if ADDEND_WIDTH
#for r in 0..ROWS
    // A loop of one round at most: a branch that no lane takes is run masked, on such adapters, a loop that no lane enters is not.
    for (var left = is_chosen(first_row + {r*8}u); left; left = false) {
#for c in 0..COLUMNS/4
        sum{r}_{c} = addend_at(first_row + {r*8}u, first_column + {c*4}u);
#endfor
    }
#endfor
#endif
#if WEIGHT_OUT_IN && SUBGROUP
#for c in 0..(COLUMNS+7)/8
    let weight_start{c} = weight_row(first_column + {c*8}u + local);
#endfor
#endif
#if WEIGHT_OUT_IN && !SUBGROUP
#for c in 0..COLUMNS
    let weight_start{c} = weight_row(first_column + {c}u);
#endfor
#endif

    for (var input = 0u; input < params.inputs; input += STEP) {
#import linear/lane_product weight_input=input
    }

#for r in 0..ROWS
    let target{r} = target_row(first_row + {r*8}u);
#for c in 0..COLUMNS/4
    store(target{r}, first_column + {c*4}u, sum{r}_{c});
#endfor
#endfor
#if COUNTED && SUBGROUP
        continuing {
            tile_row += params.row_tiles * {ROWS*8}u;
            break if is_past_rows(tile_row);
        }
    }
#endif
}
