// What the decode kernels share. Rows: the `group` heads that share a kv head stand beside each other, so row r of
// (sequence, kv head) is token r / group and query head kv_head * group + r % group.
#import shared/grid
#import flash_lla/rules

struct DecodeParams {
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
    splits: u32,        // most ranges of keys
    split_keys: u32,    // fewest keys of a range
    ridge: f32,
    ridge_floor: f32,
}

@group(0) @binding(1) var<uniform> params: DecodeParams;
#if LENGTHS
@group(0) @binding(6) var<storage, read> lengths: array<u32>;          // [batch], keys per sequence
#endif

// Moments of one row over one range of keys, in vec4f, columns padded to 16 and values to 8:
//   state    1                        maximum of the logits in base 2, sum of the weights, 0, 0
//   sum      QUADS                    sum w (x - center), x = [key - first key; value]
//   center   QUADS                    relative to the first key of the sequence
//   product  4 * QUADS x KEY_QUADS    sum w (x - center) (key - center)^T; keys by keys below the diagonal alone
const KEY_QUADS = {(HEAD_DIM+15)/16*4}u;
const QUADS = KEY_QUADS + {(VALUE_DIM+7)/8*2}u;
const SUM = 1u;
const CENTER = 1u + QUADS;
const PRODUCT = 1u + 2u * QUADS;
const RECORD = 1u + 2u * QUADS + 4u * QUADS * KEY_QUADS;
// All ranges of a row joined: state, mean of x, covariance of x and key, with weights that sum to 1.
const MEAN = 1u;
const COVARIANCE = 1u + QUADS;
const MERGED_RECORD = 1u + QUADS + 4u * QUADS * KEY_QUADS;

fn keys_of(batch: u32) -> u32 {
#if LENGTHS
    return min(lengths[batch], params.tokens);
#else
    return params.tokens;
#endif
}

// Keys 0.. that a row sees.
fn visible_keys(key_count: u32, row: u32) -> u32 {
    let first = select(params.q_offset, i32(key_count) - i32(params.query_tokens), params.align_end == 1u);
    return u32(clamp(first + i32(row / params.group) + params.right + 1, 0, i32(key_count)));
}

// Keys of one range: all that the last row sees, divided evenly, in whole steps of the kernels.
fn range_keys(key_count: u32) -> u32 {
    let seen = visible_keys(key_count, params.query_tokens * params.group - 1u);
    let share = (seen + params.splits - 1u) / params.splits;
    return max((share + 15u) / 16u * 16u, params.split_keys);
}

// Row r of (sequence, kv head) in a tensor [batch, query_tokens, query_heads].
fn row_index(batch: u32, kv_head: u32, row: u32) -> u32 {
    let token = batch * params.query_tokens + row / params.group;
    return token * params.query_heads + kv_head * params.group + row % params.group;
}
