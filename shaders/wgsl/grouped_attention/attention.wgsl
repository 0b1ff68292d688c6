// Attention within groups of pixels. Online softmax (FlashAttention-2, arXiv 2307.08691, algorithm 1).
//
// Tile: 128 invocations x ROWS queries of one group and head, which share KEY_TILE keys and values in workgroup memory, KEYS keys a step.
// A window of 16 x 16 with heads of 12 has 128 keys (12 KiB) and its head's table of biases (3.8 KiB) in 16 KiB.
// Every invocation reads the same key at a time, a broadcast; ROWS 2 halves those reads per multiply-add.
// Workgroups: groups * heads * row_tiles.
#import grouped_attention/groups

const QUADS = {(HEAD_DIM+3)/4}u;
const KEY_TILE = {KEY_TILE}u;     // a multiple of KEYS

var<workgroup> key_tile: array<vec4f, KEY_TILE * QUADS>;
var<workgroup> value_tile: array<vec4f, KEY_TILE * QUADS>;
#if WINDOW
var<workgroup> bias_tile: array<f32, {(2*WINDOW-1)*(2*WINDOW-1)}>;
#endif

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) { return; }
    let group = index / params.row_tiles / params.heads;
    let head = index / params.row_tiles % params.heads;
    let first = index % params.row_tiles * {ROWS*128}u;
    let queries = query_count(group);
    if (first >= queries) { return; }
    let keys = key_count();

    // This invocation owns ROWS queries, 128 apart. Past the last one it repeats that and stores nothing.
#for r in 0..ROWS
    let row{r} = min(first + {r*128}u + local, queries - 1u);
    let query_start{r} = (pixel_at(group, row{r}) * params.kv_heads + head) * {HEAD_DIM}u;
#if WINDOW
    let bias{r} = query_place(row{r});
#endif
#if SHIFTED
    let region{r} = region(group, row{r});
#endif
#endfor
#import attention/lane_state
#if WINDOW
    for (var i = local; i < {(2*WINDOW-1)*(2*WINDOW-1)}u; i += 128u) {
        bias_tile[i] = bias_table[head * {(2*WINDOW-1)*(2*WINDOW-1)}u + i];
    }
#endif

    for (var tile = 0u; tile < keys; tile += KEY_TILE) {
        // 1. Keys and values of the tile; those past the last are 0 and masked below.
        workgroupBarrier();
        for (var i = local; i < KEY_TILE * QUADS; i += 128u) {
            let place = tile + i / QUADS;
            let column = i % QUADS * 4u;
            var key_quad = vec4f(0.0);
            var value_quad = vec4f(0.0);
            if (place < keys) {
                let pixel = pixel_at(group, place) * params.kv_heads;
                key_quad = load_key((pixel + params.heads + head) * {HEAD_DIM}u + column, {HEAD_DIM}u - column);
                value_quad = load_value((pixel + 2u * params.heads + head) * {HEAD_DIM}u + column, {HEAD_DIM}u - column);
            }
            key_tile[i] = key_quad;
            value_tile[i] = value_quad;
        }
        workgroupBarrier();

        for (var start = 0u; start < min(KEY_TILE, keys - tile); start += {KEYS}u) {
            // 2. Scores.
#for j in 0..KEYS
#for r in 0..ROWS
            var score{r}_{j} = 0.0;
#endfor
#for d in 0..(HEAD_DIM+3)/4
            let key{d}_{j} = key_tile[(start + {j}u) * QUADS + {d}u];
#for r in 0..ROWS
            // A chain, not a dot product: that is a multiplication and an addition more.
            score{r}_{j} = fma(query{r}_{d}.x, key{d}_{j}.x, fma(query{r}_{d}.y, key{d}_{j}.y,
                fma(query{r}_{d}.z, key{d}_{j}.z, fma(query{r}_{d}.w, key{d}_{j}.w, score{r}_{j}))));
#endfor
#endfor
#endfor
            // 3. Relative positions.
            let first_key = tile + start;
#import grouped_attention/relative_scores bias=bias_tile

            // 4. Online softmax. 5. Weighted values.
#import attention/lane_softmax
#for c in 0..(HEAD_DIM+3)/4
#for r in 0..ROWS
            out{r}_{c} *= rescale{r};
#endfor
#for j in 0..KEYS
            let value{c}_{j} = value_tile[(start + {j}u) * QUADS + {c}u];
#for r in 0..ROWS
            out{r}_{c} = fma(vec4f(weight{r}_{j}), value{c}_{j}, out{r}_{c});
#endfor
#endfor
#endfor
        }
    }

#for r in 0..ROWS
    if (first + {r*128}u + local < queries) {
        let inverse = 1.0 / sum{r};
        let out_start = (out_row(group, row{r}) * params.heads + head) * {HEAD_DIM}u;
#for c in 0..(HEAD_DIM+3)/4
        store_out(out_start + {c*4}u, {HEAD_DIM-c*4}u, inverse * out{r}_{c});
#endfor
    }
#endfor
}
