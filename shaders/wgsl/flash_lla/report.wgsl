// lse, iterations and status out of the rows' state.
#import flash_lla/bindings LENGTHS=0

@group(0) @binding(2) var<storage, read> state: array<vec4f>;             // [batch, kv_heads, padded rows, STATE_QUADS]
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;           // [batch, query_tokens, query_heads]
@group(0) @binding(4) var<storage, read_write> iterations: array<u32>;    // [batch, query_tokens, query_heads]
@group(0) @binding(5) var<storage, read_write> status: array<u32>;        // [batch, query_tokens, query_heads]

@compute @workgroup_size({WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) thread: u32) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + thread;
    if (group >= grid.end || index >= params.batch * params.query_tokens * params.query_heads) { return; }
    let head = index % params.query_heads;
    let token = index / params.query_heads % params.query_tokens;
    let sequence = index / params.query_heads / params.query_tokens;
    let tiles = (sequence * params.kv_heads + head / params.group) * params.row_tiles;
    let row = tiles * {TILE}u + token * params.group + head % params.group;
    let scalars = state[row * STATE_QUADS + SCALARS + 1u];
    iterations[index] = u32(scalars.y);
    // A row still active has met the cap.
    let bits = u32(scalars.z);
    lse[index] = select(scalars.w, EMPTY_LSE, (bits & (EMPTY | NON_FINITE)) != 0u);
    let shown = bits & (EMPTY | SINGULAR | NON_FINITE | NOT_CONVERGED);
    status[index] = select(shown, shown | NOT_CONVERGED, (bits & ACTIVE) != 0u);
}
