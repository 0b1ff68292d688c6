// Where four neighbouring pixels of a row go, clamped to [0, 1]: TARGET 0 is the image in f32, 1 its bytes, 2 a texture.
// ALIGNED: the width is a multiple of 4.
#if TARGET == 0 && ALIGNED
@group(0) @binding(4) var<storage, read_write> image: array<vec4f>;   // [height, width, CHANNELS]
#endif
#if TARGET == 0 && !ALIGNED
@group(0) @binding(4) var<storage, read_write> image: array<f32>;     // [height, width, CHANNELS]
#endif
#if TARGET == 1
@group(0) @binding(4) var<storage, read_write> image: array<u32>;     // [height, ceil(width * CHANNELS / 4)], four bytes each
#endif
#if TARGET == 2
@group(0) @binding(4) var picture: texture_storage_2d<rgba8unorm, write>; // at least width x height
#endif

// Half a step and more go up.
fn bytes(values: vec4f) -> vec4u {
    return vec4u(255.0 * clamp(values, vec4f(0.0), vec4f(1.0)) + 0.5);
}

fn packed(values: vec4f) -> u32 {
    let four = bytes(values) << vec4u(0u, 8u, 16u, 24u);
    return four.x | four.y | four.z | four.w;
}

// x is a multiple of 4; a plane holds one channel of the four pixels.
fn store_quad(
    y: u32,
    x: u32,
#for c in 0..CHANNELS
    plane{c}: vec4f,
#endfor
) {
    if (y >= params.height || x >= params.width) { return; }
#if TARGET == 2
#for k in 0..4
#if CHANNELS == 3
    store_pixel(y, x + {k}u, vec4f(plane0[{k}], plane1[{k}], plane2[{k}], 1.0));
#else
    store_pixel(y, x + {k}u, vec4f(plane0[{k}], plane0[{k}], plane0[{k}], 1.0));
#endif
#endfor
#else
#if CHANNELS == 3
    let quad0 = vec4f(plane0.x, plane1.x, plane2.x, plane0.y);
    let quad1 = vec4f(plane1.y, plane2.y, plane0.z, plane1.z);
    let quad2 = vec4f(plane2.z, plane0.w, plane1.w, plane2.w);
#else
    let quad0 = plane0;
#endif
#endif
#if TARGET == 0 && ALIGNED
    let element = (y * params.width + x) * {CHANNELS}u / 4u;
#for c in 0..CHANNELS
    image[element + {c}u] = clamp(quad{c}, vec4f(0.0), vec4f(1.0));
#endfor
#endif
#if TARGET == 0 && !ALIGNED
    let element = (y * params.width + x) * {CHANNELS}u;
    let count = (params.width - x) * {CHANNELS}u;
#for c in 0..CHANNELS
#for k in 0..4
    if ({4*c+k}u < count) { image[element + {4*c+k}u] = clamp(quad{c}[{k}], 0.0, 1.0); }
#endfor
#endfor
#endif
#if TARGET == 1
    let row_bytes = params.width * {CHANNELS}u;
    let word = y * ((row_bytes + 3u) / 4u) + x * {CHANNELS}u / 4u;
#for c in 0..CHANNELS
#if ALIGNED
    image[word + {c}u] = packed(quad{c});
#else
    // What a row's last word has behind the row is 0.
    let count{c} = min(max(row_bytes - x * {CHANNELS}u, {4*c}u) - {4*c}u, 4u);
    if (count{c} > 0u) { image[word + {c}u] = packed(quad{c}) & (0xffffffffu >> (32u - 8u * count{c})); }
#endif
#endfor
#endif
}

#if TARGET == 2
// The very byte goes in, whatever the driver's rounding.
fn store_pixel(y: u32, x: u32, color: vec4f) {
    if (x < params.width) { textureStore(picture, vec2u(x, y), vec4f(bytes(color)) / 255.0); }
}
#endif
