// Once per key: keys and values as every phase wants them, f32 in whole vectors, head by head. Keys are seen from the sequence's
// first one: a common mean would cost digits, and the first key is visible to every row. What is not finite becomes 0, since
// 0 * NaN would spoil rows that don't see it, and marks its key.
#import flash_lla/bindings
#import flash_lla/keys
#import shared/load tensor=key f16={KEY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=value f16={KEY_F16} aligned={VALUE_DIM%4==0}

@group(0) @binding(2) var<storage, read> key: array<{KEY_TYPE}>;              // [batch, tokens, kv_heads, head_dim]
@group(0) @binding(3) var<storage, read> value: array<{VALUE_TYPE}>;          // [batch, tokens, kv_heads, value_dim]
#if KEY_BIAS
@group(0) @binding(4) var<storage, read> key_bias: array<f32>;                // [batch, tokens], added to the logits
#endif
#if LENGTHS
@group(0) @binding(5) var<storage, read> lengths: array<u32>;                 // [batch]
#endif
@group(0) @binding(6) var<storage, read_write> clean_key: array<vec4f>;       // [batch, kv_heads, 1 + tokens, DEPTH_QUADS]: the first key, then all from it
@group(0) @binding(7) var<storage, read_write> clean_value: array<vec4f>;     // [batch, kv_heads, tokens, VALUE_QUADS]
@group(0) @binding(8) var<storage, read_write> key_info: array<vec2f>;        // [batch, kv_heads, tokens]: logit in base 2, |k - first k|²

@compute @workgroup_size({WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) thread: u32) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + thread;
    if (group >= grid.end || index >= params.batch * params.tokens * params.kv_heads) { return; }
    let kv_head = index % params.kv_heads;
    let token = index / params.kv_heads % params.tokens;
    let sequence = index / params.kv_heads / params.tokens;
    // Rows of a cache past its length hold anything and are not read.
    if (token > 0u && token >= sequence_at(sequence).key_count) { return; }
    let first = sequence * params.tokens * params.kv_heads + kv_head;
    let head = sequence * params.kv_heads + kv_head;
    let target_key = key_quad(head, i32(token));
    let target_value = value_quad(head, i32(token));
    var finite = true;
    var norm = 0.0;
    for (var quad = 0u; quad < DEPTH_QUADS; quad += 1u) {
        let count = {HEAD_DIM}u - quad * 4u;
        let own = load_key(index * {HEAD_DIM}u + quad * 4u, count);
        let middle = finite_or_zero(load_key(first * {HEAD_DIM}u + quad * 4u, count));
        let offset = finite_or_zero(own) - middle;
        finite = finite && is_finite(own);
        norm += dot(offset, offset);
        clean_key[target_key + quad] = offset;
        if (token == 0u) { clean_key[first_key_quad(head) + quad] = middle; }
    }
    for (var quad = 0u; quad < VALUE_QUADS; quad += 1u) {
        let own = load_value(index * {VALUE_DIM}u + quad * 4u, {VALUE_DIM}u - quad * 4u);
        finite = finite && is_finite(own);
        clean_value[target_value + quad] = finite_or_zero(own);
    }
#if KEY_BIAS
    let bias = clamp(key_bias[sequence * params.tokens + token], -BIAS_LIMIT, BIAS_LIMIT) * LOG2_E;
#else
    let bias = 0.0;
#endif
    key_info[head * params.tokens + token] = vec2f(select(BROKEN, bias, finite), norm);
}
