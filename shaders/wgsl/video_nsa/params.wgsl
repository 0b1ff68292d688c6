struct SplitParams {
    batch: u32,
    tokens: u32,  // of one sequence, vision and text
    units: u32,   // elements of the row type in one token's row
}

@group(0) @binding(1) var<uniform> params: SplitParams;

// Tokens that one invocation numbers, as in the host's `CHUNK`.
const CHUNK = 256u;
