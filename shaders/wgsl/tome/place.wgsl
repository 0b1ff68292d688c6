// Which row stands for each token: first the sources that keep theirs, then all destinations; and the sources in the order in
// which they are merged, those that keep their rows behind them. One invocation per source.
// Workgroups: ceil(batch * ceil(tokens / 2) / WORKGROUP).
#import shared/grid
#import tome/params

@group(0) @binding(2) var<storage, read> ranks: array<u32>;            // [batch, sources]
@group(0) @binding(3) var<storage, read> matches: array<u32>;          // [batch, sources]
@group(0) @binding(4) var<storage, read_write> order: array<u32>;      // [batch, sources]
@group(0) @binding(5) var<storage, read_write> row_map: array<u32>;    // [batch, tokens]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let image = index / sources();
    if (group >= grid.end || image >= params.batch) { return; }
    let first = image * sources();
    let rank = ranks[index];
    let kept = sources() - params.removed;
    var place = rank;
    if (rank >= params.removed && params.class_token == 1u) {
        place = params.removed;
        for (var other = first; other < index; other += 1u) {
            place += u32(ranks[other] >= params.removed);
        }
    }
    order[first + place] = index - first;
    let token = image * params.tokens + 2u * (index - first);
    row_map[token] = select(place - params.removed, kept + matches[index], rank < params.removed);
    if (2u * (index - first) + 1u < params.tokens) {
        row_map[token + 1u] = kept + index - first;
    }
}
