// Writes four neighbouring elements of the f32 storage buffer `{tensor}`.
//
// Arguments: tensor = the binding's name, aligned = 1 where every row starts at a multiple of four elements and holds a
// multiple of four. `count` is how many of the four exist. The binding's element type is vec4f (aligned) or f32.
#if aligned
fn store_{tensor}(element: u32, count: u32, quad: vec4f) {
    {tensor}[element / 4u] = quad;
}
#else
fn store_{tensor}(element: u32, count: u32, quad: vec4f) {
    {tensor}[element] = quad.x;
    if (count > 1u) { {tensor}[element + 1u] = quad.y; }
    if (count > 2u) { {tensor}[element + 2u] = quad.z; }
    if (count > 3u) { {tensor}[element + 3u] = quad.w; }
}
#endif
