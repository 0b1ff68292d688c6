// Step 4 of 4 of decoding in plain steps: patches to the image, cropped and clamped.
// One invocation per four pixels of a row. Workgroups: ceil(height * ceil(width / 4) / WORKGROUP).
#import shared/grid
#import lowrank_vq/params
#import lowrank_vq/target

@group(0) @binding(2) var<storage, read> samples: array<vec4f>;       // [patches, CHANNELS, PATCH, PATCH]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let quad = group * {WORKGROUP}u + local;
    let quads_x = (params.width + 3u) / 4u;
    let y = quad / quads_x;
    let x = quad % quads_x * 4u;
    if (group >= grid.end || y >= params.height) { return; }

    let patch_index = y / {PATCH}u * params.patches_x + x / {PATCH}u;
    let place = patch_index * {CHANNELS*PATCH*PATCH}u + y % {PATCH}u * {PATCH}u + x % {PATCH}u;
    store_quad(
        y,
        x,
#for c in 0..CHANNELS
        samples[(place + {c*PATCH*PATCH}u) / 4u],
#endfor
    );
}
