// Decode, step 3 for adapters that run on a CPU: the product sum w (x - c) (k - c)^T of decode_moments over a range of keys,
// from its weights and its center. VALUES: 1 with x = value, 0 with x = key.
//
// Tile: 32 rows of x, four in each of 8 lanes, by 4 * COLUMN_QUADS columns of the keys, for ROWS queries, all in registers: no
// barrier and no workgroup memory, since there every load is done lane by lane, and loads are what an extra query saves.
// lavapipe, head dim 64, 4096 keys, all steps of a decode, GFLOP/s by the CPU time of both cores (seconds to compile the two
// builds), queries x columns:
// - SUBGROUP, a lane loads one key and all get it by broadcast: 4 x 16 48 (2.7), 2 x 32 46 (2.2), 4 x 8 and 2 x 16 37 (1.3), 1 x 32
//   35 (1.1); 4 x 32 takes 6 s to compile;
// - otherwise, all lanes load every key: 4 x 8 21 (2.2), 4 x 16 21 (4.1), 2 x 16 19 (1.9), 1 x 16 12 (1.2).
#import flash_lla/decode_bindings
#import shared/load tensor=key f16={KEY_F16} aligned={HEAD_DIM%4==0}
#if VALUES
#import shared/load tensor=value f16={KEY_F16} aligned={VALUE_DIM%4==0}
#endif
#import flash_lla/decode_quads

@group(0) @binding(3) var<storage, read> key: array<{KEY_TYPE}>;             // [batch, tokens, kv_heads, head_dim]
#if VALUES
@group(0) @binding(4) var<storage, read> value: array<{VALUE_TYPE}>;         // [batch, tokens, kv_heads, value_dim]
#endif
@group(0) @binding(7) var<storage, read> weights: array<f32>;                // [batch, kv_heads, rows, tokens], relative to a lane's maximum
@group(0) @binding(8) var<storage, read> lanes: array<vec4f>;                // [batch, kv_heads, rows, splits, 8]: maximum, sum, its key in the range, 0
@group(0) @binding(9) var<storage, read_write> moments: array<vec4f>;        // [batch, kv_heads, rows, splits] records

// Blocks of the product: of values by keys all, of keys by keys those that touch the lower triangle.
const COLUMN_BLOCKS = KEY_QUADS / {COLUMN_QUADS}u;
const BLOCKS = {BLOCKS}u;

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) {
        return;
    }
    let split = index % params.splits;
    let block = block_at(index / params.splits % BLOCKS);
    let first_row = index / params.splits / BLOCKS % params.row_tiles * {ROWS}u;
    let head = index / params.splits / BLOCKS / params.row_tiles;
    let kv_head = head % params.kv_heads;
    let batch = head / params.kv_heads;
    let rows = params.query_tokens * params.group;
    let key_count = keys_of(batch);
    let low = split * range_keys(key_count);
    let high = min(low + range_keys(key_count), visible_keys(key_count, min(first_row + {ROWS}u, rows) - 1u));
    let last = max(high, 1u) - 1u;
    let quad = block.x * 8u + lane;                        // of the keys, or of the values
    let column_quad = block.y * {COLUMN_QUADS}u;
    let first_entry = batch * params.tokens * params.kv_heads + kv_head;

    // 1. The centers, and what joins the lanes of the first step. Past the last row that one is repeated.
#if VALUES
    let x_origin = vec4f(0.0);
    let x = KEY_QUADS + quad;
    let exists = x < QUADS;
#else
    let x_origin = key_quad(first_entry, quad);
    let x = quad;
    let exists = x < KEY_QUADS;
#endif
#for c in 0..COLUMN_QUADS
    let origin{c} = key_quad(first_entry, column_quad + {c}u);
#endfor
#for r in 0..ROWS
    let row{r} = head * rows + min(first_row + {r}u, rows - 1u);
    let high{r} = min(high, visible_keys(key_count, row{r} % rows));
    let own_weights{r} = row{r} * params.tokens;
    let record{r} = (row{r} * params.splits + split) * RECORD;
    let maximum{r} = moments[record{r}].x;
    let first_lane{r} = (row{r} * params.splits + split) * 8u;
