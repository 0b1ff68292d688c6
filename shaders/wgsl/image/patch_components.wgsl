// The patch of every pixel in a basis of its own picture: patch · basis + offset, in the order of the picture's pixels. With
// principal components as basis, each divided by the deviation of the noise, a few numbers hold what of a patch is no noise.
//
// The image goes on by reflection without repeating the border pixel. Values are taken about 0.5, as in patch_tokens.
// The sums stay in registers: a buffer of whole patches would be 6 times that of the image's 12 components.
// One invocation per pixel. Workgroups: ceil(height * width / WORKGROUP).
#import shared/grid
#import image/reflect

struct ComponentParams {
    height: u32,
    width: u32,
}

@group(0) @binding(1) var<uniform> params: ComponentParams;
@group(0) @binding(2) var<storage, read> image: array<f32>;             // [height, width, CHANNELS]
@group(0) @binding(3) var<storage, read> basis: array<vec4f>;           // [(2 RADIUS + 1)^2 CHANNELS + 1, COMPONENTS], last the offset
@group(0) @binding(4) var<storage, read_write> components: array<vec4f>; // [height, width, COMPONENTS]

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup_id: vec3u,
    @builtin(num_workgroups) num_workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup_id, num_workgroups);
    let place = group * {WORKGROUP}u + local;
    if (group >= grid.end || place >= params.height * params.width) { return; }

    let size = vec2i(i32(params.width), i32(params.height));
    let center = vec2i(vec2u(place % params.width, place / params.width));
    const OFFSET = {(2*RADIUS+1)*(2*RADIUS+1)*CHANNELS*COMPONENTS/4}u;
#for i in 0..COMPONENTS/4
    var sum{i} = basis[OFFSET + {i}u];
#endfor
    var row = 0u;
    for (var dy = -{RADIUS}; dy <= {RADIUS}; dy++) {
        let line = reflect_index(center.y + dy, size.y) * size.x;
        for (var dx = -{RADIUS}; dx <= {RADIUS}; dx++) {
            let pixel = u32(line + reflect_index(center.x + dx, size.x)) * {CHANNELS}u;
#for c in 0..CHANNELS
            let value{c} = image[pixel + {c}u] - 0.5;
#for i in 0..COMPONENTS/4
            sum{i} += value{c} * basis[row + {c*COMPONENTS/4+i}u];
#endfor
#endfor
            row += {CHANNELS*COMPONENTS/4}u;
        }
    }
#for i in 0..COMPONENTS/4
    components[place * {COMPONENTS/4}u + {i}u] = sum{i};
#endfor
}
