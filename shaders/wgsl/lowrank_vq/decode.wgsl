// Low-rank vector quantisation (after arXiv 2510.01407): the indices of a strip of patches to its pixels.
//
//     pixel[y, x] = gain * sum over iterations and ranks of codebook[left, y] * codebook[right, x],  clamped
//
// A workgroup decodes 1024 pixels: 1024 / PATCH^2 patches side by side. Its 64 invocations fetch codewords once, in rounds
// of PATCH / 4 outer products: 2 KiB of workgroup memory per channel, whatever the patch. Each owns 4 x 4 pixels, as two
// vectors read from workgroup memory then pay for 16 multiply-adds, and a row of four is stored whole. RADV for navi21, RGB: 80
// registers, no spill, 12 waves per SIMD, 72 % multiply-adds in the loop; with a texture 88 registers, 10 KiB and 8 waves.
// Workgroups: strips * rows of patches.
#import shared/grid
#import lowrank_vq/params
#import lowrank_vq/codebook
#import lowrank_vq/target

const QUADS = {PATCH/4}u;               // of a codeword; quads of rows and columns of a patch
const TILE = {1024/PATCH/PATCH}u;       // patches of a workgroup
const ROUND = {PATCH/4}u;               // outer products fetched at a time

var<workgroup> factors: array<vec4f, {128*CHANNELS}>; // [channel][left, right][ROUND][TILE][QUADS]
#if TARGET == 2
var<workgroup> pixels: array<u32, 1024>;              // [PATCH][TILE * PATCH], four bytes each
#endif

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    if (group >= grid.end) { return; }
    let patch_y = group / params.strips;
    let first_patch = group % params.strips * TILE;

    // The 4 x 4 pixels of this invocation: along a row first, so that neighbours write neighbouring pixels.
    let quad_x = local % (TILE * QUADS);
    let quad_y = local / (TILE * QUADS);
#for c in 0..CHANNELS
#for row in 0..4
    var sum{c}_{row} = vec4f(0.0);
#endfor
#endfor

    // What it fetches: four elements of the codewords of one outer product, two per channel.
    let fetch_quad = local % QUADS;
    let fetch_patch = patch_y * params.patches_x + min(first_patch + local / QUADS % TILE, params.patches_x - 1u);
    let fetch_product = local / (QUADS * TILE);
    let products = params.rank * params.iterations;
    for (var first = 0u; first < products; first += ROUND) {
        let product = first + fetch_product;
        if (product < products) {
            let iteration = product / params.rank;
            let rank = product - iteration * params.rank;
            let n = (fetch_patch * params.iterations + iteration) * {2*CHANNELS}u * params.rank + rank;
#for k in 0..2*CHANNELS
            let codeword{k} = codeword_index(n + {k}u * params.rank);
#endfor
#for k in 0..2*CHANNELS
            factors[{64*k}u + local] = load_codebook(codeword{k} * {PATCH}u + fetch_quad * 4u, 4u);
#endfor
        }
        workgroupBarrier();
        let count = min(ROUND, products - first);
        for (var p = 0u; p < count; p++) {
            let slot = p * TILE * QUADS;
            let left_slot = slot + quad_x / QUADS * QUADS + quad_y;
#for c in 0..CHANNELS
            let left{c} = factors[{128*c}u + left_slot];
            let right{c} = factors[{128*c+64}u + slot + quad_x];
#for row in 0..4
            sum{c}_{row} = fma(vec4f(left{c}[{row}]), right{c}, sum{c}_{row});
#endfor
#endfor
        }
        workgroupBarrier();
    }

    let y = patch_y * {PATCH}u + quad_y * 4u;
    let x = first_patch * {PATCH}u + quad_x * 4u;
#if TARGET == 2
    // Pixels change hands, so that neighbours write neighbouring ones.
#for row in 0..4
#for k in 0..4
#if CHANNELS == 3
    let color{row}_{k} = vec4f(sum0_{row}[{k}], sum1_{row}[{k}], sum2_{row}[{k}], 0.0) * params.gain;
#else
    let color{row}_{k} = vec4f(sum0_{row}[{k}] * params.gain);
#endif
    pixels[(quad_y * 4u + {row}u) * (TILE * {PATCH}u) + quad_x * 4u + {k}u] = packed(color{row}_{k});
#endfor
#endfor
    workgroupBarrier();
    let corner = vec2u(first_patch, patch_y) * {PATCH}u;
    let size = vec2u(params.width, params.height);
#for i in 0..16
    let at{i} = corner + vec2u(({64*i}u + local) % (TILE * {PATCH}u), ({64*i}u + local) / (TILE * {PATCH}u));
    if (all(at{i} < size)) { textureStore(picture, at{i}, vec4f(unpack4x8unorm(pixels[{64*i}u + local]).xyz, 1.0)); }
#endfor
#else
#for row in 0..4
    store_quad(
        y + {row}u,
        x,
#for c in 0..CHANNELS
        sum{c}_{row} * params.gain,
#endfor
    );
#endfor
#endif
}
