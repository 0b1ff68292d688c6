// Each block of tokens becomes one key or value: their mean or weighted sum (phi of NSA, arXiv 2502.11089, Eq. 7).
// One invocation owns four columns of one block. A block reads its `block` tokens itself, `block / stride` times each in all: they come
// from the cache, and the whole takes below 2 % of the attention that follows.
// WEIGHTS: a weight per token of the block, instead of 1 / block. POSITION: a vector per token of the block, added to it.
// PACKED: sequences behind each other. LENGTHS: only the last `blocks` complete blocks of a cache, whose others are done.
// Workgroups: ceil(batch * blocks * kv_heads * ceil(dim / 4) / WORKGROUP).
#import shared/grid
#import native_sparse/blocks
#import shared/load tensor=source f16={F16} aligned={DIM%4==0}
#if POSITION
#import shared/load tensor=position f16=0 aligned={DIM%4==0}
#endif

@group(0) @binding(2) var<storage, read> source: array<{SOURCE_TYPE}>;      // [batch, tokens, kv_heads, DIM]
#if WEIGHTS
@group(0) @binding(3) var<storage, read> weights: array<f32>;               // [kv_heads, block]
#endif
#if POSITION
@group(0) @binding(4) var<storage, read> position: array<{POSITION_TYPE}>;  // [kv_heads, block, DIM]
#endif
#if DIM % 4 == 0
@group(0) @binding(5) var<storage, read_write> compressed: array<vec4f>;    // [batch, block_capacity, kv_heads, DIM]
#else
@group(0) @binding(5) var<storage, read_write> compressed: array<f32>;      // [batch, block_capacity, kv_heads, DIM]
#endif

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
    let head = invocation / QUADS % params.kv_heads;
    let slot = invocation / QUADS / params.kv_heads;
    if (group >= grid.end || slot >= params.batch * params.blocks) { return; }
    let at = block_at(slot);
    if (!at.exists) { return; }

    let count = min({DIM}u - column, 4u);
    var total = vec4f(0.0);
    // A sequence shorter than a block has one row of zeros, which no query sees.
    let tokens = select(0u, params.block, at.complete);
    for (var t = 0u; t < tokens; t += 1u) {
        var quad = load_source(((at.first_token + t) * params.kv_heads + head) * {DIM}u + column, count);
#if POSITION
        quad += load_position((head * params.block + t) * {DIM}u + column, count);
#endif
#if WEIGHTS
        total += weights[head * params.block + t] * quad;
#else
        total += quad;
#endif
    }
#if !WEIGHTS
    total *= 1.0 / f32(params.block);
#endif
    let start = (at.row * params.kv_heads + head) * {DIM}u + column;
#if DIM % 4 == 0
    compressed[start / 4u] = total;
#else
    compressed[start] = total.x;
    if (count > 1u) { compressed[start + 1u] = total.y; }
    if (count > 2u) { compressed[start + 2u] = total.z; }
    if (count > 3u) { compressed[start + 3u] = total.w; }
#endif
}
