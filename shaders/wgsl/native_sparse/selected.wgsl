// Attention of each query token to the tokens of its listed blocks: NSA, arXiv 2502.11089, Eq. 12, with the online softmax of
// FlashAttention-2, arXiv 2307.08691. The heads of a group share a list, so a key is read once for all of them.
//
// Tile: ROW_TILE heads (4, 8, 16) of one token x 64 tokens of its list, 64 threads. Scores: 4 heads x 4 keys per thread, 64 FMAs of 8 reads
// of workgroup memory; with fewer than 16 heads threads divide the depth instead. Values go straight into registers, 8 loads in flight, and
// serve all heads: 64 FMAs of one load and 4 reads. RADV for navi21, dims 64, no spills: 16 heads 248 VGPRs, 4 waves per SIMD, 74 % FMAs in the
// value loop; 8 heads 160, 6, 63 %; 4 heads 96, 8, 49 %, where memory is the limit. Dims 128 and 192 / 128 with 16 heads: 256 VGPRs, 4 waves, 74 %.
#import native_sparse/selected_bindings
#import shared/load tensor=query f16={QUERY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=key f16={KEY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=value f16={KEY_F16} aligned={VALUE_DIM%4==0}
#import attention/results

// Thread (x, z) of 16 x 4 scores key quad x for row quad z % ROW_QUADS, over its share of the depth.
const ROW_QUADS = {ROW_TILE/4}u;
const PARTS = 4u / ROW_QUADS;
// Side by side, COLUMN_LANES threads read one value: a power of two, so loads coalesce.
const COLUMN_LANES = {1+(VALUE_DIM>4)+(VALUE_DIM>8)*2+(VALUE_DIM>16)*4+(VALUE_DIM>32)*8+(VALUE_DIM>64)*16+(VALUE_DIM>128)*32}u;
const KEY_GROUPS = 64u / COLUMN_LANES;
const DEPTH = {(HEAD_DIM+31)/32*32}u;

// A chunk of 32 of the depth of 64 keys, as quads of keys; then weights and what threads exchange. After it the query, as quads of
// heads: all of its depth where that fits (RESIDENT), otherwise the same chunk.
const MAXIMA = 256u;
const SHRINK = 320u;
const QUERY = 512u;
#if RESIDENT
var<workgroup> tile: array<vec4f, QUERY + DEPTH * ROW_QUADS>;
#else
var<workgroup> tile: array<vec4f, QUERY + 32u * ROW_QUADS>;
#endif
var<workgroup> key_rows: array<u32, 64>;   // rows of `key`; NO_KEY past the visible ones
const NO_KEY = 0xffffffffu;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) thread: u32) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) { return; }
    let u = unit_at(index, {ROW_TILE}u);
    if (!u.exists) { return; }
    let low = u.split * params.split_keys;
    let high = min(low + params.split_keys, list_end(u));
    let x = thread % 16u;
    let y = thread / 16u % ROW_QUADS;
    let part = thread / 16u / ROW_QUADS;
    let heads = min(params.group - u.first_head, {ROW_TILE}u);
    let first_row = (u.token * params.kv_heads + u.kv_head) * params.group + u.first_head;
    let scale = params.scale * LOG2_E;

    // Loads run along the depth, eight threads a row, four rows a thread.
    let staged_depth = thread % 8u * 4u;
    let staged_quad = thread / 8u;
#if RESIDENT
    for (var at = thread; at < ROW_QUADS * DEPTH / 4u; at += 64u) {
        let depth = at % (DEPTH / 4u) * 4u;
        let quad = at / (DEPTH / 4u);
#import native_sparse/stage_query TO=QUERY+depth*ROW_QUADS+quad
    }
#endif

    var maximum = vec4f(FLOOR);
    var sum = vec4f(0.0); // over this thread's own keys
#for r in 0..ROW_TILE
    var out{r} = vec4f(0.0);
