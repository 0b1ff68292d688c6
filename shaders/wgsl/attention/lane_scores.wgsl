        // Part of a step of 8 lanes: logits, in base 2, of the lane's ROWS rows and of KEYS keys, which are entries of the buffer.
        // SUBGROUP: all lanes have the same keys, the entries `own` of the lanes 0..KEYS. 8 / KEYS lanes share a key, each loads part
        // of it, and all get it by broadcasts. Otherwise every lane loads the entries own0, own1, .., which may be its own alone.
#if SUBGROUP
        let key_row = (own * params.kv_heads + kv_head) * {HEAD_DIM}u;
#for d in 0..((HEAD_DIM+3)/4*KEYS+7)/8
        let key_column{d} = min({d*8/KEYS}u + lane / {KEYS}u, {(HEAD_DIM-1)/4}u) * 4u;
        let key{d} = load_key(key_row + key_column{d}, {HEAD_DIM}u - key_column{d});
#endfor
#else
#for j in 0..KEYS
        let key_row{j} = (own{j} * params.kv_heads + kv_head) * {HEAD_DIM}u;
#endfor
#endif
#for j in 0..KEYS
#for r in 0..ROWS
        var score{r}_{j} = 0.0;
#endfor
#endfor
#for d in 0..(HEAD_DIM+3)/4
#for j in 0..KEYS
#if SUBGROUP
        let key{d}_{j} = subgroupBroadcast(key{d*KEYS/8}, {d%(8/KEYS)*KEYS+j}u);
#else
        let key{d}_{j} = load_key(key_row{j} + {d*4}u, {HEAD_DIM-d*4}u);
#endif
#for r in 0..ROWS
        score{r}_{j} += dot(query{r}_{d}, key{d}_{j});
#endfor
#endfor
#endfor
