// The tokens of each block side by side, as the rows that a network compresses (phi of NSA, arXiv 2502.11089, Eq. 7).
// One invocation copies four columns of one token of one block. POSITION: a vector per token of the block, added to it.
// Workgroups: ceil(batch * blocks * kv_heads * block * ceil(dim / 4) / WORKGROUP).
#import shared/grid
#import native_sparse/blocks
#import shared/load tensor=source f16={F16} aligned={DIM%4==0}
#if POSITION
#import shared/load tensor=position f16=0 aligned={DIM%4==0}
#endif

@group(0) @binding(2) var<storage, read> source: array<{SOURCE_TYPE}>;      // [batch, tokens, kv_heads, DIM]
#if POSITION
@group(0) @binding(4) var<storage, read> position: array<{POSITION_TYPE}>;  // [kv_heads, block, DIM]
#endif
@group(0) @binding(5) var<storage, read_write> rows: array<f32>;            // [batch * blocks, kv_heads, block, DIM]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    const QUADS = {(DIM+3)/4}u;
    let invocation = group * {WORKGROUP}u + local;
    let column = invocation % QUADS * 4u;
    let token = invocation / QUADS % params.block;
    let head = invocation / QUADS / params.block % params.kv_heads;
    let slot = invocation / QUADS / params.block / params.kv_heads;
    if (group >= grid.end || slot >= params.batch * params.blocks) { return; }
    let at = block_at(slot);

    let count = min({DIM}u - column, 4u);
    var quad = vec4f(0.0);
    if (at.complete) {
        quad = load_source(((at.first_token + token) * params.kv_heads + head) * {DIM}u + column, count);
    }
#if POSITION
    quad += load_position((head * params.block + token) * {DIM}u + column, count);
#endif
    let start = ((slot * params.kv_heads + head) * params.block + token) * {DIM}u + column;
    rows[start] = quad.x;
    if (count > 1u) { rows[start + 1u] = quad.y; }
    if (count > 2u) { rows[start + 2u] = quad.z; }
    if (count > 3u) { rows[start + 3u] = quad.w; }
}
