// What every attention kernel reads. Rows: the `group` heads that share a kv head stand beside each other, so row r of
// (sequence, kv head) is token r / group and output head kv_head * group + r % group, and K and V serve the whole group.
#import shared/grid
#import attention/logits
#import attention/sequences

struct AttentionParams {
    batch: u32,         // sequences
    query_tokens: u32,  // of one sequence; of the longest when PACKED
    tokens: u32,        // keys of one sequence; with LENGTHS the capacity of the cache
    query_heads: u32,
    kv_heads: u32,
    group: u32,         // output heads per kv head
    q_offset: i32,      // position of the first query row
    align_end: u32,     // 1: the last query row stands at the last key instead
    left: i32,          // key s is visible to position t where t - left <= s <= t + right
    right: i32,
    block: i32,         // BLOCKS: tokens that a key stands for
    stride: i32,        // BLOCKS: tokens from one key's first to the next key's first
    capacity: u32,      // BLOCKS and LENGTHS: tokens that the cache holds
    scale: f32,
    row_tiles: u32,     // tiles of rows of one (sequence, kv head)
    splits: u32,        // ranges of keys, one workgroup each (decode)
    split_tokens: u32,  // keys of one range
}

@group(0) @binding(1) var<uniform> params: AttentionParams;
@group(0) @binding(2) var<storage, read> query: array<{QUERY_TYPE}>;   // [batch, query_tokens, query_heads, head_dim]
@group(0) @binding(3) var<storage, read> key: array<{KEY_TYPE}>;       // [batch, tokens, kv_heads, head_dim]
@group(0) @binding(4) var<storage, read> value: array<{VALUE_TYPE}>;   // [batch, tokens, kv_heads, value_dim]
#if KEY_BIAS
@group(0) @binding(5) var<storage, read> key_bias: array<f32>;         // [batch, tokens], added to the logits
#endif
#if KEY_MASK
@group(0) @binding(6) var<storage, read> key_mask: array<u32>;         // [batch, tokens], 1 = visible
#endif
#if POSITIONS
@group(0) @binding(10) var<storage, read> positions: array<u32>;       // [all query tokens], rising within a sequence
#endif
