// Decode, step 1: weighted moments of a range of keys for the rows that share it, each key and value read once.
// FlashLLA (arXiv 2510.01450) in covariance form: with w = exp(logit - maximum) and x = [key; value] these are
// omega = sum w, sum w (x - c) and sum w (x - c) (key - c)^T; decode_merge joins the ranges, decode_solve solves.
//
// The center c is each row's own running mean (the parallel form of the covariance): a product about any fixed point, such
// as the first key, loses the covariance of a row that attends to few keys, a small difference of large squares. f32, head
// dim 64, 257 to 2048 keys, ridge 0.1, largest error of outputs of size 2 with queries 16 and 64 times too large: fixed
// center 9e-4 and 3e-3, running mean 2e-4 and 8e-5; a first key 50 times too large: 5e-3 against 2e-5. The golden
// lla_decode_d64 is met to 1.1e-6. Keys are taken relative to the sequence's first, which every row sees.
//
// Tile: up to 8 rows, as many as 256 threads serve (4 of head dim 64, 1 of 128), by 16 keys, 8 where 16 don't fit in 16 KiB. A
// thread owns 8 x 16 sums, so that the 24 subtractions of the centers, 8 weights and 7 loads of a key meet 128
// multiply-adds. RADV for navi21, no spills: head dim 64 with 4 rows 232 VGPRs, 4 waves per SIMD, 72 % multiply-adds in the
// loop over the keys, and 80 % of all instructions in it; 8 x 8 sums: 6 waves, 63 %; a fixed center: 83 %. Subgroups would save one
// barrier of five for 16 keys, so there is no build with them.
#import flash_lla/decode_bindings
#import shared/load tensor=query f16={QUERY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=key f16={KEY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=value f16={KEY_F16} aligned={VALUE_DIM%4==0}

@group(0) @binding(2) var<storage, read> query: array<{QUERY_TYPE}>;       // [batch, query_tokens, query_heads, head_dim]
@group(0) @binding(3) var<storage, read> key: array<{KEY_TYPE}>;           // [batch, tokens, kv_heads, head_dim]
@group(0) @binding(4) var<storage, read> value: array<{VALUE_TYPE}>;       // [batch, tokens, kv_heads, value_dim]
#if KEY_BIAS
@group(0) @binding(5) var<storage, read> key_bias: array<f32>;             // [batch, tokens], added to the logits
#endif
@group(0) @binding(7) var<storage, read_write> moments: array<vec4f>;      // [batch, kv_heads, rows, splits] records

// A team of threads serves one of ROWS rows; a thread owns 8 x 16 sums of its product: rows of x by columns of the keys. Of
// keys by keys only blocks that touch the lower triangle have a thread.
const ROWS = {ROWS}u;
const KEYS = {KEYS}u;                // keys staged at once: 8 or 16
const COLUMN_BLOCKS = {(HEAD_DIM+15)/16}u;
const KEY_BLOCKS = COLUMN_BLOCKS * (COLUMN_BLOCKS + 1u);
const BLOCKS = KEY_BLOCKS + {(VALUE_DIM+7)/8}u * COLUMN_BLOCKS;
const THREADS = {THREADS}u;            // ROWS * BLOCKS, and at least QUADS, in whole subgroups
const STAGE_KEYS = THREADS / QUADS;  // keys that one load of every thread brings; STAGES loads bring KEYS
const PARTS = 16u / KEYS;            // threads that share a logit

// Staged keys and values, the even quads of a row before the odd ones: threads that read side by side read neighbours. One
// quad of padding, so that threads that read one quad of different keys meet different banks.
const HALF = QUADS / 2u;
const STRIDE = QUADS + 1u;
var<workgroup> x_tile: array<vec4f, KEYS * STRIDE>;
var<workgroup> query_tile: array<vec4f, ROWS * KEY_QUADS>;   // in units of base 2
var<workgroup> sum_tile: array<vec4f, ROWS * QUADS>;
var<workgroup> center_tile: array<vec4f, ROWS * QUADS>;
var<workgroup> score_tile: array<f32, ROWS * 16u>;           // [row][part][key]
var<workgroup> weight_tile: array<f32, ROWS * KEYS>;
var<workgroup> broken_keys: atomic<u32>;                     // one bit per staged key

@compute @workgroup_size({THREADS})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) {
        return;
    }
    let split = index % params.splits;
    let first_row = index / params.splits % params.row_tiles * ROWS;
    let head = index / params.splits / params.row_tiles;
    let kv_head = head % params.kv_heads;
    let batch = head / params.kv_heads;
    let rows = params.query_tokens * params.group;
    let key_count = keys_of(batch);

    // The keys of this range that a row of the tile sees.
    let range = range_keys(key_count);
    let begin = split * range;
    let end = min(begin + range, visible_keys(key_count, min(first_row + ROWS, rows) - 1u));

    // This thread's team and block. Threads beyond the last team own nothing.
    let works = thread < ROWS * BLOCKS;
    let team = min(thread / BLOCKS, ROWS - 1u);
    let own = select(QUADS, thread % BLOCKS, works);
    let block = block_at(thread % BLOCKS);

    if (thread == 0u) {
        atomicStore(&broken_keys, 0u);
    }
    for (var at = thread; at < ROWS * KEY_QUADS; at += THREADS) {
        let row = min(first_row + at / KEY_QUADS, rows - 1u);
        let depth = at % KEY_QUADS * 4u;
        var quad = vec4f(0.0);
        if (depth < {HEAD_DIM}u) {
            quad = load_query(row_index(batch, kv_head, row) * {HEAD_DIM}u + depth, {HEAD_DIM}u - depth);
        }
        query_tile[at] = finite_or_zero(quad) * (params.scale * LOG2_E);
    }
    for (var at = thread; at < ROWS * QUADS; at += THREADS) {
        sum_tile[at] = vec4f(0.0);
        center_tile[at] = vec4f(0.0);
    }

    var maximum = FLOOR;
    var total = 0.0;                     // omega
