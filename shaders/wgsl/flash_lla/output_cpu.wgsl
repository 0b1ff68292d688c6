// Phase 3 of local linear attention (see output), for adapters that run on a CPU:
// out = v̄ - Σ_j u_j (v_j - v̄) with u_j = p_j (k_j - k̄) · β. arXiv 2510.01450, covariance form.
#import flash_lla/inputs
#import shared/load tensor=out f16=0 aligned={VALUE_DIM%4==0}

@group(0) @binding(6) var<storage, read> clean_value: array<vec4f>;       // [batch, kv_heads, tokens, VALUE_QUADS]
@group(0) @binding(7) var<storage, read_write> state: array<vec4f>;       // [batch, kv_heads, padded rows, STATE_QUADS]
#if VALUE_DIM % 4 == 0
@group(0) @binding(8) var<storage, read_write> out: array<vec4f>;         // [batch, query_tokens, query_heads, value_dim]: v̄ before
#else
@group(0) @binding(8) var<storage, read_write> out: array<f32>;           // [batch, query_tokens, query_heads, value_dim]: v̄ before
#endif

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) { return; }
#import flash_lla/lane_rows
#import flash_lla/lane_state operand=solution vector=SOLUTION
#for r in 0..ROWS
#for c in 0..(VALUE_DIM+3)/4
    var product{r}_{c} = vec4f(0.0);
#endfor
#endfor

    for (var start = 0; start < high; start += {KEYS}) {
#import flash_lla/lane_scores PAIR=1 operand=solution
#import flash_lla/lane_factors operand=solution
#import flash_lla/lane_values sum=product weight=factor
    }

#for r in 0..ROWS
    if (first_row + {8*r}u + lane < rows) {
        let at = row_index(s, kv_head, row{r});
        let progress = state[place{r} + SCALARS + 1u];
        var finite = true;
#for c in 0..(VALUE_DIM+3)/4
        let average{c} = load_out(at * {VALUE_DIM}u + {c*4}u, {VALUE_DIM-c*4}u);
        let result{c} = average{c} - (product{r}_{c} - total{r} * average{c});
        finite = finite && is_finite(result{c});
#endfor
        let settled = (u32(progress.z) & (EMPTY | NON_FINITE)) != 0u || !finite;
#for c in 0..(VALUE_DIM+3)/4
        store(at, {c}u, select(result{c}, vec4f(0.0), settled));
#endfor
        if (!finite) {
            state[place{r} + SCALARS + 1u] = vec4f(progress.x, progress.y, f32(NON_FINITE), EMPTY_LSE);
        }
    }
#endfor
}

#import flash_lla/lane_product
#import flash_lla/store
