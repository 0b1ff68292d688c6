// What follows the product: bias, activation (linear/activation), residual, and the store. Needs the bindings `y`, `bias`, `residual`
// and params.rows and .outputs, as in linear/bindings. Argument: in_place = 1 adds to what y holds.
#import linear/activation
#if BIAS
#import shared/load tensor=bias f16=0 aligned=0
#endif
#if RESIDUAL
#import shared/load tensor=residual f16=0 aligned=0
#endif
#if in_place
#import shared/load tensor=y f16=0 aligned={Y_ALIGNED}
#endif

// Stores four neighbouring outputs of a row, where they exist. `column` is a multiple of 4, so a pair of halves has one writer.
fn store(row: u32, column: u32, sum: vec4f) {
    if (row >= params.rows || column >= params.outputs) {
        return;
    }
    let count = params.outputs - column;
    let element = row * params.outputs + column;
    var value = sum;
#if BIAS
    value += load_bias(column, count);
#endif
    value = activate(value);
#if RESIDUAL
    value += load_residual(element, count);
#endif
#if in_place
    value += load_y(element, count);
#endif
#if Y_F16
    y[element / 2u] = pack2x16float(value.xy);
    if (count > 2u) { y[element / 2u + 1u] = pack2x16float(value.zw); }
#endif
#if !Y_F16 && Y_ALIGNED
    y[element / 4u] = value;
#endif
#if !Y_F16 && !Y_ALIGNED
    y[element] = value.x;
    if (count > 1u) { y[element + 1u] = value.y; }
    if (count > 2u) { y[element + 2u] = value.z; }
    if (count > 3u) { y[element + 3u] = value.w; }
#endif
}
