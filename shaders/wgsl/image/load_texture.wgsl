// A texture's pixels as a tensor; CHANNELS is 3 (alpha left out) or 4. Values are those the view gives: an sRGB view
// yields linear light. One invocation per pixel. Workgroups: ceil(height * width / WORKGROUP).
#import shared/grid

struct TextureParams {
    height: u32,
    width: u32,
}

@group(0) @binding(1) var<uniform> params: TextureParams;
@group(0) @binding(2) var picture: texture_2d<f32>;                    // at least width x height
#if CHANNELS == 4
@group(0) @binding(3) var<storage, read_write> image: array<vec4f>;    // [height, width, 4]
#else
@group(0) @binding(3) var<storage, read_write> image: array<f32>;      // [height, width, 3]
#endif

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let pixel = group * {WORKGROUP}u + local;
    if (group >= grid.end || pixel >= params.height * params.width) { return; }
    let color = textureLoad(picture, vec2u(pixel % params.width, pixel / params.width), 0);
#if CHANNELS == 4
    image[pixel] = color;
#else
    image[pixel * 3u] = color.x;
    image[pixel * 3u + 1u] = color.y;
    image[pixel * 3u + 2u] = color.z;
#endif
}
