// What the kernels of local linear attention share: parameters, sequences, and the state of a row between its phases.
// Rows: as in attention, row r of (sequence, kv head) is token r / group and head kv_head * group + r % group.
#import shared/grid
#import flash_lla/rules

struct LlaParams {
    batch: u32,         // sequences
    query_tokens: u32,  // of one sequence
    tokens: u32,        // keys of one sequence; with LENGTHS the capacity of the cache
    query_heads: u32,
    kv_heads: u32,
    group: u32,         // query heads per kv head
    q_offset: i32,      // position of the first query row
    align_end: u32,     // 1: the last query row stands at the last key instead
    right: i32,         // key s is visible to position t where s <= t + right
    scale: f32,
    row_tiles: u32,     // tiles of rows of one (sequence, kv head)
    mask_words: u32,    // of one query token
    ridge: f32,         // for weights that sum to 1
    ridge_floor: f32,   // the ridge is at least this share of the mean variance of the keys
    rtol: f32,
    verify: u32,        // 1: no iteration, but the true residual of what the iterations found
}

@group(0) @binding(1) var<uniform> params: LlaParams;

struct Sequence {
    query_start: u32,
    key_start: u32,
    key_count: u32,
    q_offset: i32,
}

fn sequence_at(batch: u32) -> Sequence {
    var s: Sequence;
    s.query_start = batch * params.query_tokens;
    s.key_start = batch * params.tokens;
#if LENGTHS
    s.key_count = min(lengths[batch], params.tokens);
#else
    s.key_count = params.tokens;
#endif
    s.q_offset = select(params.q_offset, i32(s.key_count) - i32(params.query_tokens), params.align_end == 1u);
    return s;
}

// Row `row` of (sequence, kv head) as an element of [batch, query_tokens, query_heads].
fn row_index(s: Sequence, kv_head: u32, row: u32) -> u32 {
    return (s.query_start + row / params.group) * params.query_heads + kv_head * params.group + row % params.group;
}

// State of a row, in vec4f: scaled query, mean key, g, solution, residual, direction and A · direction, DEPTH_QUADS each, then
// (maximum logit in base 2, 1 / sum of the weights, ridge, |g|²) and (|residual|², iterations, status, lse).
const DEPTH_QUADS = {(HEAD_DIM+3)/4}u;
const QUERY = 0u;
const MEAN = DEPTH_QUADS;
const GRADIENT = DEPTH_QUADS * 2u;
const SOLUTION = DEPTH_QUADS * 3u;
const RESIDUAL = DEPTH_QUADS * 4u;
const DIRECTION = DEPTH_QUADS * 5u;
const PRODUCT = DEPTH_QUADS * 6u;
const SCALARS = DEPTH_QUADS * 7u;
const STATE_QUADS = SCALARS + 2u;

// Bits of a tile's flag: some row is ACTIVE, some row is ILL.
const TILE_ACTIVE = 1u;
const TILE_ILL = 2u;
