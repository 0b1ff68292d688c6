        // Part of a step: this token's blocks of the step enter its list of the `kept` best so far, which lies at `list` in no order. The
        // worst of a full list, `lowest` in slot `lowest_slot`, makes room. Blocks come in rising order, so a tie never replaces.
        for (var j = max(step_first, candidates.first); j < min(step_end, candidates.end); j += 1u) {
            let score = block_scores[{AT}];
            if (kept < candidates.free) {
                best[list + kept] = vec2u(bitcast<u32>(score), j);
                kept += 1u;
                if (kept < candidates.free) { continue; }
            } else {
                if (score <= lowest) { continue; }
                best[list + lowest_slot] = vec2u(bitcast<u32>(score), j);
            }
            // The next to go has the lowest score, of equal ones the highest number.
            lowest = 3.0e38;
            var lowest_block = 0u;
            for (var slot = 0u; slot < kept; slot += 1u) {
                let entry = best[list + slot];
                let entry_score = bitcast<f32>(entry.x);
                if (entry_score < lowest || (entry_score == lowest && entry.y > lowest_block)) {
                    lowest = entry_score;
                    lowest_block = entry.y;
                    lowest_slot = slot;
                }
            }
        }
