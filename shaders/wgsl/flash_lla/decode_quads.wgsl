// Four elements of a key or a value; 0 past its end. What is no number is 0 in a key, whose logit then is BROKEN. In a value it
// stays, and marks the rows that see it by what they sum to: software adapters calculate as IEEE 754 has it.
fn key_quad(entry: u32, quad: u32) -> vec4f {
    let column = min(4u * quad, {(HEAD_DIM-1)/4*4}u);
    let loaded = load_key(entry * {HEAD_DIM}u + column, {HEAD_DIM}u - column);
    return select(vec4f(0.0), finite_or_zero(loaded), 4u * quad < {HEAD_DIM}u);
}
#if VALUES

fn value_quad(entry: u32, quad: u32) -> vec4f {
    let column = min(4u * quad, {(VALUE_DIM-1)/4*4}u);
    return select(vec4f(0.0), load_value(entry * {VALUE_DIM}u + column, {VALUE_DIM}u - column), 4u * quad < {VALUE_DIM}u);
}
#endif
