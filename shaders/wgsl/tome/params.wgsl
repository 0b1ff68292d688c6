// Token merging (ToMe, arXiv 2210.09461): tokens at even places are sources, those at odd places destinations.
struct TomeParams {
    batch: u32,
    tokens: u32,
    width: u32,        // of a token, or of its metric
    removed: u32,      // sources that give up their row
    class_token: u32,  // 1: the first token is one; it keeps its row, and so do the others in their order
}

@group(0) @binding(1) var<uniform> params: TomeParams;

fn sources() -> u32 {
    return (params.tokens + 1u) / 2u;
}
