        // Part of a phase: p_j (k_j - k̄) · {operand}, in place of the logits.
#for r in 0..4
#for k in 0..2
        score{r}_{k} = exp2(score{r}_{k} - maximum[{r}]) * inverse[{r}] * (slope{r}_{k} - middle_slope[{r}]);
        total[{r}] += dot(score{r}_{k}, vec4f(1.0));
#endfor
#endfor
