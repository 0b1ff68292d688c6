// The bounds of the compressed blocks of packed sequences, from those of their tokens.
// One invocation walks the sequences: there are few.
// Workgroups: 1.
#import shared/grid

struct BoundsParams {
    batch: u32,
    block: u32,   // tokens of a block
    stride: u32,  // tokens from one block's first to the next one's
}

@group(0) @binding(1) var<uniform> params: BoundsParams;
@group(0) @binding(2) var<storage, read> sequences: array<u32>;           // cu_seqlens of queries, then of tokens
@group(0) @binding(3) var<storage, read_write> block_bounds: array<u32>;  // cu_seqlens of queries, then of blocks

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
    if (grid_index(workgroup, workgroups) >= grid.end) { return; }
    var blocks = 0u;
    for (var i = 0u; i <= params.batch; i += 1u) {
        block_bounds[i] = sequences[i];
        block_bounds[params.batch + 1u + i] = blocks;
        if (i < params.batch) {
            let tokens = sequences[params.batch + 2u + i] - sequences[params.batch + 1u + i];
            if (tokens >= params.block) { blocks += (tokens - params.block) / params.stride + 1u; }
        }
    }
}
