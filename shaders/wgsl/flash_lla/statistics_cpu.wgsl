// Phase 1 of local linear attention (see statistics), for adapters that run on a CPU.
// arXiv 2510.01450, in covariance form: p = softmax(scale q kᵀ), k̄ = Σ p k, v̄ = Σ p v, g = k̄ - q.
//
// As dense attention there: 8 lanes x ROWS rows in named registers, KEYS keys a step, no workgroup memory, no barrier.
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
@group(0) @binding(10) var<storage, read_write> active_out: array<u32>;   // [batch, kv_heads, row_tiles] with SUBGROUP, else for each lane

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) { return; }
#import flash_lla/lane_rows
#for r in 0..ROWS
    let element{r} = row_index(s, kv_head, row{r}) * {HEAD_DIM}u;
    scale_query(place{r}, element{r});
#for d in 0..(HEAD_DIM+3)/4
    let query{r}_{d} = state[place{r} + QUERY + {d}u];
    var mean{r}_{d} = vec4f(0.0);
#endfor
    var maximum{r} = FLOOR;
    var sum{r} = 0.0;
    var spread{r} = 0.0; // Σ w |k|²
#for c in 0..(VALUE_DIM+3)/4
    var average{r}_{c} = vec4f(0.0);
#endfor
#endfor

    for (var start = 0; start < high; start += {KEYS}) {
        // 1. Logits.
#import flash_lla/lane_scores PAIR=0 operand=none

        // 2. Online softmax.
#for r in 0..ROWS
        var peak{r} = maximum{r};
#for j in 0..KEYS
        peak{r} = max(peak{r}, score{r}_{j});
#endfor
        let shrink{r} = exp2(maximum{r} - peak{r});
        maximum{r} = peak{r};
        sum{r} *= shrink{r};
        spread{r} *= shrink{r};
#for j in 0..KEYS
        let weight{r}_{j} = exp2(score{r}_{j} - peak{r});
        sum{r} += weight{r}_{j};
        spread{r} += weight{r}_{j} * info{j}.y;
#endfor
#for d in 0..(HEAD_DIM+3)/4
        mean{r}_{d} *= shrink{r};
#endfor
#for c in 0..(VALUE_DIM+3)/4
        average{r}_{c} *= shrink{r};
#endfor
#endfor

        // 3. Weighted keys and values.
#for d in 0..(HEAD_DIM+3)/4
#for j in 0..KEYS
#for r in 0..ROWS
        mean{r}_{d} = fma(vec4f(weight{r}_{j}), key{d}_{j}, mean{r}_{d});
#endfor
#endfor
#endfor
#import flash_lla/lane_values sum=average weight=weight
    }

    // 4. Means, the first residual g = k̄ - q, the ridge, and where the row stands.
    var active_rows = false;
    var ill_rows = false;
#for r in 0..ROWS
#for d in 0..(HEAD_DIM+3)/4
    state[place{r} + MEAN + {d}u] = mean{r}_{d};
#endfor
#if MASK
    var seen{r} = 0.0;
    for (var word = 0u; word * 32u < u32(row_high{r}); word += 1u) {
        let kept = min(u32(row_high{r}) - word * 32u, 32u);
        seen{r} += f32(countOneBits(extractBits(mask[row{r} / params.group * params.mask_words + word], 0u, kept)));
    }
#else
    let seen{r} = f32(row_high{r});
#endif
    let flags{r} = begin(place{r}, element{r}, head, maximum{r}, sum{r}, spread{r}, seen{r});
    let settled{r} = (flags{r} & (EMPTY | NON_FINITE)) != 0u;
    let inverse{r} = select(0.0, 1.0 / sum{r}, sum{r} > 0.0);
    if (first_row + {8*r}u + lane < rows) {
        active_rows = active_rows || (flags{r} & ACTIVE) != 0u;
        ill_rows = ill_rows || (flags{r} & ILL) != 0u;
#for c in 0..(VALUE_DIM+3)/4
        store(element{r} / {HEAD_DIM}u, {c}u, select(average{r}_{c} * inverse{r}, vec4f(0.0), settled{r}));
#endfor
    }
#endfor
#import flash_lla/lane_active
}

// The row's query, in units of base 2.
fn scale_query(place: u32, element: u32) {
    let scale = params.scale * LOG2_E;
    for (var quad = 0u; quad < DEPTH_QUADS; quad += 1u) {
        state[place + QUERY + quad] = scale * finite_or_zero(load_query(element + quad * 4u, {HEAD_DIM}u - quad * 4u));
    }
}

// The row's state before the first iteration, MEAN holding Σ w k; its flags.
fn begin(place: u32, element: u32, head: u32, maximum: f32, sum: f32, spread: f32, seen: f32) -> u32 {
    let inverse = select(0.0, 1.0 / sum, sum > 0.0);
    var mean_square = 0.0;
    var square = 0.0;
    var shift = 0.0; // q · first key: what the logits lack
    for (var quad = 0u; quad < DEPTH_QUADS; quad += 1u) {
        let own = load_query(element + quad * 4u, {HEAD_DIM}u - quad * 4u);
        let first_key = clean_key[first_key_quad(head) + quad];
        let mean = state[place + MEAN + quad] * inverse;
        let gradient = mean - (own - first_key);
        mean_square += dot(mean, mean);
        square += dot(gradient, gradient);
        shift += dot(own, first_key);
        state[place + MEAN + quad] = mean;
        state[place + GRADIENT + quad] = gradient;
        state[place + SOLUTION + quad] = vec4f(0.0);
        state[place + RESIDUAL + quad] = gradient;
        state[place + DIRECTION + quad] = gradient;
    }
    let start = starting_point(maximum, sum, spread * inverse - mean_square, square, seen);
    let settled = (start.flags & (EMPTY | NON_FINITE)) != 0u;
    let lse = (maximum + log2(sum)) * LN_2 + params.scale * shift;
    state[place + SCALARS] = vec4f(maximum, inverse, start.ridge, square);
    state[place + SCALARS + 1u] = vec4f(square, 0.0, f32(start.flags), select(lse, EMPTY_LSE, settled));
    return start.flags;
}

#import flash_lla/starting_point
#import flash_lla/store
