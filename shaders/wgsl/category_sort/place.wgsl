// Every element to its place: the last pass of a stable counting sort. Elements of one category keep their order.
// PARALLEL 1: one workgroup per block; an element's rank is the number of earlier ones in the block with its category. 0, for software
// adapters: one invocation per block walks it. Workgroups: blocks, or ceil(blocks / WORKGROUP).
#import shared/grid
#import category_sort/params

@group(0) @binding(2) var<storage, read> keys: array<u32>;              // [elements]
@group(0) @binding(3) var<storage, read_write> places: array<u32>;      // [blocks, slots], the next place of each category
@group(0) @binding(4) var<storage, read_write> order: array<u32>;       // [elements], sorted
#if MASK
@group(0) @binding(5) var<storage, read> hidden: array<u32>;            // [elements], 1 = masked
#endif
#import category_sort/category

#if PARALLEL
var<workgroup> categories: array<u32, BLOCK>;
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
    var category = 0u;
    if (element < params.elements) { category = category_of(element); }
    categories[local] = category;
    workgroupBarrier();
    if (element >= params.elements) { return; }
    var rank = 0u;
    for (var earlier = 0u; earlier < local; earlier += 1u) {
        rank += u32(categories[earlier] == category);
    }
    order[places[group * slots + category] + rank] = element;
#else
    let block = group * {WORKGROUP}u + local;
    if (group >= grid.end || block >= params.blocks) { return; }
    for (var element = block * BLOCK; element < min(block * BLOCK + BLOCK, params.elements); element += 1u) {
        let next = block * slots + category_of(element);
        order[places[next]] = element;
        places[next] += 1u;
    }
#endif
}
