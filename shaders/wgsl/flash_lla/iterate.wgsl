// Phase 2 of local linear attention: one conjugate-gradient iteration of (C + λ I) x = g for every row that is left to solve.
// arXiv 2510.01450, covariance form. C is never formed: C p = Σ_j p_j ((k_j - k̄) · p) (k_j - k̄), with the weights recomputed.
//
// A row stops by itself; a tile of rows stops when none is left, and then costs one read of its flag. With `verify`, once at the end:
// the residual of ILL rows computed anew. The one that the iterations carry along keeps falling in f32 where the true one no
// longer does.
//
// Tile: 32 rows x 64 keys, 8 x 8 threads, accumulators as named vec4f. Scores and slopes share the reads of the keys: 4 rows x 8
// keys x 2 products per thread make 64 FMAs of 4 reads of workgroup memory. RADV for navi21, no spills, 16 KiB: head dim 64 208
// VGPRs, 4 waves per SIMD, 88 % FMAs in the score loop and 81 % in the weighted keys; head dim 128 256 VGPRs, 4 waves. 64 x 32,
// the tile of dense attention, would hold 128 accumulators beside a second staged operand: 20 KiB at a depth of 32.
#import flash_lla/inputs

@group(0) @binding(6) var<storage, read_write> state: array<vec4f>;       // [batch, kv_heads, padded rows, STATE_QUADS]
@group(0) @binding(7) var<storage, read> active_in: array<u32>;           // [batch, kv_heads, row_tiles]
@group(0) @binding(8) var<storage, read_write> active_out: array<u32>;    // [batch, kv_heads, row_tiles]

const ROW_TILE = 32u;
// Query and direction, then the weights; from SECOND on keys, later columns of keys.
const PAIRED = 256u;
const SECOND = 512u;
var<workgroup> tile: array<vec4f, 1024>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) thread: u32) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) { return; }
    let flag = active_in[index];
    if ((flag & select(TILE_ACTIVE, TILE_ILL, params.verify == 1u)) == 0u) {
        if (thread == 0u) { active_out[index] = flag; }
        return;
    }
#import flash_lla/tile_rows
    let vector = select(DIRECTION, SOLUTION, params.verify == 1u); // p, or x
#import flash_lla/tile_scalars operand=vector
#for r in 0..4
#for c in 0..(HEAD_DIM+31)/32
    var product{r}_{c} = vec4f(0.0);
#endfor
#endfor

    // 1. Σ_j p_j ((k_j - k̄) · p) k_j, and the sum of its factors.
    for (var start = 0; start < key_end; start += 64) {
#import flash_lla/tile_scores PAIR=1 operand=vector
#import flash_lla/tile_factors operand=vector
#import flash_lla/tile_weights
#import flash_lla/tile_accumulate tensor=key DIM={HEAD_DIM} sum=product
    }
#import flash_lla/tile_sum name=total

    // 2. A p = C p + λ p, with the factors' sum taking k̄ out of k; p · A p, and of g - A p the square.
    var curvature = vec4f(0.0);
    var rest = vec4f(0.0);
#for c in 0..(HEAD_DIM+31)/32
    let quad{c} = x + {8*c}u;
#if HEAD_DIM % 32 != 0
    if (quad{c} < DEPTH_QUADS) {
#else
    {
#endif
#for r in 0..4
        let direction{r} = state[place + {r}u * STATE_QUADS + vector + quad{c}];
        let gradient{r} = state[place + {r}u * STATE_QUADS + GRADIENT + quad{c}];
        product{r}_{c} += ridge[{r}] * direction{r} - total[{r}] * state[place + {r}u * STATE_QUADS + MEAN + quad{c}];
        curvature[{r}] += dot(direction{r}, product{r}_{c});
        rest[{r}] += dot(gradient{r} - product{r}_{c}, gradient{r} - product{r}_{c});
#endfor
    }
#endfor
    if (params.verify == 1u) {
#import flash_lla/tile_sum name=rest
#for r in 0..4
        if (x == 0u) {
            let progress{r} = state[place + {r}u * STATE_QUADS + SCALARS + 1u];
            let flags = verified_flags(u32(progress{r}.z), rest[{r}], scalars{r}.w);
            state[place + {r}u * STATE_QUADS + SCALARS + 1u] = vec4f(progress{r}.x, progress{r}.y, f32(flags), progress{r}.w);
        }
#endfor
        return;
    }
#import flash_lla/tile_sum name=curvature

    // 3. x += α p, r -= α A p. Without curvature there is no step: the row ends where it is.
    var step = vec4f(0.0);
    var square = vec4f(0.0);
#for r in 0..4
    let progress{r} = state[place + {r}u * STATE_QUADS + SCALARS + 1u];
    let flags{r} = u32(progress{r}.z);
    let steps{r} = (flags{r} & ACTIVE) != 0u && curvature[{r}] > TINY;
    step[{r}] = select(0.0, progress{r}.x / curvature[{r}], steps{r});
#endfor
#for c in 0..(HEAD_DIM+31)/32
#if HEAD_DIM % 32 != 0
    if (quad{c} < DEPTH_QUADS) {
#else
    {
#endif
#for r in 0..4
        let residual{r} = state[place + {r}u * STATE_QUADS + RESIDUAL + quad{c}] - step[{r}] * product{r}_{c};
        square[{r}] += dot(residual{r}, residual{r});
        state[place + {r}u * STATE_QUADS + RESIDUAL + quad{c}] = residual{r};
        state[place + {r}u * STATE_QUADS + SOLUTION + quad{c}] += step[{r}] * state[place + {r}u * STATE_QUADS + DIRECTION + quad{c}];
#endfor
    }
#endfor
#import flash_lla/tile_sum name=square

    // 4. p = r + β p for rows that go on.
    workgroupBarrier(); // the scalars are read by eight threads and written by one
    var active_rows = vec4f(0.0);
    let ill_rows = f32(flag & TILE_ILL);
#for r in 0..4
    let next{r} = next_flags(flags{r}, steps{r}, square[{r}], scalars{r}.w);
    let ratio{r} = select(0.0, square[{r}] / progress{r}.x, (next{r} & ACTIVE) != 0u);
#for c in 0..(HEAD_DIM+31)/32
#if HEAD_DIM % 32 != 0
    if (quad{c} < DEPTH_QUADS) {
#else
    {
#endif
        state[place + {r}u * STATE_QUADS + DIRECTION + quad{c}] = state[place + {r}u * STATE_QUADS + RESIDUAL + quad{c}]
            + ratio{r} * state[place + {r}u * STATE_QUADS + DIRECTION + quad{c}];
    }
#endfor
    if (x == 0u && (flags{r} & ACTIVE) != 0u) {
        state[place + {r}u * STATE_QUADS + SCALARS + 1u] = vec4f(square[{r}], progress{r}.y + 1.0, f32(next{r}), progress{r}.w);
    }
    active_rows[{r}] = select(0.0, 1.0, own_row + {r}u < rows && (next{r} & ACTIVE) != 0u);
#endfor
#import flash_lla/tile_active
}

#import flash_lla/next_flags
