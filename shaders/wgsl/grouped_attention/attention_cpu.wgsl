// Attention within groups of pixels, for adapters that run on a CPU: 8 lanes x ROWS queries in named registers, KEYS keys a step, as in
// attention/prefill_cpu. Online softmax (FlashAttention-2, arXiv 2307.08691, algorithm 1).
// Workgroups: group_step * heads * row_tiles.
#import grouped_attention/groups

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = grid_index(workgroup, workgroups);
    if (index >= grid.end) { return; }
    let head = index / params.row_tiles % params.heads;
    let first = index % params.row_tiles * {ROWS*8}u;
    let keys = key_count();
    // A workgroup that ends early runs all its code with every lane masked: 2 us, on such adapters. So few are started, and each has
    // several groups, of which those past the list cost nothing.
    var group = index / params.row_tiles / params.heads;
    for (; group < params.groups && first < query_count(group); group += params.group_step) {
        let queries = query_count(group);

        // This lane owns ROWS queries, 8 apart. Past the last one it repeats that and stores nothing.
#for r in 0..ROWS
        let row{r} = min(first + {r*8}u + lane, queries - 1u);
        let query_start{r} = (pixel_at(group, row{r}) * params.kv_heads + head) * {HEAD_DIM}u;
#if WINDOW
        let bias{r} = head * {(2*WINDOW-1)*(2*WINDOW-1)}u + query_place(row{r});
#endif
#if SHIFTED
        let region{r} = region(group, row{r});
#endif
#endfor
#import attention/lane_state
        let kv_head = params.heads + head;
        let value_head = 2u * params.heads + head;

        for (var start = 0u; start < keys; start += {KEYS}u) {
            // 1. Scores.
#if SUBGROUP
            let own = pixel_at(group, min(start + lane % {KEYS}u, keys - 1u));
#else
#for j in 0..KEYS
            let own{j} = pixel_at(group, min(start + {j}u, keys - 1u));
#endfor
#endif
#import attention/lane_scores

            // 2. Relative positions.
            let first_key = start;
#import grouped_attention/relative_scores bias=bias_table

            // 3. Online softmax. 4. Weighted values.
#import attention/lane_softmax
            {
                let kv_head = value_head;
#import attention/lane_values
            }
        }

#for r in 0..ROWS
        if (first + {r*8}u + lane < queries) {
            let inverse = 1.0 / sum{r};
            let out_start = (out_row(group, row{r}) * params.heads + head) * {HEAD_DIM}u;
#for c in 0..(HEAD_DIM+3)/4
            store_out(out_start + {c*4}u, {HEAD_DIM-c*4}u, inverse * out{r}_{c});
#endfor
        }
#endfor
    }
}
