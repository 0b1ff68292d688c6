// The product of two vectors of the state. State is walked in loops: each access is written out lane by lane on such adapters,
// and unrolled ones took longer to compile than to run.
fn product_of(one: u32, other: u32) -> f32 {
    var product = 0.0;
    for (var quad = 0u; quad < DEPTH_QUADS; quad += 1u) {
        product += dot(state[one + quad], state[other + quad]);
    }
    return product;
}
