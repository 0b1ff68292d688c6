// New keys or values are written behind those a sequence has in the cache; rows past the capacity are dropped.
// CACHE_F16 stores packed halves (width even). ALIGNED: width is a multiple of 4.
// One invocation per UNIT elements: 4 when ALIGNED, else 2 with CACHE_F16, else 1.
// Workgroups: ceil(batch * new_tokens * width / UNIT / WORKGROUP).
#import shared/grid
#if CACHE_F16
#import shared/pack_half
#endif

struct AppendParams {
    batch: u32,
    new_tokens: u32,
    capacity: u32, // tokens of one sequence
    width: u32,    // kv_heads * dim
}

@group(0) @binding(1) var<uniform> params: AppendParams;
@group(0) @binding(2) var<storage, read> lengths: array<u32>;          // [batch], tokens in the cache before
#if ALIGNED
@group(0) @binding(3) var<storage, read> source: array<vec4f>;         // [batch, new_tokens, kv_heads, dim]
#else
@group(0) @binding(3) var<storage, read> source: array<f32>;
#endif
#if ALIGNED && CACHE_F16
@group(0) @binding(4) var<storage, read_write> cache: array<vec2u>;    // [batch, capacity, kv_heads, dim]
#endif
#if ALIGNED && !CACHE_F16
@group(0) @binding(4) var<storage, read_write> cache: array<vec4f>;
#endif
#if !ALIGNED && CACHE_F16
@group(0) @binding(4) var<storage, read_write> cache: array<u32>;
#endif
#if !ALIGNED && !CACHE_F16
@group(0) @binding(4) var<storage, read_write> cache: array<f32>;
#endif

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
#if ALIGNED
    let units = params.width / 4u;
#else
    let units = params.width / {1+CACHE_F16}u;
#endif
    let index = group * {WORKGROUP}u + local;
    if (group >= grid.end || index >= params.batch * params.new_tokens * units) { return; }

    let row = index / units;
    let sequence = row / params.new_tokens;
    let token = lengths[sequence] + row % params.new_tokens;
    if (token >= params.capacity) { return; }
    let target_index = (sequence * params.capacity + token) * units + index % units;

#if ALIGNED && CACHE_F16
    let value = source[index];
    cache[target_index] = vec2u(pack_half(value.xy), pack_half(value.zw));
#endif
#if !ALIGNED && CACHE_F16
    cache[target_index] = pack_half(vec2f(source[2u * index], source[2u * index + 1u]));
#endif
#if !CACHE_F16
    cache[target_index] = source[index];
#endif
}
