// Where a sequence lies in the buffers, and which of its keys a query sees. Reads batch, query_tokens, tokens, group, q_offset,
// align_end, left and right of `params`; with BLOCKS also block, stride and capacity.
//
// BLOCKS: key i stands for the tokens i * stride .. i * stride + block - 1 and is seen once all of them are (NSA, arXiv
// 2502.11089, Eq. 7); `tokens` counts such keys, positions count tokens, of which a packed sequence has as many as queries. POSITIONS:
// every query token has its own.
#if PACKED || LENGTHS
// PACKED: cu_seqlens of queries, then of keys. LENGTHS: tokens per sequence.
@group(0) @binding(7) var<storage, read> sequences: array<u32>;
#endif

// Rows [query_start, +query_count) of `query` and [key_start, +key_count) of `key` belong together.
struct Sequence {
    query_start: u32,
    query_count: u32,
    key_start: u32,
    key_count: u32,
    token_count: u32,  // what positions count: the keys, or with BLOCKS the tokens behind them
    q_offset: i32,
}

fn sequence_at(batch: u32) -> Sequence {
    var s: Sequence;
#if PACKED
    s.query_start = sequences[batch];
    s.query_count = sequences[batch + 1u] - s.query_start;
    s.key_start = sequences[params.batch + 1u + batch];
    s.key_count = sequences[params.batch + 2u + batch] - s.key_start;
#else
    s.query_start = batch * params.query_tokens;
    s.query_count = params.query_tokens;
    s.key_start = batch * params.tokens;
    s.key_count = params.tokens;
#endif
#if BLOCKS
#if PACKED
    s.token_count = s.query_count;
#else
    s.token_count = params.capacity;
#if LENGTHS
    s.token_count = min(sequences[batch], s.token_count);
#endif
    s.key_count = min(s.key_count, u32(end_key(i32(s.token_count) - 1)));
#endif
#else
#if LENGTHS
    s.key_count = min(sequences[batch], s.key_count);
#endif
    s.token_count = s.key_count;
#endif
    s.q_offset = select(params.q_offset, i32(s.token_count) - i32(s.query_count), params.align_end == 1u);
    return s;
}

fn position_of(s: Sequence, row: u32) -> i32 {
#if POSITIONS
    return i32(positions[s.query_start + row / params.group]);
#else
    return s.q_offset + i32(row / params.group);
#endif
}

// A query at `position` sees the keys first_key..end_key, as far as the sequence has them.
fn first_key(position: i32) -> i32 {
#if BLOCKS
    return 0;
#else
    return position - params.left;
#endif
}

fn end_key(position: i32) -> i32 {
#if BLOCKS
    let complete = position + 1 - params.block;
    return select(0, complete / params.stride + 1, complete >= 0);
#else
    return position + params.right + 1;
#endif
}
