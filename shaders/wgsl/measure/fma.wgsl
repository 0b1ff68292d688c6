// Peak rate of fused multiply-adds: 8 independent vec4f chains per invocation, nothing read inside the loop.
// One iteration is 4 rounds of the chains: 128 multiply-adds (256 operations) per invocation.
// WORKGROUP: 8 on CPU adapters, 64 to 256 on GPUs.
#import shared/grid

struct FmaParams {
    iterations: u32,
    factor: f32,    // below 1 in size, so that the chains stay finite
    addend: f32,
}

@group(0) @binding(1) var<uniform> params: FmaParams;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;   // [invocations], depends on every multiply-add

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    if (group >= grid.end) {
        return;
    }
    let invocation = group * {WORKGROUP}u + local;
    let factor = vec4f(params.factor);
    let addend = vec4f(params.addend);
    let start = vec4f(f32(invocation % 64u)) + vec4f(0.0, 0.25, 0.5, 0.75);
#for c in 0..8
    var chain{c} = start + {c}.0;
#endfor
    for (var i = 0u; i < params.iterations; i++) {
#for round in 0..4
#for c in 0..8
        chain{c} = fma(chain{c}, factor, addend);
#endfor
#endfor
    }
    var sum = chain0;
#for c in 1..8
    sum += chain{c};
#endfor
    result[invocation] = sum.x + sum.y + sum.z + sum.w;
}
