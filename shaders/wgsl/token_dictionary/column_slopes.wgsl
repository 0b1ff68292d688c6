// The chunks' statistics together (Chan, Golub and LeVeque 1979), in order, and what the softmax over pixels needs of them: the normalised
// similarity is slope · s + constant, and largest at the peak. One invocation per token. Workgroups: ceil(tokens / WORKGROUP).
#import shared/grid
#import token_dictionary/refine_params

@group(0) @binding(2) var<storage, read> statistics: array<vec4f>;      // [chunks, tokens]: mean, squares, least, most
@group(0) @binding(3) var<storage, read> gain: array<f32>;              // [tokens]
@group(0) @binding(4) var<storage, read_write> slopes: array<vec2f>;    // [tokens]: slope in base 2, peak

const LOG2_E = 1.4426950408889634;
const EPSILON = 1e-5;

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let token = group * {WORKGROUP}u + local;
    if (group >= grid.end || token >= params.tokens) { return; }
    var all = statistics[token];
    for (var chunk = 1u; chunk < params.chunks; chunk += 1u) {
        let next = statistics[chunk * params.tokens + token];
        let before = f32(chunk * CHUNK);
        let count = f32(min(CHUNK, params.pixels - chunk * CHUNK));
        let share = count / (before + count);
        let step = next.x - all.x;
        all.x = fma(step, share, all.x);
        all.y += next.y + step * step * before * share;
        all.z = min(all.z, next.z);
        all.w = max(all.w, next.w);
    }
    let slope = LOG2_E * gain[token] * inverseSqrt(all.y / f32(params.pixels) + EPSILON);
    slopes[token] = vec2f(slope, select(all.z, all.w, slope >= 0.0));
}
