        // Part of a phase: {sum} += weights x {tensor}, 32 keys and 64 columns at a time.
        for (var half = 0u; half < 2u; half += 1u) {
#for block in 0..(DIM+63)/64
#for quads in {1+(DIM>64*block+32)}
        workgroupBarrier();
        {
            let column = thread % {8*quads}u + {16*block}u;
            let staged = start + i32(thread / {8*quads}u) + i32(half * 32u);
#if DIM % 32 != 0
            if (column < {(DIM+3)/4}u) {
#else
            {
#endif
#for n in 0..4*quads
                let value{n} = clean_{tensor}[{tensor}_quad(head, min(staged + {n*8/quads}, key_count - 1)) + column];
#endfor
#for n in 0..4*quads
                tile[SECOND + thread + {64*n}u] = value{n};
#endfor
            }
        }
        workgroupBarrier();
        for (var quad = 0u; quad < 8u; quad += 1u) {
            let weight_at = (quad + half * 8u) * 32u + (y ^ quad);
            let value_at = SECOND + quad * {32*quads}u + x;
#for j in 0..4
            let w{j} = tile[weight_at + {8*j}u];
#for v in 0..quads
            let v{v}_{j} = tile[value_at + {8*quads*j+8*v}u];
#for r in 0..4
            {sum}{r}_{2*block+v} += w{j}[{r}] * v{v}_{j};
#endfor
#endfor
#endfor
        }
#endfor
#endfor
        }
