// Decode, step 3: out = v̄ - C_vk (C + ridge I)^-1 (k̄ - q), FlashLLA (arXiv 2510.01450) in covariance form, by Cholesky.
// With C + ridge I = L L^T the matrix [C + ridge I; C_vk; (k̄ - q)^T] times L^-T is [L; X; y^T], and out = v̄ - X y: rows of
// values and the right side are eliminated like rows below the triangle, and nothing is substituted back.
//
// One workgroup per row, THREAD_ROWS x THREAD_QUADS threads. The matrix stays in registers, so no head dim needs workgroup
// memory for it: a thread owns every THREAD_ROWS-th row and every THREAD_QUADS-th quad of columns. Four columns are eliminated
// between two barriers, 64 barriers at head dim 128. RADV for navi21, 16 x 16 threads, no spills: head dim 64 112 VGPRs, 8 waves
// per SIMD; 128 248, 4.
#import flash_lla/decode_bindings
#import flash_lla/starting_point
#import shared/load tensor=query f16={QUERY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=key f16={KEY_F16} aligned={HEAD_DIM%4==0}

@group(0) @binding(2) var<storage, read> query: array<{QUERY_TYPE}>;           // [batch, query_tokens, query_heads, head_dim]
@group(0) @binding(3) var<storage, read> key: array<{KEY_TYPE}>;               // [batch, tokens, kv_heads, head_dim]: the first alone
@group(0) @binding(4) var<storage, read> merged: array<vec4f>;                 // [batch, kv_heads, rows] merged records
@group(0) @binding(7) var<storage, read_write> out: array<f32>;                // [batch, query_tokens, query_heads, value_dim]
@group(0) @binding(8) var<storage, read_write> lse: array<f32>;                // [batch, query_tokens, query_heads], natural log
@group(0) @binding(9) var<storage, read_write> iterations: array<u32>;         // [batch, query_tokens, query_heads]: 0, nothing is iterated
@group(0) @binding(10) var<storage, read_write> status: array<u32>;            // [batch, query_tokens, query_heads]

const THREADS = {THREAD_ROWS*THREAD_QUADS}u;
const ROWS = 4u * QUADS;        // of the matrix: keys, then values; the right side is one more
// A pivot below this share of its variance has lost all digits but two or less: its direction is left out of the solution.
const LEAST_PIVOT = 1.0e-5;

var<workgroup> panel: array<vec4f, ROWS + 1u>;     // four columns of the matrix before
var<workgroup> lower: array<vec4f, ROWS>;          // and after their elimination
var<workgroup> variances: array<vec4f, KEY_QUADS>;
var<workgroup> parts: array<vec4f, KEY_QUADS>;
var<workgroup> overflow: atomic<u32>;

@compute @workgroup_size({THREAD_ROWS*THREAD_QUADS})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) {
        return;
    }
    let rows = params.query_tokens * params.group;
    let batch = index / rows / params.kv_heads;
    let kv_head = index / rows % params.kv_heads;
    let record = index * MERGED_RECORD;
    let place = row_index(batch, kv_head, index % rows);

    if (thread == 0u) {
        atomicStore(&overflow, 0u);
    }
    // 1. The right side g = k̄ - q, its square, q · first key, and the variances.
    let first_key = (batch * params.tokens * params.kv_heads + kv_head) * {HEAD_DIM}u;
    for (var quad = thread; quad < KEY_QUADS; quad += THREADS) {
        let depth = quad * 4u;
        var own = vec4f(0.0);
        var origin = vec4f(0.0);
        if (depth < {HEAD_DIM}u) {
            own = load_query(place * {HEAD_DIM}u + depth, {HEAD_DIM}u - depth);
            origin = finite_or_zero(load_key(first_key + depth, {HEAD_DIM}u - depth));
        }
        let gradient = merged[record + MEAN + quad] - (own - origin);
        let diagonal = record + COVARIANCE + depth * KEY_QUADS + quad;
        let variance = vec4f(merged[diagonal].x, merged[diagonal + KEY_QUADS].y, merged[diagonal + 2u * KEY_QUADS].z, merged[diagonal + 3u * KEY_QUADS].w);
        panel[quad] = gradient;
        variances[quad] = variance;
        parts[quad] = vec4f(dot(gradient, gradient), dot(own, origin), dot(variance, vec4f(1.0)), select(1.0, 0.0, is_finite(own)));
    }
    workgroupBarrier();
    var sums = vec4f(0.0);
    for (var quad = 0u; quad < KEY_QUADS; quad += 1u) {
        sums += parts[quad];
    }
    let state = merged[record];
    let seen = visible_keys(keys_of(batch), index % rows);
    let start = starting_point(select(state.x, BROKEN, sums.w > 0.0), state.y, sums.z, sums.x, f32(seen));

    // 2. This thread's part of C + ridge I, C_vk and g.
    let row = thread / {THREAD_QUADS}u;
    let column = thread % {THREAD_QUADS}u;
