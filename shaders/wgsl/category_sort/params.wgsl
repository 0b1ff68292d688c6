struct SortParams {
    elements: u32,
    categories: u32,
    blocks: u32,      // of BLOCK elements, the last one shorter
}

@group(0) @binding(1) var<uniform> params: SortParams;

const BLOCK = {BLOCK}u;
