// Where the prepared keys and values of (sequence, kv head) `head` lie.
const VALUE_QUADS = {(VALUE_DIM+3)/4}u;

fn first_key_quad(head: u32) -> u32 {
    return head * (params.tokens + 1u) * DEPTH_QUADS;
}

fn key_quad(head: u32, key: i32) -> u32 {
    return (head * (params.tokens + 1u) + 1u + u32(key)) * DEPTH_QUADS;
}

fn value_quad(head: u32, key: i32) -> u32 {
    return (head * params.tokens + u32(key)) * VALUE_QUADS;
}
