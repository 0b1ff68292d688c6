// Weighted sums of the pixels' rows in one chunk, and the sums of the weights. One invocation per chunk, 4 tokens and 4 channels; it reads
// two quads per 16 multiply-adds. Workgroups: ceil(chunks * ceil(tokens / 4) * ceil(channels / 4) / WORKGROUP).
#import shared/grid
#import token_dictionary/refine_params

@group(0) @binding(2) var<storage, read> weights: array<{ROW_TYPE}>;            // [pixels, tokens]
@group(0) @binding(3) var<storage, read> rows: array<{CHANNEL_TYPE}>;           // [pixels, channels]
@group(0) @binding(4) var<storage, read_write> sums: array<{CHANNEL_TYPE}>;     // [chunks, tokens, channels]
@group(0) @binding(5) var<storage, read_write> weight_sums: array<f32>;         // [chunks, tokens]
#import shared/load tensor=weights f16=0 aligned={ALIGNED}
#import shared/load tensor=rows f16=0 aligned={CHANNELS_ALIGNED}
#import shared/store tensor=sums aligned={CHANNELS_ALIGNED}

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let token_quads = (params.tokens + 3u) / 4u;
    let channel_quads = (params.channels + 3u) / 4u;
    let index = group * {WORKGROUP}u + local;
    if (group >= grid.end || index >= params.chunks * token_quads * channel_quads) { return; }
    let channel = index % channel_quads * 4u;
    let token = index / channel_quads % token_quads * 4u;
    let chunk = index / channel_quads / token_quads;
#for i in 0..4
    var sum{i} = vec4f(0.0);
#endfor
    var weight_sum = vec4f(0.0);
    for (var pixel = chunk * CHUNK; pixel < min(chunk * CHUNK + CHUNK, params.pixels); pixel += 1u) {
        let weight = load_weights(pixel * params.tokens + token, params.tokens - token);
        let row = load_rows(pixel * params.channels + channel, params.channels - channel);
#for i in 0..4
        sum{i} = fma(vec4f(weight[{i}]), row, sum{i});
#endfor
        weight_sum += weight;
    }
#for i in 0..4
    if (token + {i}u < params.tokens) {
        let place = chunk * params.tokens + token + {i}u;
        store_sums(place * params.channels + channel, params.channels - channel, sum{i});
        if (channel == 0u) { weight_sums[place] = weight_sum[{i}]; }
    }
#endfor
}
