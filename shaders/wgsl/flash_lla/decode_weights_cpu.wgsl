// Decode, step 1 for adapters that run on a CPU: the weights of a range of keys.
// A workgroup of 8 lanes takes one range; a lane has every eighth key and holds all ROWS rows, so nothing is shared between
// lanes: weights are relative to the lane's own maximum, and decode_moments_cpu joins the eight.
#import flash_lla/decode_bindings
#import shared/load tensor=query f16={QUERY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=key f16={KEY_F16} aligned={HEAD_DIM%4==0}

@group(0) @binding(2) var<storage, read> query: array<{QUERY_TYPE}>;         // [batch, query_tokens, query_heads, head_dim]
@group(0) @binding(3) var<storage, read> key: array<{KEY_TYPE}>;             // [batch, tokens, kv_heads, head_dim]
#if KEY_BIAS
@group(0) @binding(5) var<storage, read> key_bias: array<f32>;               // [batch, tokens], added to the logits
#endif
@group(0) @binding(7) var<storage, read_write> weights: array<f32>;          // [batch, kv_heads, rows, tokens]
@group(0) @binding(8) var<storage, read_write> lanes: array<vec4f>;          // [batch, kv_heads, rows, splits, 8]: maximum, sum, its key in the range, 0

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) {
        return;
    }
    let split = index % params.splits;
    let first_row = index / params.splits % params.row_tiles * {ROWS}u;
    let head = index / params.splits / params.row_tiles;
    let kv_head = head % params.kv_heads;
    let batch = head / params.kv_heads;
    let rows = params.query_tokens * params.group;
    let key_count = keys_of(batch);
    let low = split * range_keys(key_count);
    let high = min(low + range_keys(key_count), visible_keys(key_count, min(first_row + {ROWS}u, rows) - 1u));
    let first_entry = batch * params.tokens * params.kv_heads + kv_head;

    // Past the last row that one is repeated, and its weights are left alone.
#for r in 0..ROWS
    let row{r} = head * rows + min(first_row + {r}u, rows - 1u);
    let high{r} = min(high, visible_keys(key_count, row{r} % rows));
    let own_weights{r} = row{r} * params.tokens;
    let element{r} = row_index(batch, kv_head, row{r} % rows) * {HEAD_DIM}u;
    var maximum{r} = FLOOR;
    var highest{r} = low;
    var total{r} = 0.0;
#for d in 0..(HEAD_DIM+3)/4
    let query{r}_{d} = params.scale * LOG2_E * finite_or_zero(load_query(element{r} + {4*d}u, {HEAD_DIM-4*d}u));
#endfor
#endfor
#for d in 0..(HEAD_DIM+3)/4
    let first{d} = finite_or_zero(load_key(first_entry * {HEAD_DIM}u + {4*d}u, {HEAD_DIM-4*d}u));
#endfor

    // 1. Logits, and the highest.
    for (var at = low + lane; at < high; at += 8u) {
        let entry = first_entry + at * params.kv_heads;
        var finite = true;
#for r in 0..ROWS
        var score{r} = 0.0;
#endfor
#for d in 0..(HEAD_DIM+3)/4
        let loaded{d} = load_key(entry * {HEAD_DIM}u + {4*d}u, {HEAD_DIM-4*d}u);
        let key{d} = finite_or_zero(loaded{d}) - first{d};
        finite = finite & is_finite(loaded{d});
#for r in 0..ROWS
        score{r} += dot(query{r}_{d}, key{d});
#endfor
#endfor
#if KEY_BIAS
        let bias = clamp(key_bias[batch * params.tokens + at], -BIAS_LIMIT, BIAS_LIMIT) * LOG2_E;
#else
        let bias = 0.0;
#endif
#for r in 0..ROWS
        score{r} = select(MASKED, select(BROKEN, score{r} + bias, finite), at < high{r});
        highest{r} = select(highest{r}, at, score{r} > maximum{r});
        maximum{r} = max(maximum{r}, score{r});
        weights[own_weights{r} + at] = score{r};
#endfor
    }

    // 2. Weights.
    for (var at = low + lane; at < high; at += 8u) {
#for r in 0..ROWS
        let weight{r} = exp2(weights[own_weights{r} + at] - maximum{r});
        total{r} += weight{r};
        if (first_row + {r}u < rows) { weights[own_weights{r} + at] = weight{r}; }
#endfor
    }
#for r in 0..ROWS
    if (first_row + {r}u < rows) {
        lanes[(row{r} * params.splits + split) * 8u + lane] = vec4f(maximum{r}, total{r}, f32(highest{r} - low), 0.0);
    }
#endfor
}
