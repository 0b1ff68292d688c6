// What attention to listed blocks reads. The query heads that share a kv head share its lists, so the work comes in units: a
// query token and kv head, a tile of its heads, a range of its list.
//
// A list counts its tokens slot by slot, `block` of them each, whether the query sees them or not: number i stands in slot
// i / block. Slots may hold any block, in any order; what is not there or lies behind the query counts for nothing.
#import shared/grid
#import attention/logits
#import attention/sequences

struct SelectedParams {
    batch: u32,         // sequences
    query_tokens: u32,  // of one sequence; of the longest when PACKED
    tokens: u32,        // keys of one sequence; with LENGTHS the capacity of the cache
    kv_heads: u32,
    group: u32,         // query heads per kv head
    q_offset: i32,      // position of the first query token
    align_end: u32,     // 1: the last query token stands at the last key instead
    left: i32,          // a listed key s is visible to position t where t - left <= s <= t + right
    right: i32,
    scale: f32,
    slots: u32,         // n, blocks of one list
    block: u32,         // l', tokens of a block
    head_tiles: u32,    // tiles of heads of one query token and kv head
    splits: u32,        // ranges of a list, each a unit
    split_keys: u32,    // tokens of one range
}

@group(0) @binding(1) var<uniform> params: SelectedParams;
@group(0) @binding(2) var<storage, read> query: array<{QUERY_TYPE}>;   // [batch, query_tokens, kv_heads * group, head_dim]
@group(0) @binding(3) var<storage, read> key: array<{KEY_TYPE}>;       // [batch, tokens, kv_heads, head_dim]
@group(0) @binding(4) var<storage, read> value: array<{VALUE_TYPE}>;   // [batch, tokens, kv_heads, value_dim]
@group(0) @binding(5) var<storage, read> blocks: array<u32>;           // [batch, query_tokens, kv_heads, slots]

struct Unit {
    exists: bool,
    split: u32,
    first_head: u32,   // of the group
    kv_head: u32,
    token: u32,        // row of `query`
    list: u32,         // its first slot in `blocks`
    key_start: u32,    // the sequence's first row of `key`
    visible: u32,      // tokens of the sequence, from its first, that the query may see
    blocks: u32,       // blocks that hold them
}

// `heads` of a tile. Units that share keys follow each other.
fn unit_at(index: u32, heads: u32) -> Unit {
    var u: Unit;
    u.split = index % params.splits;
    let tile = index / params.splits;
    u.first_head = tile % params.head_tiles * heads;
    let token = tile / params.head_tiles % params.query_tokens;
    let head = tile / params.head_tiles / params.query_tokens;
    u.kv_head = head % params.kv_heads;
    let batch = head / params.kv_heads;
    if (batch >= params.batch) { return u; }
    let s = sequence_at(batch);
    u.exists = token < s.query_count;
    u.token = s.query_start + token;
    u.list = (u.token * params.kv_heads + u.kv_head) * params.slots;
    u.key_start = s.key_start;
    u.visible = u32(clamp(end_key(position_of(s, token * params.group)), 0, i32(s.key_count)));
    u.blocks = (u.visible + params.block - 1u) / params.block;
    return u;
}

// The query sees none of the list's tokens from this number on.
fn list_end(u: Unit) -> u32 {
    var end = 0u;
    for (var slot = 0u; slot < params.slots; slot += 1u) {
        let block = blocks[u.list + slot];
        if (block < u.blocks) {
            end = slot * params.block + min(u.visible - block * params.block, params.block);
        }
    }
    return end;
}

// The token at `offset` of the block in `slot`; past the visible ones where there is none.
fn listed_token(u: Unit, slot: u32, offset: u32) -> u32 {
    let block = blocks[u.list + min(slot, params.slots - 1u)];
    return select(u.visible, block * params.block + offset, block < u.blocks);
}

// The unit's first head in the outputs, or with PARTIAL in its part of them.
fn output_row(u: Unit) -> u32 {
#if PARTIAL
#if PACKED
    let tokens = sequences[params.batch];
#else
    let tokens = params.batch * params.query_tokens;
#endif
    let token = u.split * tokens + u.token;
#else
    let token = u.token;
#endif
    return (token * params.kv_heads + u.kv_head) * params.group + u.first_head;
}
