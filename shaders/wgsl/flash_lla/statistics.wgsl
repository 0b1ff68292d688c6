// Phase 1 of local linear attention: for every row the maximum and the sum of its weights, the means of keys and values under
// them, the ridge, and where the conjugate gradients start.
// arXiv 2510.01450, in covariance form: p = softmax(scale q kᵀ), k̄ = Σ p k, v̄ = Σ p v, g = k̄ - q.
//
// Tile: 32 rows x 64 keys, as in iterate. RADV for navi21, no spills, 16 KiB: head and value dim 64 200 VGPRs, 4 waves per SIMD,
// 81 % FMAs in the weighted keys and values; 128 256 VGPRs, 4 waves.
#import flash_lla/inputs
#import shared/load tensor=query f16={QUERY_F16} aligned={HEAD_DIM%4==0}

@group(0) @binding(6) var<storage, read> clean_value: array<vec4f>;       // [batch, kv_heads, tokens, VALUE_QUADS]
@group(0) @binding(7) var<storage, read> query: array<{QUERY_TYPE}>;      // [batch, query_tokens, query_heads, head_dim]
@group(0) @binding(8) var<storage, read_write> state: array<vec4f>;       // [batch, kv_heads, padded rows, STATE_QUADS]
#if VALUE_DIM % 4 == 0
@group(0) @binding(9) var<storage, read_write> out: array<vec4f>;         // [batch, query_tokens, query_heads, value_dim]: v̄
#else
@group(0) @binding(9) var<storage, read_write> out: array<f32>;           // [batch, query_tokens, query_heads, value_dim]: v̄
#endif
@group(0) @binding(10) var<storage, read_write> active_out: array<u32>;   // [batch, kv_heads, row_tiles]

const ROW_TILE = 32u;
// First the query, then the weights; from SECOND on keys, later columns of keys and values.
const SECOND = 512u;
var<workgroup> tile: array<vec4f, 1024>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) thread: u32) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) { return; }
#import flash_lla/tile_rows
    let factor = params.scale * LOG2_E;
#for r in 0..4
    let query{r} = row_index(s, kv_head, min(own_row + {r}u, rows - 1u)) * {HEAD_DIM}u;
    for (var quad = x; quad < DEPTH_QUADS; quad += 8u) {
        let own = load_query(query{r} + quad * 4u, {HEAD_DIM}u - quad * 4u);
        state[place + {r}u * STATE_QUADS + QUERY + quad] = factor * finite_or_zero(own);
    }
#endfor
    storageBarrier();
    var maximum = vec4f(FLOOR);
    var sum = vec4f(0.0);      // over this thread's own keys, as `spread`
    var spread = vec4f(0.0);   // Σ w |k|²
#for r in 0..4
#for c in 0..(HEAD_DIM+31)/32
    var mean{r}_{c} = vec4f(0.0);
#endfor
#for c in 0..(VALUE_DIM+31)/32
    var average{r}_{c} = vec4f(0.0);
#endfor
#endfor

    for (var start = 0; start < key_end; start += 64) {
        // 1. Logits.
#import flash_lla/tile_scores PAIR=0 operand=NONE

        // 2. Online softmax: row maxima over the eight threads that share the rows.
#for r in 0..4
        let peak{r} = max(score{r}_0, score{r}_1);
#endfor
        var highest = vec4f(
            max(max(peak0.x, peak0.y), max(peak0.z, peak0.w)), max(max(peak1.x, peak1.y), max(peak1.z, peak1.w)),
            max(max(peak2.x, peak2.y), max(peak2.z, peak2.w)), max(max(peak3.x, peak3.y), max(peak3.z, peak3.w)));
#if SUBGROUP
#for lanes in 1 2 4
        highest = max(highest, subgroupShuffleXor(highest, {lanes}u));
#endfor
#else
        workgroupBarrier();
        tile[SECOND + x * 8u + y] = highest;
        workgroupBarrier();
        for (var t = 0u; t < 8u; t += 1u) { highest = max(highest, tile[SECOND + t * 8u + y]); }
#endif
        let raised = max(maximum, highest);
        let shrink = exp2(maximum - raised);
        maximum = raised;
        sum *= shrink;
        spread *= shrink;
#for k in 0..2
        let norm{k} = vec4f(info{k}_0.y, info{k}_1.y, info{k}_2.y, info{k}_3.y);
#endfor
#for r in 0..4
#for k in 0..2
        score{r}_{k} = exp2(score{r}_{k} - raised[{r}]);
        sum[{r}] += dot(score{r}_{k}, vec4f(1.0));
        spread[{r}] += dot(score{r}_{k}, norm{k});
#endfor
#for c in 0..(HEAD_DIM+31)/32
        mean{r}_{c} *= shrink[{r}];
#endfor
#for c in 0..(VALUE_DIM+31)/32
        average{r}_{c} *= shrink[{r}];
#endfor
#endfor

        // 3. Weighted keys and values.
#import flash_lla/tile_weights
#import flash_lla/tile_accumulate tensor=key DIM={HEAD_DIM} sum=mean
#import flash_lla/tile_accumulate tensor=value DIM={VALUE_DIM} sum=average
    }

    // 4. Means; the first residual g = k̄ - q; squared lengths for the ridge and the stop.
