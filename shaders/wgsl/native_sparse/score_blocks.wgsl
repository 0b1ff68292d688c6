// Scores of the blocks against the query tokens, and the best of them.
// NSA, arXiv 2502.11089, Eq. 8 to 10: the softmax weights of the compressed keys, summed over the heads of a group and over the
// keys that overlap a block, each times the tokens they share / stride.
//
// Tile: TOKENS query tokens of a kv head, ROW_TILE rows, x 32 compressed keys, 8 x 8 threads, the score loop of attention/prefill. Steps of
// BLOCKS blocks: those that 32 keys complete, so that a key is read again only where it reaches over a step's edge. The weights
// meet in workgroup memory, where each (token, block) pair adds up its own in a fixed order: equal keys give equal bits.
// RADV for navi21, head dim 64: 12.5 KiB, 128 VGPRs, no spills, 6 waves per SIMD, 83 % FMAs in the score loop; head dim 192: 136 VGPRs, 6.
// HEAD_TILES: rounds over the heads of a group too large for the tile.
#import native_sparse/select_bindings
#import shared/load tensor=query f16={QUERY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=key f16=0 aligned={HEAD_DIM%4==0}

@group(0) @binding(2) var<storage, read> query: array<{QUERY_TYPE}>;      // [batch, query_tokens, heads, head_dim]
@group(0) @binding(3) var<storage, read> key: array<{KEY_TYPE}>;          // [batch, compressed keys, kv_heads, head_dim]
@group(0) @binding(4) var<storage, read> lse: array<f32>;                 // [batch, query_tokens, heads] of the compressed branch
@group(0) @binding(5) var<storage, read_write> best: array<vec2u>;        // [splits, all query tokens, kv_heads, slots]: score, block; EMPTY

const ROW_QUADS = {ROW_TILE/4}u;
const KEY_QUADS = 8u;
const BLOCKS = {BLOCKS}u;
const PAIRS = {TOKENS}u * BLOCKS;
const EMPTY = 0xffffffffu;

// First the query, later the weights, as quads of rows; after them the key. Swizzled as in attention/prefill.
const SECOND = {ROW_TILE*8}u;
var<workgroup> tile: array<vec4f, {ROW_TILE*8+256}>;
var<workgroup> block_scores: array<f32, PAIRS>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) thread: u32) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) { return; }
    let split = index % params.splits;
    let first_token = index / params.splits % params.token_tiles * {TOKENS}u;
    let kv_head = index / params.splits / params.token_tiles % params.kv_heads;
    let batch = index / params.splits / params.token_tiles / params.kv_heads;
    let s = sequence_at(batch);
    if (first_token >= s.query_count) { return; }
    let x = thread % 8u;
    let y = thread / 8u;
    let slot = x ^ y;
    let last_token = min(first_token + {TOKENS-1}u, s.query_count - 1u);
    let last_position = s.q_offset + i32(last_token);
    let last_candidates = candidates_at(s, last_position);

    // This thread keeps the list of the tile's token of its number, if there is one.
    let own_token = min(first_token + thread, last_token);
    let has_list = thread < {TOKENS}u && first_token + thread <= last_token;
    let candidates = candidates_at(s, s.q_offset + i32(own_token));
    let list = ((split * params.all_tokens + s.query_start + own_token) * params.kv_heads + kv_head) * params.slots;
    var kept = 0u;
    var lowest = -1.0;
    var lowest_slot = 0u;

    let first_block = split * params.split_blocks;
    // Where the scores don't decide for the last token, they do for none before it.
    let end_block = select(0u, min(first_block + params.split_blocks, last_candidates.end), scores_decide(last_candidates));
    let visible_keys = u32(clamp(end_key(last_position), 0, i32(s.key_count)));
    let scale = params.scale * LOG2_E;
    let rows_per_token = min(params.group, {ROW_TILE}u);
    // Compressed keys of a block, and those more that begin before it and reach into it.
    let keys_per_block = params.sel_block / u32(params.stride);
    let overlap = u32(params.block / params.stride) - 1u;
