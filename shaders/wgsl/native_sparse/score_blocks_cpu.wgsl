// Scores of the blocks against the query tokens, and the best of them, for adapters that run on a CPU.
// NSA, arXiv 2502.11089, Eq. 8 to 10: the softmax weights of the compressed keys, summed over the heads of a group and over the
// keys that overlap a block, each times the tokens they share / stride.
//
// Steps of BLOCKS blocks. A lane adds up the weights of its own ROWS heads for each key, and of the keys for each block: BLOCK_KEYS keys
// begin in a block, a key spans SPAN strides and so reaches into REACH blocks. HEAD_TILES: rounds over the heads of a large group.
// - SUBGROUP (exactly 8 lanes): 8 lanes x ROWS heads of one token, keys broadcast as in attention/prefill_cpu; one subgroupAdd a block.
// - otherwise a lane has a token of its own and all of its heads, ROWS at a time.
// There is no barrier: with sums that met in workgroup memory lavapipe kept the queries in memory instead of registers. 4096 tokens, 16
// heads of 64, the compressed branch 47 ms: 80 ms with barriers; 50 with the weights of each key in the lane's own column of workgroup
// memory and then added up; 42 as here, in registers, with what a key gives to a block known when it is compiled.
#import native_sparse/select_bindings
#import shared/load tensor=query f16={QUERY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=key f16=0 aligned={HEAD_DIM%4==0}

@group(0) @binding(2) var<storage, read> query: array<{QUERY_TYPE}>;      // [batch, query_tokens, heads, head_dim]
@group(0) @binding(3) var<storage, read> key: array<{KEY_TYPE}>;          // [batch, compressed keys, kv_heads, head_dim]
@group(0) @binding(4) var<storage, read> lse: array<f32>;                 // [batch, query_tokens, heads] of the compressed branch
@group(0) @binding(5) var<storage, read_write> best: array<vec2u>;        // [splits, all query tokens, kv_heads, slots]: score, block; EMPTY

const KEYS = {KEYS}u;
const BLOCKS = {BLOCKS}u;
#if SUBGROUP
const TOKENS = 1u;          // of a workgroup
const LANES = 8u;           // of a token
#else
const TOKENS = 8u;
const LANES = 1u;
#endif
const EMPTY = 0xffffffffu;

var<workgroup> block_scores: array<f32, BLOCKS * 8u>;  // [block of the step, lane]

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
    let first_token = group / params.splits % params.token_tiles * TOKENS;
    let kv_head = group / params.splits / params.token_tiles % params.kv_heads;
    let batch = group / params.splits / params.token_tiles / params.kv_heads;
    let s = sequence_at(batch);
    if (first_token >= s.query_count) {
        return;
    }
    let last_token = min(first_token + TOKENS - 1u, s.query_count - 1u);
    let last_position = s.q_offset + i32(last_token);
    let last_candidates = candidates_at(s, last_position);

    // This lane's token, and whether it keeps the list of it.
#if SUBGROUP
    let token = first_token;
    let has_list = lane == 0u;
#else
    let token = min(first_token + lane, last_token);
    let has_list = first_token + lane <= last_token;
#endif
    let position = s.q_offset + i32(token);
    let candidates = candidates_at(s, position);
    let list = ((split * params.all_tokens + s.query_start + token) * params.kv_heads + kv_head) * params.slots;
    var kept = 0u;
    var lowest = -1.0;
    var lowest_slot = 0u;

    let first_block = split * params.split_blocks;
    // Where the scores don't decide for the last token, they do for none before it.
    let end_block = select(0u, min(first_block + params.split_blocks, last_candidates.end), scores_decide(last_candidates));
    let factor = params.scale * LOG2_E;
#if HEAD_TILES == 1
#import native_sparse/lane_queries HEAD_TILE=0u
#endif

    for (var step_first = first_block; step_first < end_block; step_first += BLOCKS) {
        let step_end = min(step_first + BLOCKS, end_block);
        // A step begins with the keys that reach into its first block, at a multiple of KEYS.
        let keys_first = (max(step_first * {BLOCK_KEYS}u, {SPAN-1}u) - {SPAN-1}u) / KEYS * KEYS;
        for (var block = 0u; block < BLOCKS; block += 1u) {
            block_scores[block * 8u + lane] = 0.0;
        }
#if HEAD_TILES == 1
        {
#else
        for (var head_tile = 0u; head_tile < {HEAD_TILES}u; head_tile += 1u) {
#import native_sparse/lane_queries HEAD_TILE=head_tile
#endif
        // Importance so far of the key's own block, number `block`, and of those behind it that the key reaches into.
#for i in 0..REACH
        var importance{i} = 0.0;
#endfor
        var block = keys_first / {BLOCK_KEYS}u;
        var phase = keys_first % {BLOCK_KEYS}u;
        for (var start = keys_first; start < step_end * {BLOCK_KEYS}u; start += KEYS) {
#if BLOCK_KEYS == KEYS
            phase = 0u;
#endif
            // 1. Weights of the keys, summed over the lane's heads.
#if SUBGROUP
            let own = s.key_start + min(start + lane % KEYS, s.key_count - 1u);
#else
#for j in 0..KEYS
            let own{j} = s.key_start + min(start + {j}u, s.key_count - 1u);
#endfor
#endif
#import attention/lane_scores
#for j in 0..KEYS
            let weight{j} = 0.0
#for r in 0..ROWS
                + select(0.0, exp2(min(score{r}_{j} - row_lse{r}, 0.0)), i32(start) + {j} < row_limit{r})
#endfor
                ;
#endfor
            // 2. Each block gets a key's weight times the strides they share.
#for j in 0..KEYS
            importance0 += f32(min({SPAN}u, {BLOCK_KEYS}u - phase)) * weight{j};
#for i in 1..REACH
            importance{i} += f32(clamp(i32(phase) + {SPAN-i*BLOCK_KEYS}, 0, {BLOCK_KEYS})) * weight{j};
#endfor
            phase += 1u;
#if BLOCK_KEYS % KEYS != 0 || j == KEYS-1
            if (phase == {BLOCK_KEYS}u) {
                // The key's own block is complete; the next one takes its place.
#if SUBGROUP
                let score = subgroupAdd(importance0);
#else
                let score = importance0;
#endif
                if (block >= step_first && block < step_end) {
                    block_scores[(block - step_first) * 8u + lane] += score;
                }
#for i in 1..REACH
                importance{i-1} = importance{i};
#endfor
                importance{REACH-1} = 0.0;
                block += 1u;
                phase = 0u;
            }
#endif
#endfor
        }
        }

        // 3. The best so far.
        if (has_list && scores_decide(candidates)) {
#import native_sparse/best_blocks AT=(j-step_first)*8u+lane
        }
    }
    if (has_list) {
        for (var slot = kept; slot < params.slots; slot += 1u) {
            best[list + slot] = vec2u(0u, EMPTY);
        }
    }
}
