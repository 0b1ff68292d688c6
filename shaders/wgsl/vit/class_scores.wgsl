// The product of every patch with every class of its image (Segmenter, arXiv 2105.05633, section 3.2). One invocation per score.
// Workgroups: ceil(batch * patches * classes / WORKGROUP).
#import shared/grid

struct ScoreParams {
    batch: u32,
    patches: u32,
    classes: u32,
    width: u32,
}

@group(0) @binding(1) var<uniform> params: ScoreParams;
@group(0) @binding(2) var<storage, read> patches: array<{X_TYPE}>;     // [batch, patches, width]
@group(0) @binding(3) var<storage, read> classes: array<{X_TYPE}>;     // [batch, classes, width]
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;     // [batch, patches, classes]
#import shared/load tensor=patches f16=0 aligned={ALIGNED}
#import shared/load tensor=classes f16=0 aligned={ALIGNED}

@compute @workgroup_size({WORKGROUP})
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let group = grid_index(workgroup, workgroups);
    let index = group * {WORKGROUP}u + local;
    let row = index / params.classes;
    let image = row / params.patches;
    if (group >= grid.end || image >= params.batch) { return; }
    let patch_start = row * params.width;
    let class_start = (image * params.classes + index % params.classes) * params.width;
    var score = 0.0;
    for (var column = 0u; column < params.width; column += 4u) {
        let count = params.width - column;
        score += dot(load_patches(patch_start + column, count), load_classes(class_start + column, count));
    }
    scores[index] = score;
}
