        // Part of a phase: logits of 32 rows x 64 keys, in chunks of 32 of the depth; with PAIR also {operand} · key, from the same
        // reads of the keys. Every phase computes its logits by this text, so that all see the same operator.
#for r in 0..4
#for k in 0..2
        var score{r}_{k} = vec4f(0.0);
#if PAIR
        var slope{r}_{k} = vec4f(0.0);
#endif
#endfor
#endfor
        for (var chunk = 0u; chunk < DEPTH_QUADS; chunk += 8u) {
            let depth = chunk + x;
            workgroupBarrier();
#if HEAD_DIM % 32 != 0
            if (depth < DEPTH_QUADS) {
#else
            {
#endif
#for k in 0..2
#for r in 0..4
                let k{k}_{r} = clean_key[key_quad(head, min(start + i32(y * 4u) + {32*k+r}, key_count - 1)) + depth];
#endfor
#for d in 0..4
                tile[SECOND + (x * 4u + {d}u) * 16u + slot + {8*k}u] = vec4f(k{k}_0[{d}], k{k}_1[{d}], k{k}_2[{d}], k{k}_3[{d}]);
#endfor
#endfor
#for r in 0..4
                let q{r} = state[place + {r}u * STATE_QUADS + QUERY + depth];
#endfor
#for d in 0..4
                tile[(x * 4u + {d}u) * 8u + slot] = vec4f(q0[{d}], q1[{d}], q2[{d}], q3[{d}]);
#endfor
#if PAIR
#for r in 0..4
                let p{r} = state[place + {r}u * STATE_QUADS + {operand} + depth];
#endfor
#for d in 0..4
                tile[PAIRED + (x * 4u + {d}u) * 8u + slot] = vec4f(p0[{d}], p1[{d}], p2[{d}], p3[{d}]);
#endfor
#endif
            }
            workgroupBarrier();
            let depth_quads = min(DEPTH_QUADS - chunk, 8u);
            for (var quad = 0u; quad < depth_quads; quad += 1u) {
                let query_at = quad * 32u + (y ^ quad);
                let key_at = SECOND + quad * 64u + (x ^ quad);
#for d in 0..4
                let q{d} = tile[query_at + {8*d}u];
#if PAIR
                let p{d} = tile[PAIRED + query_at + {8*d}u];
#endif
#for k in 0..2
                let k{k}_{d} = tile[key_at + {16*d+8*k}u];
#endfor
#for r in 0..4
#for k in 0..2
                score{r}_{k} += q{d}[{r}] * k{k}_{d};
#if PAIR
                slope{r}_{k} += p{d}[{r}] * k{k}_{d};
#endif
#endfor
#endfor
#endfor
            }
        }

        // Bias and visibility. Only a tile at an edge of the visible range tests each element.
        let at_edge = start + 63 >= key_count || start + 63 > first_position + params.right;
#for k in 0..2
        let keys{k} = start + i32((x + {8*k}u) * 4u) + vec4i(0, 1, 2, 3);
#for j in 0..4
        let info{k}_{j} = key_info[head * params.tokens + u32(min(keys{k}[{j}], key_count - 1))];
#endfor
        let offset{k} = vec4f(info{k}_0.x, info{k}_1.x, info{k}_2.x, info{k}_3.x);
#endfor
#for r in 0..4
#for k in 0..2
        score{r}_{k} += offset{k};
#if MASK
        let bits{r}_{k} = mask[min(own_row + {r}u, rows - 1u) / params.group * params.mask_words + min(u32(start) / 32u + {k}u, params.mask_words - 1u)] >> (x * 4u);
        score{r}_{k} = select(vec4f(MASKED), score{r}_{k}, (vec4u(bits{r}_{k}) & vec4u(1u, 2u, 4u, 8u)) != vec4u(0u));
#endif
#endfor
#endfor
        if (at_edge) {
#for r in 0..4
            let high{r} = vec4i(min(s.q_offset + i32((own_row + {r}u) / params.group) + params.right, key_count - 1));
#for k in 0..2
            score{r}_{k} = select(vec4f(MASKED), score{r}_{k}, keys{k} <= high{r});
#endfor
#endfor
        }
