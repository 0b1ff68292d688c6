// Quad `quad` of row `row` of the outputs.
fn store(row: u32, quad: u32, values: vec4f) {
#if VALUE_DIM % 32 != 0
    if (quad >= VALUE_QUADS) { return; }
#endif
#if VALUE_DIM % 4 == 0
    out[row * VALUE_QUADS + quad] = values;
#else
#for j in 0..4
    if (quad * 4u + {j}u < {VALUE_DIM}u) { out[row * {VALUE_DIM}u + quad * 4u + {j}u] = values[{j}]; }
#endfor
#endif
}
