// Attention of many rows: tiles of queries against tiles of keys, online softmax in base 2.
// FlashAttention-2, arXiv 2307.08691, Algorithm 1.
//
// Tile: ROW_TILE queries x KEY_TILE keys (32 or 64 each), 8 x 8 threads, every accumulator a named vec4f in a register.
// 64 x 32 because 8 rows x 8 columns per thread make 64 FMAs of 4 reads of workgroup memory. RADV for navi21, head and value
// dim 64: 16 KiB, 208 VGPRs, no spills, 4 waves per SIMD, 89 % FMAs in the value loop, 71 % over the whole tile. 32 x 32 reaches
// 63 % there (128 VGPRs, 6 waves), 32 x 64 68 % (144), 64 x 64 76 % (248). Value dim 128 fills the registers at 64 x 32 (256,
// no spills, 75 %); above it 32 x 64 holds value dim 256 (248, no spills, 73 %).
#import attention/bindings
#import shared/load tensor=query f16={QUERY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=key f16={KEY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=value f16={KEY_F16} aligned={VALUE_DIM%4==0}

#if VALUE_DIM % 4 == 0
@group(0) @binding(8) var<storage, read_write> out: array<vec4f>;      // [batch, query_tokens, kv_heads * group, value_dim]
#else
@group(0) @binding(8) var<storage, read_write> out: array<f32>;        // [batch, query_tokens, kv_heads * group, value_dim]
#endif
@group(0) @binding(9) var<storage, read_write> lse: array<f32>;        // [batch, query_tokens, kv_heads * group]

// Thread (x, y) of 8 x 8 owns the row quads y, y + 8, the key quads x, x + 8 and the column quads x, x + 8, ...
const ROW_QUADS = {ROW_TILE/4}u;
const KEY_QUADS = {KEY_TILE/4}u;

// First the query, later the weights; after them the key, later the value. All four are read as quads along the tile's
// edge. A quad's place is XORed with the index of the depth or key quad, so neither side meets bank conflicts.
const SECOND = {ROW_TILE*8}u;
var<workgroup> tile: array<vec4f, {ROW_TILE*8+512}>;
// One quad of rows per thread column, between the score loop and the value loop.
const EXCHANGE = {ROW_TILE*8+256}u;

const BIAS_LIMIT = 5.0e28; // a biased logit stays above FLOOR

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) thread: u32) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) { return; }
    let kv_head = index / params.row_tiles % params.kv_heads;
    let s = sequence_at(index / params.row_tiles / params.kv_heads);
    let first_row = index % params.row_tiles * {ROW_TILE}u;
    let rows = s.query_count * params.group;
    if (first_row >= rows) { return; }
    let x = thread % 8u;
    let y = thread / 8u;
    let slot = x ^ y;

    // The rows of the tile see keys from `key_begin` to `key_end`.
    let first_position = position_of(s, first_row);
    let last_position = position_of(s, min(first_row + {ROW_TILE-1}u, rows - 1u));
    let key_count = i32(s.key_count);
    let key_begin = max(first_key(first_position), 0);
    let key_end = min(end_key(last_position), key_count);

#for h in 0..ROW_TILE/32
#for r in 0..4
    let query{h}_{r} = query_index(s, kv_head, min(first_row + (y + {8*h}u) * 4u + {r}u, rows - 1u)) * {HEAD_DIM}u;
#for c in 0..(VALUE_DIM+31)/32
    var out{h}_{r}_{c} = vec4f(0.0);
#endfor
#endfor
    var maximum{h} = vec4f(FLOOR);
    var sum{h} = vec4f(0.0); // over this thread's own keys
