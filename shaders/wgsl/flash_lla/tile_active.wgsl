    // Part of a phase: whether a row of the tile is left to solve, and whether one is to be verified.
    workgroupBarrier();
    if (x == 0u) { tile[y] = vec4f(max(max(active_rows.x, active_rows.y), max(active_rows.z, active_rows.w)), ill_rows, 0.0, 0.0); }
    workgroupBarrier();
    if (thread == 0u) {
        var left = vec4f(0.0);
        for (var t = 0u; t < 8u; t += 1u) { left = max(left, tile[t]); }
        active_out[index] = select(0u, TILE_ACTIVE, left.x > 0.0) | select(0u, TILE_ILL, left.y > 0.0);
    }
