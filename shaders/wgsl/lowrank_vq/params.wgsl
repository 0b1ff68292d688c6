struct VqParams {
    height: u32,
    width: u32,
    patches: u32,
    patches_x: u32,  // patches in a row of the image
    strips: u32,     // workgroups in a row of the image
    rank: u32,
    iterations: u32,
    count: u32,      // of indices: patches * iterations * CHANNELS * 2 rank
    bits: u32,       // of an index
    index_mask: u32, // 2^bits - 1
    codewords: u32,
    gain: f32,       // of the sum over all iterations
}

@group(0) @binding(1) var<uniform> params: VqParams;
