    // Part of a phase: `{name}`, one value for each of a thread's four rows, summed over the eight threads that share the rows.
#if SUBGROUP
#for lanes in 1 2 4
    {name} += subgroupShuffleXor({name}, {lanes}u);
#endfor
#else
    workgroupBarrier();
    tile[SECOND + x * 8u + y] = {name};
    workgroupBarrier();
    {name} = vec4f(0.0);
    for (var t = 0u; t < 8u; t += 1u) { {name} += tile[SECOND + t * 8u + y]; }
#endif
