// What the kernels of the selection share: parameters, and which blocks compete for the places in a token's list.
#import shared/grid
#import attention/sequences BLOCKS=1 POSITIONS=0

struct SelectParams {
    batch: u32,             // sequences
    query_tokens: u32,      // of one sequence; of the longest when PACKED
    tokens: u32,            // compressed keys of one sequence
    kv_heads: u32,
    group: u32,             // query heads per kv head
    q_offset: i32,          // position of the first query token
    align_end: u32,         // 1: the last query token stands at the last token instead
    block: i32,             // l, tokens of a compressed key
    stride: i32,            // d, tokens from one compressed key's first to the next one's
    capacity: u32,          // tokens of one sequence
    all_tokens: u32,        // query tokens of all sequences
    scale: f32,
    sel_block: u32,         // l', tokens of a block
    slots: u32,             // n, places in a list
    n_init: u32,
    n_local: u32,
    token_tiles: u32,       // tiles of query tokens of one (sequence, kv head)
    splits: u32,            // ranges of blocks, one workgroup each
    split_blocks: u32,      // blocks of one range
}

@group(0) @binding(1) var<uniform> params: SelectParams;

// The list of a token: `local` blocks up to its own, blocks 0..initial, and the best `free` ones of first..end.
struct Candidates {
    first: u32,
    end: u32,
    free: u32,
    local: u32,
}

fn candidates_at(s: Sequence, position: i32) -> Candidates {
    var c: Candidates;
    if (position < 0) {
        return c;
    }
    let own = u32(position) / params.sel_block;
    let count = min(own + 1u, (s.token_count + params.sel_block - 1u) / params.sel_block);
    let first_local = max(own + 1u, params.n_local) - params.n_local;
    c.local = min(max(count, first_local) - first_local, params.slots);
    c.end = count - c.local;
    c.first = min(min(params.n_init, c.end), params.slots - c.local);
    c.free = params.slots - c.local - c.first;
    return c;
}

// Whether there are more candidates than places.
fn compete(c: Candidates) -> bool {
    return c.end - c.first > c.free;
}

// Whether the scores decide which have a place.
fn scores_decide(c: Candidates) -> bool {
    return compete(c) && c.free > 0u;
}

const LOG2_E = 1.4426950408889634;
