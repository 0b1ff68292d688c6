// Where attention leaves its rows: normalised with their lse, or, where PARTIAL, one of several parts that attention/combine joins.
#if VALUE_DIM % 4 == 0
@group(0) @binding(8) var<storage, read_write> {OUT}: array<vec4f>;           // [batch, query_tokens, out_heads, value_dim]
#else
@group(0) @binding(8) var<storage, read_write> {OUT}: array<f32>;             // [batch, query_tokens, out_heads, value_dim]
#endif
#if PARTIAL
// The same for each split, not normalised, and [splits, batch, query_tokens, out_heads]: maximum in base 2, sum.
@group(0) @binding(9) var<storage, read_write> partial_state: array<vec2f>;
#else
@group(0) @binding(9) var<storage, read_write> lse: array<f32>;               // [batch, query_tokens, out_heads], natural log
#endif
