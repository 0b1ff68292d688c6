// decode for software adapters: the indices of a strip of patches to its pixels.
//
// An invocation owns four columns of ROWS rows, a workgroup of 8 the 32 columns beside each other. Loads cost most there, as
// they go lane by lane: with 16 rows a codeword is fetched once for all of them (8 rows: 1.3 times as long, 4 rows: 2).
// SUBGROUP, for patches of 16 and 32: the lanes of a patch share its indices and left factors (1.4 times as fast).
// Workgroups: strips * ceil(height / ROWS).
#import shared/grid
#import lowrank_vq/params
#import lowrank_vq/codebook
#import lowrank_vq/target

const QUADS = {PATCH/4}u; // of a codeword

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    if (group >= grid.end) { return; }
    let y = group / params.strips * {ROWS}u;
    let quad_x = group % params.strips * 8u + local;

    // A lane past the image's edge decodes the last patch once more and stores nothing.
    let patch_x = min(quad_x / QUADS, params.patches_x - 1u);
    let first = (y / {PATCH}u * params.patches_x + patch_x) * params.iterations * {2*CHANNELS}u * params.rank;
    let right_quad = quad_x % QUADS * 4u;
    let left_quad = y % {PATCH}u;
#for c in 0..CHANNELS
#for row in 0..ROWS
    var sum{c}_{row} = vec4f(0.0);
#endfor
#endfor
    for (var iteration = 0u; iteration < params.iterations; iteration++) {
        for (var rank = 0u; rank < params.rank; rank++) {
            let n = first + iteration * {2*CHANNELS}u * params.rank + rank;
#if SUBGROUP
#for half in 0..(8*CHANNELS+PATCH-1)/PATCH
            let share{half} = codeword_index(n + min(local % {PATCH/4}u + {half*PATCH/4}u, {2*CHANNELS-1}u) * params.rank);
#endfor
#endif
            // The left codeword of a channel, then the right one.
#for k in 0..2*CHANNELS
#if SUBGROUP && PATCH == 32
            let codeword{k} = subgroupBroadcast(share0, {k}u);
#endif
#if SUBGROUP && PATCH == 16
            let codeword{k} = select(subgroupBroadcast(share{k/4}, {4+k%4}u), subgroupBroadcast(share{k/4}, {k%4}u), local < 4u);
#endif
#if !SUBGROUP
            let codeword{k} = codeword_index(n + {k}u * params.rank);
#endif
#endfor
#for c in 0..CHANNELS
            let left{c} = codeword{2*c} * {PATCH}u + left_quad;
            let right{c} = load_codebook(codeword{2*c+1} * {PATCH}u + right_quad, 4u);
#if SUBGROUP
            let own{c} = load_codebook(left{c} + local % 4u * 4u, 4u);
#endif
#for i in 0..ROWS/4
#if SUBGROUP && PATCH == 32
            let rows{c}_{i} = subgroupBroadcast(own{c}, {i}u);
#endif
#if SUBGROUP && PATCH == 16
            let rows{c}_{i} = select(subgroupBroadcast(own{c}, {i+4}u), subgroupBroadcast(own{c}, {i}u), local < 4u);
#endif
#if !SUBGROUP
            let rows{c}_{i} = load_codebook(left{c} + {4*i}u, 4u);
#endif
#for row in 0..4
            sum{c}_{4*i+row} = fma(vec4f(rows{c}_{i}[{row}]), right{c}, sum{c}_{4*i+row});
#endfor
#endfor
#endfor
        }
    }
#for row in 0..ROWS
    store_quad(
        y + {row}u,
        quad_x * 4u,
#for c in 0..CHANNELS
        sum{c}_{row} * params.gain,
#endfor
    );
#endfor
}
