// The place of each token among those of its kind, where text tokens stand, and the bounds of both kinds' sequences.
// One invocation per chunk of CHUNK tokens: it adds up what the chunks before it have, then walks its own.
// Workgroups: ceil(ceil(tokens / CHUNK) / WORKGROUP).
#import shared/grid
#import video_nsa/params

@group(0) @binding(2) var<storage, read> is_vision: array<u32>;             // [tokens]
@group(0) @binding(3) var<storage, read> counts: array<u32>;                // [ceil(tokens / CHUNK)], vision tokens
@group(0) @binding(4) var<storage, read_write> places: array<u32>;          // [tokens]
@group(0) @binding(5) var<storage, read_write> text_positions: array<u32>;  // [batch * text tokens], room for batch * tokens
@group(0) @binding(6) var<storage, read_write> vision_bounds: array<u32>;   // cu_seqlens of queries, then of keys: vision tokens both
@group(0) @binding(7) var<storage, read_write> text_bounds: array<u32>;     // the same: text tokens, then all tokens

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let chunk = group * {WORKGROUP}u + local;
    let first = chunk * CHUNK;
    if (group >= grid.end || first >= params.tokens) { return; }
    var before = 0u;
    var vision_tokens = 0u;
    for (var i = 0u; i < (params.tokens + CHUNK - 1u) / CHUNK; i += 1u) {
        if (i == chunk) { before = vision_tokens; }
        vision_tokens += counts[i];
    }
    let text_tokens = params.tokens - vision_tokens;

    var vision_place = before;
    for (var t = first; t < min(first + CHUNK, params.tokens); t += 1u) {
        if (is_vision[t] != 0u) {
            places[t] = vision_place;
            vision_place += 1u;
        } else {
            let place = t - vision_place;
            places[t] = place;
            for (var batch = 0u; batch < params.batch; batch += 1u) {
                text_positions[batch * text_tokens + place] = t;
            }
        }
    }
    if (chunk == 0u) {
        for (var i = 0u; i <= params.batch; i += 1u) {
            vision_bounds[i] = i * vision_tokens;
            vision_bounds[params.batch + 1u + i] = i * vision_tokens;
            text_bounds[i] = i * text_tokens;
            text_bounds[params.batch + 1u + i] = i * params.tokens;
        }
    }
}