#for r in 0..8
#for c in 0..4
    var sum{r}_{c} = vec4f(0.0);
#endfor
#endfor
#for q in 0..2
    var row_center{q} = vec4f(0.0);
#endfor
#for c in 0..4
    var column_center{c} = vec4f(0.0);
#endfor
    let last = max(end, 1u) - 1u;
    let staged_quad = thread % QUADS;
    let staged_key = thread / QUADS;
    let origin = select(vec4f(0.0), finite_or_zero(x_at(batch, kv_head, 0u, staged_quad)), staged_quad < KEY_QUADS);
#for n in 0..STAGES
    var staged{n} = x_at(batch, kv_head, min(begin + staged_key + {n}u * STAGE_KEYS, last), staged_quad);
#endfor
    workgroupBarrier();

    var tile = 0u;
    for (var start = begin; start < end; start += KEYS) {
        // 1. Keys relative to the first, and values; 0 for what is no number.
#for n in 0..STAGES
        if (staged_key < STAGE_KEYS && staged_key + {n}u * STAGE_KEYS < KEYS) {
            if (!is_finite(staged{n})) {
                atomicOr(&broken_keys, 1u << (staged_key + {n}u * STAGE_KEYS));
            }
            x_tile[(staged_key + {n}u * STAGE_KEYS) * STRIDE + staged_quad / 2u + staged_quad % 2u * HALF] = finite_or_zero(staged{n}) - origin;
        }
#endfor
        workgroupBarrier();

        // 2. Logits of the staged keys, PARTS threads each.
        for (var at = thread; at < ROWS * 16u; at += THREADS) {
            let row = at / 16u;
            let staged = at % KEYS;
            let part = at % 16u / KEYS;
            var products = vec4f(0.0);
#for d in 0..(HEAD_DIM+15)/16*4*KEYS/16
#if KEYS == 16
            products = fma(query_tile[row * KEY_QUADS + {d}u], x_tile[staged * STRIDE + {d/2}u + {d%2}u * HALF], products);
#else
            products = fma(query_tile[row * KEY_QUADS + {d*2}u + part], x_tile[staged * STRIDE + {d}u + part * HALF], products);
#endif
#endfor
            var score = products.x + products.y + (products.z + products.w);
            if (part == 0u) {
                let position = start + staged;
#if KEY_BIAS
                score += clamp(key_bias[batch * params.tokens + min(position, last)], -BIAS_LIMIT, BIAS_LIMIT) * LOG2_E;
#endif
                let visible = position < min(visible_keys(key_count, min(first_row + row, rows - 1u)), end);
                let broken = (atomicLoad(&broken_keys) & (1u << staged)) != 0u;
                score = select(MASKED, select(score, BROKEN, broken), visible);
            }
            score_tile[at] = score;
        }
        workgroupBarrier();

        // 3. Weights. Where the maximum rises, and at the tiles 1, 2, 4, 8.., the center moves to the mean so far.
#for n in 0..KEYS
#if KEYS == 16
        let score{n} = score_tile[team * 16u + {n}u];
#else
        let score{n} = score_tile[team * 16u + {n}u] + score_tile[team * 16u + {n+8}u];
#endif
#endfor
        var raised = maximum;
#for n in 0..KEYS
        raised = max(raised, score{n});
#endfor
        let shrink = exp2(maximum - raised);
        let moves = raised > maximum || (tile & (tile + 1u)) == 0u;
        maximum = raised;
        for (var at = own; at < KEYS; at += BLOCKS) {
#if KEYS == 16
            let score = score_tile[team * 16u + at];
#else
            let score = score_tile[team * 16u + at] + score_tile[team * 16u + 8u + at];
#endif
            weight_tile[team * KEYS + at] = exp2(score - raised);
        }
        if (thread == 0u) {
            atomicStore(&broken_keys, 0u);
        }
        // The sums before this tile, which moving the center needs.
        let before = total * shrink;
#for q in 0..2
        let row_sum{q} = shrink * sum_tile[team * QUADS + block.x * 2u + {q}u];
#endfor
#for c in 0..4
        let column_sum{c} = shrink * sum_tile[team * QUADS + block.y * 4u + {c}u];
#endfor
        workgroupBarrier();

        // 4. Sums and, where it moves, the center.
        total = before;
#for n in 0..KEYS
        let weight{n} = weight_tile[team * KEYS + {n}u];
        total += weight{n};
#endfor
        for (var quad = own; quad < QUADS; quad += BLOCKS) {
            let at = team * QUADS + quad;
            let stored = quad / 2u + quad % 2u * HALF;
            let center = center_tile[at];
            var sum = shrink * sum_tile[at];
#for n in 0..KEYS
            sum = fma(vec4f(weight{n}), x_tile[{n}u * STRIDE + stored] - center, sum);
#endfor
            if (moves) {
                let moved = center + sum / max(total, 1.0e-30);
                sum -= total * (moved - center);
                center_tile[at] = moved;
            }
            sum_tile[at] = sum;
        }
        workgroupBarrier();

        // 5. The product follows the center from c to c + t:  sum w (x - c - t) (k - c - t)^T
        //    = sum w (x - c) (k - c)^T - t (sum w (k - c))^T - (sum w (x - c)) t^T + omega t t^T.
        if (moves) {
#for q in 0..2
            let row_step{q} = center_tile[team * QUADS + block.x * 2u + {q}u] - row_center{q};
            row_center{q} += row_step{q};
#endfor
#for c in 0..4
            let column_step{c} = center_tile[team * QUADS + block.y * 4u + {c}u] - column_center{c};
            column_center{c} += column_step{c};
            let pull{c} = before * column_step{c} - column_sum{c};
#endfor
#for r in 0..8
#for c in 0..4
            sum{r}_{c} = shrink * sum{r}_{c} + (row_step{r/4}[{r%4}] * pull{c} - row_sum{r/4}[{r%4}] * column_step{c});
#endfor
#endfor
        }

        // The next keys are on their way while these are multiplied.
#for n in 0..STAGES
        staged{n} = x_at(batch, kv_head, min(start + KEYS + staged_key + {n}u * STAGE_KEYS, last), staged_quad);
#endfor

        // 6. The product.
        for (var next = 0u; next < KEYS; next += 4u) {
#for t in 0..4
            {
                let at = (next + {t}u) * STRIDE;
                let weight = weight_tile[team * KEYS + next + {t}u];
#for q in 0..2
                let x{q} = weight * (x_tile[at + block.x + {q}u * HALF] - row_center{q});
#endfor
#for c in 0..4
                let k{c} = x_tile[at + block.y * 2u + {c/2}u + {c%2}u * HALF] - column_center{c};
#for r in 0..8
                sum{r}_{c} = fma(vec4f(x{r/4}[{r%4}]), k{c}, sum{r}_{c});
#endfor
#endfor
            }
#endfor
        }
        tile += 1u;
        workgroupBarrier();
    }

    // 7. The record; of a range without a key the state alone.
    let row = first_row + team;
    if (!works || row >= rows) {
        return;
    }
    let record = ((head * rows + row) * params.splits + split) * RECORD;
    if (own == 0u) {
        moments[record] = vec4f(maximum, total, 0.0, 0.0);
    }
    if (begin >= end) {
        return;
    }
    for (var quad = own; quad < QUADS; quad += BLOCKS) {
        moments[record + SUM + quad] = sum_tile[team * QUADS + quad];
        moments[record + CENTER + quad] = center_tile[team * QUADS + quad];
    }
    let corner = record + PRODUCT + block.x * 8u * KEY_QUADS + block.y * 4u;
