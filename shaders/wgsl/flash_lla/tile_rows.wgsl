    // Part of a phase: which rows this workgroup has, and which keys some of them see.
    // Thread (x, y) of 8 x 8 owns the rows 4 y .. 4 y + 3, the key quads x and x + 8, and the column quads x, x + 8, ...
    let head = index / params.row_tiles;
    let kv_head = head % params.kv_heads;
    let s = sequence_at(head / params.kv_heads);
    let first_row = index % params.row_tiles * ROW_TILE;
    let rows = params.query_tokens * params.group;
    let x = thread % 8u;
    let y = thread / 8u;
    let slot = x ^ y;
    let first_position = s.q_offset + i32(first_row / params.group);
    let last_position = s.q_offset + i32(min(first_row + ROW_TILE - 1u, rows - 1u) / params.group);
    let key_count = i32(s.key_count);
    let key_end = min(last_position + params.right + 1, key_count);
    // Past the last row the last one is repeated; it has a place in the state, but none in the outputs.
    let own_row = first_row + y * 4u;
    let place = (index * ROW_TILE + y * 4u) * STATE_QUADS;
