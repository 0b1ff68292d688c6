    // Part of a kernel of 8 lanes: the queries of the lane's ROWS rows, which start at the elements `query_start`, in units of base 2,
    // and what its rows gather.
    let factor = params.scale * LOG2_E;
#for r in 0..ROWS
#for d in 0..(HEAD_DIM+3)/4
    let query{r}_{d} = factor * load_query(query_start{r} + {d*4}u, {HEAD_DIM-d*4}u);
#endfor
    var maximum{r} = FLOOR;
    var sum{r} = 0.0;
#for c in 0..(VALUE_DIM+3)/4
    var out{r}_{c} = vec4f(0.0);
#endfor
#endfor
