// Attention of each query token to the tokens of its listed blocks, for adapters that run on a CPU: NSA, arXiv 2502.11089, Eq. 12.
// Online softmax over steps of KEYS keys in named registers, the steps of attention/prefill_cpu; only the keys come from a list.
//
// - SUBGROUP (exactly 8 lanes): a workgroup is a unit of 8 * ROWS heads, whose keys the lanes load together and broadcast.
// - otherwise a lane is a unit of ROWS heads and loads its keys itself: no lane idles, whatever the group.
// lavapipe, 1024 tokens, 8 blocks of 64, dims 64: 16 heads 2 x 4 keys 5.0 ns a pair (dense attention 4.8), 2 x 2 7.9, 2 x 8 9.9, a lane each 13.7;
// 20 heads 3 x 4 7.2, two rounds of 2 x 4 15; 7 heads 1 x 4 17.7, a lane each 29; 4 heads a lane each 27, 1 x 4 31; 3 heads 32 and 41; 1 head 76 and 132.
#import native_sparse/selected_bindings
#import shared/load tensor=query f16={QUERY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=key f16={KEY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=value f16={KEY_F16} aligned={VALUE_DIM%4==0}
#import attention/results

const KEYS = {KEYS}u;   // with SUBGROUP 1, 2, 4 or 8, otherwise 1

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
#if SUBGROUP
    let u = unit_at(group, {ROWS*8}u);
    let turn = lane % KEYS;
#else
    let u = unit_at(group * 8u + lane, {ROWS}u);
    let turn = 0u;
#endif
    if (!u.exists) {
        return;
    }
    let end = list_end(u);
    let low = u.split * params.split_keys;
    let high = min(low + params.split_keys, end);

    // Past the group's last head a row repeats that one and stores nothing.
    let kv_head = u.kv_head;
    let last_head = params.group - 1u - u.first_head;
#for r in 0..ROWS
#if SUBGROUP
    let head{r} = {r*8}u + lane;
#else
    let head{r} = {r}u;
#endif
    let stored{r} = head{r} <= last_head;
    let place{r} = output_row(u) + head{r};
    let query_start{r} = ((u.token * params.kv_heads + kv_head) * params.group + u.first_head + min(head{r}, last_head)) * {HEAD_DIM}u;
#endfor
#import attention/lane_state

    // The lane's next key: the token at `offset` of the block in `slot`.
    var slot = (low + turn) / params.block;
    var offset = (low + turn) % params.block;
    let further_slots = KEYS / params.block;
    let further_tokens = KEYS % params.block;
    for (var start = low; start < high; start += KEYS) {
        let token = listed_token(u, slot, offset);
        let seen = (token < u.visible) & (start + turn < high);
        let own = u.key_start + select(0u, token, seen);
        let own_bias = select(MASKED, 0.0, seen);
#if !SUBGROUP
        let own0 = own;
#endif
#import attention/lane_scores
#for j in 0..KEYS
#if SUBGROUP
        let bias{j} = subgroupBroadcast(own_bias, {j}u);
#else
        let bias{j} = own_bias;
#endif
#for r in 0..ROWS
        score{r}_{j} += bias{j};
#endfor
#endfor
#import attention/lane_softmax
#import attention/lane_values

        offset += further_tokens;
        let next_block = offset >= params.block;
        offset -= select(0u, params.block, next_block);
        slot += further_slots + select(0u, 1u, next_block);
    }
#import attention/lane_output
}
