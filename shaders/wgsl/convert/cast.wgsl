// f32 to packed halves (TO_F16 = 1; the last half is 0 when elements is odd) or back.
// One invocation per two elements. Workgroups: ceil(ceil(elements / 2) / WORKGROUP).
#import shared/grid
#if TO_F16
#import shared/pack_half
#endif

struct CastParams {
    elements: u32,
}

@group(0) @binding(1) var<uniform> params: CastParams;
#if TO_F16
@group(0) @binding(2) var<storage, read> source: array<f32>;
@group(0) @binding(3) var<storage, read_write> result: array<u32>;
#else
@group(0) @binding(2) var<storage, read> source: array<u32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;
#endif

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let element = 2u * (group * {WORKGROUP}u + local);
    if (group >= grid.end || element >= params.elements) { return; }
    let paired = element + 1u < params.elements;
#if TO_F16
    var pair = vec2f(source[element], 0.0);
    if (paired) { pair.y = source[element + 1u]; }
    result[element / 2u] = pack_half(pair);
#else
    let pair = unpack2x16float(source[element / 2u]);
    result[element] = pair.x;
    if (paired) { result[element + 1u] = pair.y; }
#endif
}
