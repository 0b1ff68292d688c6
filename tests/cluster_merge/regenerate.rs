//! Rows for all tokens out of merged sequences, against the twin.

use crate::common::{
    Random, assert_close, budget, doubles, gpu, read, round_to_half, upload, upload_floats, variants,
};
use crate::merge_case::Case;
use gristmill::kernels::cluster_merge::{Gate, Regenerate, RegenerateConfig, RegenerateWeights, RowMap};
use gristmill::twins::cluster_merge::{MergeShape, TwoLayers, map_rows, regenerate};
use gristmill::{Schedule, Tensor, no_progress};
use proptest::prelude::*;

/// The columns of a matrix with `width` of them that lie in the half.
fn half(matrix: &[f32], width: usize, half: usize) -> Vec<f32> {
    matrix.chunks_exact(2 * width).flat_map(|row| row[half * width..(half + 1) * width].to_vec()).collect()
}

fn check(case: &Case, class_row: bool) {
    let MergeShape { batch, tokens, clusters, width } = case.shape;
    let ids = case.data().ids;
    let map = map_rows(&ids, &case.shape, case.gate);
    let rows = map.bounds[batch] as usize;
    let mut random = Random::new(case.seed ^ 1);
    let rounded = |values: Vec<f32>| if case.f16 { round_to_half(&values) } else { values };
    let original = rounded(random.normal(batch * (1 + tokens) * width, 1.0));
    let mut processed = rounded(random.normal(rows * width, 1.0));
    let scale = (width as f32).powf(-0.5);
    let w1 = rounded(random.normal(2 * width * width, scale * 0.7));
    let w2 = rounded(random.normal(width * width, scale));
    let (b1, b2) = (random.normal(width, 0.5), random.normal(width, 0.5));
    let without_class: Vec<f32> =
        original.chunks_exact((1 + tokens) * width).flat_map(|image| image[width..].to_vec()).collect();
    let weights = [&w1, &b1, &w2, &b2].map(|values| doubles(values));
    let layers = TwoLayers { w1: &weights[0], b1: &weights[1], w2: &weights[2], b2: &weights[3] };
    let expected = regenerate(&doubles(&without_class), &doubles(&processed), &map, &layers, &case.shape);

    // Rows past the last one hold anything.
    processed.resize(batch * (1 + tokens + clusters) * width, f32::NAN);
    let floats = |label: &str, shape: &[usize], data: &[f32]| upload_floats(label, shape, data, case.f16);
    let original = if class_row {
        floats("original", &[batch, 1 + tokens, width], &original)
    } else {
        floats("original", &[batch, tokens, width], &without_class)
    };
    let processed = floats("processed", &[processed.len() / width, width], &processed);
    let tensors: Vec<Tensor> = [half(&w1, width, 0), half(&w1, width, 1), w2]
        .iter()
        .map(|data| floats("weight", &[width, width], data))
        .chain([&b1, &b2].map(|data| upload("bias", &[width], data)))
        .collect();
    let weights = RegenerateWeights {
        w1_original: &tensors[0],
        w1_representative: &tensors[1],
        w2: &tensors[2],
        b1: &tensors[3],
        b2: &tensors[4],
    };
    let row_map = RowMap::new(
        &upload("row_map", &[batch, tokens], &map.row_map),
        &upload("own_rows", &[batch], &map.own_rows),
        &upload("bounds", &[2 * (batch + 1)], &[map.bounds.clone(), map.bounds.clone()].concat()),
        &upload("row_count", &[1], &[rows as u32]),
        true,
        1 + tokens + clusters,
    )
    .unwrap();
    for variant in variants() {
        let operator = Regenerate::new(gpu(), RegenerateConfig { clusters, variant: Some(variant) }).unwrap();
        let mut schedule = Schedule::new(gpu());
        let part = operator.record_original(&mut schedule, &original, weights).unwrap();
        let out = operator.record(&mut schedule, &part, &processed, &row_map, weights).unwrap();
        let plan = schedule.compile().unwrap();
        plan.poison();
        pollster::block_on(plan.run(no_progress)).unwrap();
        assert_close(&format!("{case:?} by {variant}"), &read(&out), &expected, 1e-5);
    }
}

fn cases() -> impl Strategy<Value = (Case, bool)> {
    let width = prop_oneof![1usize..=40, (1usize..=12).prop_map(|quads| 4 * quads)];
    let gate = prop::sample::select(Gate::ALL.to_vec());
    (1usize..=3, 1usize..=90, 1usize..=6, width, gate, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |(batch, tokens, clusters, width, gate, f16, class_row, seed)| {
            let width = if f16 { width.next_multiple_of(2) } else { width };
            (Case { shape: MergeShape { batch, tokens, clusters, width }, gate, f16, seed }, class_row)
        },
    )
}

proptest! {
    #![proptest_config(budget(25))]

    #[test]
    fn every_build_regenerates_as_the_twin((case, class_row) in cases()) {
        check(&case, class_row);
    }
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let operator = Regenerate::new(gpu(), RegenerateConfig { clusters: 2, variant: None }).unwrap();
    let zeros = |shape: &[usize]| upload("zeros", shape, &vec![0.0f32; shape.iter().product()]);
    let whole = |shape: &[usize]| upload("zeros", shape, &vec![0u32; shape.iter().product()]);
    let (square, long, row) = (zeros(&[8, 8]), zeros(&[8, 16]), zeros(&[8]));
    let weights = RegenerateWeights {
        w1_original: &square,
        w1_representative: &square,
        b1: &row,
        w2: &square,
        b2: &row,
    };
    let map =
        |class| RowMap::new(&whole(&[2, 5]), &whole(&[2]), &whole(&[6]), &whole(&[1]), class, 8).unwrap();
    let mut schedule = Schedule::new(gpu());
    let unsplit = RegenerateWeights { w1_original: &long, ..weights };
    let error = operator.record_original(&mut schedule, &zeros(&[2, 5, 8]), unsplit).unwrap_err().to_string();
    assert!(
        error.contains("w1 (original)") && error.contains("[8, 16]") && error.contains("[8, 8]"),
        "{error}"
    );
    for (original, processed, class, words) in [
        (vec![2, 7, 8], vec![16, 8], true, ["`original`", "[2, 7, 8]", "[2, 5, 8]"]),
        (vec![1, 5, 8], vec![16, 8], true, ["`original`", "[1, 5, 8]", "[2, 5, 8]"]),
        (vec![2, 5, 8], vec![16, 4], true, ["`w1 (original)`", "[8, 8]", "[4, 4]"]),
        (vec![2, 5, 8], vec![2, 8, 8], true, ["`processed`", "[2, 8, 8]", "[rows, width]"]),
        (vec![2, 5, 8], vec![16, 8], false, ["`class_token`", "false", "true"]),
    ] {
        let part = operator.record_original(&mut schedule, &zeros(&original), weights).unwrap();
        let result = operator.record(&mut schedule, &part, &zeros(&processed), &map(class), weights);
        let error = result.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}: {words:?}");
    }
}
