// What follows the product: bias, activation, residual, and the store. ACTIVATION: 0 none, 1 relu, 2 gelu (erf), 3 gelu
// (tanh form), 4 silu, 5 leaky relu with SLOPE below 0. Needs the bindings `y`, `bias`, `residual` and params.rows and .outputs, as
// in linear/bindings.
#if BIAS
#import shared/load tensor=bias f16=0 aligned=0
#endif
#if RESIDUAL
#import shared/load tensor=residual f16=0 aligned=0
#endif

#if ACTIVATION == 0
fn activate(value: vec4f) -> vec4f {
    return value;
}
#endif
#if ACTIVATION == 1
fn activate(value: vec4f) -> vec4f {
    return max(value, vec4f(0.0));
}
#endif
#if ACTIVATION == 2
// erfc(z) for z >= 0, error 1.5e-7: Abramowitz and Stegun, 7.1.26.
fn erfc(z: vec4f) -> vec4f {
    let t = 1.0 / (1.0 + 0.3275911 * z);
    let series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return series * exp(-z * z);
}

// x (1 + erf(x / sqrt 2)) / 2, written with erfc of |x| so that neither tail cancels.
fn activate(value: vec4f) -> vec4f {
    // Past 12 the term is below 1e-31; the clamp keeps the square finite.
    let size = min(abs(value), vec4f(12.0));
    return max(value, vec4f(0.0)) - 0.5 * size * erfc(size * 0.70710678);
}
#endif
#if ACTIVATION == 3
// x (1 + tanh u) / 2 = x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3); the clamps keep exp finite
// and the far negative side at 0.
fn activate(value: vec4f) -> vec4f {
    let z = clamp(value, vec4f(-10.0), vec4f(10.0));
    return max(value, vec4f(-10.0)) / (1.0 + exp(-1.5957691 * z * (1.0 + 0.044715 * z * z)));
}
#endif
#if ACTIVATION == 4
fn activate(value: vec4f) -> vec4f {
    let z = max(value, vec4f(-87.0));
    return z / (1.0 + exp(-z));
}
#endif
#if ACTIVATION == 5
fn activate(value: vec4f) -> vec4f {
    return max(value, vec4f(0.0)) + {SLOPE} * min(value, vec4f(0.0));
}
#endif

// Stores four neighbouring outputs of a row, where they exist. `column` is a multiple of 4, so a pair of halves has one writer.
fn store(row: u32, column: u32, sum: vec4f) {
    if (row >= params.rows || column >= params.outputs) {
        return;
    }
    let count = params.outputs - column;
    let element = row * params.outputs + column;
    var value = sum;
#if BIAS
    value += load_bias(column, count);
#endif
    value = activate(value);
#if RESIDUAL
    value += load_residual(element, count);
#endif
#if Y_F16
    y[element / 2u] = pack2x16float(value.xy);
    if (count > 2u) { y[element / 2u + 1u] = pack2x16float(value.zw); }
#endif
#if !Y_F16 && Y_ALIGNED
    y[element / 4u] = value;
#endif
#if !Y_F16 && !Y_ALIGNED
    y[element] = value.x;
    if (count > 1u) { y[element + 1u] = value.y; }
    if (count > 2u) { y[element + 2u] = value.z; }
    if (count > 3u) { y[element + 3u] = value.w; }
#endif
}
