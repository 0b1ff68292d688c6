// A staged chunk multiplied into the sums of an invocation, inside `main`: 1024 / rows inputs of a tile of rows x columns.
//
// Arguments: rows, columns = of the tile, row_lanes, column_lanes = of its 64 invocations, weight_turned = 1 where the weight's quads
// are swizzled as those of x are. An invocation owns the row quads `row`, `row` + row_lanes, .. by the column quads `column`,
// `column` + column_lanes, ..: sum{row}_{quad}.
#for k in 0..1024/rows
        {
            let swizzled_row = row ^ {k/4*rows/32}u;
#for q in 0..rows/4/row_lanes
            let x{q} = x_tile[{k*rows/4+q*row_lanes}u + swizzled_row];
#endfor
#for c in 0..columns/4/column_lanes
#if weight_turned
            let weight{c} = weight_tile[{k*columns/4+c*column_lanes}u + (column ^ {k/4*rows/32}u)];
#else
            let weight{c} = weight_tile[{k*columns/4+c*column_lanes}u + column];
#endif
#endfor
#for q in 0..rows/4/row_lanes
#for c in 0..columns/4/column_lanes
            sum{q*4}_{c} = fma(vec4f(x{q}.x), weight{c}, sum{q*4}_{c});
            sum{q*4+1}_{c} = fma(vec4f(x{q}.y), weight{c}, sum{q*4+1}_{c});
            sum{q*4+2}_{c} = fma(vec4f(x{q}.z), weight{c}, sum{q*4+2}_{c});
            sum{q*4+3}_{c} = fma(vec4f(x{q}.w), weight{c}, sum{q*4+3}_{c});
#endfor
#endfor
        }
#endfor
