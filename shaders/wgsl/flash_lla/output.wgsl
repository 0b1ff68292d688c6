// Phase 3 of local linear attention: out = Σ_j p_j (1 - (k_j - k̄) · β) v_j = v̄ - Σ_j u_j (v_j - v̄) with u_j = p_j (k_j - k̄) · β.
// arXiv 2510.01450, covariance form. The sum of u_j is 0 up to rounding; taking it out keeps constants exact for any β.
//
// Tile: 32 rows x 64 keys, as in iterate. RADV for navi21, no spills, 16 KiB: head and value dim 64 192 VGPRs, 4 waves per SIMD,
// 88 % FMAs in the score loop; 128 224 VGPRs, 4 waves.
#import flash_lla/inputs
#import shared/load tensor=out f16=0 aligned={VALUE_DIM%4==0}

@group(0) @binding(6) var<storage, read> clean_value: array<vec4f>;       // [batch, kv_heads, tokens, VALUE_QUADS]
@group(0) @binding(7) var<storage, read_write> state: array<vec4f>;       // [batch, kv_heads, padded rows, STATE_QUADS]
#if VALUE_DIM % 4 == 0
@group(0) @binding(8) var<storage, read_write> out: array<vec4f>;         // [batch, query_tokens, query_heads, value_dim]: v̄ before
#else
@group(0) @binding(8) var<storage, read_write> out: array<f32>;           // [batch, query_tokens, query_heads, value_dim]: v̄ before
#endif

const ROW_TILE = 32u;
const PAIRED = 256u;
const SECOND = 512u;
var<workgroup> tile: array<vec4f, 1024>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) thread: u32) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) { return; }
#import flash_lla/tile_rows
#import flash_lla/tile_scalars operand=SOLUTION
#for r in 0..4
#for c in 0..(VALUE_DIM+31)/32
    var product{r}_{c} = vec4f(0.0);
#endfor
#endfor

    for (var start = 0; start < key_end; start += 64) {
#import flash_lla/tile_scores PAIR=1 operand=SOLUTION
#import flash_lla/tile_factors operand=SOLUTION
#import flash_lla/tile_weights
#import flash_lla/tile_accumulate tensor=value DIM={VALUE_DIM} sum=product
    }
#import flash_lla/tile_sum name=total

    var broken = vec4f(0.0);
#for r in 0..4
    let row{r} = row_index(s, kv_head, min(own_row + {r}u, rows - 1u));
#for c in 0..(VALUE_DIM+31)/32
#if VALUE_DIM % 32 != 0
    if (x + {8*c}u < VALUE_QUADS) {
#else
    {
#endif
        let average = load_out(row{r} * {VALUE_DIM}u + (x + {8*c}u) * 4u, {VALUE_DIM}u - (x + {8*c}u) * 4u);
        product{r}_{c} = average - (product{r}_{c} - total[{r}] * average);
        broken[{r}] += select(1.0, 0.0, is_finite(product{r}_{c}));
    }
#endfor
#endfor
#import flash_lla/tile_sum name=broken
#for r in 0..4
    let progress{r} = state[place + {r}u * STATE_QUADS + SCALARS + 1u];
#endfor
    // Repeated rows have read the last one's v̄ and scalars; only now may they be written.
    storageBarrier();
    workgroupBarrier();
#for r in 0..4
    let settled{r} = (u32(progress{r}.z) & (EMPTY | NON_FINITE)) != 0u || broken[{r}] > 0.0;
    if (own_row + {r}u < rows) {
#for c in 0..(VALUE_DIM+31)/32
        store(row{r}, x + {8*c}u, select(product{r}_{c}, vec4f(0.0), settled{r}));
#endfor
    }
    if (x == 0u && broken[{r}] > 0.0) {
        state[place + {r}u * STATE_QUADS + SCALARS + 1u] = vec4f(progress{r}.x, progress{r}.y, f32(NON_FINITE), EMPTY_LSE);
    }
#endfor
}

#import flash_lla/store
