// Where the elements of every category and block go: an exclusive sum over the counts in the order category, block; the second pass of a
// stable counting sort. One workgroup in all, one invocation per category.
#import shared/grid
#import category_sort/params

@group(0) @binding(2) var<storage, read_write> counts: array<u32>;      // [blocks, slots]: counts in, places out
@group(0) @binding(3) var<storage, read_write> starts: array<u32>;      // [slots + 1], where each category starts, then the end
@group(0) @binding(4) var<storage, read_write> active_count: array<u32>;      // [1], elements that no mask hides

var<workgroup> totals: array<u32, 256>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    if (grid_index(workgroup, workgroups) >= grid.end) { return; }
    let slots = params.categories + {MASK}u;
    var total = 0u;
    if (local < slots) {
        for (var block = 0u; block < params.blocks; block += 1u) {
            total += counts[block * slots + local];
        }
    }
    totals[local] = total;
    workgroupBarrier();
    if (local >= slots) { return; }

    var place = 0u;
    for (var category = 0u; category < local; category += 1u) {
        place += totals[category];
    }
    starts[local] = place;
    if (local == slots - 1u) { starts[slots] = place + total; }
    if (local == params.categories - 1u) { active_count[0] = place + total; }
    for (var block = 0u; block < params.blocks; block += 1u) {
        let count = counts[block * slots + local];
        counts[block * slots + local] = place;
        place += count;
    }
}
