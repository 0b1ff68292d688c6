// The first element that is NaN or infinite. Exponent bits are read, as a compiler may assume that no f32 is either.
// F16: packed halves. 8 words per invocation. Workgroups: ceil(words / (8 * WORKGROUP)), words = elements, or
// ceil(elements / 2) with F16.
#import shared/grid

struct FiniteParams {
    elements: u32,
}

@group(0) @binding(1) var<uniform> params: FiniteParams;
@group(0) @binding(2) var<storage, read> words: array<u32>;
@group(0) @binding(3) var<storage, read_write> first: atomic<u32>;     // 0xffffffff before; then the least index found, if any

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    if (group >= grid.end) { return; }
    var found = 0xffffffffu;
#for step in 0..8
    found = min(found, broken_element((group * 8u + {step}u) * {WORKGROUP}u + local));
#endfor
    if (found < params.elements) { atomicMin(&first, found); }
}

// The index of the word's first element that is not finite, else 0xffffffff.
fn broken_element(index: u32) -> u32 {
#if F16
    if (index >= (params.elements + 1u) / 2u) { return 0xffffffffu; }
    let word = words[index];
    if ((word & 0x7c00u) == 0x7c00u) { return 2u * index; }
    return select(0xffffffffu, 2u * index + 1u, (word & 0x7c000000u) == 0x7c000000u);
#else
    if (index >= params.elements) { return 0xffffffffu; }
    return select(0xffffffffu, index, (words[index] & 0x7f800000u) == 0x7f800000u);
#endif
}
