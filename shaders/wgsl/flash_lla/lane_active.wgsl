    // Part of a phase: whether a row of the tile is left to solve.
#if SUBGROUP
    let left = subgroupAny(active_rows);
    if (lane == 0u) { active_out[index] = select(0u, 1u, left); }
#else
    active_out[index * 8u + lane] = select(0u, 1u, active_rows);
#endif
