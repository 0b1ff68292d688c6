// What a network made of the blocks goes to their rows in the result.
// One invocation per element. Workgroups: ceil(batch * blocks * kv_heads * dim / WORKGROUP).
#import shared/grid
#import native_sparse/blocks

@group(0) @binding(2) var<storage, read> rows: array<f32>;               // [batch * blocks, kv_heads, DIM]
@group(0) @binding(5) var<storage, read_write> compressed: array<f32>;   // [batch, block_capacity, kv_heads, DIM]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let width = params.kv_heads * {DIM}u;
    let slot = index / width;
    if (group >= grid.end || slot >= params.batch * params.blocks) { return; }
    let at = block_at(slot);
    if (!at.exists) { return; }
    compressed[at.row * width + index % width] = select(0.0, rows[index], at.complete);
}