#import flash_lla/tile_sum name=sum
#import flash_lla/tile_sum name=spread
    let inverse = select(vec4f(0.0), 1.0 / sum, sum > vec4f(0.0));
    var mean_square = vec4f(0.0);
    var residual = vec4f(0.0);
    var shift = vec4f(0.0); // q · first key: what the logits lack
#for c in 0..(HEAD_DIM+31)/32
    {
        let quad = x + {8*c}u;
#if HEAD_DIM % 32 != 0
        if (quad < DEPTH_QUADS) {
#else
        {
#endif
            let first_key = clean_key[first_key_quad(head) + quad];
#for r in 0..4
            let own{r} = load_query(query{r} + quad * 4u, {HEAD_DIM}u - quad * 4u);
            let mean{r} = mean{r}_{c} * inverse[{r}];
            let gradient{r} = mean{r} - (own{r} - first_key);
            mean_square[{r}] += dot(mean{r}, mean{r});
            residual[{r}] += dot(gradient{r}, gradient{r});
            shift[{r}] += dot(own{r}, first_key);
            state[place + {r}u * STATE_QUADS + MEAN + quad] = mean{r};
            state[place + {r}u * STATE_QUADS + GRADIENT + quad] = gradient{r};
            state[place + {r}u * STATE_QUADS + SOLUTION + quad] = vec4f(0.0);
            state[place + {r}u * STATE_QUADS + RESIDUAL + quad] = gradient{r};
            state[place + {r}u * STATE_QUADS + DIRECTION + quad] = gradient{r};
#endfor
        }
    }
#endfor
#import flash_lla/tile_sum name=mean_square
#import flash_lla/tile_sum name=residual
#import flash_lla/tile_sum name=shift
#for r in 0..4
    let visible{r} = u32(clamp(s.q_offset + i32((own_row + {r}u) / params.group) + params.right + 1, 0, key_count));
#endfor
#if MASK
    // Visible keys of a row: its bits before its last visible key.
    var seen = vec4f(0.0);
#for r in 0..4
    let words{r} = min(own_row + {r}u, rows - 1u) / params.group * params.mask_words;
    for (var word = x; word * 32u < visible{r}; word += 8u) {
        seen[{r}] += f32(countOneBits(extractBits(mask[words{r} + word], 0u, min(visible{r} - word * 32u, 32u))));
    }
#endfor
#import flash_lla/tile_sum name=seen
#else
    let seen = vec4f(vec4u(visible0, visible1, visible2, visible3));
#endif

    // 5. The ridge, where the row stands, and v̄.
    var active_rows = vec4f(0.0);
    var ill_rows = 0.0;
#for r in 0..4
    let start{r} = starting_point(maximum[{r}], sum[{r}], spread[{r}] * inverse[{r}] - mean_square[{r}], residual[{r}], seen[{r}]);
    let settled{r} = (start{r}.flags & (EMPTY | NON_FINITE)) != 0u;
    if (x == 0u) {
        let lse = (maximum[{r}] + log2(sum[{r}])) * LN_2 + params.scale * shift[{r}];
        state[place + {r}u * STATE_QUADS + SCALARS] = vec4f(maximum[{r}], inverse[{r}], start{r}.ridge, residual[{r}]);
        state[place + {r}u * STATE_QUADS + SCALARS + 1u] = vec4f(residual[{r}], 0.0, f32(start{r}.flags), select(lse, EMPTY_LSE, settled{r}));
    }
    if (own_row + {r}u < rows) {
        active_rows[{r}] = f32(start{r}.flags & ACTIVE);
        ill_rows += f32(start{r}.flags & ILL);
#for c in 0..(VALUE_DIM+31)/32
        store(query{r} / {HEAD_DIM}u, x + {8*c}u, select(average{r}_{c} * inverse[{r}], vec4f(0.0), settled{r}));
#endfor
    }
#endfor
#import flash_lla/tile_active
}

#import flash_lla/starting_point
#import flash_lla/store