#endfor
    let column = thread % COLUMN_LANES * 4u;
    let key_group = thread / COLUMN_LANES;

    for (var start = low; start < high; start += 64u) {
        // 1. Which tokens.
        workgroupBarrier();
        let number = start + thread;
        let token = listed_token(u, number / params.block, number % params.block);
        key_rows[thread] = select(NO_KEY, (u.key_start + token) * params.kv_heads + u.kv_head, token < u.visible && number < high);

        // 2. Scores, in chunks of 32 of the depth.
#for r in 0..4
        var score{r} = vec4f(0.0);
#endfor
        for (var chunk = 0u; chunk < DEPTH; chunk += 32u) {
            workgroupBarrier();
            let depth = chunk + staged_depth;
            let count = min({HEAD_DIM}u - min(depth, {HEAD_DIM}u), 4u);
#for k in 0..2
#for r in 0..4
            var k{k}_{r} = vec4f(0.0);
#endfor
            if (depth < {HEAD_DIM}u) {
#for r in 0..4
                let row{k}_{r} = key_rows[(staged_quad + {8*k}u) * 4u + {r}u];
                k{k}_{r} = load_key(select(row{k}_{r}, u.key_start * params.kv_heads + u.kv_head, row{k}_{r} == NO_KEY) * {HEAD_DIM}u + depth, count);
#endfor
            }
#endfor
#for k in 0..2
#for d in 0..4
            tile[(staged_depth + {d}u) * 16u + ((staged_quad + {8*k}u) ^ (thread % 8u))] = vec4f(k{k}_0[{d}], k{k}_1[{d}], k{k}_2[{d}], k{k}_3[{d}]);
#endfor
#endfor
#if !RESIDENT
            if (staged_quad < ROW_QUADS) {
                let quad = staged_quad;
#import native_sparse/stage_query TO=QUERY+staged_depth*ROW_QUADS+quad
            }
#endif
            workgroupBarrier();
            for (var quad = part; quad < 8u; quad += PARTS) {
#if RESIDENT
                let query_at = QUERY + (chunk + quad * 4u) * ROW_QUADS + y;
#else
                let query_at = QUERY + quad * 4u * ROW_QUADS + y;
#endif
                let key_at = quad * 64u + (x ^ quad);
#for d in 0..4
                let q{d} = tile[query_at + {d}u * ROW_QUADS];
                let k{d} = tile[key_at + {16*d}u];
#for r in 0..4
                score{r} += q{d}[{r}] * k{d};
#endfor
#endfor
            }
        }
#if ROW_TILE < 16
        // The shares of the depth add up, in every thread that has one.
        workgroupBarrier();
#for r in 0..4
        tile[{64*r}u + thread] = score{r};
#endfor
        workgroupBarrier();
#for r in 0..4
        score{r} = tile[{64*r}u + x + y * 16u];
#for p in 1..16/ROW_TILE
        score{r} += tile[{64*r}u + x + (y + {p}u * ROW_QUADS) * 16u];
#endfor
#endfor
#endif

        // 3. Visibility and online softmax; the 16 threads of a row quad exchange their maxima.
        let rows = vec4u(key_rows[x * 4u], key_rows[x * 4u + 1u], key_rows[x * 4u + 2u], key_rows[x * 4u + 3u]);
#for r in 0..4
        score{r} = select(score{r} * scale, vec4f(MASKED), rows == vec4u(NO_KEY));
        let highest{r} = max(max(score{r}.x, score{r}.y), max(score{r}.z, score{r}.w));
#endfor
        var highest = vec4f(highest0, highest1, highest2, highest3);
#if SUBGROUP
#for lanes in 1 2 4
        highest = max(highest, subgroupShuffleXor(highest, {lanes}u));
#endfor
#endif
        workgroupBarrier();
        if (part == 0u) { tile[MAXIMA + y * 16u + x] = highest; }
        workgroupBarrier();
#if SUBGROUP
        highest = max(tile[MAXIMA + y * 16u], tile[MAXIMA + y * 16u + 8u]);
#else
#for t in 0..16
        highest = max(highest, tile[MAXIMA + y * 16u + {t}u]);
#endfor
#endif
        let raised = max(maximum, highest);
        let shrink = exp2(maximum - raised);
        maximum = raised;
        sum *= shrink;
#for r in 0..4
        score{r} = exp2(score{r} - raised[{r}]);
#endfor
        // Parts that share a row quad hold the same weights.
#for j in 0..4
        let weight{j} = vec4f(score0[{j}], score1[{j}], score2[{j}], score3[{j}]);
        sum += weight{j};
        if (part == 0u) { tile[y * 64u + {16*j}u + x] = weight{j}; }
#endfor
        if (x == 0u && part == 0u) { tile[SHRINK + y] = shrink; }
        workgroupBarrier();

        // 4. Weighted values.
#for h in 0..ROW_TILE/4
        let shrink{h} = tile[SHRINK + {h}u];
#for r in 0..4
        out{4*h+r} *= shrink{h}[{r}];
#endfor
#endfor
        if (column < {VALUE_DIM}u) {
            let count = min({VALUE_DIM}u - column, 4u);
            let keys = min(high - start, 64u);
#for loads in {1+(VALUE_DIM>4)+(VALUE_DIM>8)*2+(VALUE_DIM>16)*4}
            for (var base = key_group; base < keys; base += KEY_GROUPS * {loads}u) {
#for n in 0..loads
                // Past the last key the weight is 0.
                let key{n} = base + {n}u * KEY_GROUPS;
                let row{n} = key_rows[key{n}];
                let value{n} = load_value(select(row{n}, u.key_start * params.kv_heads + u.kv_head, row{n} == NO_KEY) * {VALUE_DIM}u + column, count);
#endfor
#for n in 0..loads
#for h in 0..ROW_TILE/4
                let w{n}_{h} = tile[{64*h}u + key{n} % 4u * 16u + key{n} / 4u];
#for r in 0..4
                out{4*h+r} += w{n}_{h}[{r}] * value{n};
#endfor
#endfor
#endfor
            }
#endfor
        }
    }

    // 5. Sums over the threads of a row quad; the first of them stores lse or state.
    workgroupBarrier();
    if (part == 0u) { tile[y * 16u + x] = sum; }
    workgroupBarrier();
    if (x == 0u && part == 0u) {
        var total = vec4f(0.0);
#for t in 0..16
        total += tile[y * 16u + {t}u];
#endfor
        let some = total > vec4f(0.0);
#if PARTIAL
        tile[QUERY + y] = vec4f(1.0);
#else
        let divisor = select(vec4f(1.0), total, some);
        tile[QUERY + y] = 1.0 / divisor;
        let row_lse = select(vec4f(EMPTY_LSE), (maximum + log2(divisor)) * LN_2, some);
#endif
#for r in 0..4
        if (y * 4u + {r}u < heads) {
#if PARTIAL
            partial_state[output_row(u) + y * 4u + {r}u] = vec2f(maximum[{r}], total[{r}]);
#else
            lse[output_row(u) + y * 4u + {r}u] = row_lse[{r}];
#endif
        }
#endfor
    }

    // 6. Outputs over the key groups, 4 or 8 rows at a time.
