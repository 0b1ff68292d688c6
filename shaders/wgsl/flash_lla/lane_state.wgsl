    // Part of a phase: the rows' scalars, their query and {operand}, and the latter's product with the mean key.
#for r in 0..ROWS
    let scalars{r} = state[place{r} + SCALARS];
    let maximum{r} = scalars{r}.x;
    let inverse{r} = scalars{r}.y;
    let middle_slope{r} = product_of(place{r} + MEAN, place{r} + {vector});
    var total{r} = 0.0;
#for d in 0..(HEAD_DIM+3)/4
    let query{r}_{d} = state[place{r} + QUERY + {d}u];
    let {operand}{r}_{d} = state[place{r} + {vector} + {d}u];
#endfor
#endfor
