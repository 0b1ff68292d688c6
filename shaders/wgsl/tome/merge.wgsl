// The rows that are left: sources that keep theirs, and destinations averaged with the sources merged into them, weighted by how
// many tokens each stands for, in the order of their scores (ToMe, arXiv 2210.09461, section 3.1). The log of the new sizes is what
// proportional attention adds to the logits of a key (Eq. 1). One invocation per (image, row, four channels).
// Workgroups: ceil(batch * (tokens - removed) * ceil(width / 4) / WORKGROUP).
#import shared/grid
#import tome/params

@group(0) @binding(2) var<storage, read> x: array<{X_TYPE}>;                 // [batch, tokens, width]
@group(0) @binding(3) var<storage, read> sizes: array<f32>;                  // [batch, tokens]
@group(0) @binding(4) var<storage, read> matches: array<u32>;                // [batch, sources]
@group(0) @binding(5) var<storage, read> order: array<u32>;                  // [batch, sources]
@group(0) @binding(6) var<storage, read_write> merged: array<{X_TYPE}>;      // [batch, tokens - removed, width]
@group(0) @binding(7) var<storage, read_write> new_sizes: array<f32>;        // [batch, tokens - removed]
@group(0) @binding(8) var<storage, read_write> log_sizes: array<f32>;        // [batch, tokens - removed]
#import shared/load tensor=x f16=0 aligned={ALIGNED}
#import shared/store tensor=merged aligned={ALIGNED}

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let quads = (params.width + 3u) / 4u;
    let rows = params.tokens - params.removed;
    let row = index / quads % rows;
    let image = index / quads / rows;
    if (group >= grid.end || image >= params.batch) { return; }
    let column = index % quads * 4u;
    let first_token = image * params.tokens;
    let first_source = image * sources();
    let kept = sources() - params.removed;

    var size = 0.0;
    var value = vec4f(0.0);
    if (row < kept) {
        let token = first_token + 2u * order[first_source + params.removed + row];
        size = sizes[token];
        value = load_x(token * params.width + column, params.width - column);
    } else {
        let destination = row - kept;
        let token = first_token + 2u * destination + 1u;
        size = sizes[token];
        value = size * load_x(token * params.width + column, params.width - column);
        for (var place = 0u; place < params.removed; place += 1u) {
            let source = order[first_source + place];
            if (matches[first_source + source] == destination) {
                let merging = first_token + 2u * source;
                value += sizes[merging] * load_x(merging * params.width + column, params.width - column);
                size += sizes[merging];
            }
        }
        value /= size;
    }
    store_merged((image * rows + row) * params.width + column, params.width - column, value);
    if (column == 0u) {
        new_sizes[image * rows + row] = size;
        log_sizes[image * rows + row] = log(size);
    }
}
