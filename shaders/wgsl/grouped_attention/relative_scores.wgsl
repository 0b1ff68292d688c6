            // What a step adds to the scores of its KEYS keys, the first of which is number `first_key` of the group: with WINDOW the bias of
            // the relative position, from `{bias}`; SHIFTED: APART between regions; and MASKED for keys past the last one.
            // The keys of a step mostly stand side by side, and in one region.
#if WINDOW && WINDOW % KEYS == 0
            let step_place = key_place(first_key);
#endif
#if SHIFTED && WINDOW / 2 % KEYS == 0
            let step_region = region(group, first_key);
#for r in 0..ROWS
            let apart{r} = select(APART, 0.0, region{r} == step_region);
#endfor
#endif
#for j in 0..KEYS
#if WINDOW && WINDOW % KEYS == 0
            let key_place{j} = step_place + {j}u;
#endif
#if WINDOW && WINDOW % KEYS != 0
            let key_place{j} = key_place(min(first_key + {j}u, keys - 1u));
#endif
#if SHIFTED && WINDOW / 2 % KEYS != 0
            let key_region{j} = region(group, min(first_key + {j}u, keys - 1u));
#endif
#for r in 0..ROWS
#if WINDOW
            score{r}_{j} += {bias}[bias{r} - key_place{j}];
#endif
#if SHIFTED && WINDOW / 2 % KEYS == 0
            score{r}_{j} += apart{r};
#endif
#if SHIFTED && WINDOW / 2 % KEYS != 0
            score{r}_{j} += select(APART, 0.0, region{r} == key_region{j});
#endif
#endfor
#endfor
#if KEYS > 1
            if (first_key + {KEYS}u > keys) {
#for j in 1..KEYS
#for r in 0..ROWS
                score{r}_{j} = select(MASKED, score{r}_{j}, first_key + {j}u < keys);
#endfor
#endfor
            }
#endif