#for q in 0..QUAD_SLOTS
    let quad{q} = column + {q*THREAD_QUADS}u;
    var right{q} = panel[min(quad{q}, KEY_QUADS - 1u)];
#endfor
#for r in 0..ROW_SLOTS
    let row{r} = row + {r*THREAD_ROWS}u;
#for q in 0..QUAD_SLOTS
    var matrix{r}_{q} = matrix_at(record, row{r}, quad{q}, start.ridge);
#endfor
#endfor
#for n in 0..VALUE_SLOTS
    var correction{n} = 0.0;     // X y of the rows thread, thread + THREADS, ..
#endfor
    var weak = false;

    // 3. Elimination, four columns at a time.
    workgroupBarrier();
#for s in 0..QUAD_SLOTS
    for (var turn = 0u; turn < min({THREAD_QUADS}u, KEY_QUADS - {s*THREAD_QUADS}u); turn += 1u) {
        if (column == turn) {
#for r in 0..ROW_SLOTS
            if (row{r} < ROWS) { panel[row{r}] = matrix{r}_{s}; }
#endfor
            if (row == 0u) { panel[ROWS] = right{s}; }
        }
        workgroupBarrier();
        let first = 4u * (turn + {s*THREAD_QUADS}u);
        let least = LEAST_PIVOT * (variances[first / 4u] + start.ridge);
        let corner = factor(panel[first], panel[first + 1u], panel[first + 2u], panel[first + 3u], least);
        weak = weak || any((corner.inverse == vec4f(0.0)) & (least > vec4f(0.0)));
        let y = eliminated(panel[ROWS], corner);
#for n in 0..VALUE_SLOTS
        if (thread + {n}u * THREADS < ROWS) {
            let own = eliminated(panel[thread + {n}u * THREADS], corner);
            correction{n} += dot(own, y);
            lower[thread + {n}u * THREADS] = own;
        }
#endfor
        workgroupBarrier();
#for r in s*THREAD_QUADS*4/THREAD_ROWS..ROW_SLOTS
        let own{r} = lower[min(row{r}, ROWS - 1u)];
#endfor
#for q in s..QUAD_SLOTS
        {
#for j in 0..4
            let other{j} = lower[min(quad{q}, KEY_QUADS - 1u) * 4u + {j}u];
#endfor
            right{q} -= vec4f(dot(y, other0), dot(y, other1), dot(y, other2), dot(y, other3));
#for r in s*THREAD_QUADS*4/THREAD_ROWS..ROW_SLOTS
            matrix{r}_{q} -= vec4f(dot(own{r}, other0), dot(own{r}, other1), dot(own{r}, other2), dot(own{r}, other3));
#endfor
        }
#endfor
    }
#endfor

    // 4. out = v̄ - X y, v̄ where there is nothing to solve, or 0 where that is no number.
    let active_row = (start.flags & ACTIVE) != 0u;
