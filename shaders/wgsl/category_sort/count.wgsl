// How many elements of each category a block has: the first pass of a stable counting sort.
// PARALLEL 1: one workgroup per block, one invocation per element. 0, for software adapters: one invocation per block.
// MASK: 1 gives masked elements the category behind all others. Workgroups: blocks, or ceil(blocks / WORKGROUP).
#import shared/grid
#import category_sort/params

@group(0) @binding(2) var<storage, read> keys: array<u32>;              // [elements]
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;      // [blocks, slots]
#if MASK
@group(0) @binding(4) var<storage, read> hidden: array<u32>;            // [elements], 1 = masked
#endif
#import category_sort/category

#if PARALLEL
var<workgroup> totals: array<atomic<u32>, 256>;
#endif

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let slots = params.categories + {MASK}u;
#if PARALLEL
    if (group >= grid.end) { return; }
    let element = group * BLOCK + local;
    atomicStore(&totals[local], 0u);
    workgroupBarrier();
    if (element < params.elements) {
        atomicAdd(&totals[category_of(element)], 1u);
    }
    workgroupBarrier();
    if (local < slots) {
        counts[group * slots + local] = atomicLoad(&totals[local]);
    }
#else
    let block = group * {WORKGROUP}u + local;
    if (group >= grid.end || block >= params.blocks) { return; }
    for (var category = 0u; category < slots; category += 1u) {
        counts[block * slots + category] = 0u;
    }
    for (var element = block * BLOCK; element < min(block * BLOCK + BLOCK, params.elements); element += 1u) {
        counts[block * slots + category_of(element)] += 1u;
    }
#endif
}
