        // Part of a step of 8 x 8 threads: products of ROW_TILE queries, whose first elements are at query{h}_{r}, and the KEY_TILE keys from
        // `start` on, in chunks of 32 of the depth through `tile`. The first barrier ends what used the tile before.
#for h in 0..ROW_TILE/32
#for r in 0..4
#for k in 0..KEY_TILE/32
        var score{h}_{r}_{k} = vec4f(0.0);
#endfor
#endfor
#endfor
        for (var chunk = 0u; chunk < {HEAD_DIM}u; chunk += 32u) {
            let depth = chunk + x * 4u;
            workgroupBarrier();
#if HEAD_DIM % 32 != 0
            if (depth < {HEAD_DIM}u) {
#else
            {
#endif
                let count = min({HEAD_DIM}u - depth, 4u);
#for h in 0..ROW_TILE/32
#for r in 0..4
                let q{h}_{r} = load_query(query{h}_{r} + depth, count);
#endfor
#endfor
#for k in 0..KEY_TILE/32
#for r in 0..4
                let k{k}_{r} = load_key(key_index(s, kv_head, start + i32((y + {8*k}u) * 4u) + {r}) * {HEAD_DIM}u + depth, count);
#endfor
#endfor
#for d in 0..4
#for h in 0..ROW_TILE/32
                tile[(x * 4u + {d}u) * ROW_QUADS + slot + {8*h}u] = vec4f(q{h}_0[{d}], q{h}_1[{d}], q{h}_2[{d}], q{h}_3[{d}]);
#endfor
#for k in 0..KEY_TILE/32
                tile[SECOND + (x * 4u + {d}u) * KEY_QUADS + slot + {8*k}u] = vec4f(k{k}_0[{d}], k{k}_1[{d}], k{k}_2[{d}], k{k}_3[{d}]);
#endfor
#endfor
            }
            workgroupBarrier();
            let depth_quads = min(({HEAD_DIM}u - chunk + 3u) / 4u, 8u);
            for (var quad = 0u; quad < depth_quads; quad += 1u) {
                let query_at = quad * 4u * ROW_QUADS + (y ^ quad);
                let key_at = SECOND + quad * 4u * KEY_QUADS + (x ^ quad);
#for d in 0..4
#for h in 0..ROW_TILE/32
                let q{h}_{d} = tile[query_at + {d}u * ROW_QUADS + {8*h}u];
#endfor
#for k in 0..KEY_TILE/32
                let k{k}_{d} = tile[key_at + {d}u * KEY_QUADS + {8*k}u];
#endfor
#for h in 0..ROW_TILE/32
#for r in 0..4
#for k in 0..KEY_TILE/32
                score{h}_{r}_{k} += q{h}_{d}[{r}] * k{k}_{d};
#endfor
#endfor
#endfor
#endfor
            }
        }
