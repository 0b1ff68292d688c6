// y [rows, outputs] = activation(x [rows, inputs] * weight + bias) + residual.
//
// Flags: X_F16, WEIGHT_F16, Y_F16 (packed halves, outputs % 2 == 0), X_ALIGNED (inputs % 4 == 0), WEIGHT_ALIGNED (the
// weight's row length % 4 == 0), Y_ALIGNED (outputs % 4 == 0), WEIGHT_OUT_IN (the weight is [outputs, inputs]), BIAS,
// RESIDUAL, ACTIVATION, COUNTED (the GPU knows how many rows there are; tiles past them end at once), PLACED (rows are added to rows of
// y), ADDEND_WIDTH (not 0: rows with a 1 in a mask get a part of another tensor's row on top, inside the activation). Y_TYPE: u32 with Y_F16, else
// vec4f with Y_ALIGNED, else f32.
#import shared/grid

struct LinearParams {
    rows: u32,
    inputs: u32,
    outputs: u32,
    row_tiles: u32,
    column_tiles: u32,
}

@group(0) @binding(1) var<uniform> params: LinearParams;
@group(0) @binding(2) var<storage, read> x: array<{X_TYPE}>;             // [rows, inputs]
@group(0) @binding(3) var<storage, read> weight: array<{WEIGHT_TYPE}>;   // [inputs, outputs], or [outputs, inputs]
#if BIAS
@group(0) @binding(4) var<storage, read> bias: array<f32>;               // [outputs]
#endif
#if RESIDUAL
@group(0) @binding(5) var<storage, read> residual: array<f32>;           // [rows, outputs], added after the activation
#endif
@group(0) @binding(6) var<storage, read_write> y: array<{Y_TYPE}>;       // [rows, outputs]
#if COUNTED
@group(0) @binding(7) var<storage, read> row_count: array<u32>;          // [1]
#endif
#if PLACED
@group(0) @binding(8) var<storage, read> places: array<u32>;             // [rows], the row of y for each
#endif
#if ADDEND_WIDTH
@group(0) @binding(9) var<storage, read> addend: array<{Y_TYPE}>;        // [rows, ADDEND_WIDTH]; outputs from ADDEND_COLUMN on
@group(0) @binding(10) var<storage, read> chosen: array<u32>;            // [rows]
#endif

#import shared/load tensor=x f16={X_F16} aligned={X_ALIGNED}
#import shared/load tensor=weight f16={WEIGHT_F16} aligned={WEIGHT_ALIGNED}

// The first element of a row of x. Rows past the end repeat the last one: they are computed and never stored.
fn x_row(row: u32) -> u32 {
    return min(row, params.rows - 1u) * params.inputs;
}

// Four neighbouring inputs of a row of x; 0 past its end.
fn x_at(start: u32, input: u32) -> vec4f {
    if (input >= params.inputs) {
        return vec4f(0.0);
    }
    return load_x(start + input, params.inputs - input);
}

#if WEIGHT_OUT_IN
// The first weight of an output; outputs past the end repeat the last one.
fn weight_row(output: u32) -> u32 {
    return min(output, params.outputs - 1u) * params.inputs;
}

// Weights of four neighbouring inputs into one output; 0 past the last input.
fn weight_at(start: u32, input: u32) -> vec4f {
    if (input >= params.inputs) {
        return vec4f(0.0);
    }
    return load_weight(start + input, params.inputs - input);
}
#else
// Weights of one input into four neighbouring outputs; 0 past the last of either.
fn weight_at(input: u32, output: u32) -> vec4f {
    if (input >= params.inputs || output >= params.outputs) {
        return vec4f(0.0);
    }
    return load_weight(input * params.outputs + output, params.outputs - output);
}
#endif

// Whether a tile that starts at this row has nothing to do. Uniform over the workgroup where `first_row` is.
// Why not an indirect dispatch: wgpu checks each one by a dispatch of its own, and it can't be cut into submits.
fn is_past_rows(first_row: u32) -> bool {
#if COUNTED
    return first_row >= min(row_count[0], params.rows);
#else
    return false;
#endif
}

// The row of y for a row of the product; one past all rows, which is not stored, for a row that does not count.
fn target_row(row: u32) -> u32 {
#if PLACED
    if (row >= params.rows || is_past_rows(row)) { return 0xffffffffu; }
    return places[row];
#else
    return row;
#endif
}

#if ADDEND_WIDTH
#import shared/load tensor=addend f16=0 aligned={Y_ALIGNED}

// Clamped like rows of x: rows past the end are computed and never stored.
fn is_chosen(row: u32) -> bool {
    return chosen[min(row, params.rows - 1u)] != 0u;
}

// Four neighbouring outputs of the other tensor's row; past the last one anything.
fn addend_at(row: u32, column: u32) -> vec4f {
    let start = min(row, params.rows - 1u) * {ADDEND_WIDTH}u + {ADDEND_COLUMN}u;
#if Y_ALIGNED
    return load_addend(start + min(column, params.outputs - 4u), 4u);
#else
    return load_addend(start + min(column, params.outputs), params.outputs - min(column, params.outputs));
#endif
}
#endif

// A sum of a row of the product, with what the mask adds to it.
fn with_addend(row: u32, column: u32, sum: vec4f) -> vec4f {
#if ADDEND_WIDTH
    if (is_chosen(row)) {
        return sum + addend_at(row, column);
    }
#endif
    return sum;
}
