// The nearest codeword of every row (vector quantisation): a product of rows and codewords whose result is only looked at.
//
// Tile: 16 * ROWS rows by 4 KiB of codewords, 1024 / PATCH. Four groups of 16 invocations share the codewords of a tile, and
// an invocation keeps ROWS rows in registers: one vector of workgroup memory pays for 4 * ROWS multiply-adds.
// Compiled by RADV for navi21: 104 registers for codewords of 16, 128 for 32 (2 rows), no spill; multiply-adds are 63, 74, 81
// and 69 % of the inner loop for codewords of 4, 8, 16 and 32.
// Workgroups: ceil(rows / (16 * ROWS)).
#import lowrank_vq/nearest_bindings

const QUADS = {256/PATCH}u;            // quads of codewords in a tile
const ROWS = {ROWS*16}u;               // rows of a workgroup

var<workgroup> tile: array<vec4f, 256>;                // [PATCH][QUADS], four codewords each
var<workgroup> norms: array<vec4f, {256/PATCH}>;       // [QUADS]
var<workgroup> best_scores: array<f32, {ROWS*64}>;     // [4][ROWS]
var<workgroup> best_quads: array<u32, {ROWS*64}>;      // [4][ROWS]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    if (group >= grid.end) { return; }
    let first_row = group * ROWS;
    let lane = local % 16u;
    let part = local / 16u;

    // Rows past the last repeat it; they are searched and never stored.
#for r in 0..ROWS
    let place{r} = min(first_row + lane + {16*r}u, params.rows - 1u) * {PATCH/4}u;
#for k in 0..PATCH/4
    let z{r}_{k} = z[place{r} + {k}u];
#endfor
    var best{r} = LEAST;
    var best_quad{r} = 0u;
#endfor

    // The block that this invocation brings of a tile: four elements of four codewords.
    let block_quad = local % QUADS;
    let block_k = local / QUADS * 4u;
    let tiles = (params.codewords + {1024/PATCH-1}u) / {1024/PATCH}u;
#for c in 0..4
    var code{c} = codeword_quad(block_quad * 4u + {c}u, block_k);
#endfor
    var norm = half_norms[block_quad];

    for (var t = 0u; t < tiles; t++) {
        workgroupBarrier();
#for j in 0..4
        tile[(block_k + {j}u) * QUADS + block_quad] = vec4f(code0[{j}], code1[{j}], code2[{j}], code3[{j}]);
#endfor
        if (local < QUADS) { norms[local] = norm; }
        workgroupBarrier();

        // The next tile is on its way while this one is searched.
        let next = (t + 1u) * QUADS + block_quad;
#for c in 0..4
        code{c} = codeword_quad(next * 4u + {c}u, block_k);
#endfor
        norm = half_norms[next];

        for (var q = 0u; q < QUADS; q += 4u) {
            let quad = q + part;
            let start = -norms[quad];
#for r in 0..ROWS
            var scores{r} = start;
#endfor
#for k in 0..PATCH
            let codes{k} = tile[{k}u * QUADS + quad];
#for r in 0..ROWS
            scores{r} = fma(vec4f(z{r}_{k/4}[{k%4}]), codes{k}, scores{r});
#endfor
#endfor
#for r in 0..ROWS
            let top{r} = largest(scores{r});
            let better{r} = top{r} > best{r};
            best{r} = select(best{r}, top{r}, better{r});
            best_quad{r} = select(best_quad{r}, t * QUADS + quad, better{r});
#endfor
        }
    }

    // Of four parts the best; of equals the first codeword.
#for r in 0..ROWS
    best_scores[part * ROWS + lane + {16*r}u] = best{r};
    best_quads[part * ROWS + lane + {16*r}u] = best_quad{r};
#endfor
    workgroupBarrier();
    let row = first_row + local;
    if (local < ROWS && row < params.rows) {
        var score = best_scores[local];
        var quad = best_quads[local];
        for (var p = 1u; p < 4u; p++) {
            let other = best_scores[p * ROWS + local];
            let other_quad = best_quads[p * ROWS + local];
            if (other > score || (other == score && other_quad < quad)) {
                score = other;
                quad = other_quad;
            }
        }
        indices[row] = first_best(row, quad);
    }
}
