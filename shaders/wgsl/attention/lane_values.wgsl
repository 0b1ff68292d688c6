        // Part of a step of the lanes: out = rescale * out + weight x values of the entries `own` (lane_scores).
#if SUBGROUP
        let value_row = (own * params.kv_heads + kv_head) * {VALUE_DIM}u;
#for c in 0..((VALUE_DIM+3)/4*KEYS+7)/8
        let value_column{c} = min({c*8/KEYS}u + lane / {KEYS}u, {(VALUE_DIM-1)/4}u) * 4u;
        let value{c} = load_value(value_row + value_column{c}, {VALUE_DIM}u - value_column{c});
#endfor
#else
#for j in 0..KEYS
        let value_row{j} = (own{j} * params.kv_heads + kv_head) * {VALUE_DIM}u;
#endfor
#endif
#for c in 0..(VALUE_DIM+3)/4
#for r in 0..ROWS
        out{r}_{c} *= rescale{r};
#endfor
#for j in 0..KEYS
#if SUBGROUP
        let value{c}_{j} = subgroupBroadcast(value{c*KEYS/8}, {c%(8/KEYS)*KEYS+j}u);
#else
        let value{c}_{j} = load_value(value_row{j} + {c*4}u, {VALUE_DIM-c*4}u);
#endif
#for r in 0..ROWS
        out{r}_{c} = fma(vec4f(weight{r}_{j}), value{c}_{j}, out{r}_{c});
#endfor
#endfor
#endfor
