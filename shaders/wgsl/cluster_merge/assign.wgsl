// The cluster of every token: id = argmax of its K + 1 logits, the smallest of equals; 0 where a logit is a NaN (ClustViT,
// arXiv 2510.01948). One invocation per token. Workgroups: ceil(batch * tokens / WORKGROUP).
#import shared/grid

struct AssignParams {
    batch: u32,
    tokens: u32,   // of one image, without the class token
    rows: u32,     // of one image in `logits`: tokens, or one more with the class token's row first
    choices: u32,  // K + 1
}

@group(0) @binding(1) var<uniform> params: AssignParams;
@group(0) @binding(2) var<storage, read> logits: array<f32>;      // [batch, rows, choices]
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;   // [batch, tokens]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    if (group >= grid.end || index >= params.batch * params.tokens) { return; }
    let row = index / params.tokens * params.rows + params.rows - params.tokens + index % params.tokens;
    let first = row * params.choices;

    var best = logits[first];
    var id = 0u;
    var broken = is_nan(best);
    for (var choice = 1u; choice < params.choices; choice += 1u) {
        let logit = logits[first + choice];
        broken = broken || is_nan(logit);
        if (logit > best) {
            best = logit;
            id = choice;
        }
    }
    ids[index] = select(id, 0u, broken);
}

// By its bits: WGSL lets a compiler assume that no comparison meets a NaN.
fn is_nan(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7fffffffu) > 0x7f800000u;
}
