// Attention of few rows against many keys: each workgroup takes one range of keys and leaves an unnormalised part.
// Split-KV "Flash-Decoding" of FlashAttention-2 (arXiv 2307.08691); attention/combine joins the parts.
//
// Tile: ROW_TILE rows (1, 4, 8, 16) x 64 keys, 64 threads. Every key and value is read once per row tile: keys through
// workgroup memory, a chunk of 32 of the depth (8 KiB in flight) at a time; values straight into registers, 8 loads (8 KiB) in flight.
// RADV for navi21, head and value dim 64, no spills: 1 row 96 VGPRs, 8 waves per SIMD; 4 rows 112, 8; 8 rows 152, 6; 16 rows
// 256, 4. Workgroup memory is 16 KiB at most while ROW_TILE * (head dim + 64) <= 2048, head dim rounded up to 32.
#import attention/bindings
#import shared/load tensor=query f16={QUERY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=key f16={KEY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=value f16={KEY_F16} aligned={VALUE_DIM%4==0}

#if VALUE_DIM % 4 == 0
@group(0) @binding(8) var<storage, read_write> partial_out: array<vec4f>;    // [splits, batch, query_tokens, kv_heads * group, value_dim]
#else
@group(0) @binding(8) var<storage, read_write> partial_out: array<f32>;      // [splits, batch, query_tokens, kv_heads * group, value_dim]
#endif
@group(0) @binding(9) var<storage, read_write> partial_state: array<vec2f>;  // [splits, batch, query_tokens, kv_heads * group]: maximum, sum

// A thread owns one key of 64 for the scores, then one column quad of the values for every KEY_GROUPS-th key.
// Side by side, DEPTH_LANES threads read one key and COLUMN_LANES threads one value: powers of two, so loads coalesce.
const DEPTH_LANES = {1+(HEAD_DIM>4)+(HEAD_DIM>8)*2+(HEAD_DIM>16)*4}u;
const COLUMN_LANES = {1+(VALUE_DIM>4)+(VALUE_DIM>8)*2+(VALUE_DIM>16)*4+(VALUE_DIM>32)*8+(VALUE_DIM>64)*16+(VALUE_DIM>128)*32}u;
const KEY_GROUPS = 64u / COLUMN_LANES;
const CHUNK = DEPTH_LANES * 4u;
const DEPTH_QUADS = ({HEAD_DIM}u + CHUNK - 1u) / CHUNK * DEPTH_LANES;
const ROW_QUADS = {(ROW_TILE+3)/4}u;

// The rows of one quad; ROW_TILE is 1 or a multiple of 4.
#if ROW_TILE == 1
alias Rows = f32;
#else
alias Rows = vec4f;
#endif

var<workgroup> query_tile: array<vec4f, {ROW_TILE}u * DEPTH_QUADS>; // padded with zeros, in units of base 2
var<workgroup> key_tile: array<vec4f, 512>; // a chunk of 64 keys; then what threads exchange
var<workgroup> weight_tile: array<Rows, 64u * ROW_QUADS>;

const BIAS_LIMIT = 5.0e28; // a biased logit stays above FLOOR

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) thread: u32) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) { return; }
    let split = index % params.splits;
    let first_row = index / params.splits % params.row_tiles * {ROW_TILE}u;
    let head_index = index / params.splits / params.row_tiles;
    let kv_head = head_index % params.kv_heads;
    let s = sequence_at(head_index / params.kv_heads);
    let rows = s.query_count * params.group;
    if (first_row >= rows) { return; }

    // The keys of this range that the rows of the tile can see.
    let first_position = position_of(s, first_row);
    let last_position = position_of(s, min(first_row + {ROW_TILE-1}u, rows - 1u));
    let begin = max(first_key(first_position), 0) + i32(split * params.split_tokens);
    let end = min(min(begin + i32(params.split_tokens), i32(s.key_count)), end_key(last_position));

    for (var at = thread; at < {ROW_TILE}u * DEPTH_QUADS; at += 64u) {
        let depth = at % DEPTH_QUADS * 4u;
        var quad = vec4f(0.0);
        if (depth < {HEAD_DIM}u) {
            let row = min(first_row + at / DEPTH_QUADS, rows - 1u);
            quad = load_query(query_index(s, kv_head, row) * {HEAD_DIM}u + depth, min({HEAD_DIM}u - depth, 4u));
        }
        query_tile[at] = quad * (params.scale * LOG2_E);
    }
#for h in 0..(ROW_TILE+3)/4
    var maximum{h} = Rows(FLOOR);
    var sum{h} = Rows(0.0); // over this thread's own keys
