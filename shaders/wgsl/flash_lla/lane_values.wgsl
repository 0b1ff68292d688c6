        // Part of a phase: {sum} += {weight} x values.
#if SUBGROUP
        let value_at = value_quad(head, own);
#for c in 0..((VALUE_DIM+3)/4*KEYS+7)/8
        let value{c} = clean_value[value_at + min({c*8/KEYS}u + lane / {KEYS}u, VALUE_QUADS - 1u)];
#endfor
#endif
#for c in 0..(VALUE_DIM+3)/4
#for j in 0..KEYS
#if SUBGROUP
        let value{c}_{j} = subgroupBroadcast(value{c*KEYS/8}, {c%(8/KEYS)*KEYS+j}u);
#else
        let value{c}_{j} = clean_value[value_quad(head, own{j}) + {c}u];
#endif
#for r in 0..ROWS
        {sum}{r}_{c} = fma(vec4f({weight}{r}_{j}), value{c}_{j}, {sum}{r}_{c});
#endfor
#endfor
#endfor