#for r in 0..8
#for c in 0..4
    moments[corner + {r}u * KEY_QUADS + {c}u] = sum{r}_{c};
#endfor
#endfor
}

// Block `at` of the product: 8 rows of x from 8 * x on by 16 columns of the keys from 16 * y on. Rows r and the r-th last have
// together one block more than there are column blocks in the lower triangle.
fn block_at(at: u32) -> vec2u {
    if (at >= KEY_BLOCKS) {
        return vec2u(2u * COLUMN_BLOCKS + (at - KEY_BLOCKS) / COLUMN_BLOCKS, (at - KEY_BLOCKS) % COLUMN_BLOCKS);
    }
    let pair = at / (COLUMN_BLOCKS + 1u);
    let place = at % (COLUMN_BLOCKS + 1u);
    if (place <= pair / 2u) {
        return vec2u(pair, place);
    }
    return vec2u(2u * COLUMN_BLOCKS - 1u - pair, place - pair / 2u - 1u);
}

// Four elements of [key; value] at a position; 0 past their ends.
fn x_at(batch: u32, kv_head: u32, position: u32, quad: u32) -> vec4f {
    let entry = (batch * params.tokens + position) * params.kv_heads + kv_head;
    var x = vec4f(0.0);
    if (quad < KEY_QUADS) {
        let depth = quad * 4u;
        if (depth < {HEAD_DIM}u) {
            x = load_key(entry * {HEAD_DIM}u + depth, {HEAD_DIM}u - depth);
        }
    } else {
        let column = (quad - KEY_QUADS) * 4u;
        if (column < {VALUE_DIM}u) {
            x = load_value(entry * {VALUE_DIM}u + column, {VALUE_DIM}u - column);
        }
    }
    return x;
}
