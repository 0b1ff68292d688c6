// Rows of vision tokens go behind each other; with TEXT those of text tokens do too, in a tensor of their own.
// One invocation copies one {UNIT} of a row. Workgroups: ceil(batch * tokens * units / WORKGROUP).
#import shared/grid
#import video_nsa/params

@group(0) @binding(2) var<storage, read> is_vision: array<u32>;             // [tokens]
@group(0) @binding(3) var<storage, read> places: array<u32>;                // [tokens]
@group(0) @binding(4) var<storage, read> vision_bounds: array<u32>;         // the second is the number of vision tokens
@group(0) @binding(5) var<storage, read> rows: array<{UNIT}>;               // [batch, tokens, units]
@group(0) @binding(6) var<storage, read_write> vision_rows: array<{UNIT}>;  // [batch * vision tokens, units], room for all tokens
#if TEXT
@group(0) @binding(7) var<storage, read_write> text_rows: array<{UNIT}>;    // [batch * text tokens, units], room for all tokens
#endif

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
    if (is_vision[token] != 0u) {
        vision_rows[(batch * vision_tokens + places[token]) * params.units + index % params.units] = rows[index];
    }
#if TEXT
    else {
        let text_tokens = params.tokens - vision_tokens;
        text_rows[(batch * text_tokens + places[token]) * params.units + index % params.units] = rows[index];
    }
#endif
}
