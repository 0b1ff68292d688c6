// Decode, step 2 for adapters that run on a CPU: a center of every range for its products, near the mean of x = [key; value].
// It is the weighted mean of every 16th key and of each lane's key of the highest weight: peaked rows have their mean among the
// latter, others in the former. In f32, head dim 64, 2048 keys, ridge 0.1, outputs are off by 3e-6 with this center, by 8e-7
// with the mean itself, by 4e-5 with the first key and by 5e-5 with the key of the highest weight.
// One invocation owns four columns of x of one row and range; it also joins the maxima and sums of the eight lanes.
#import flash_lla/decode_bindings
#import shared/load tensor=key f16={KEY_F16} aligned={HEAD_DIM%4==0}
#import shared/load tensor=value f16={KEY_F16} aligned={VALUE_DIM%4==0}
#import flash_lla/decode_quads VALUES=1

@group(0) @binding(3) var<storage, read> key: array<{KEY_TYPE}>;             // [batch, tokens, kv_heads, head_dim]
@group(0) @binding(4) var<storage, read> value: array<{VALUE_TYPE}>;         // [batch, tokens, kv_heads, value_dim]
@group(0) @binding(7) var<storage, read> weights: array<f32>;                // [batch, kv_heads, rows, tokens], relative to a lane's maximum
@group(0) @binding(8) var<storage, read> lanes: array<vec4f>;                // [batch, kv_heads, rows, splits, 8]: maximum, sum, its key in the range, 0
@group(0) @binding(9) var<storage, read_write> moments: array<vec4f>;        // [batch, kv_heads, rows, splits] records: state and center

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = grid_index(workgroup, workgroups);
    if (group >= grid.end) {
        return;
    }
    let quad = (group * 8u + lane) % QUADS;
    let split = (group * 8u + lane) / QUADS % params.splits;
    let row = (group * 8u + lane) / QUADS / params.splits;
    let rows = params.query_tokens * params.group;
    if (row >= params.batch * params.kv_heads * rows) {
        return;
    }
    let head = row / rows;
    let key_count = keys_of(head / params.kv_heads);
    let low = split * range_keys(key_count);
    let high = min(low + range_keys(key_count), visible_keys(key_count, row % rows));
    let first_entry = head / params.kv_heads * params.tokens * params.kv_heads + head % params.kv_heads;
    let first_lane = (row * params.splits + split) * 8u;

    var maximum = FLOOR;
    for (var t = 0u; t < 8u; t += 1u) {
        maximum = max(maximum, lanes[first_lane + t].x);
    }
    var total = 0.0;
    var weight = 0.0;
    var center = vec4f(0.0);
    for (var t = 0u; t < 8u; t += 1u) {
        let state = lanes[first_lane + t];
        let factor = exp2(state.x - maximum);
        total += factor * state.y;
        if (state.y > 0.0) {
            weight += factor;
            center += factor * x_quad(first_entry, low + u32(state.z), quad);
        }
    }
    let factor = exp2(lanes[first_lane].x - maximum);
    for (var at = low; at < high; at += 16u) {
        let share = factor * weights[row * params.tokens + at];
        weight += share;
        center += share * x_quad(first_entry, at, quad);
    }
    let record = (row * params.splits + split) * RECORD;
    if (quad == 0u) {
        moments[record] = vec4f(maximum, total, 0.0, 0.0);
    }
    moments[record + CENTER + quad] = center * select(0.0, 1.0 / weight, weight > 0.0);
}

fn x_quad(first_entry: u32, position: u32, quad: u32) -> vec4f {
    let entry = first_entry + position * params.kv_heads;
    if (quad < KEY_QUADS) {
        return key_quad(entry, quad) - key_quad(first_entry, quad);
    }
    return value_quad(entry, quad - KEY_QUADS);
}
