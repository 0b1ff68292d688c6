// y [batch, out_height, out_width, outputs] = activation(x [batch, height, width, inputs] * weight + bias) + residual, where * is a
// convolution with zeros around the picture.
//
// Flags: X_ALIGNED (inputs % 4 == 0), X_RELU (x is max(x, 0)), WEIGHT_F16 (packed halves), Y_ALIGNED (outputs % 4 == 0), BIAS,
// RESIDUAL, ACTIVATION and SLOPE as in linear/epilogue.
#import shared/grid

struct ConvolutionParams {
    rows: u32,               // pixels of y, in all pictures
    inputs: u32,
    outputs: u32,
    height: u32,
    width: u32,
    out_height: u32,
    out_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride: u32,
    padding: u32,
    weight_inputs: u32,      // weight rows of a tap: inputs, and zeros up to a multiple of 4
    weight_outputs: u32,     // outputs, and zeros up to a multiple of 4
    // Pixels of y that are computed alike: all of them, or with TRANSPOSED every stride-th in either direction, of all pictures.
    phase_rows: u32,
    phase_height: u32,
    phase_width: u32,
    row_tiles: u32,
    column_tiles: u32,
}

@group(0) @binding(1) var<uniform> params: ConvolutionParams;
@group(0) @binding(2) var<storage, read> x: array<{X_TYPE}>;             // [batch, height, width, inputs]
@group(0) @binding(3) var<storage, read> weight: array<{WEIGHT_TYPE}>;   // [taps, weight_inputs, weight_outputs]
#if BIAS
@group(0) @binding(4) var<storage, read> bias: array<f32>;               // [outputs]
#endif
#if RESIDUAL
@group(0) @binding(5) var<storage, read> residual: array<f32>;           // like y, added after the activation
#endif
@group(0) @binding(6) var<storage, read_write> y: array<{Y_TYPE}>;       // [batch, out_height, out_width, outputs]

#import shared/load tensor=x f16=0 aligned={X_ALIGNED}
#import shared/load tensor=weight f16={WEIGHT_F16} aligned=1

// A pixel of x that lies outside the picture.
const OUTSIDE = 0xffffffffu;

// Four neighbouring inputs of the pixel of x that starts at element `start`; 0 outside the picture. Past the last input comes
// anything finite: the weight is 0 there.
fn x_quad(start: u32, input: u32) -> vec4f {
#if X_ALIGNED
    let quad = load_x(select(start + min(input, params.inputs - 4u), 0u, start == OUTSIDE), 4u);
    let inside = select(quad, vec4f(0.0), start == OUTSIDE);
#else
    var inside = vec4f(0.0);
    if (start != OUTSIDE && input < params.inputs) {
        inside = load_x(start + input, params.inputs - input);
    }
#endif
#if X_RELU
    return max(inside, vec4f(0.0));
#else
    return inside;
#endif
}

// Four neighbouring outputs of a row of the weight. Past the last of either it repeats.
fn weight_quad(row: u32, output: u32) -> vec4f {
    return load_weight(row * params.weight_outputs + min(output, params.weight_outputs - 4u), 4u);
}
