// Sums of the members of each cluster within chunks of 64 tokens, in the order of the tokens: the first stage of a mean whose
// bits never change. One invocation per (image, chunk, cluster, four channels).
// Workgroups: ceil(batch * chunks * K * ceil(width / 4) / WORKGROUP).
#import shared/grid
#import cluster_merge/params

@group(0) @binding(2) var<storage, read> x: array<{X_TYPE}>;                // [batch, 1 + tokens, width]
@group(0) @binding(3) var<storage, read> ids: array<u32>;                   // [batch, tokens]
@group(0) @binding(4) var<storage, read_write> sums: array<vec4f>;          // [batch, chunks, K, ceil(width / 4)]
#import shared/load tensor=x f16={X_F16} aligned={ALIGNED}

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let quad = index % quads();
    let id = index / quads() % params.clusters + 1u;
    let chunk = index / quads() / params.clusters % params.chunks;
    let image = index / quads() / params.clusters / params.chunks;
    if (group >= grid.end || image >= params.batch) { return; }

    let column = 4u * quad;
    let last = params.tokens - 1u;
    var sum = vec4f(0.0);
    // Four at a time, loaded before they are needed; every row is read for every cluster, which costs less than waiting for ids.
    for (var token = chunk * CHUNK; token < min((chunk + 1u) * CHUNK, params.tokens); token += 4u) {
#for t in 0..4
        let token{t} = min(token + {t}u, last);
        let member{t} = ids[image * params.tokens + token{t}] == id && token + {t}u <= last;
        let row{t} = load_x(x_row(image, 1u + token{t}) + column, params.width - column);
#endfor
#for t in 0..4
        sum += select(vec4f(0.0), row{t}, member{t});
#endfor
    }
    sums[index] = sum;
}