#endfor

    for (var start = key_begin; start < key_end; start += {KEY_TILE}) {
        // 1. Scores of the tile.
#import attention/tile_scores

        // 2. Scale, bias and visibility. Only a tile at an edge of the visible range tests each element.
        let scale = params.scale * LOG2_E;
        let last_key = start + {KEY_TILE-1};
        let at_edge = last_key >= key_count || last_key >= end_key(first_position) || start < first_key(last_position);
#for k in 0..KEY_TILE/32
        let keys{k} = start + i32((x + {8*k}u) * 4u) + vec4i(0, 1, 2, 3);
#if KEY_BIAS || KEY_MASK
        let entries{k} = s.key_start + vec4u(min(keys{k}, vec4i(key_count - 1)));
#endif
#if KEY_BIAS
        let bias{k} = vec4f(key_bias[entries{k}.x], key_bias[entries{k}.y], key_bias[entries{k}.z], key_bias[entries{k}.w]);
        let offset{k} = clamp(bias{k}, vec4f(-BIAS_LIMIT), vec4f(BIAS_LIMIT)) * LOG2_E;
#else
        let offset{k} = vec4f(0.0);
#endif
#if KEY_MASK
        let unmasked{k} = vec4u(key_mask[entries{k}.x], key_mask[entries{k}.y], key_mask[entries{k}.z], key_mask[entries{k}.w]) != vec4u(0u);
#endif
#endfor
#for h in 0..ROW_TILE/32
#for r in 0..4
#for k in 0..KEY_TILE/32
        score{h}_{r}_{k} = score{h}_{r}_{k} * scale + offset{k};
#if KEY_MASK
        score{h}_{r}_{k} = select(vec4f(MASKED), score{h}_{r}_{k}, unmasked{k});
#endif
#endfor
#endfor
#endfor
        if (at_edge) {
#for h in 0..ROW_TILE/32
#for r in 0..4
            let position{h}_{r} = position_of(s, min(first_row + (y + {8*h}u) * 4u + {r}u, rows - 1u));
            let low{h}_{r} = vec4i(first_key(position{h}_{r}));
            let high{h}_{r} = vec4i(min(end_key(position{h}_{r}), key_count) - 1);
#for k in 0..KEY_TILE/32
            score{h}_{r}_{k} = select(vec4f(MASKED), score{h}_{r}_{k}, (keys{k} >= low{h}_{r}) & (keys{k} <= high{h}_{r}));
#endfor
#endfor
#endfor
        }

        // 3. Row maxima over the eight threads that share the rows.
#for h in 0..ROW_TILE/32
#for r in 0..4
        var peak{h}_{r} = score{h}_{r}_0;
#for k in 1..KEY_TILE/32
        peak{h}_{r} = max(peak{h}_{r}, score{h}_{r}_{k});
#endfor
        let highest{h}_{r} = max(max(peak{h}_{r}.x, peak{h}_{r}.y), max(peak{h}_{r}.z, peak{h}_{r}.w));
#endfor
        var highest{h} = vec4f(highest{h}_0, highest{h}_1, highest{h}_2, highest{h}_3);
#endfor
#if SUBGROUP
#for h in 0..ROW_TILE/32
#for lanes in 1 2 4
        highest{h} = max(highest{h}, subgroupShuffleXor(highest{h}, {lanes}u));
#endfor
#endfor
#else
#if KEY_TILE == 64
        workgroupBarrier();
#endif
#for h in 0..ROW_TILE/32
        tile[EXCHANGE + x * ROW_QUADS + y + {8*h}u] = highest{h};
#endfor
        workgroupBarrier();
#for h in 0..ROW_TILE/32
#for t in 0..8
        highest{h} = max(highest{h}, tile[EXCHANGE + {t}u * ROW_QUADS + y + {8*h}u]);
#endfor
#endfor
#endif
#for h in 0..ROW_TILE/32
        let raised{h} = max(maximum{h}, highest{h});
        let shrink{h} = exp2(maximum{h} - raised{h});
        maximum{h} = raised{h};
        sum{h} *= shrink{h};
#for r in 0..4
#for k in 0..KEY_TILE/32
        score{h}_{r}_{k} = exp2(score{h}_{r}_{k} - raised{h}[{r}]);
#endfor
#for c in 0..(VALUE_DIM+31)/32
        out{h}_{r}_{c} *= shrink{h}[{r}];
#endfor
#endfor
#endfor

        // 4. Weighted values: 32 keys and 64 columns at a time, `quads` = 1 or 2 column quads per thread.
#for k in 0..KEY_TILE/32
        workgroupBarrier();
#for h in 0..ROW_TILE/32
#for j in 0..4
        let weight{h}_{k}_{j} = vec4f(score{h}_0_{k}[{j}], score{h}_1_{k}[{j}], score{h}_2_{k}[{j}], score{h}_3_{k}[{j}]);
        sum{h} += weight{h}_{k}_{j};
        tile[(x * 4u + {j}u) * ROW_QUADS + slot + {8*h}u] = weight{h}_{k}_{j};
#endfor
#endfor
#for block in 0..(VALUE_DIM+63)/64
#for quads in {1+(VALUE_DIM>64*block+32)}
#if block > 0
        workgroupBarrier();
#endif
        let column{k}_{block} = thread % {8*quads}u * 4u + {64*block}u;
        let staged{k}_{block} = i32(thread / {8*quads}u) + {32*k};
#if VALUE_DIM % 32 != 0
        if (column{k}_{block} < {VALUE_DIM}u) {
#else
        {
#endif
            let count = min({VALUE_DIM}u - column{k}_{block}, 4u);
#for n in 0..4*quads
            let value{n} = load_value(key_index(s, kv_head, start + staged{k}_{block} + {n*8/quads}) * {VALUE_DIM}u + column{k}_{block}, count);
#endfor
#for n in 0..4*quads
            tile[SECOND + thread + {64*n}u] = value{n};
#endfor
        }
        workgroupBarrier();
        for (var quad = 0u; quad < 8u; quad += 1u) {
            let weight_at = quad * 4u * ROW_QUADS + (y ^ quad);
            let value_at = SECOND + quad * {32*quads}u + x;
#for j in 0..4
#for h in 0..ROW_TILE/32
            let w{h}_{j} = tile[weight_at + {j}u * ROW_QUADS + {8*h}u];
#endfor
#for v in 0..quads
            let v{v}_{j} = tile[value_at + {8*quads*j+8*v}u];
#for h in 0..ROW_TILE/32
#for r in 0..4
            out{h}_{r}_{2*block+v} += w{h}_{j}[{r}] * v{v}_{j};
#endfor
#endfor
#endfor
#endfor
        }
#endfor
#endfor
#endfor
    }

    // 5. Sums over the eight threads, normalise, store.
    workgroupBarrier();
#for h in 0..ROW_TILE/32
    tile[EXCHANGE + x * ROW_QUADS + y + {8*h}u] = sum{h};
#endfor
    workgroupBarrier();
#for h in 0..ROW_TILE/32
    var total{h} = vec4f(0.0);
#for t in 0..8
    total{h} += tile[EXCHANGE + {t}u * ROW_QUADS + y + {8*h}u];
#endfor
    let inverse{h} = select(vec4f(0.0), 1.0 / total{h}, total{h} > vec4f(0.0));
    let row_lse{h} = select(vec4f(EMPTY_LSE), (maximum{h} + log2(total{h})) * LN_2, total{h} > vec4f(0.0));
#for r in 0..4
    let row{h}_{r} = first_row + (y + {8*h}u) * 4u + {r}u;
    if (row{h}_{r} < rows) {
        let at = out_index(s, kv_head, row{h}_{r});
        if (x == 0u) { lse[at] = row_lse{h}[{r}]; }
#for c in 0..(VALUE_DIM+31)/32
        store(at, x * 4u + {32*c}u, out{h}_{r}_{c} * inverse{h}[{r}]);
#endfor
    }
#endfor
#endfor
}

fn query_index(s: Sequence, kv_head: u32, row: u32) -> u32 {
    let head = (kv_head * params.group + row % params.group) % params.query_heads;
    return (s.query_start + row / params.group) * params.query_heads + head;
}

// Keys past the end repeat the last one: they are masked, but what they read must be finite.
fn key_index(s: Sequence, kv_head: u32, key: i32) -> u32 {
    return (s.key_start + min(u32(key), s.key_count - 1u)) * params.kv_heads + kv_head;
}

fn out_index(s: Sequence, kv_head: u32, row: u32) -> u32 {
    let token = s.query_start + row / params.group;
    return (token * params.kv_heads + kv_head) * params.group + row % params.group;
}

fn store(row: u32, column: u32, quad: vec4f) {
#if VALUE_DIM % 4 == 0
#if VALUE_DIM % 32 != 0
    if (column >= {VALUE_DIM}u) { return; }
#endif
    out[(row * {VALUE_DIM}u + column) / 4u] = quad;
#else
#for j in 0..4
    if (column + {j}u < {VALUE_DIM}u) { out[row * {VALUE_DIM}u + column + {j}u] = quad[{j}]; }
#endfor
#endif
}
