// Non-local means as attention (Buades et al. 2005): the patches of a tile's pixels are queries, those of the window
// around it keys, its pixels values. With scale 2 / h^2 and key bias -|k|^2 / h^2 the softmax over the window is that
// of -|q - k|^2 / h^2. Patches are taken about 0.5, which changes no distance and keeps the products small.
//
// The image goes on by reflection without repeating the border pixel. Window positions outside it are masked, so that
// no pixel counts twice. Queries: margin = 0, without KEYS. PATCH_DIM >= (2 RADIUS + 1)^2 CHANNELS, the rest is 0.
// One invocation per token. Workgroups: ceil(tiles * (tile + 2 margin)^2 / WORKGROUP).
#import shared/grid
#import image/reflect

struct PatchParams {
    height: u32,
    width: u32,
    tiles_x: u32,    // tiles in a row of the image
    tile: u32,       // pixels along a tile's side
    margin: u32,
    first_tile: u32, // of this call, in row order
    tiles: u32,      // of this call
    inverse_h2: f32,
}

@group(0) @binding(1) var<uniform> params: PatchParams;
@group(0) @binding(2) var<storage, read> image: array<f32>;            // [height, width, CHANNELS]
@group(0) @binding(3) var<storage, read_write> tokens: array<f32>;     // [tiles, (tile + 2 margin)^2, 1, PATCH_DIM]
#if KEYS
@group(0) @binding(4) var<storage, read_write> values: array<f32>;     // [tiles, (tile + 2 margin)^2, 1, CHANNELS]
@group(0) @binding(5) var<storage, read_write> key_bias: array<f32>;   // [tiles, (tile + 2 margin)^2]
@group(0) @binding(6) var<storage, read_write> key_mask: array<u32>;   // [tiles, (tile + 2 margin)^2], 1 = visible
#endif

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let side = params.tile + 2u * params.margin;
    let token = group * {WORKGROUP}u + local;
    if (group >= grid.end || token >= params.tiles * side * side) { return; }

    let tile = params.first_tile + token / (side * side);
    let place = token % (side * side);
    let size = vec2i(i32(params.width), i32(params.height));
    let corner = vec2i(vec2u(tile % params.tiles_x, tile / params.tiles_x) * params.tile) - i32(params.margin);
    let center = corner + vec2i(vec2u(place % side, place / side));

    var element = token * {PATCH_DIM}u;
    var square = 0.0;
    for (var dy = -{RADIUS}; dy <= {RADIUS}; dy++) {
        let line = reflect_index(center.y + dy, size.y) * size.x;
        for (var dx = -{RADIUS}; dx <= {RADIUS}; dx++) {
            let pixel = u32(line + reflect_index(center.x + dx, size.x)) * {CHANNELS}u;
#for c in 0..CHANNELS
            let value{c} = image[pixel + {c}u] - 0.5;
            tokens[element + {c}u] = value{c};
            square += value{c} * value{c};
#endfor
            element += {CHANNELS}u;
        }
    }
#for i in (2*RADIUS+1)*(2*RADIUS+1)*CHANNELS..PATCH_DIM
    tokens[token * {PATCH_DIM}u + {i}u] = 0.0;
#endfor

#if KEYS
    let pixel = u32(reflect_index(center.y, size.y) * size.x + reflect_index(center.x, size.x)) * {CHANNELS}u;
#for c in 0..CHANNELS
    values[token * {CHANNELS}u + {c}u] = image[pixel + {c}u];
#endfor
    key_bias[token] = -square * params.inverse_h2;
    key_mask[token] = u32(all(center >= vec2i(0)) && all(center < size));
#endif
}
