// out = g_cmp o_cmp + g_slc o_slc + g_swa o_swa: NSA, arXiv 2502.11089, Eq. 5.
// One invocation owns four columns of one row. LOGITS: gates are the sigmoid of logits / temperature.
// Workgroups: ceil(rows * ceil(dim / 4) / WORKGROUP).
#import shared/grid
#import shared/load tensor=gates f16={GATES_F16} aligned=0

struct GateParams {
    rows: u32,         // [batch, query_tokens, query_heads] flat
    dim: u32,
    sharpness: f32,    // 1 / temperature
}

@group(0) @binding(1) var<uniform> params: GateParams;
@group(0) @binding(2) var<storage, read> gates: array<{GATES_TYPE}>;     // [rows, 3]: compressed, selected, window
@group(0) @binding(3) var<storage, read> o_cmp: array<{QUAD}>;           // [rows, dim]
@group(0) @binding(4) var<storage, read> o_slc: array<{QUAD}>;           // [rows, dim]
@group(0) @binding(5) var<storage, read> o_swa: array<{QUAD}>;           // [rows, dim]
@group(0) @binding(6) var<storage, read_write> out: array<{QUAD}>;       // [rows, dim]; {QUAD} is vec4f where dim is a multiple of 4

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let units = params.dim / {UNIT}u;
    let index = group * {WORKGROUP}u + local;
    if (group >= grid.end || index >= params.rows * units) { return; }
    var gate = load_gates(index / units * 3u, 3u);
#if LOGITS
    gate = 1.0 / (1.0 + exp(-clamp(gate * params.sharpness, vec4f(-80.0), vec4f(80.0))));
#endif
    out[index] = gate.x * o_cmp[index] + gate.y * o_slc[index] + gate.z * o_swa[index];
}
