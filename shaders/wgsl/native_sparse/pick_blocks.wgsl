// The list of each token: its local blocks, the first ones, and the best of those that the ranges of score_blocks kept (NSA, arXiv
// 2502.11089, Eq. 11 and section 3.3.2); ascending, EMPTY behind the last. One invocation per list.
// Workgroups: ceil(batch * query_tokens * kv_heads / WORKGROUP).
#import native_sparse/select_bindings

@group(0) @binding(2) var<storage, read> best: array<vec2u>;           // [splits, all query tokens, kv_heads, slots]: score, block; EMPTY
@group(0) @binding(3) var<storage, read_write> blocks: array<u32>;     // [all query tokens, kv_heads, slots]

const EMPTY = 0xffffffffu;

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    if (group >= grid.end || index >= params.batch * params.query_tokens * params.kv_heads) {
        return;
    }
    let batch = index / params.kv_heads / params.query_tokens;
    let token = index / params.kv_heads % params.query_tokens;
    let s = sequence_at(batch);
    if (token >= s.query_count) {
        return;
    }
    let c = candidates_at(s, s.q_offset + i32(token));
    let list = ((s.query_start + token) * params.kv_heads + index % params.kv_heads) * params.slots;

    // 1. The last score and block that still have a place.
    var last = vec2u(0u, EMPTY);
    if (scores_decide(c) && params.splits > 1u) {
        var score = 3.0e38;
        var block = 0u;
        for (var place = 0u; place < c.free; place += 1u) {
            var next_score = -1.0;
            var next_block = EMPTY;
            for (var entry = 0u; entry < params.splits * params.slots; entry += 1u) {
                let found = best[best_index(list, entry)];
                let found_score = bitcast<f32>(found.x);
                let behind = found_score < score || (found_score == score && found.y > block);
                let better = found_score > next_score || (found_score == next_score && found.y < next_block);
                if (found.y != EMPTY && behind && better) {
                    next_score = found_score;
                    next_block = found.y;
                }
            }
            score = next_score;
            block = next_block;
        }
        last = vec2u(bitcast<u32>(score), block);
    }

    // 2. First blocks, then the best ones by number, then local ones: all of the first come before all of the best, and so on.
    var written = 0u;
    for (var block = 0u; block < c.first; block += 1u) {
        blocks[list + written] = block;
        written += 1u;
    }
    if (compete(c)) {
        var previous = 0u;
        for (var place = 0u; place < c.free; place += 1u) {
            var next = EMPTY;
            for (var entry = 0u; entry < params.splits * params.slots; entry += 1u) {
                let found = best[best_index(list, entry)];
                let found_score = bitcast<f32>(found.x);
                let last_score = bitcast<f32>(last.x);
                let has_place = found_score > last_score || (found_score == last_score && found.y <= last.y);
                if (has_place && found.y >= previous) { next = min(next, found.y); }
            }
            blocks[list + written] = next;
            written += 1u;
            previous = next + 1u;
        }
    } else {
        for (var block = c.first; block < c.end; block += 1u) {
            blocks[list + written] = block;
            written += 1u;
        }
    }
    for (var block = 0u; block < c.local; block += 1u) {
        blocks[list + written] = c.end + block;
        written += 1u;
    }
    for (; written < params.slots; written += 1u) {
        blocks[list + written] = EMPTY;
    }
}

// Entry `entry` of a list's splits one behind the other.
fn best_index(list: u32, entry: u32) -> u32 {
    return entry / params.slots * params.all_tokens * params.kv_heads * params.slots + list + entry % params.slots;
}
