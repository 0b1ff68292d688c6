    // Part of a tile of 8 x 8 threads: the thread's rows of one round of heads; a row that doesn't exist sees no key.
#for h in 0..ROW_TILE/32
#for r in 0..4
    let head{h}_{r} = {HEAD_TILE} * {ROW_TILE}u + ((y + {8*h}u) * 4u + {r}u) % rows_per_token;
    let row{h}_{r} = ((s.query_start + token{h}_{r}) * params.kv_heads + kv_head) * params.group + min(head{h}_{r}, params.group - 1u);
    let query{h}_{r} = row{h}_{r} * {HEAD_DIM}u;
    let row_limit{h}_{r} = select(0, row_end{h}_{r}, head{h}_{r} < params.group);
    let row_lse{h}_{r} = lse[row{h}_{r}] * LOG2_E;
#endfor
#endfor
