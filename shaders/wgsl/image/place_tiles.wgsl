// Tiles of pixels back into the image; what of a tile lies outside is dropped.
// One invocation per pixel of a tile. Workgroups: ceil(tiles * tile^2 / WORKGROUP).
#import shared/grid

struct PlaceParams {
    height: u32,
    width: u32,
    tiles_x: u32,    // tiles in a row of the image
    tile: u32,       // pixels along a tile's side
    first_tile: u32, // of this call, in row order
    tiles: u32,      // of this call
}

@group(0) @binding(1) var<uniform> params: PlaceParams;
@group(0) @binding(2) var<storage, read> pixels: array<f32>;           // [tiles, tile * tile, 1, CHANNELS]
@group(0) @binding(3) var<storage, read_write> image: array<f32>;      // [height, width, CHANNELS]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let area = params.tile * params.tile;
    let token = group * {WORKGROUP}u + local;
    if (group >= grid.end || token >= params.tiles * area) { return; }

    let tile = params.first_tile + token / area;
    let place = token % area;
    let x = tile % params.tiles_x * params.tile + place % params.tile;
    let y = tile / params.tiles_x * params.tile + place / params.tile;
    if (x >= params.width || y >= params.height) { return; }
    let pixel = (y * params.width + x) * {CHANNELS}u;
#for c in 0..CHANNELS
    image[pixel + {c}u] = pixels[token * {CHANNELS}u + {c}u];
#endfor
}
