// The results of both kinds of tokens return to their places.
// One invocation copies one {UNIT} of a row. Workgroups: ceil(batch * tokens * units / WORKGROUP).
#import shared/grid
#import video_nsa/params

@group(0) @binding(2) var<storage, read> is_vision: array<u32>;         // [tokens]
@group(0) @binding(3) var<storage, read> places: array<u32>;            // [tokens]
@group(0) @binding(4) var<storage, read> vision_bounds: array<u32>;     // the second is the number of vision tokens
@group(0) @binding(5) var<storage, read> vision_rows: array<{UNIT}>;    // [batch * vision tokens, units]
@group(0) @binding(6) var<storage, read> text_rows: array<{UNIT}>;      // [batch * text tokens, units]
@group(0) @binding(7) var<storage, read_write> out: array<{UNIT}>;      // [batch, tokens, units]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let row = index / params.units;
    if (group >= grid.end || row >= params.batch * params.tokens) { return; }
    let batch = row / params.tokens;
    let token = row % params.tokens;
    let vision_tokens = vision_bounds[1];
    let column = index % params.units;
    if (is_vision[token] != 0u) {
        out[index] = vision_rows[(batch * vision_tokens + places[token]) * params.units + column];
    } else {
        let text_tokens = params.tokens - vision_tokens;
        out[index] = text_rows[(batch * text_tokens + places[token]) * params.units + column];
    }
}
