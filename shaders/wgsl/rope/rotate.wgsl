// Rotary position embedding: pair (2i, 2i + 1) is turned by position * base^(-2i / dim).
// The position is offset + token, or with LENGTHS lengths[batch] + token (the keys already in a cache).
// DEINTERLEAVE stores the pairs' first components, then their second ones; else a pair stays in its place.
//
// An angle of 200000 rad leaves an f32 no useful digits, so angles are kept in turns, as fixed-point fractions: the
// wrap-around of u32 drops whole turns exactly, and no rounding mode or fast-math option of a driver touches it.
// One invocation per pair. Workgroups: ceil(batch * tokens * heads * dim / 2 / WORKGROUP).
#import shared/grid

struct RotateParams {
    batch: u32,
    tokens: u32,
    heads: u32,
    dim: u32, // even
    offset: u32,
}

@group(0) @binding(1) var<uniform> params: RotateParams;
@group(0) @binding(2) var<storage, read> x: array<vec2f>;              // [batch, tokens, heads, dim], a pair per element
#if LENGTHS
@group(0) @binding(3) var<storage, read> lengths: array<u32>;          // [batch]
#endif
@group(0) @binding(4) var<storage, read> turns: array<vec2u>;          // [dim / 2], turns per position * 2^64: (high, low) word
#if DEINTERLEAVE
@group(0) @binding(5) var<storage, read_write> y: array<f32>;          // [batch, tokens, heads, dim]
#else
@group(0) @binding(5) var<storage, read_write> y: array<vec2f>;        // [batch, tokens, heads, dim], a pair per element
#endif

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let pairs = params.dim / 2u;
    let index = group * {WORKGROUP}u + local;
    if (group >= grid.end || index >= params.batch * params.tokens * params.heads * pairs) { return; }

    let head = index / pairs;
    let pair = index % pairs;
    let row = head / params.heads;
#if LENGTHS
    let position = lengths[row / params.tokens] + row % params.tokens;
#else
    let position = params.offset + row % params.tokens;
#endif

    let frequency = turns[pair];
    let rotation = unit_vector(position * frequency.x + multiply_high(position, frequency.y));
    let value = x[index];
    let first = value.x * rotation.x - value.y * rotation.y;
    let second = value.x * rotation.y + value.y * rotation.x;
#if DEINTERLEAVE
    y[head * params.dim + pair] = first;
    y[head * params.dim + pairs + pair] = second;
#else
    y[index] = vec2f(first, second);
#endif
}

// The high word of the 64-bit product.
fn multiply_high(a: u32, b: u32) -> u32 {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u);
}

// (cos, sin) of `phase` / 2^32 turns: Taylor sums on an eighth of a turn to either side of the nearest quarter. The
// built-in functions promise only 2^-11; with these a rotated pair is off by 1.7e-7 of its length (measured to 200000).
fn unit_vector(phase: u32) -> vec2f {
    let quarter = (phase + 0x20000000u) >> 30u;
    let angle = f32(bitcast<i32>(phase - (quarter << 30u))) * 1.4629180792671596e-9; // 2 pi / 2^32
    let square = angle * angle;
    let cosine = 1.0 + square * (-0.5 + square * (1.0 / 24.0 + square * (-1.0 / 720.0 + square * (1.0 / 40320.0))));
    let sine = angle + angle * square * (-1.0 / 6.0 + square * (1.0 / 120.0 + square * (-1.0 / 5040.0 + square * (1.0 / 362880.0))));
    let turned = select(vec2f(cosine, sine), vec2f(-sine, cosine), (quarter & 1u) == 1u);
    return select(turned, -turned, (quarter & 2u) == 2u);
}