#if SUBGROUP
    let own_factor{r} = exp2(lanes[first_lane{r} + lane].x - maximum{r});
#else
#for t in 0..8
    let factor{r}_{t} = exp2(lanes[first_lane{r} + {t}u].x - maximum{r});
#endfor
#endif
    let center{r} = moments[record{r} + CENTER + min(x, QUADS - 1u)];
    var x_sum{r} = vec4f(0.0);
#for c in 0..COLUMN_QUADS
    let column_center{r}_{c} = moments[record{r} + CENTER + column_quad + {c}u];
#for i in 0..4
    var sum{r}_{i}_{c} = vec4f(0.0);
#endfor
#endfor
#endfor

    // 2. The product, eight keys at a time; the t-th belongs to lane t of the first step.
    for (var start = low; start < high; start += 8u) {
#for t in 0..8
        let entry{t} = first_entry + min(start + {t}u, last) * params.kv_heads;
#if VALUES
        let x{t} = value_quad(entry{t}, quad);
#else
        let x{t} = key_quad(entry{t}, quad) - x_origin;
#endif
#endfor
#if SUBGROUP
        let own = start + lane;
        let own_entry = first_entry + min(own, last) * params.kv_heads;
#endif
#for r in 0..ROWS
#if SUBGROUP
        let own_weight{r} = own_factor{r} * weights[own_weights{r} + min(own, last)];
#endif
#for t in 0..8
#if SUBGROUP
        let weight{r}_{t} = subgroupBroadcast(own_weight{r}, {t}u);
#else
        let weight{r}_{t} = factor{r}_{t} * weights[own_weights{r} + min(start + {t}u, last)];
#endif
        // What the row doesn't see may be no number.
        let weighted{r}_{t} = select(vec4f(0.0), weight{r}_{t} * (x{t} - center{r}), start + {t}u < high{r});
        x_sum{r} += weighted{r}_{t};
#endfor
#endfor
#for c in 0..COLUMN_QUADS
        {
#if SUBGROUP
            let own_key = key_quad(own_entry, column_quad + {c}u) - origin{c};
#endif
#for t in 0..8
#if SUBGROUP
            let key{t} = subgroupBroadcast(own_key, {t}u);
#else
            let key{t} = key_quad(entry{t}, column_quad + {c}u) - origin{c};
#endif
#endfor
#for r in 0..ROWS
#for t in 0..8
            let k{r}_{t} = key{t} - column_center{r}_{c};
#endfor
#for i in 0..4
#for t in 0..8
            sum{r}_{i}_{c} = fma(vec4f(weighted{r}_{t}[{i}]), k{r}_{t}, sum{r}_{i}_{c});
#endfor
#endfor
#endfor
        }
#endfor
    }

    // 3. The rest of the record; nothing of a range without a key.
    if (low < high && exists) {
#for r in 0..ROWS
        if (block.y == 0u) {
            moments[record{r} + SUM + x] = x_sum{r};
        }
#for i in 0..4
#for c in 0..COLUMN_QUADS
        moments[record{r} + PRODUCT + (x * 4u + {i}u) * KEY_QUADS + column_quad + {c}u] = sum{r}_{i}_{c};
#endfor
#endfor
#endfor
    }
}

// Block `at`: 8 quads of x from 8 * x on by the columns from block y on.
fn block_at(at: u32) -> vec2u {
#if VALUES
    return vec2u(at / COLUMN_BLOCKS, at % COLUMN_BLOCKS);
#else
    var block = vec2u(0u, at);
    for (var columns = {8/COLUMN_QUADS}u; block.y >= columns; columns += {8/COLUMN_QUADS}u) {
        block.y -= columns;
        block.x += 1u;
    }
    return block;
#endif
}
