        // Part of a phase: logits of the lane's rows and KEYS keys; with PAIR also {operand} · key, from the same keys. Every phase
        // computes its logits by this text, so that all see the same operator.
        // SUBGROUP: 8 / KEYS lanes share a key, each loads part of it and all get it by broadcasts. Otherwise every lane loads.
#if SUBGROUP
        let own = min(start + i32(lane) % {KEYS}, high - 1);
        let key_at = key_quad(head, own);
        let own_info = key_info[head * params.tokens + u32(own)];
#for d in 0..((HEAD_DIM+3)/4*KEYS+7)/8
        let key{d} = clean_key[key_at + min({d*8/KEYS}u + lane / {KEYS}u, DEPTH_QUADS - 1u)];
#endfor
#endif
#for j in 0..KEYS
#if SUBGROUP
        let info{j} = subgroupBroadcast(own_info, {j}u);
#else
        let own{j} = min(start + {j}, high - 1);
        let key_at{j} = key_quad(head, own{j});
        let info{j} = key_info[head * params.tokens + u32(own{j})];
#endif
#for r in 0..ROWS
        var score{r}_{j} = info{j}.x;
#if PAIR
        var slope{r}_{j} = 0.0;
#endif
#endfor
#endfor
#for d in 0..(HEAD_DIM+3)/4
#for j in 0..KEYS
#if SUBGROUP
        let key{d}_{j} = subgroupBroadcast(key{d*KEYS/8}, {d%(8/KEYS)*KEYS+j}u);
#else
        let key{d}_{j} = clean_key[key_at{j} + {d}u];
#endif
#for r in 0..ROWS
        score{r}_{j} += dot(query{r}_{d}, key{d}_{j});
#if PAIR
        slope{r}_{j} += dot({operand}{r}_{d}, key{d}_{j});
#endif
#endfor
#endfor
#endfor
#if MASK
#for r in 0..ROWS
        let bits{r} = mask[row{r} / params.group * params.mask_words + u32(start) / 32u] >> (u32(start) % 32u);
#for j in 0..KEYS
        score{r}_{j} = select(MASKED, score{r}_{j}, ((bits{r} >> {j}u) & 1u) != 0u);
#endfor
#endfor
#endif
        if (start + {KEYS} > seen_high) {
#for j in 0..KEYS
#for r in 0..ROWS
            score{r}_{j} = select(MASKED, score{r}_{j}, start + {j} < row_high{r});
#endfor
#endfor
        }
