// Scores of the blocks against the query tokens, and the best of them, for adapters that run on a CPU.
// NSA, arXiv 2502.11089, Eq. 8 to 10: the softmax weights of the compressed keys, summed over the heads of a group and over the
// keys that overlap a block, each times the tokens they share / stride.
//
// Tile: TOKENS query tokens of a kv head as 8 lanes x ROWS rows, as in attention/prefill_cpu; steps of BLOCKS blocks, whose keys come
// CHUNK at a time. Each lane adds up its rows; the lanes' sums meet in workgroup memory, twice a chunk.
// HEAD_TILES: rounds over the heads of a group too large for the tile.
#import native_sparse/select_bindings
#import shared/load tensor=query f16={QUERY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=key f16=0 aligned={HEAD_DIM%4==0}

@group(0) @binding(2) var<storage, read> query: array<{QUERY_TYPE}>;      // [batch, query_tokens, heads, head_dim]
@group(0) @binding(3) var<storage, read> key: array<{KEY_TYPE}>;          // [batch, compressed keys, kv_heads, head_dim]
@group(0) @binding(4) var<storage, read> lse: array<f32>;                 // [batch, query_tokens, heads] of the compressed branch
@group(0) @binding(5) var<storage, read_write> best: array<vec2u>;        // [splits, all query tokens, kv_heads, slots]: score, block; EMPTY

const KEYS = {KEYS}u;
const BLOCKS = {BLOCKS}u;
const CHUNK = {CHUNK}u;     // a multiple of KEYS
const EMPTY = 0xffffffffu;

var<workgroup> lane_sums: array<f32, CHUNK * 8u>;
var<workgroup> block_scores: array<f32, {TOKENS}u * BLOCKS>;

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
    let first_token = group / params.splits % params.token_tiles * {TOKENS}u;
    let kv_head = group / params.splits / params.token_tiles % params.kv_heads;
    let batch = group / params.splits / params.token_tiles / params.kv_heads;
    let s = sequence_at(batch);
    if (first_token >= s.query_count) {
        return;
    }
    let last_token = min(first_token + {TOKENS-1}u, s.query_count - 1u);
    let first_position = s.q_offset + i32(first_token);
    let last_position = s.q_offset + i32(last_token);
    let last_candidates = candidates_at(s, batch, last_position);

    // This lane keeps the list of the tile's token number `lane`, if there is one.
    let own_token = min(first_token + lane, last_token);
    let has_list = lane < {TOKENS}u && first_token + lane <= last_token;
    let candidates = candidates_at(s, batch, s.q_offset + i32(own_token));
    let list = ((split * params.all_tokens + s.query_start + own_token) * params.kv_heads + kv_head) * params.slots;
    var kept = 0u;
    var lowest = -1.0;
    var lowest_slot = 0u;

    let first_block = split * params.split_blocks;
    // Where the scores don't decide for the last token, they do for none before it.
    let end_block = select(0u, min(first_block + params.split_blocks, last_candidates.end), scores_decide(last_candidates));
    let visible_keys = u32(clamp(end_key(last_position), 0, i32(s.key_count)));
    let factor = params.scale * LOG2_E;
    let rows_per_token = min(params.group, {ROWS*8}u);
    // Compressed keys of a block, and those more that begin before it and reach into it.
    let keys_per_block = params.sel_block / u32(params.stride);
    let overlap = u32(params.block / params.stride) - 1u;
#for r in 0..ROWS
    let tile_token{r} = ({r*8}u + lane) / rows_per_token;
    let token{r} = min(first_token + min(tile_token{r}, {TOKENS-1}u), last_token);
    let row_exists{r} = tile_token{r} < {TOKENS}u && first_token + tile_token{r} <= last_token;
    let row_end{r} = select(0, end_key(s.q_offset + i32(token{r})), row_exists{r});
#endfor
#if HEAD_TILES == 1
#import native_sparse/lane_queries HEAD_TILE=0u
#endif

    for (var step_first = first_block; step_first < end_block; step_first += BLOCKS) {
        let step_end = min(step_first + BLOCKS, end_block);
        let keys_first = max(step_first * keys_per_block, overlap) - overlap;
        let keys_end = min(step_end * keys_per_block, visible_keys);
        for (var pair = lane; pair < {TOKENS}u * BLOCKS; pair += 8u) {
            block_scores[pair] = 0.0;
        }
#if HEAD_TILES == 1
        {
#else
        for (var head_tile = 0u; head_tile < {HEAD_TILES}u; head_tile += 1u) {
#import native_sparse/lane_queries HEAD_TILE=head_tile
#endif
        for (var chunk = keys_first; chunk < keys_end; chunk += CHUNK) {
            let chunk_end = min(chunk + CHUNK, keys_end);
            for (var start = chunk; start < chunk_end; start += KEYS) {
#if SUBGROUP
                let own = s.key_start + min(start + lane % KEYS, keys_end - 1u);
#else
#for j in 0..KEYS
                let own{j} = s.key_start + min(start + {j}u, keys_end - 1u);
#endfor
#endif
#import attention/lane_scores
#for j in 0..KEYS
                lane_sums[(start - chunk + {j}u) * 8u + lane] = 0.0
#for r in 0..ROWS
                    + select(0.0, exp2(min(score{r}_{j} - row_lse{r}, 0.0)), i32(start) + {j} < row_limit{r})
#endfor
                    ;
#endfor
            }
            workgroupBarrier();
            // Importance of a block, summed over the heads: lanes share the (token, block) pairs.
            for (var pair = lane; pair < {TOKENS}u * BLOCKS; pair += 8u) {
                let first_key = (step_first + pair % BLOCKS) * keys_per_block;
                let first_lane = pair / BLOCKS * rows_per_token;
#if TOKENS == 1
                const LANES = 8u;
#else
                let LANES = rows_per_token;
#endif
                var score = block_scores[pair];
                for (var k = max(max(first_key, overlap) - overlap, chunk); k < min(first_key + keys_per_block, chunk_end); k += 1u) {
                    let shared_keys = min(k + overlap + 1u, first_key + keys_per_block) - max(k, first_key);
                    var weight = 0.0;
                    for (var l = first_lane; l < first_lane + LANES; l += 1u) {
                        weight += lane_sums[(k - chunk) * 8u + l];
                    }
                    score += f32(shared_keys) * weight;
                }
                block_scores[pair] = score;
            }
            workgroupBarrier();
        }
        }
        if (has_list && scores_decide(candidates)) {
#import native_sparse/best_blocks TOKEN=lane
        }
        workgroupBarrier();
    }
    if (has_list) {
        for (var slot = kept; slot < params.slots; slot += 1u) {
            best[list + slot] = vec2u(0u, EMPTY);
        }
    }
}
