                // Part of the staging: four of the depth of four heads, transposed. Past the last head it repeats that one.
#for r in 0..4
                var q{r} = vec4f(0.0);
#endfor
                if (depth < {HEAD_DIM}u) {
#for r in 0..4
                    q{r} = load_query((first_row + min(quad * 4u + {r}u, heads - 1u)) * {HEAD_DIM}u + depth, min({HEAD_DIM}u - depth, 4u));
#endfor
                }
#for d in 0..4
                tile[{TO} + {d}u * ROW_QUADS] = vec4f(q0[{d}], q1[{d}], q2[{d}], q3[{d}]);
#endfor
