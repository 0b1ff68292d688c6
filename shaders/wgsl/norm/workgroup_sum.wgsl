// Statements of an entry point: `{value}` (vec2f) becomes its sum over the workgroup, in every invocation.
#if SUBGROUP
    {value} = subgroupAdd({value});
    if (subgroup_lane == 0u) { partial[subgroup_id] = {value}; }
    workgroupBarrier();
    {value} = partial[0];
    for (var other = 1u; other < num_subgroups; other++) {
        {value} += partial[other];
    }
    workgroupBarrier();
#else
    partial[local] = {value};
    for (var half = {WORKGROUP/2}u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) { partial[local] += partial[local + half]; }
    }
    workgroupBarrier();
    {value} = partial[0];
    workgroupBarrier();
#endif