#for n in 0..VALUE_SLOTS
    let element{n} = thread + {n}u * THREADS;
    let result{n} = merged[record + MEAN + min(element{n}, ROWS - 1u) / 4u][element{n} % 4u] - select(0.0, correction{n}, active_row);
    if (element{n} >= 4u * KEY_QUADS && element{n} < ROWS && !is_finite(vec4f(result{n}))) {
        atomicOr(&overflow, 1u);
    }
#endfor
    workgroupBarrier();
    let settled = (start.flags & (EMPTY | NON_FINITE)) != 0u;
    let spoiled = !settled && atomicLoad(&overflow) != 0u;
#for n in 0..VALUE_SLOTS
    if (element{n} >= 4u * KEY_QUADS && element{n} < 4u * KEY_QUADS + {VALUE_DIM}u) {
        out[place * {VALUE_DIM}u + element{n} - 4u * KEY_QUADS] = select(result{n}, 0.0, settled || spoiled);
    }
#endfor
    if (thread == 0u) {
        let natural = (state.x + log2(state.y)) * LN_2 + params.scale * sums.y;
        lse[place] = select(natural, EMPTY_LSE, settled || spoiled);
        iterations[place] = 0u;
        let solved = (start.flags & SINGULAR) | select(0u, NOT_CONVERGED, weak && active_row);
        status[place] = select(select(solved, NON_FINITE, spoiled), start.flags, settled);
    }
}

// Row `row` and columns 4 * quad .. of [C + ridge I; C_vk], 0 above the diagonal and past the end.
fn matrix_at(record: u32, row: u32, quad: u32, ridge: f32) -> vec4f {
    let above = row < 4u * KEY_QUADS && quad > row / 4u;
    if (row >= ROWS || quad >= KEY_QUADS || above) {
        return vec4f(0.0);
    }
    let diagonal = vec4u(4u * quad) + vec4u(0u, 1u, 2u, 3u) == vec4u(row);
    return merged[record + COVARIANCE + row * KEY_QUADS + quad] + select(vec4f(0.0), vec4f(ridge), diagonal);
}

// The Cholesky factor of four rows and columns: off the diagonal, and what to divide by as a factor, 0 in left-out directions.
struct Corner {
    below0: vec3f,      // l10, l20, l30
    below1: vec2f,      // l21, l31
    below2: f32,        // l32
    inverse: vec4f,
}

fn factor(row0: vec4f, row1: vec4f, row2: vec4f, row3: vec4f, least: vec4f) -> Corner {
    var corner: Corner;
    corner.inverse.x = inverse_root(row0.x, least.x);
    corner.below0 = vec3f(row1.x, row2.x, row3.x) * corner.inverse.x;
    let square0 = corner.below0 * corner.below0;
    corner.inverse.y = inverse_root(row1.y - square0.x, least.y);
    corner.below1 = (vec2f(row2.y, row3.y) - corner.below0.yz * corner.below0.x) * corner.inverse.y;
    let square1 = corner.below1 * corner.below1;
    corner.inverse.z = inverse_root(row2.z - square0.y - square1.x, least.z);
    corner.below2 = (row3.z - corner.below0.z * corner.below0.y - corner.below1.y * corner.below1.x) * corner.inverse.z;
    corner.inverse.w = inverse_root(row3.w - square0.z - square1.y - corner.below2 * corner.below2, least.w);
    return corner;
}

fn inverse_root(pivot: f32, least: f32) -> f32 {
    if (pivot <= least || pivot <= 0.0) {
        return 0.0;
    }
    return inverseSqrt(pivot);
}

// A row of four columns times the inverse of the corner's transpose.
fn eliminated(row: vec4f, corner: Corner) -> vec4f {
    let a = row.x * corner.inverse.x;
    let b = (row.y - corner.below0.x * a) * corner.inverse.y;
    let c = (row.z - corner.below0.y * a - corner.below1.x * b) * corner.inverse.z;
    return vec4f(a, b, c, (row.w - corner.below0.z * a - corner.below1.y * b - corner.below2 * c) * corner.inverse.w);
}
