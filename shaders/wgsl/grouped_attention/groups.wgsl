// Attention within groups of pixels. One row of qkv holds queries, keys and values of all heads of a pixel.
// WINDOW 0: a group is a run of `group` pixels of a sorted list. The last one has the keys of the list's end, read backwards, to make it
// whole; a list shorter than a group is one group (ATD, arXiv 2401.08209, section 3.3).
// WINDOW > 0: a group is a window of WINDOW x WINDOW pixels, of a picture that is rolled up and left by half a window where SHIFTED
// (Swin, arXiv 2103.14030, section 3.2).
#import shared/grid
#import attention/logits

struct GroupParams {
    heads: u32,
    kv_heads: u32,   // heads in a row of qkv: 3 * heads
    row_tiles: u32,  // tiles of queries of one group and head
    group: u32,      // keys of a group
    groups: u32,
    group_step: u32, // a workgroup has every group_step-th group from its own on (attention_cpu)
    height: u32,     // of the picture, multiples of WINDOW
    width: u32,
    scale: f32,
}

@group(0) @binding(1) var<uniform> params: GroupParams;
// [pixels, 3, heads, head_dim], three times
@group(0) @binding(2) var<storage, read> query: array<{QKV_TYPE}>;
@group(0) @binding(3) var<storage, read> key: array<{QKV_TYPE}>;
@group(0) @binding(4) var<storage, read> value: array<{QKV_TYPE}>;
#if WINDOW
@group(0) @binding(5) var<storage, read> bias_table: array<f32>;        // [heads, (2 WINDOW - 1)^2], in base 2
#else
@group(0) @binding(5) var<storage, read> order: array<u32>;             // [pixels], the list
@group(0) @binding(6) var<storage, read> active_count: array<u32>;      // [1], pixels on the list
#endif
@group(0) @binding(7) var<storage, read_write> out: array<{QKV_TYPE}>;  // [pixels, heads, head_dim]; of a list, in its order
#import shared/load tensor=query f16=0 aligned={HEAD_DIM%4==0}
#import shared/load tensor=key f16=0 aligned={HEAD_DIM%4==0}
#import shared/load tensor=value f16=0 aligned={HEAD_DIM%4==0}
#import shared/store tensor=out aligned={HEAD_DIM%4==0}

#if WINDOW
fn key_count() -> u32 {
    return {WINDOW*WINDOW}u;
}

fn query_count(group: u32) -> u32 {
    return {WINDOW*WINDOW}u;
}

fn pixel_at(group: u32, place: u32) -> u32 {
    let columns = params.width / {WINDOW}u;
    let y = group / columns * {WINDOW}u + place / {WINDOW}u;
    let x = group % columns * {WINDOW}u + place % {WINDOW}u;
#if SHIFTED
    return (y + {WINDOW/2}u) % params.height * params.width + (x + {WINDOW/2}u) % params.width;
#else
    return y * params.width + x;
#endif
}

fn out_row(group: u32, place: u32) -> u32 {
    return pixel_at(group, place);
}

// The bias of a query and a key stands at the query's place minus the key's.
fn query_place(place: u32) -> u32 {
    return (place / {WINDOW}u + {WINDOW-1}u) * {2*WINDOW-1}u + place % {WINDOW}u + {WINDOW-1}u;
}

fn key_place(place: u32) -> u32 {
    return place / {WINDOW}u * {2*WINDOW-1}u + place % {WINDOW}u;
}

// Rolling brings pixels beside each other that are not neighbours; those of different regions see each other with this bias.
const APART = -100.0 * LOG2_E;

fn region(group: u32, place: u32) -> u32 {
    let columns = params.width / {WINDOW}u;
    let last_row = group / columns == params.height / {WINDOW}u - 1u;
    let last_column = group % columns == columns - 1u;
    let low = u32(place / {WINDOW}u >= {WINDOW-WINDOW/2}u);
    let right = u32(place % {WINDOW}u >= {WINDOW-WINDOW/2}u);
    return select(0u, 2u * low, last_row) + select(0u, right, last_column);
}
#else
fn key_count() -> u32 {
    return min(active_count[0], params.group);
}

fn query_count(group: u32) -> u32 {
    let first = min(group * params.group, active_count[0]);
    return min(active_count[0] - first, params.group);
}

fn pixel_at(group: u32, place: u32) -> u32 {
    let entry = group * params.group + place;
    let listed = active_count[0];
    return order[select(2u * listed - 1u - entry, entry, entry < listed)];
}

fn out_row(group: u32, place: u32) -> u32 {
    return group * params.group + place;
}
#endif
