    // Part of a phase: whether a row of the tile is left to solve.
    workgroupBarrier();
    if (x == 0u) { tile[y] = active_rows; }
    workgroupBarrier();
    if (thread == 0u) {
        var left = vec4f(0.0);
#for t in 0..8
        left += tile[{t}u];
#endfor
        active_out[index] = select(0u, 1u, left.x + left.y + (left.z + left.w) > 0.0);
    }
