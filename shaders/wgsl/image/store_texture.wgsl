// A tensor's pixels into a texture, clamped to [0, 1]; CHANNELS is 3 (alpha becomes 1) or 4.
// One invocation per pixel. Workgroups: ceil(height * width / WORKGROUP).
#import shared/grid

struct TextureParams {
    height: u32,
    width: u32,
}

@group(0) @binding(1) var<uniform> params: TextureParams;
#if CHANNELS == 4
@group(0) @binding(2) var<storage, read> image: array<vec4f>;          // [height, width, 4]
#else
@group(0) @binding(2) var<storage, read> image: array<f32>;            // [height, width, 3]
#endif
@group(0) @binding(3) var picture: texture_storage_2d<rgba8unorm, write>; // at least width x height

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let pixel = group * {WORKGROUP}u + local;
    if (group >= grid.end || pixel >= params.height * params.width) { return; }
#if CHANNELS == 4
    let color = image[pixel];
#else
    let color = vec4f(image[pixel * 3u], image[pixel * 3u + 1u], image[pixel * 3u + 2u], 1.0);
#endif
    textureStore(picture, vec2u(pixel % params.width, pixel / params.width), clamp(color, vec4f(0.0), vec4f(1.0)));
}
