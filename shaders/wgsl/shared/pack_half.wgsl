// Two f32 as packed halves. pack2x16float leaves values past 65504 undefined: they are clamped, and what is not finite
// becomes a NaN, so that a later check still finds it.
fn pack_half(pair: vec2f) -> u32 {
    let packed = pack2x16float(clamp(pair, vec2f(-65504.0), vec2f(65504.0)));
    let broken = (bitcast<vec2u>(pair) & vec2u(0x7f800000u)) == vec2u(0x7f800000u);
    let nan = select(vec2u(0u), vec2u(0x7e00u, 0x7e000000u), broken);
    return packed | nan.x | nan.y;
}
