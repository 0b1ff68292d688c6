// For every source the destination whose metric has the largest cosine with its own, the first of equals (ToMe, arXiv 2210.09461,
// section 3.1). One invocation per source. Workgroups: ceil(batch * ceil(tokens / 2) / WORKGROUP).
#import shared/grid
#import tome/params

@group(0) @binding(2) var<storage, read> metric: array<{X_TYPE}>;          // [batch, tokens, width]
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;         // [batch, sources]
@group(0) @binding(4) var<storage, read_write> matches: array<u32>;        // [batch, sources]
#import shared/load tensor=metric f16=0 aligned={ALIGNED}

const NEVER = -3.0e38;      // the class token's score
const LEAST = 1.0e-30;      // squared length from which a metric has a direction

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
    let first = image * params.tokens * params.width;
    let own = first + index % sources() * 2u * params.width;

    var best = NEVER;
    var chosen = 0u;
    var own_square = 0.0;
    for (var destination = 0u; destination < params.tokens / 2u; destination += 1u) {
        let other = first + (2u * destination + 1u) * params.width;
        var product = 0.0;
        var square = 0.0;
        own_square = 0.0;
        for (var column = 0u; column < params.width; column += 4u) {
            let a = load_metric(own + column, params.width - column);
            let b = load_metric(other + column, params.width - column);
            product += dot(a, b);
            square += dot(b, b);
            own_square += dot(a, a);
        }
        let score = product * inverseSqrt(max(square, LEAST));
        if (score > best) {
            best = score;
            chosen = destination;
        }
    }
    let is_class = params.class_token == 1u && index % sources() == 0u;
    scores[index] = select(best * inverseSqrt(max(own_square, LEAST)), NEVER, is_class);
    matches[index] = chosen;
}
