    // Part of a kernel of 8 lanes: the lane's rows go to the rows `place` of the outputs, where `stored`. PARTIAL: not normalised.
#for r in 0..ROWS
    if (stored{r}) {
#if PARTIAL
        partial_state[place{r}] = vec2f(maximum{r}, sum{r});
        let inverse = 1.0;
#else
        let divisor = select(1.0, sum{r}, sum{r} > 0.0);
        let inverse = 1.0 / divisor;
        lse[place{r}] = select(EMPTY_LSE, (maximum{r} + log2(divisor)) * LN_2, sum{r} > 0.0);
#endif
#if VALUE_DIM % 4 == 0
#for c in 0..VALUE_DIM/4
        {OUT}[place{r} * {VALUE_DIM/4}u + {c}u] = inverse * out{r}_{c};
#endfor
#else
#for c in 0..VALUE_DIM
        {OUT}[place{r} * {VALUE_DIM}u + {c}u] = inverse * out{r}_{c/4}[{c%4}];
#endfor
#endif
    }
#endfor
