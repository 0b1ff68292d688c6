struct RefineParams {
    pixels: u32,
    tokens: u32,    // M
    channels: u32,
    chunks: u32,    // of CHUNK pixels, the last one shorter
}

@group(0) @binding(1) var<uniform> params: RefineParams;

// As in the host's `CHUNK`.
const CHUNK = 256u;
