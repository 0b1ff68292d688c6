        // Part of a phase: p_j (k_j - k̄) · {operand}.
#for r in 0..ROWS
#for j in 0..KEYS
        let factor{r}_{j} = exp2(score{r}_{j} - maximum{r}) * inverse{r} * (slope{r}_{j} - middle_slope{r});
        total{r} += factor{r}_{j};
#endfor
#endfor
