    // Part of a phase: whether a row of the tile is left to solve, and whether one is to be verified.
#if SUBGROUP
    let left = select(0u, TILE_ACTIVE, subgroupAny(active_rows)) | select(0u, TILE_ILL, subgroupAny(ill_rows));
    if (lane == 0u) { active_out[index] = left; }
#else
    active_out[index * 8u + lane] = select(0u, TILE_ACTIVE, active_rows) | select(0u, TILE_ILL, ill_rows);
#endif
