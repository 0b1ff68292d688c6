// What every phase reads of the prepared keys.
#import flash_lla/bindings
#import flash_lla/keys

@group(0) @binding(2) var<storage, read> clean_key: array<vec4f>;         // [batch, kv_heads, 1 + tokens, DEPTH_QUADS]: the first key, then all from it
@group(0) @binding(3) var<storage, read> key_info: array<vec2f>;          // [batch, kv_heads, tokens]: logit in base 2, |k - first k|²
#if MASK
@group(0) @binding(4) var<storage, read> mask: array<u32>;                // [query_tokens, mask_words]: bit s % 32 of word s / 32
#endif
#if LENGTHS
@group(0) @binding(5) var<storage, read> lengths: array<u32>;             // [batch]
#endif
