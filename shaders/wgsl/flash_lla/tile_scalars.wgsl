    // Part of a phase: what the factors of tile_factors need of the rows.
    var maximum = vec4f(0.0);
    var inverse = vec4f(0.0);
    var ridge = vec4f(0.0);
    var middle_slope = vec4f(0.0); // k̄ · {operand}
    var total = vec4f(0.0);        // of the factors, over this thread's own keys
#for r in 0..4
    let scalars{r} = state[place + {r}u * STATE_QUADS + SCALARS];
    maximum[{r}] = scalars{r}.x;
    inverse[{r}] = scalars{r}.y;
    ridge[{r}] = scalars{r}.z;
    for (var quad = x; quad < DEPTH_QUADS; quad += 8u) {
        middle_slope[{r}] += dot(state[place + {r}u * STATE_QUADS + MEAN + quad], state[place + {r}u * STATE_QUADS + {operand} + quad]);
    }
#endfor
#import flash_lla/tile_sum name=middle_slope
