    // Part of a phase: which rows this workgroup of 8 lanes has, and which keys they see. A lane owns ROWS rows, 8 apart.
    // Past the last row it repeats that one, which has a place in the state but none in the outputs.
    let head = index / params.row_tiles;
    let kv_head = head % params.kv_heads;
    let s = sequence_at(head / params.kv_heads);
    let rows = params.query_tokens * params.group;
    let first_row = index % params.row_tiles * {ROWS*8}u;
    let first_position = s.q_offset + i32(first_row / params.group);
    let last_position = s.q_offset + i32(min(first_row + {ROWS*8-1}u, rows - 1u) / params.group);
    let high = clamp(last_position + params.right + 1, 0, i32(s.key_count));
    let seen_high = min(first_position + params.right + 1, high);
#for r in 0..ROWS
    let row{r} = min(first_row + {8*r}u + lane, rows - 1u);
    let place{r} = (index * {ROWS*8}u + {8*r}u + lane) * STATE_QUADS;
    let row_high{r} = clamp(s.q_offset + i32(row{r} / params.group) + params.right + 1, 0, high);
#endfor
