// nearest for software adapters: registers, no barrier.
//
// An invocation owns ROWS rows, a workgroup of 8 has 8 * ROWS. Loads cost most there, as they go lane by lane.
// SUBGROUP (a workgroup is one subgroup of 8): a lane loads one codeword and all lanes get it by broadcast, eight codewords a
// round; otherwise each invocation loads four codewords a round. 8192 rows, 4096 codewords of 16, share of the multiply-add
// peak: 8 rows 33 to 44 %, 4 rows 18 %, 2 rows 10 %; without SUBGROUP 12, 5 and 3 %. Workgroups: ceil(rows / (8 * ROWS)).
#import lowrank_vq/nearest_bindings

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    if (group >= grid.end) { return; }
    let first_row = group * {ROWS*8}u + local;

    // Rows past the last repeat it; they are searched and never stored.
#for r in 0..ROWS
    let place{r} = min(first_row + {8*r}u, params.rows - 1u) * {PATCH/4}u;
#for k in 0..PATCH/4
    let z{r}_{k} = z[place{r} + {k}u];
#endfor
    var best{r} = LEAST;
    var best_quad{r} = 0u;
#endfor

    let quads = (params.codewords + 3u) / 4u;
    for (var first = 0u; first < quads; first += {1+SUBGROUP}u) {
#if SUBGROUP
#for k in 0..PATCH/4
        let own{k} = codeword_quad(first * 4u + local, {4*k}u);
#endfor
#endif
#for h in 0..1+SUBGROUP
        let quad{h} = first + {h}u;
#for k in 0..PATCH/4
#for c in 0..4
#if SUBGROUP
        let code{h}_{k}_{c} = subgroupBroadcast(own{k}, {4*h+c}u);
#else
        let code{h}_{k}_{c} = codeword_quad(quad{h} * 4u + {c}u, {4*k}u);
#endif
#endfor
#endfor
        // Row by row: four sums are live at a time.
        let start{h} = -half_norms[quad{h}];
#for r in 0..ROWS
        var scores{h}_{r} = start{h};
#for k in 0..PATCH/4
#for j in 0..4
        scores{h}_{r} = fma(
            vec4f(z{r}_{k}[{j}]),
            vec4f(code{h}_{k}_0[{j}], code{h}_{k}_1[{j}], code{h}_{k}_2[{j}], code{h}_{k}_3[{j}]),
            scores{h}_{r},
        );
#endfor
#endfor
        let top{h}_{r} = largest(scores{h}_{r});
        let better{h}_{r} = top{h}_{r} > best{r};
        best{r} = select(best{r}, top{h}_{r}, better{h}_{r});
        best_quad{r} = select(best_quad{r}, quad{h}, better{h}_{r});
#endfor
#endfor
    }

#for r in 0..ROWS
    if (first_row + {8*r}u < params.rows) {
        indices[first_row + {8*r}u] = first_best(first_row + {8*r}u, best_quad{r});
    }
#endfor
}
