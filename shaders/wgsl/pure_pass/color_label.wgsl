// The colour class of every pixel: the nearest of K fixed centres in RGB, of equals the first (Pure-Pass, arXiv 2510.01997).
//
// Integers throughout: on the grey axis two, three or six centres are exactly equidistant, and rounding would decide.
// One invocation per pixel. Workgroups: ceil(pixels / WORKGROUP).
// TEXTURE: 1 reads a texture of the picture's size or larger; CHANNELS: 4 has alpha, colours lie over black then, and a pixel that
// is wholly transparent gets a class of its own, K, whatever colour it hides.
#import shared/grid

struct LabelParams {
    pixels: u32,  // of all pictures
    width: u32,
    colors: u32,  // K
}

@group(0) @binding(1) var<uniform> params: LabelParams;
@group(0) @binding(2) var<storage, read> centers: array<vec4i>;         // [K], 16-fold levels
#if TEXTURE
@group(0) @binding(3) var picture: texture_2d<f32>;
#else
@group(0) @binding(3) var<storage, read> image: array<f32>;             // [pixels, CHANNELS], 0 to 1
#endif
@group(0) @binding(4) var<storage, read_write> labels: array<u32>;      // [pixels]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let pixel = group * {WORKGROUP}u + local;
    if (group >= grid.end || pixel >= params.pixels) { return; }

    let color = color_of(pixel);
    let levels = 16 * vec3i(i32(level(color.x)), i32(level(color.y)), i32(level(color.z)));
    var nearest = 0u;
    var least = 0x7fffffff;
    for (var k = 0u; k < params.colors; k += 1u) {
        let difference = levels - centers[k].xyz;
        let distance = dot(difference, difference);  // below 2^26
        nearest = select(nearest, k, distance < least);
        least = min(least, distance);
    }
#if CHANNELS == 4
    nearest = select(nearest, params.colors, level(color.w) == 0u);
#endif
    labels[pixel] = nearest;
}

// Colour over black, and alpha.
fn color_of(pixel: u32) -> vec4f {
#if TEXTURE
    let color = textureLoad(picture, vec2u(pixel % params.width, pixel / params.width), 0);
#else
    let first = pixel * {CHANNELS}u;
#if CHANNELS == 4
    let color = vec4f(image[first], image[first + 1u], image[first + 2u], image[first + 3u]);
#else
    let color = vec4f(image[first], image[first + 1u], image[first + 2u], 1.0);
#endif
#endif
#if CHANNELS == 4
    return vec4f(color.xyz * color.w, color.w);
#else
    return color;
#endif
}

// floor(255 x + 1/2) of x clamped to 0..1, exactly: 255 times the mantissa fits in 32 bits.
fn level(x: f32) -> u32 {
    let bits = bitcast<u32>(clamp(x, 0.0, 1.0));
    let exponent = bits >> 23u;
    if (exponent < 118u) { return 0u; }  // below 2^-9 < 1/510
    let mantissa = (bits & 0x7fffffu) | 0x800000u;
    return (((255u * mantissa) >> (149u - exponent)) + 1u) >> 1u;
}
