// The nearest codeword c of a row z: the least |c|^2 - 2 z . c, as the largest score z . c - |c|^2 / 2. Of equals the first.
//
// Codewords are compared by fours: a row keeps the best score and the quad it came from, and `first_best` finds the codeword
// in the end. A comparison then costs a fourth.
#import shared/grid

struct NearestParams {
    rows: u32,
    codewords: u32,
}

const LEAST = -3.4e38;

@group(0) @binding(1) var<uniform> params: NearestParams;
@group(0) @binding(2) var<storage, read> z: array<vec4f>;                  // [rows, PATCH]
@group(0) @binding(3) var<storage, read> codebook: array<{CODEBOOK_TYPE}>; // [codewords, PATCH]
@group(0) @binding(4) var<storage, read> half_norms: array<vec4f>;         // [codewords up to a multiple of 256]
@group(0) @binding(5) var<storage, read_write> indices: array<u32>;        // [rows]

#import shared/load tensor=codebook f16={CODEBOOK_F16} aligned=1

// Four elements of a codeword. Codewords past the last repeat it; their norms keep them from winning.
fn codeword_quad(codeword: u32, k: u32) -> vec4f {
    return load_codebook(min(codeword, params.codewords - 1u) * {PATCH}u + k, 4u);
}

fn largest(scores: vec4f) -> f32 {
    return max(max(scores.x, scores.y), max(scores.z, scores.w));
}

// The first codeword of the quad that has its best score.
fn first_best(row: u32, quad: u32) -> u32 {
    var scores = -half_norms[quad];
    for (var k = 0u; k < {PATCH/4}u; k++) {
        let own = z[row * {PATCH/4}u + k];
#for c in 0..4
        let code{c} = codeword_quad(quad * 4u + {c}u, k * 4u);
#endfor
#for j in 0..4
        scores = fma(vec4f(own[{j}]), vec4f(code0[{j}], code1[{j}], code2[{j}], code3[{j}]), scores);
#endfor
    }
    let best = largest(scores);
    return quad * 4u + select(select(select(3u, 2u, scores.z == best), 1u, scores.y == best), 0u, scores.x == best);
}
