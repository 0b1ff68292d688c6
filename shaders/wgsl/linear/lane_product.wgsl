// A round of STEP inputs multiplied into the sums of an invocation, inside `main`: sum{r}_{c}, ROWS rows by COLUMNS / 4 quads.
//
// Argument: weight_input = the variable that holds the first weight row of the round; `input` is that of x.
        // weight{k}_{c}: four columns of input k of the round, the same in every lane.
#if SUBGROUP && !WEIGHT_OUT_IN
#for c in 0..COLUMNS/4
        let own{c} = weight_quad({weight_input} + local % STEP, first_column + {c*4}u);
#for k in 0..STEP
        let weight{k}_{c} = subgroupBroadcast(own{c}, {k}u);
#endfor
#endfor
#endif
#if !SUBGROUP && !WEIGHT_OUT_IN
#for c in 0..COLUMNS/4
#for k in 0..STEP
        let weight{k}_{c} = weight_quad({weight_input} + {k}u, first_column + {c*4}u);
#endfor
#endfor
#endif
#if WEIGHT_OUT_IN
#for h in 0..STEP/4
#if SUBGROUP
#for c in 0..(COLUMNS+7)/8
        let own{c}_{h} = weight_quad(weight_start{c}, {weight_input} + {h*4}u);
#endfor
#for c in 0..COLUMNS
        let turned{c}_{h} = subgroupBroadcast(own{c/8}_{h}, {c%8}u);
#endfor
#else
#for c in 0..COLUMNS
        let turned{c}_{h} = weight_quad(weight_start{c}, {weight_input} + {h*4}u);
#endfor
#endif
#for c in 0..COLUMNS/4
        let weight{h*4}_{c} = vec4f(turned{c*4}_{h}.x, turned{c*4+1}_{h}.x, turned{c*4+2}_{h}.x, turned{c*4+3}_{h}.x);
        let weight{h*4+1}_{c} = vec4f(turned{c*4}_{h}.y, turned{c*4+1}_{h}.y, turned{c*4+2}_{h}.y, turned{c*4+3}_{h}.y);
        let weight{h*4+2}_{c} = vec4f(turned{c*4}_{h}.z, turned{c*4+1}_{h}.z, turned{c*4+2}_{h}.z, turned{c*4+3}_{h}.z);
        let weight{h*4+3}_{c} = vec4f(turned{c*4}_{h}.w, turned{c*4+1}_{h}.w, turned{c*4+2}_{h}.w, turned{c*4+3}_{h}.w);
#endfor
#endfor
#endif

        // Row by row, and all inputs of the round into one sum before the next: a sum without a register is loaded and
        // stored once per round, and one row of x is live at a time (8 x 16 sums: 34 % of the peak;
        // all rows loaded first, then input by input: 23 %).
#for r in 0..ROWS
#for h in 0..STEP/4
        let x{r}_{h} = x_quad(x_start{r}, input + {h*4}u);
#endfor
#for c in 0..COLUMNS/4
#for h in 0..STEP/4
        sum{r}_{c} = fma(vec4f(x{r}_{h}.x), weight{h*4}_{c}, sum{r}_{c});
        sum{r}_{c} = fma(vec4f(x{r}_{h}.y), weight{h*4+1}_{c}, sum{r}_{c});
        sum{r}_{c} = fma(vec4f(x{r}_{h}.z), weight{h*4+2}_{c}, sum{r}_{c});
        sum{r}_{c} = fma(vec4f(x{r}_{h}.w), weight{h*4+3}_{c}, sum{r}_{c});
#endfor
#endfor
#endfor
