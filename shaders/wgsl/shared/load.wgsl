// Reads four neighbouring elements of the storage buffer `{tensor}` as f32.
//
// Arguments: tensor = the binding's name, f16 = 1 for packed half floats, aligned = 1 where every row starts at a
// multiple of four elements and holds a multiple of four. `count` is how many of the four exist; the rest are 0 and are not read.
// The binding's element type is vec4f (f32, aligned), f32 (f32), vec2u (f16, aligned) or u32 (f16): shared/load_type.
#if aligned && !f16
fn load_{tensor}(element: u32, count: u32) -> vec4f {
    return {tensor}[element / 4u];
}
#endif
#if aligned && f16
fn load_{tensor}(element: u32, count: u32) -> vec4f {
    let halves = {tensor}[element / 4u];
    return vec4f(unpack2x16float(halves.x), unpack2x16float(halves.y));
}
#endif
#if !aligned && !f16
fn load_{tensor}(element: u32, count: u32) -> vec4f {
    var quad = vec4f(0.0); // not `value`: that may be the binding
    if (count > 0u) { quad.x = {tensor}[element]; }
    if (count > 1u) { quad.y = {tensor}[element + 1u]; }
    if (count > 2u) { quad.z = {tensor}[element + 2u]; }
    if (count > 3u) { quad.w = {tensor}[element + 3u]; }
    return quad;
}
#endif
#if !aligned && f16
fn load_{tensor}_half(element: u32) -> f32 {
    let pair = unpack2x16float({tensor}[element / 2u]);
    return select(pair.x, pair.y, (element & 1u) == 1u);
}

fn load_{tensor}(element: u32, count: u32) -> vec4f {
    var quad = vec4f(0.0); // not `value`: that may be the binding
    if (count > 0u) { quad.x = load_{tensor}_half(element); }
    if (count > 1u) { quad.y = load_{tensor}_half(element + 1u); }
    if (count > 2u) { quad.z = load_{tensor}_half(element + 2u); }
    if (count > 3u) { quad.w = load_{tensor}_half(element + 3u); }
    return quad;
}
#endif
