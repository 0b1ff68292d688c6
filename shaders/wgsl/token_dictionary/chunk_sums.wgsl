// Weighted sums of the pixels' rows in one chunk, and the sums of the weights. One invocation per chunk, tokens and channels in quads: each
// pixel costs TOKEN_QUADS + CHANNEL_QUADS loads per 16 times their product of multiply-adds. GPUs want invocations, so 1 and 1; a load
// on a software adapter is dear, so 2 and 2.
// Workgroups: ceil(chunks * ceil(tokens / 4 / TOKEN_QUADS) * ceil(channels / 4 / CHANNEL_QUADS) / WORKGROUP).
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
    let token_tiles = (params.tokens + {4*TOKEN_QUADS-1}u) / {4*TOKEN_QUADS}u;
    let channel_tiles = (params.channels + {4*CHANNEL_QUADS-1}u) / {4*CHANNEL_QUADS}u;
    let index = group * {WORKGROUP}u + local;
    if (group >= grid.end || index >= params.chunks * token_tiles * channel_tiles) { return; }
    let channel = index % channel_tiles * {4*CHANNEL_QUADS}u;
    let token = index / channel_tiles % token_tiles * {4*TOKEN_QUADS}u;
    let chunk = index / channel_tiles / token_tiles;
    // Quads past the last one repeat it, and nothing of them is stored.
#for t in 0..TOKEN_QUADS
    let token{t} = min(token + {4*t}u, (params.tokens - 1u) / 4u * 4u);
    var weight_sum{t} = vec4f(0.0);
#for i in 0..4
#for c in 0..CHANNEL_QUADS
    var sum{t}_{i}_{c} = vec4f(0.0);
#endfor
#endfor
#endfor
#for c in 0..CHANNEL_QUADS
    let channel{c} = min(channel + {4*c}u, (params.channels - 1u) / 4u * 4u);
#endfor
    for (var pixel = chunk * CHUNK; pixel < min(chunk * CHUNK + CHUNK, params.pixels); pixel += 1u) {
#for c in 0..CHANNEL_QUADS
        let row{c} = load_rows(pixel * params.channels + channel{c}, params.channels - channel{c});
#endfor
#for t in 0..TOKEN_QUADS
        let weight{t} = load_weights(pixel * params.tokens + token{t}, params.tokens - token{t});
        weight_sum{t} += weight{t};
#for i in 0..4
#for c in 0..CHANNEL_QUADS
        sum{t}_{i}_{c} = fma(vec4f(weight{t}[{i}]), row{c}, sum{t}_{i}_{c});
#endfor
#endfor
#endfor
    }
#for t in 0..TOKEN_QUADS
#for i in 0..4
    if (token + {4*t+i}u < params.tokens) {
        let place = chunk * params.tokens + token + {4*t+i}u;
        if (channel == 0u) { weight_sums[place] = weight_sum{t}[{i}]; }
#for c in 0..CHANNEL_QUADS
        if (channel + {4*c}u < params.channels) {
            store_sums(place * params.channels + channel{c}, params.channels - channel{c}, sum{t}_{i}_{c});
        }
#endfor
    }
#endfor
#endfor
}