#for pass_rows in {4+(ROW_TILE>4)*4}
#for pass in 0..(ROW_TILE+7)/8
    workgroupBarrier();
#for r in 8*pass..8*pass+pass_rows
    tile[thread + {64*(r-8*pass)}u] = out{r};
#endfor
    workgroupBarrier();
    for (var at = thread; at < {pass_rows}u * COLUMN_LANES; at += 64u) {
        let row = at / COLUMN_LANES;
        var quad = vec4f(0.0);
        for (var lane = at % COLUMN_LANES; lane < 64u; lane += COLUMN_LANES) {
            quad += tile[row * 64u + lane];
        }
        let head = row + {8*pass}u;
        let inverse = tile[QUERY + head / 4u];
        let factor = select(select(inverse.x, inverse.y, head % 4u == 1u), select(inverse.z, inverse.w, head % 4u == 3u), head % 4u > 1u);
        if (head < heads) { store(output_row(u) + head, at % COLUMN_LANES * 4u, quad * factor); }
    }
#endfor
#endfor
}

fn store(row: u32, column: u32, quad: vec4f) {
    if (column >= {VALUE_DIM}u) { return; }
#if VALUE_DIM % 4 == 0
    {OUT}[(row * {VALUE_DIM}u + column) / 4u] = quad;
#else
#for j in 0..4
    if (column + {j}u < {VALUE_DIM}u) { {OUT}[row * {VALUE_DIM}u + column + {j}u] = quad[{j}]; }
#endfor
#endif
}
