    // Part of a tile of 8 lanes: the lane's heads of one round, in units of base 2; a head that doesn't exist sees no key.
#for r in 0..ROWS
#if SUBGROUP
    let head{r} = ({HEAD_TILE} * {ROWS}u + {r}u) * LANES + lane;
#else
    let head{r} = {HEAD_TILE} * {ROWS}u + {r}u;
#endif
    let row{r} = ((s.query_start + token) * params.kv_heads + kv_head) * params.group + min(head{r}, params.group - 1u);
    let row_limit{r} = select(0, min(end_key(position), i32(s.key_count)), head{r} < params.group);
    let row_lse{r} = lse[row{r}] * LOG2_E;
#for d in 0..(HEAD_DIM+3)/4
    let query{r}_{d} = factor * load_query(row{r} * {HEAD_DIM}u + {d*4}u, {HEAD_DIM-d*4}u);
#endfor
#endfor