#endfor
#for r in 0..ROW_TILE
    var out{r} = vec4f(0.0);
#endfor
    let staged_depth = thread % DEPTH_LANES;
    let column = thread % COLUMN_LANES * 4u;
    let key_group = thread / COLUMN_LANES;

    for (var start = begin; start < end; start += 64) {
        // 1. One score per key and row.
#for r in 0..ROW_TILE
        var dot{r} = vec4f(0.0);
#endfor
#for lanes in {1+(HEAD_DIM>4)+(HEAD_DIM>8)*2+(HEAD_DIM>16)*4}
        for (var chunk = 0u; chunk < DEPTH_QUADS; chunk += DEPTH_LANES) {
            let depth = (chunk + staged_depth) * 4u;
#for n in 0..lanes
            let staged{n} = thread / DEPTH_LANES + {n}u * 64u / DEPTH_LANES;
            var quad{n} = vec4f(0.0);
#if HEAD_DIM % 32 != 0
            if (depth < {HEAD_DIM}u) {
#else
            {
#endif
                quad{n} = load_key(key_index(s, kv_head, min(start + i32(staged{n}), end - 1)) * {HEAD_DIM}u + depth, min({HEAD_DIM}u - depth, 4u));
            }
#endfor
            // XORed with the key, so that 8 threads reading 8 keys meet no bank conflict.
#for n in 0..lanes
            key_tile[staged{n} * DEPTH_LANES + (staged_depth ^ (staged{n} % DEPTH_LANES))] = quad{n};
#endfor
            workgroupBarrier();
#for d in 0..lanes
            let k{d} = key_tile[thread * DEPTH_LANES + ({d}u ^ (thread % DEPTH_LANES))];
#for r in 0..ROW_TILE
            dot{r} += k{d} * query_tile[{r}u * DEPTH_QUADS + chunk + {d}u];
#endfor
#endfor
            workgroupBarrier();
        }
#endfor

        // 2. Bias and visibility.
        let key_position = start + i32(thread);
        var visible = key_position < end;
#if KEY_BIAS || KEY_MASK
        let entry = s.key_start + u32(min(key_position, end - 1));
#endif
#if KEY_BIAS
        let bias = clamp(key_bias[entry], -BIAS_LIMIT, BIAS_LIMIT) * LOG2_E;
#else
        let bias = 0.0;
#endif
#if KEY_MASK
        visible = visible && key_mask[entry] != 0u;
#endif
#for r in 0..ROW_TILE
        let position{r} = position_of(s, min(first_row + {r}u, rows - 1u));
        let visible{r} = visible && key_position >= first_key(position{r}) && key_position < end_key(position{r});
        let logit{r} = select(MASKED, dot{r}.x + dot{r}.y + (dot{r}.z + dot{r}.w) + bias, visible{r});
#endfor
#if ROW_TILE == 1
        let score0 = logit0;
#else
#for h in 0..ROW_TILE/4
        let score{h} = vec4f(logit{4*h}, logit{4*h+1}, logit{4*h+2}, logit{4*h+3});
#endfor
#endif

        // 3. Row maxima over the 64 keys: eight parts of eight, then all.
#if SUBGROUP
#for h in 0..(ROW_TILE+3)/4
        var highest{h} = score{h};
#for lanes in 1 2 4
        highest{h} = max(highest{h}, subgroupShuffleXor(highest{h}, {lanes}u));
#endfor
        if (thread % 8u == 0u) { key_tile[thread / 8u + {8*h}u] = vec4f(highest{h}); }
#endfor
#else
#for h in 0..(ROW_TILE+3)/4
        weight_tile[thread + {64*h}u] = score{h};
#endfor
        workgroupBarrier();
        if (thread < 8u * ROW_QUADS) {
            let part = thread / 8u * 64u + thread % 8u;
            var highest = weight_tile[part];
#for t in 1..8
            highest = max(highest, weight_tile[part + {8*t}u]);
#endfor
            key_tile[thread] = vec4f(highest);
        }
#endif
        workgroupBarrier();
#for h in 0..(ROW_TILE+3)/4
        var raised{h} = maximum{h};
#for t in 0..8
#if ROW_TILE == 1
        raised{h} = max(raised{h}, key_tile[{t}u].x);
#else
        raised{h} = max(raised{h}, key_tile[{8*h+t}u]);
#endif
#endfor
        let shrink{h} = exp2(maximum{h} - raised{h});
        maximum{h} = raised{h};
        let weight{h} = exp2(score{h} - raised{h});
        sum{h} = sum{h} * shrink{h} + weight{h};
        weight_tile[thread * ROW_QUADS + {h}u] = weight{h};
#endfor
#if ROW_TILE == 1
        out0 *= shrink0;
#else
#for r in 0..ROW_TILE
        out{r} *= shrink{r/4}[{r%4}];
#endfor
#endif
        workgroupBarrier();

        // 4. Weighted values, straight from memory: up to 8 loads in flight per thread.
        if (column < {VALUE_DIM}u) {
            let count = min({VALUE_DIM}u - column, 4u);
            let keys = u32(min(end - start, 64));
#for loads in {1+(VALUE_DIM>4)+(VALUE_DIM>8)*2+(VALUE_DIM>16)*4}
            for (var base = key_group; base < keys; base += KEY_GROUPS * {loads}u) {
#for n in 0..loads
                let key{n} = base + {n}u * KEY_GROUPS;
                let value{n} = load_value(key_index(s, kv_head, min(start + i32(key{n}), end - 1)) * {VALUE_DIM}u + column, count);
#endfor
#for n in 0..loads
#for h in 0..(ROW_TILE+3)/4
                let w{n}_{h} = weight_tile[key{n} * ROW_QUADS + {h}u];
#endfor
#if ROW_TILE == 1
                out0 += w{n}_0 * value{n};
#else
#for r in 0..ROW_TILE
                out{r} += w{n}_{r/4}[{r%4}] * value{n};
#endfor
#endif
#endfor
            }
#endfor
        }
    }

    // 5. Sums over the threads, then outputs over the key groups.
#if PACKED
    let first_part = split * sequences[params.batch];
#else
    let first_part = split * params.batch * params.query_tokens;
#endif
    workgroupBarrier();
#for h in 0..(ROW_TILE+3)/4
    key_tile[thread + {64*h}u] = vec4f(sum{h});
#endfor
    workgroupBarrier();
    if (thread < 8u * ROW_QUADS) {
        let part = thread / 8u * 64u + thread % 8u;
        var total = key_tile[part];
#for t in 1..8
        total += key_tile[part + {8*t}u];
#endfor
        key_tile[256u + thread] = total;
    }
    workgroupBarrier();
#for r in 0..ROW_TILE
    if (thread == {r}u && first_row + {r}u < rows) {
        var total = 0.0;
#for t in 0..8
        total += key_tile[{256+r/4*8+t}u][{r%4}];
#endfor
#if ROW_TILE == 1
        let peak = maximum0;
#else
        let peak = maximum{r/4}[{r%4}];
#endif
        partial_state[part_index(s, first_part, kv_head, first_row + {r}u)] = vec2f(peak, total);
    }
#endfor
#for pass_rows in {1+(ROW_TILE>1)*3+(ROW_TILE>4)*4}
#for pass in 0..(ROW_TILE+7)/8
    workgroupBarrier();
#for r in 8*pass..8*pass+pass_rows
    key_tile[thread + {64*(r-8*pass)}u] = out{r};
#endfor
    workgroupBarrier();
    for (var at = thread; at < {pass_rows}u * COLUMN_LANES; at += 64u) {
        let row = at / COLUMN_LANES;
        var quad = vec4f(0.0);
        for (var part = at % COLUMN_LANES; part < 64u; part += COLUMN_LANES) {
            quad += key_tile[row * 64u + part];
        }
        if (first_row + {8*pass}u + row < rows) {
            store(part_index(s, first_part, kv_head, first_row + {8*pass}u + row), at % COLUMN_LANES * 4u, quad);
        }
    }
#endfor
#endfor
}

fn query_index(s: Sequence, kv_head: u32, row: u32) -> u32 {
    let head = (kv_head * params.group + row % params.group) % params.query_heads;
    return (s.query_start + row / params.group) * params.query_heads + head;
}

fn key_index(s: Sequence, kv_head: u32, key: i32) -> u32 {
    return (s.key_start + u32(key)) * params.kv_heads + kv_head;
}

fn part_index(s: Sequence, first_part: u32, kv_head: u32, row: u32) -> u32 {
    let token = first_part + s.query_start + row / params.group;
    return (token * params.kv_heads + kv_head) * params.group + row % params.group;
}

fn store(row: u32, column: u32, quad: vec4f) {
#if VALUE_DIM % 4 == 0
    if (column < {VALUE_DIM}u) { partial_out[(row * {VALUE_DIM}u + column) / 4u] = quad; }
#else
#for j in 0..4
    if (column + {j}u < {VALUE_DIM}u) { partial_out[row * {VALUE_DIM}u + column + {j}u] = quad[{j}]; }
#endfor
#endif
}