#for h in 0..ROW_TILE/32
#for r in 0..4
    let tile_token{h}_{r} = ((y + {8*h}u) * 4u + {r}u) / rows_per_token;
    let token{h}_{r} = min(first_token + min(tile_token{h}_{r}, {TOKENS-1}u), last_token);
    let row_exists{h}_{r} = tile_token{h}_{r} < {TOKENS}u && first_token + tile_token{h}_{r} <= last_token;
    let row_end{h}_{r} = select(0, end_key(s.q_offset + i32(token{h}_{r})), row_exists{h}_{r});
#endfor
#endfor
#if HEAD_TILES == 1
#import native_sparse/tile_queries HEAD_TILE=0u
#endif

    for (var step_first = first_block; step_first < end_block; step_first += BLOCKS) {
        let step_end = min(step_first + BLOCKS, end_block);
        let keys_first = max(step_first * keys_per_block, overlap) - overlap;
        let keys_end = min(step_end * keys_per_block, visible_keys);
        for (var pair = thread; pair < PAIRS; pair += 64u) {
            block_scores[pair] = 0.0;
        }
#if HEAD_TILES == 1
        {
#else
        for (var head_tile = 0u; head_tile < {HEAD_TILES}u; head_tile += 1u) {
#import native_sparse/tile_queries HEAD_TILE=head_tile
#endif
        for (var chunk = keys_first; chunk < keys_end; chunk += 32u) {
            // 1. Weights of the tile.
            let start = i32(chunk);
#import attention/tile_scores KEY_TILE=32
            let keys = start + i32(x * 4u) + vec4i(0, 1, 2, 3);
#for h in 0..ROW_TILE/32
#for r in 0..4
            let weight{h}_{r} = select(vec4f(0.0), exp2(min(score{h}_{r}_0 * scale - row_lse{h}_{r}, vec4f(0.0))), keys < vec4i(row_limit{h}_{r}));
#endfor
#endfor
            workgroupBarrier();
#for h in 0..ROW_TILE/32
#for j in 0..4
            tile[(x * 4u + {j}u) * ROW_QUADS + slot + {8*h}u] = vec4f(weight{h}_0[{j}], weight{h}_1[{j}], weight{h}_2[{j}], weight{h}_3[{j}]);
#endfor
#endfor
            workgroupBarrier();

            // 2. Importance of the blocks, summed over the heads.
            let chunk_end = min(chunk + 32u, keys_end);
            for (var pair = thread; pair < PAIRS; pair += 64u) {
                let first_key = (step_first + pair % BLOCKS) * keys_per_block;
                let first_row = pair / BLOCKS * rows_per_token;
                let end_row = first_row + rows_per_token;
                var score = block_scores[pair];
                for (var k = max(max(first_key, overlap) - overlap, chunk); k < min(first_key + keys_per_block, chunk_end); k += 1u) {
                    let shared_keys = min(k + overlap + 1u, first_key + keys_per_block) - max(k, first_key);
                    var sum = 0.0;
                    for (var quad = first_row / 4u; quad * 4u < end_row; quad += 1u) {
                        let rows = quad * 4u + vec4u(0u, 1u, 2u, 3u);
                        let own = select(vec4f(0.0), vec4f(1.0), (rows >= vec4u(first_row)) & (rows < vec4u(end_row)));
                        sum += dot(own, tile[(k - chunk) * ROW_QUADS + ((quad % 8u) ^ ((k - chunk) / 4u)) + quad / 8u * 8u]);
                    }
                    score += f32(shared_keys) * sum;
                }
                block_scores[pair] = score;
            }
        }
        }
        workgroupBarrier();

        // 3. The best so far.
        if (has_list && scores_decide(candidates)) {
#import native_sparse/best_blocks AT=thread*BLOCKS+j-step_first
        }
        workgroupBarrier();
    }
    if (has_list) {
        for (var empty = kept; empty < params.slots; empty += 1u) {
            best[list + empty] = vec2u(0u, EMPTY);
        }
    }
}

// Keys past the end repeat the last one: they are masked, but what they read must be finite.
fn key_index(s: Sequence, kv_head: u32, key: i32) -> u32 {
    return (s.key_start + min(u32(key), s.key_count - 1u)) * params.kv_heads + kv_head;
}
