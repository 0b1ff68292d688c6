// Attention of many query rows, for adapters that run on a CPU.
// FlashAttention-2, arXiv 2307.08691, algorithm 1: online softmax over steps of KEYS keys, normalised once at the end.
//
// Tile: 8 lanes x ROWS rows in named registers, no workgroup memory, no barrier, because barriers and divergence cost more
// than arithmetic there. Every branch is a mask on such adapters, so what is cheap is done always (the rescale, 5 % faster
// than skipping it) and conditions are `select`s: a chain of `||` is many blocks, and SwiftShader fails to compile hundreds.
// - SUBGROUP (exactly 8 lanes): 8 / KEYS lanes share a key, each loads part of it and broadcasts. D = 64, lavapipe, share of
//   the measured FMA peak: ROWS x KEYS 2 x 4 33 %, 4 x 8 31 %, 1 x 8 16 %; compiled in 0.4, 1.5, 0.4 s.
//   Fewer keys per step keep the unrolled text, and so the compile time, small for large heads (D = 128: 2 x 2 0.9 s, 2 x 8 2.8 s).
// - otherwise every lane loads the keys itself, so more rows are worth more: D = 64, SwiftShader: 2 x 2 3.1 GFLOP/s, 4 x 1 4.5,
//   8 x 2 6.8; compiled in 1.1, 1.1, 5.4 s.
// PARTIAL: 1 handles one of `splits` ranges of keys per workgroup and leaves the result to `combine` (decode_cpu); else 0.
#import attention/bindings
#import shared/load tensor=query f16={QUERY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=key f16={KEY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=value f16={KEY_F16} aligned={VALUE_DIM%4==0}
#import attention/results

const TILE = {ROWS*8}u;
const KEYS = {KEYS};         // 1, 2, 4 or 8
const BIAS_LIMIT = 5.0e28;   // a biased logit stays above FLOOR

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = grid_index(workgroup, workgroups);
    if (group >= grid.end) {
        return;
    }
#if PARTIAL
    let split = group % params.splits;
    let tile = group / params.splits;
#else
    let tile = group;
#endif
    let s = sequence_at(tile / params.row_tiles / params.kv_heads);
    let kv_head = tile / params.row_tiles % params.kv_heads;
    let rows = s.query_count * params.group;
    let first = tile % params.row_tiles * TILE;
    if (first >= rows) {
        return;
    }

    // Some row of the tile sees the keys visible_low..visible_high; every row sees those in seen_low..seen_high.
    let first_position = position_of(s, first);
    let last_position = position_of(s, min(first + TILE, rows) - 1u);
    let visible_low = clamp(first_key(first_position), 0, i32(s.key_count));
    let visible_high = clamp(end_key(last_position), 0, i32(s.key_count));
#if PARTIAL
    let low = visible_low + i32(split * params.split_tokens);
    let high = min(low + i32(params.split_tokens), visible_high);
#else
    let low = visible_low;
    let high = visible_high;
#endif
    let seen_low = first_key(last_position);
    let seen_high = min(end_key(first_position), high);

    // This lane owns ROWS rows, 8 apart. Past the last row it repeats that one and stores nothing.
#for r in 0..ROWS
    let row{r} = min(first + {r*8}u + lane, rows - 1u);
    let token{r} = s.query_start + row{r} / params.group;
    let head{r} = kv_head * params.group + row{r} % params.group;
    let position{r} = position_of(s, row{r});
    let row_low{r} = first_key(position{r});
    let row_high{r} = min(end_key(position{r}), high);
    let query_start{r} = (token{r} * params.query_heads + head{r} % params.query_heads) * {HEAD_DIM}u;
#endfor
#import attention/lane_state

    for (var start = low; start < high; start += KEYS) {
        // 1. Scores.
#if SUBGROUP
        let own = s.key_start + u32(min(start + i32(lane) % KEYS, high - 1));
#else
#for j in 0..KEYS
        let own{j} = s.key_start + u32(min(start + {j}, high - 1));
#endfor
#endif
#import attention/lane_scores

        // 2. Bias and visibility. Most steps hold only keys that every row sees.
#if (KEY_BIAS || KEY_MASK) && SUBGROUP
        let own_bias = bias_of(own);
#endif
#if KEY_BIAS || KEY_MASK
#for j in 0..KEYS
#if SUBGROUP
        let bias{j} = subgroupBroadcast(own_bias, {j}u);
#else
        let bias{j} = bias_of(own{j});
#endif
#for r in 0..ROWS
        score{r}_{j} += bias{j};
#endfor
#endfor
#endif
        if (start < seen_low || start + KEYS > seen_high) {
#for j in 0..KEYS
#for r in 0..ROWS
            score{r}_{j} = select(MASKED, score{r}_{j}, (start + {j} >= row_low{r}) & (start + {j} < row_high{r}));
#endfor
#endfor
        }

        // 3. Online softmax. 4. Weighted values.
#import attention/lane_softmax
#import attention/lane_values
    }

#if PARTIAL && PACKED
    let first_place = split * sequences[params.batch] * params.kv_heads * params.group;
#endif
#if PARTIAL && !PACKED
    let first_place = split * params.batch * params.query_tokens * params.kv_heads * params.group;
#endif
#if !PARTIAL
    let first_place = 0u;
#endif
#for r in 0..ROWS
    let stored{r} = first + {r*8}u + lane < rows;
    let place{r} = first_place + token{r} * params.kv_heads * params.group + head{r};
#endfor
#import attention/lane_output
}

#if KEY_BIAS || KEY_MASK
// What the logits of the key at `entry` get added, in base 2.
fn bias_of(entry: u32) -> f32 {
#if KEY_BIAS
    let bias = clamp(key_bias[entry], -BIAS_LIMIT, BIAS_LIMIT) * LOG2_E;
#else
    let bias = 0.0;
#endif
#if KEY_MASK
    return select(MASKED, bias, key_mask[entry] != 0u);
#else
    return bias;
#endif
}
#endif
