// A given beta as the rows' solution, in place of the solver's.
#import flash_lla/bindings LENGTHS=0
#import shared/load tensor=beta f16=0 aligned={HEAD_DIM%4==0}

@group(0) @binding(2) var<storage, read> beta: array<{BETA_TYPE}>;        // [batch, query_tokens, query_heads, head_dim]
@group(0) @binding(3) var<storage, read_write> state: array<vec4f>;       // [batch, kv_heads, padded rows, STATE_QUADS]

@compute @workgroup_size({WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) thread: u32) {
    let group = grid_index(workgroup, workgroups);
    let at = group * {WORKGROUP}u + thread;
    let index = at / DEPTH_QUADS;
    if (group >= grid.end || index >= params.batch * params.query_tokens * params.query_heads) { return; }
    let quad = at % DEPTH_QUADS;
    let head = index % params.query_heads;
    let token = index / params.query_heads % params.query_tokens;
    let sequence = index / params.query_heads / params.query_tokens;
    let tiles = (sequence * params.kv_heads + head / params.group) * params.row_tiles;
    let row = tiles * {TILE}u + token * params.group + head % params.group;
    state[row * STATE_QUADS + SOLUTION + quad] = load_beta(index * {HEAD_DIM}u + quad * 4u, {HEAD_DIM}u - quad * 4u);
}
