// Merges the partial attention of several ranges of keys: FlashAttention-2, arXiv 2307.08691, section 3.1.
// One invocation owns four columns of one row. Ranges without a visible key carry the sum 0 and the result 0.
// QUADS: 1 where value_dim is a multiple of 4. WORKGROUP: 8 on CPU adapters, 64 on GPUs.
#import shared/grid
#import attention/logits

struct CombineParams {
    rows: u32,         // [batch, query_tokens, out_heads] flat
    splits: u32,       // partial results per row
    value_dim: u32,
}

@group(0) @binding(1) var<uniform> params: CombineParams;
#if QUADS
@group(0) @binding(2) var<storage, read> partial_out: array<vec4f>;     // [splits, rows, value_dim]
#else
@group(0) @binding(2) var<storage, read> partial_out: array<f32>;       // [splits, rows, value_dim]
#endif
@group(0) @binding(3) var<storage, read> partial_state: array<vec2f>;   // [splits, rows]: maximum in base 2, sum
#if QUADS
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;       // [rows, value_dim]
#else
@group(0) @binding(4) var<storage, read_write> out: array<f32>;         // [rows, value_dim]
#endif
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;         // [rows], natural log

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    if (group >= grid.end) {
        return;
    }
    let quads = (params.value_dim + 3u) / 4u;
    let invocation = group * {WORKGROUP}u + local;
    let row = invocation / quads;
    let column = invocation % quads * 4u;
    if (row >= params.rows) {
        return;
    }

    var maximum = FLOOR;
    for (var split = 0u; split < params.splits; split++) {
        maximum = max(maximum, partial_state[split * params.rows + row].x);
    }
    var sum = 0.0;
    var total = vec4f(0.0);
    for (var split = 0u; split < params.splits; split++) {
        let place = split * params.rows + row;
        let state = partial_state[place];
        let weight = exp2(state.x - maximum);
        sum += weight * state.y;
        total += weight * partial_quad(place, column);
    }

    let visible = sum > 0.0;
    let divisor = select(1.0, sum, visible);
    total *= 1.0 / divisor;
    if (column == 0u) {
        lse[row] = select(EMPTY_LSE, (maximum + log2(divisor)) * LN_2, visible);
    }
#if QUADS
    out[row * quads + column / 4u] = total;
#else
    let start = row * params.value_dim + column;
    let count = params.value_dim - column;
    out[start] = total.x;
    if (count > 1u) { out[start + 1u] = total.y; }
    if (count > 2u) { out[start + 2u] = total.z; }
    if (count > 3u) { out[start + 3u] = total.w; }
#endif
}

#if QUADS
fn partial_quad(place: u32, column: u32) -> vec4f {
    return partial_out[(place * params.value_dim + column) / 4u];
}
#else
fn partial_quad(place: u32, column: u32) -> vec4f {
    let start = place * params.value_dim + column;
    let count = params.value_dim - column;
    var quad = vec4f(partial_out[start], 0.0, 0.0, 0.0);
    if (count > 1u) { quad.y = partial_out[start + 1u]; }
    if (count > 2u) { quad.z = partial_out[start + 2u]; }
    if (count > 3u) { quad.w = partial_out[start + 3u]; }
    return quad;
}
#endif
