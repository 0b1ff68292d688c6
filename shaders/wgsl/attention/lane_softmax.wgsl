        // Part of a step of the lanes: weights of the step's keys, running maximum and sum.
#for r in 0..ROWS
        let peak{r} = max(maximum{r}
#for j in 0..KEYS-1
            , max(score{r}_{j}
#endfor
            , score{r}_{KEYS-1}
#for j in 0..KEYS
            )
#endfor
            ;
        let rescale{r} = exp2(maximum{r} - peak{r});
        maximum{r} = peak{r};
        sum{r} *= rescale{r};
#for j in 0..KEYS
        let weight{r}_{j} = exp2(score{r}_{j} - peak{r});
        sum{r} += weight{r}_{j};
#endfor
#endfor
