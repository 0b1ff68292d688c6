// Sizes of a batch whose tokens are merged.
struct MergeParams {
    batch: u32,
    tokens: u32,    // of one image, without the class token
    clusters: u32,  // K
    width: u32,
    chunks: u32,    // of tokens: ceil(tokens / CHUNK)
}

@group(0) @binding(1) var<uniform> params: MergeParams;

// Tokens summed in one go; the host's `CHUNK`.
const CHUNK = 64u;

fn quads() -> u32 {
    return (params.width + 3u) / 4u;
}

// The first element of a row of an image, the class token's being row 0.
fn x_row(image: u32, row: u32) -> u32 {
    return (image * (1u + params.tokens) + row) * params.width;
}
