// Tokens of the windows of a run of tiles, out of the tokens of a picture. Queries are the tile's own pixels. Keys are those of
// the window around it with their pixels as values and the bias -|k|^2 / h^2, which makes of scale 2 / h^2 a softmax of
// -|q - k|^2 / h^2.
//
// Windows are moved into the picture, so that a tile at its border sees as many keys as any other, and none is masked. A query
// outside the picture repeats the nearest one; place_tiles drops it.
// One invocation per token. Workgroups: ceil(tiles * rows * columns / WORKGROUP).
#import shared/grid

struct WindowParams {
    height: u32,     // of the picture
    width: u32,
    top: u32,        // where the tiles begin
    left: u32,
    tiles_x: u32,    // tiles in a row
    tile: u32,       // pixels along a tile's side
    margin: u32,     // of the window around the tile, 0 for queries
    rows: u32,       // of a window, at most height
    columns: u32,    // of a window, at most width
    first_tile: u32, // of this call, in row order
    tiles: u32,      // of this call
    inverse_h2: f32,
}

@group(0) @binding(1) var<uniform> params: WindowParams;
@group(0) @binding(2) var<storage, read> components: array<vec4f>;     // [height, width, COMPONENTS]
@group(0) @binding(3) var<storage, read_write> tokens: array<vec4f>;   // [tiles, rows * columns, 1, COMPONENTS]
#if KEYS
@group(0) @binding(4) var<storage, read> image: array<f32>;            // [height, width, CHANNELS]
@group(0) @binding(5) var<storage, read_write> values: array<f32>;     // [tiles, rows * columns, 1, CHANNELS]
@group(0) @binding(6) var<storage, read_write> key_bias: array<f32>;   // [tiles, rows * columns]
#endif

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let area = params.rows * params.columns;
    let token = group * {WORKGROUP}u + local;
    if (group >= grid.end || token >= params.tiles * area) { return; }

    let tile = params.first_tile + token / area;
    let place = vec2u(token % area % params.columns, token % area / params.columns);
    let size = vec2u(params.width, params.height);
    let corner = vec2u(params.left, params.top) + vec2u(tile % params.tiles_x, tile / params.tiles_x) * params.tile;
#if KEYS
    let reach = vec2u(params.margin);
    let at = min(corner - min(corner, reach), size - vec2u(params.columns, params.rows)) + place;
#else
    let at = min(corner + place, size - 1u);
#endif
    let pixel = at.y * params.width + at.x;

#for i in 0..COMPONENTS/4
    let part{i} = components[pixel * {COMPONENTS/4}u + {i}u];
    tokens[token * {COMPONENTS/4}u + {i}u] = part{i};
#endfor
#if KEYS
    var square = 0.0;
#for i in 0..COMPONENTS/4
    square += dot(part{i}, part{i});
#endfor
    key_bias[token] = -square * params.inverse_h2;
#for c in 0..CHANNELS
    values[token * {CHANNELS}u + {c}u] = image[pixel * {CHANNELS}u + {c}u];
#endfor
#endif
}
