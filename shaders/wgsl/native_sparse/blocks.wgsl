// Which block of which sequence a slot of the dispatch stands for.
struct CompressParams {
    batch: u32,
    tokens: u32,          // of one sequence; the capacity of a cache
    kv_heads: u32,
    block: u32,           // l, tokens of a block
    stride: u32,          // d, tokens from one block's first to the next one's
    blocks: u32,          // slots of one sequence in this dispatch
    block_capacity: u32,  // rows of one sequence in the result
}

@group(0) @binding(1) var<uniform> params: CompressParams;
#if PACKED
@group(0) @binding(6) var<storage, read> sequences: array<u32>;     // cu_seqlens of queries, then of tokens
@group(0) @binding(7) var<storage, read> block_bounds: array<u32>;  // cu_seqlens of queries, then of blocks
#endif
#if LENGTHS
@group(0) @binding(6) var<storage, read> lengths: array<u32>;       // [batch], tokens, those of the last call included
#endif

struct Block {
    exists: bool,      // there is a row for it
    complete: bool,    // all its tokens are there
    first_token: u32,  // row of `source`
    row: u32,          // row of the result
}

fn complete_blocks(tokens: u32) -> u32 {
    return select(0u, (tokens - params.block) / params.stride + 1u, tokens >= params.block);
}

fn block_at(slot: u32) -> Block {
    let batch = slot / params.blocks;
    var block: Block;
#if PACKED
    let index = slot % params.blocks;
    let first_row = block_bounds[params.batch + 1u + batch];
    let first_token = sequences[params.batch + 1u + batch];
    block.exists = index < block_bounds[params.batch + 2u + batch] - first_row;
    block.complete = block.exists;
    block.first_token = first_token + index * params.stride;
    block.row = first_row + index;
#else
#if LENGTHS
    // The last ones. Some may be done already: they give the same bits again.
    let complete = complete_blocks(min(lengths[batch], params.tokens));
    block.complete = slot % params.blocks < complete;
    block.exists = block.complete;
    let index = select(0u, complete - 1u - slot % params.blocks, block.complete);
#else
    let index = slot % params.blocks;
    block.complete = index < complete_blocks(params.tokens);
    block.exists = true;
#endif
    block.first_token = batch * params.tokens + index * params.stride;
    block.row = batch * params.block_capacity + index;
#endif
    return block;
}
