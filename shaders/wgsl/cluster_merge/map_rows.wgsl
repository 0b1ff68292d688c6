// Which row of the merged sequence stands for each token: row 0 is the class token, then come the kept tokens (id 0) in their
// order, then the K representatives. One workgroup per image: a histogram of ids, a prefix sum of (id == 0).
// Workgroups: batch. An id past K counts as 0.
#import shared/grid

struct MapParams {
    batch: u32,
    tokens: u32,
    gate: u32,  // merge 0: always, 1: images with two different ids, 2: all where two different ids occur in the batch
}

@group(0) @binding(1) var<uniform> params: MapParams;
@group(0) @binding(2) var<storage, read> ids: array<u32>;               // [batch, tokens]
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;      // [batch, K + 1]
@group(0) @binding(4) var<storage, read_write> keep_rank: array<u32>;   // [batch, tokens], kept tokens before this one
@group(0) @binding(5) var<storage, read_write> row_map: array<u32>;     // [batch, tokens], relative to the image's first row
@group(0) @binding(6) var<storage, read_write> own_rows: array<u32>;    // [batch], rows before the representatives
@group(0) @binding(7) var<storage, read_write> lengths: array<u32>;     // [batch], rows of the merged sequence

const CLUSTERS = {CLUSTERS}u;
const LANES = {WORKGROUP}u;

var<workgroup> histogram: array<atomic<u32>, {CLUSTERS+1}>;
var<workgroup> differs: atomic<u32>;                // some id of the batch is not the first one
var<workgroup> kept: array<u32, {WORKGROUP}>;       // kept tokens up to and with each lane's run

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let image = grid_index(workgroup, workgroups);
    if (image >= grid.end) { return; }
    let first = image * params.tokens;
    for (var id = local; id <= CLUSTERS; id += LANES) {
        atomicStore(&histogram[id], 0u);
    }
    if (local == 0u) { atomicStore(&differs, 0u); }
    workgroupBarrier();

    // 1. Each lane counts a run of neighbouring tokens.
    let run = (params.tokens + LANES - 1u) / LANES;
    let start = min(local * run, params.tokens);
    let end = min(start + run, params.tokens);
    var own = 0u;
    for (var token = start; token < end; token += 1u) {
        let id = id_at(first + token);
        own += u32(id == 0u);
        atomicAdd(&histogram[id], 1u);
    }
    kept[local] = own;
    if (params.gate == 2u) {
        for (var index = local; index < params.batch * params.tokens; index += LANES) {
            if (id_at(index) != id_at(0u)) { atomicStore(&differs, 1u); }
        }
    }

    // 2. Prefix sum over the lanes (Hillis and Steele, 1986).
    for (var stride = 1u; stride < LANES; stride *= 2u) {
        workgroupBarrier();
        var before = 0u;
        if (local >= stride) { before = kept[local - stride]; }
        workgroupBarrier();
        kept[local] += before;
    }
    workgroupBarrier();

    // 3. The gate. All ids of an image are the same exactly where its first one is.
    let same = atomicLoad(&histogram[id_at(first)]) == params.tokens;
    let several = select(!same, atomicLoad(&differs) != 0u, params.gate == 2u);
    let merged = params.gate == 0u || several;
    let own_count = 1u + select(params.tokens, atomicLoad(&histogram[0]), merged);

    // 4. The map.
    var rank = kept[local] - own;
    for (var token = start; token < end; token += 1u) {
        let id = id_at(first + token);
        keep_rank[first + token] = rank;
        let mapped = select(own_count + id - 1u, 1u + rank, id == 0u);
        row_map[first + token] = select(1u + token, mapped, merged);
        rank += u32(id == 0u);
    }
    for (var id = local; id <= CLUSTERS; id += LANES) {
        counts[image * (CLUSTERS + 1u) + id] = atomicLoad(&histogram[id]);
    }
    if (local == 0u) {
        own_rows[image] = own_count;
        lengths[image] = own_count + select(0u, CLUSTERS, merged);
    }
}

fn id_at(index: u32) -> u32 {
    let id = ids[index];
    return select(0u, id, id <= CLUSTERS);
}
