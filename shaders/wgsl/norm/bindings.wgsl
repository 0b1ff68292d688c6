// What both norms read. CENTER = 0: RMSNorm, y = x / sqrt(mean(x^2) + eps) * weight.
// CENTER = 1: LayerNorm, y = (x - mean) / sqrt(variance + eps) * weight + bias (bias with BIAS, in either).
// ALIGNED: width is a multiple of 4. COUNTED: the GPU knows how many rows there are.
#import shared/grid
#import shared/load tensor=x f16={X_F16} aligned={ALIGNED}
#import shared/load tensor=weight f16=0 aligned={ALIGNED}
#if BIAS
#import shared/load tensor=bias f16=0 aligned={ALIGNED}
#endif

struct NormParams {
    rows: u32,
    width: u32,
    eps: f32,
}

@group(0) @binding(1) var<uniform> params: NormParams;
@group(0) @binding(2) var<storage, read> x: array<{X_TYPE}>;           // [rows, width]
#if ALIGNED
@group(0) @binding(3) var<storage, read> weight: array<vec4f>;         // [width]
#if BIAS
@group(0) @binding(4) var<storage, read> bias: array<vec4f>;           // [width]
#endif
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;        // [rows, width]
#else
@group(0) @binding(3) var<storage, read> weight: array<f32>;
#if BIAS
@group(0) @binding(4) var<storage, read> bias: array<f32>;
#endif
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
#endif
#if COUNTED
@group(0) @binding(6) var<storage, read> row_count: array<u32>;        // [1]
#endif

fn is_past_rows(row: u32) -> bool {
#if COUNTED
    return row >= row_count[0];
#else
    return false;
#endif
}

fn columns_left(column: u32) -> u32 {
    return min(4u, params.width - column);
}

// Four elements of a row less `mean`; 0 past the row's end.
fn deviation(row: u32, column: u32, mean: f32) -> vec4f {
    let count = columns_left(column);
    let difference = load_x(row * params.width + column, count) - mean;
#if ALIGNED
    return difference;
#else
    return select(vec4f(0.0), difference, vec4u(0u, 1u, 2u, 3u) < vec4u(count));
#endif
}

// The sum of the deviations and of their squares, for four elements.
fn moments_of(difference: vec4f) -> vec2f {
    return vec2f(dot(difference, vec4f(1.0)), dot(difference, difference));
}

struct Spread {
    mean: f32,    // of the deviations
    inverse: f32, // 1 / sqrt(variance + eps)
}

// A mean in f32 is off by a rounding of a large offset; the mean of the deviations from it puts that right.
fn spread_of(moments: vec2f) -> Spread {
    let averages = moments / f32(params.width);
#if CENTER
    return Spread(averages.x, inverseSqrt(max(averages.y - averages.x * averages.x, 0.0) + params.eps));
#else
    return Spread(0.0, inverseSqrt(averages.y + params.eps));
#endif
}

fn store(row: u32, column: u32, normal: vec4f) {
    let count = columns_left(column);
#if BIAS
    let result = normal * load_weight(column, count) + load_bias(column, count);
#else
    let result = normal * load_weight(column, count);
#endif
    let element = row * params.width + column;
#if ALIGNED
    y[element / 4u] = result;
#else
    y[element] = result.x;
    if (count > 1u) { y[element + 1u] = result.y; }
    if (count > 2u) { y[element + 2u] = result.z; }
    if (count > 3u) { y[element + 3u] = result.w; }
#endif
}
