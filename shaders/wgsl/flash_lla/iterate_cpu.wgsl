// Phase 2 of local linear attention (see iterate), for adapters that run on a CPU: one conjugate-gradient iteration of
// (C + λ I) x = g for every row that is left to solve, C p = Σ_j p_j ((k_j - k̄) · p) (k_j - k̄). arXiv 2510.01450.
// With `verify`, once at the end: the residual of ILL rows computed anew.
#import flash_lla/inputs

@group(0) @binding(6) var<storage, read_write> state: array<vec4f>;       // [batch, kv_heads, padded rows, STATE_QUADS]
@group(0) @binding(7) var<storage, read> active_in: array<u32>;           // [batch, kv_heads, row_tiles] with SUBGROUP, else for each lane
@group(0) @binding(8) var<storage, read_write> active_out: array<u32>;    // as active_in

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) { return; }
    let wanted = select(TILE_ACTIVE, TILE_ILL, params.verify == 1u);
#if SUBGROUP
    let flag = active_in[index];
    if ((flag & wanted) == 0u) {
        if (lane == 0u) { active_out[index] = flag; }
        return;
    }
#else
    let flag = active_in[index * 8u + lane];
    if ((flag & wanted) == 0u) {
        active_out[index * 8u + lane] = flag;
        return;
    }
#endif
#import flash_lla/lane_rows
    let vector = select(DIRECTION, SOLUTION, params.verify == 1u); // p, or x
#import flash_lla/lane_state operand=direction vector=vector
#for r in 0..ROWS
#for d in 0..(HEAD_DIM+3)/4
    var product{r}_{d} = vec4f(0.0);
#endfor
#endfor

    // 1. Σ_j p_j ((k_j - k̄) · p) k_j, and the sum of its factors.
    for (var start = 0; start < high; start += {KEYS}) {
#import flash_lla/lane_scores PAIR=1 operand=direction
#import flash_lla/lane_factors operand=direction
#for d in 0..(HEAD_DIM+3)/4
#for j in 0..KEYS
#for r in 0..ROWS
        product{r}_{d} = fma(vec4f(factor{r}_{j}), key{d}_{j}, product{r}_{d});
#endfor
#endfor
#endfor
    }

    // 2. to 4. of each row.
    var active_rows = false;
    let ill_rows = (flag & TILE_ILL) != 0u;
#for r in 0..ROWS
#for d in 0..(HEAD_DIM+3)/4
    state[place{r} + PRODUCT + {d}u] = product{r}_{d};
#endfor
    if (params.verify == 1u) {
        verify(place{r}, scalars{r}, total{r});
    } else {
        let goes_on = advance(place{r}, scalars{r}, total{r});
        active_rows = active_rows || (goes_on && first_row + {8*r}u + lane < rows);
    }
#endfor
#import flash_lla/lane_active
}

// One step of the row at `place`, whose PRODUCT holds the sum over the keys; whether it goes on.
fn advance(place: u32, scalars: vec4f, total: f32) -> bool {
    let progress = state[place + SCALARS + 1u];
    let flags = u32(progress.z);
    if ((flags & ACTIVE) == 0u) { return false; }
    // 2. A p = C p + λ p, with the factors' sum taking k̄ out of k; p · A p.
    var curvature = 0.0;
    for (var quad = place; quad < place + DEPTH_QUADS; quad += 1u) {
        let direction = state[quad + DIRECTION];
        let product = state[quad + PRODUCT] + scalars.z * direction - total * state[quad + MEAN];
        state[quad + PRODUCT] = product;
        curvature += dot(direction, product);
    }
    // 3. x += α p, r -= α A p. Without curvature there is no step: the row ends where it is.
    let steps = curvature > TINY;
    let step = select(0.0, progress.x / curvature, steps);
    var square = 0.0;
    for (var quad = place; quad < place + DEPTH_QUADS; quad += 1u) {
        let residual = state[quad + RESIDUAL] - step * state[quad + PRODUCT];
        square += dot(residual, residual);
        state[quad + RESIDUAL] = residual;
        state[quad + SOLUTION] += step * state[quad + DIRECTION];
    }
    // 4. p = r + β p for rows that go on.
    let next = next_flags(flags, steps, square, scalars.w);
    let ratio = square / progress.x;
    for (var quad = place; quad < place + DEPTH_QUADS; quad += 1u) {
        state[quad + DIRECTION] = state[quad + RESIDUAL] + ratio * state[quad + DIRECTION];
    }
    state[place + SCALARS + 1u] = vec4f(square, progress.y + 1.0, f32(next), progress.w);
    return (next & ACTIVE) != 0u;
}

// The true residual g - A x of the row at `place`, whose PRODUCT holds the sum over the keys.
fn verify(place: u32, scalars: vec4f, total: f32) {
    var square = 0.0;
    for (var quad = place; quad < place + DEPTH_QUADS; quad += 1u) {
        let product = state[quad + PRODUCT] + scalars.z * state[quad + SOLUTION] - total * state[quad + MEAN];
        square += dot(state[quad + GRADIENT] - product, state[quad + GRADIENT] - product);
    }
    let progress = state[place + SCALARS + 1u];
    let flags = verified_flags(u32(progress.z), square, scalars.w);
    state[place + SCALARS + 1u] = vec4f(progress.x, progress.y, f32(flags), progress.w);
}

#import flash_lla/lane_product
#import flash_lla/next_flags
