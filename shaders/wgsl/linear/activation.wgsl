// `activate`. ACTIVATION: 0 none, 1 relu, 2 gelu (erf), 3 gelu (tanh form), 4 silu, 5 leaky relu with SLOPE below 0.
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
