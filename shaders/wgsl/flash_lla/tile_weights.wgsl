        // Part of a phase: the weights of 32 rows x 64 keys, as quads of rows, for tile_accumulate.
        workgroupBarrier();
#for k in 0..2
#for j in 0..4
        tile[((x + {8*k}u) * 4u + {j}u) * 8u + slot] = vec4f(score0_{k}[{j}], score1_{k}[{j}], score2_{k}[{j}], score3_{k}[{j}]);
#endfor
#endfor
