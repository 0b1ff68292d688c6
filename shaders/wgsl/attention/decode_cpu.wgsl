// Attention of few query rows over many keys, for adapters that run on a CPU; `combine` merges the partial results.
// FlashAttention-2, arXiv 2307.08691, section 3.2: keys are split because the rows alone cannot fill the machine.
//
// - SUBGROUP: prefill_cpu's tile of 8 * ROWS rows on a range of keys; one partial result per split.
// - otherwise lanes stand for keys, not rows: every lane holds all ROWS rows, has every eighth key of the range, loads it once,
//   and is a split of its own: 8 * splits partial results, part split * 8 + lane. Nothing is shared, so nothing needs a subgroup.
// lavapipe, CPU time over both cores, D = 128, 4096 keys, 4 kv heads: 1 row 9.6 ms with SUBGROUP, 5.7 ms without; 8 rows 12 ms
// and 20 ms (ROWS = 2; ROWS = 8 takes 9 ms and 12 s to compile); 4 rows of D = 64 are even. So: without for 1 or 2 rows.
// Dividing the columns of a key among the lanes instead took 15 ms for 1 row: a subgroupAdd costs as much as several loads.
#if SUBGROUP
#import attention/prefill_cpu PARTIAL=1 OUT=partial_out
#else
#import attention/bindings
#import shared/load tensor=query f16={QUERY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=key f16={KEY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=value f16={KEY_F16} aligned={VALUE_DIM%4==0}

#if VALUE_DIM % 4 == 0
@group(0) @binding(8) var<storage, read_write> partial_out: array<vec4f>;     // [splits * 8, batch, query_tokens, out_heads, value_dim]
#else
@group(0) @binding(8) var<storage, read_write> partial_out: array<f32>;       // [splits * 8, batch, query_tokens, out_heads, value_dim]
#endif
@group(0) @binding(9) var<storage, read_write> partial_state: array<vec2f>;   // [splits * 8, batch, query_tokens, out_heads]: maximum, sum

const STEP = {KEYS*8};       // every lane takes KEYS keys of its own
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
    let split = group % params.splits;
    let tile = group / params.splits % params.row_tiles;
    let kv_head = group / params.splits / params.row_tiles % params.kv_heads;
    let s = sequence_at(group / params.splits / params.row_tiles / params.kv_heads);
    let rows = s.query_count * params.group;
    let first = tile * {ROWS}u;
    if (first >= rows) {
        return;
    }

    // Some row of the tile sees the keys low..high; this split has split_tokens of them, its lanes take turns.
    let first_position = position_of(s, first);
    let last_position = position_of(s, min(first + {ROWS}u, rows) - 1u);
    let low = clamp(first_key(first_position), 0, i32(s.key_count)) + i32(split * params.split_tokens);
    let high = min(low + i32(params.split_tokens), clamp(end_key(last_position), 0, i32(s.key_count)));

    // Every lane holds all rows. Past the last row it repeats that one and stores nothing.
    let out_heads = params.kv_heads * params.group;
#for r in 0..ROWS
    let row{r} = min(first + {r}u, rows - 1u);
    let token{r} = s.query_start + row{r} / params.group;
    let head{r} = kv_head * params.group + row{r} % params.group;
    let position{r} = position_of(s, row{r});
    let row_low{r} = first_key(position{r});
    let row_high{r} = min(end_key(position{r}), high);
    let query_start{r} = (token{r} * params.query_heads + head{r} % params.query_heads) * {HEAD_DIM}u;
#endfor
#import attention/lane_state

    for (var start = low; start < high; start += STEP) {
#for j in 0..KEYS
        let at{j} = start + {j*8} + i32(lane);
        let own{j} = s.key_start + u32(min(at{j}, high - 1));
#endfor
#import attention/lane_scores
#for j in 0..KEYS
#if KEY_BIAS
        let bias{j} = clamp(key_bias[own{j}], -BIAS_LIMIT, BIAS_LIMIT) * LOG2_E;
#else
        let bias{j} = 0.0;
#endif
#if KEY_MASK
        let shown{j} = key_mask[own{j}] != 0u;
#else
        let shown{j} = true;
#endif
#for r in 0..ROWS
        let visible{r}_{j} = shown{j} & (at{j} >= row_low{r}) & (at{j} < row_high{r});
        score{r}_{j} = select(MASKED, score{r}_{j} + bias{j}, visible{r}_{j});
#endfor
#endfor
#import attention/lane_softmax
#import attention/lane_values
    }

#if PACKED
    let tokens = sequences[params.batch];
#else
    let tokens = params.batch * params.query_tokens;
#endif
#for r in 0..ROWS
    let stored{r} = first + {r}u < rows;
    let place{r} = ((split * 8u + lane) * tokens + token{r}) * out_heads + head{r};
#endfor
#import attention/lane_output PARTIAL=1 OUT=partial_out
}
#endif
