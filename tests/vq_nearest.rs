//! The nearest codeword on the GPU against its f64 twin, in every build that runs here.

mod common;

use common::{Random, budget, doubles, gpu, upload, variants};
use gristmill::kernels::lowrank_vq::{VqNearest, VqNearestConfig};
use gristmill::twins::lowrank_vq::vq_nearest;
use gristmill::{Dtype, Error, Schedule, Tensor, VariantKind, no_progress};
use half::f16;
use proptest::prelude::*;
use safetensors::SafeTensors;

fn search(kind: VariantKind, z: &Tensor, codebook: &Tensor) -> Vec<u32> {
    let mut schedule = Schedule::new(gpu());
    let nearest = VqNearest::new(gpu(), VqNearestConfig { variant: Some(kind) }).unwrap();
    let indices = nearest.record(&mut schedule, z, codebook).unwrap();
    let plan = schedule.compile().unwrap();
    plan.poison();
    pollster::block_on(plan.run(no_progress)).unwrap();
    pollster::block_on(indices.read(gpu())).unwrap()
}

/// Every index equals the twin's, or its codeword is as near to rounding.
#[track_caller]
fn assert_nearest(what: &str, found: &[u32], z: &[f64], codebook: &[f64], length: usize) {
    let (expected, margins) = vq_nearest(z, codebook, length);
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = |values: &[f64]| {
        values.chunks_exact(length).map(|v| v.iter().map(|x| x * x).sum::<f64>()).fold(0.0, f64::max).sqrt()
    };
    let tolerance = 1e-6 * length as f64 * largest(codebook) * (largest(z) + largest(codebook));
    let codewords = codebook.len() / length;
    for (row, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
        assert!((found as usize) < codewords, "{what}: row {row}: index {found} of {codewords}");
        if found == expected {
            continue;
        }
        let distance = |index: u32| -> f64 {
            let codeword = &codebook[index as usize * length..][..length];
            z[row * length..][..length].iter().zip(codeword).map(|(z, c)| (z - c) * (z - c)).sum()
        };
        let farther = distance(found) - distance(expected);
        let margin = margins[row];
        assert!(
            farther < tolerance,
            "{what}: row {row}: {found} is {farther:e} farther than {expected} (margin {margin:e})"
        );
    }
}

fn check(rows: usize, codewords: usize, length: usize, half: bool, seed: u64) {
    let mut random = Random::new(seed);
    let z = random.normal(rows * length, 1.0);
    let mut codes = random.normal(codewords * length, 1.0);
    let shape = [codewords, length];
    let codebook = if half {
        let halves: Vec<f16> = codes.iter().map(|&value| f16::from_f32(value)).collect();
        codes = halves.iter().map(|half| half.to_f32()).collect();
        Tensor::upload(gpu(), "codebook", &shape, &halves).unwrap()
    } else {
        upload("codebook", &shape, &codes)
    };
    let rows_on_gpu = upload("z", &[rows, length], &z);
    for kind in variants() {
        let found = search(kind, &rows_on_gpu, &codebook);
        let what = format!("{rows} rows, {codewords} codewords of {length}, f16 {half}, seed {seed}, {kind}");
        assert_nearest(&what, &found, &doubles(&z), &doubles(&codes), length);
    }
}

#[test]
fn matches_the_golden_vectors() {
    let bytes = std::fs::read("tests/golden/lrvq_nearest.safetensors").unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let words = |name: &str| bytemuck::pod_collect_to_vec::<u8, u32>(file.tensor(name).unwrap().data());
    let floats = |name: &str| words(name).into_iter().map(f32::from_bits).collect::<Vec<f32>>();
    let (z, codebook) = (floats("z"), floats("codebook"));
    let (indices, margins) = vq_nearest(&doubles(&z), &doubles(&codebook), 16);
    assert_eq!(indices, words("idx"), "twin");
    common::assert_close("margins", &floats("margin"), &margins, 1e-5);
    let (z, codebook) = (upload("z", &[200, 16], &z), upload("codebook", &[513, 16], &codebook));
    for kind in variants() {
        assert_eq!(search(kind, &z, &codebook), words("idx"), "{kind}");
    }
}

#[test]
fn every_length_and_storage_equals_the_twin() {
    for length in [4, 8, 16, 32] {
        for half in [false, true] {
            check(77, 301, length, half, 1);
        }
    }
}

/// Fewer codewords than a quad, one more than a tile, and as many as an index can name.
#[test]
fn codebooks_of_every_size_are_searched_whole() {
    for codewords in [1, 2, 3, 5, 33, 64, 65, 257, 1000] {
        check(19, codewords, 8, false, codewords as u64);
    }
    check(9, 65536, 4, true, 3);
    check(1, 4096, 16, false, 4);
}

/// In whole numbers every product and sum is exact, so ties are ties in any order of adding.
#[test]
fn of_equal_codewords_the_lowest_is_found() {
    let length = 8;
    let mut random = Random::new(5);
    let distinct: Vec<f32> = (0..60 * length).map(|_| random.below(5) as f32).collect();
    // Every codeword three times, far apart and side by side.
    let order: Vec<usize> = (0..60).chain((0..60).flat_map(|k| [k, k])).collect();
    let codes: Vec<f32> = order.iter().flat_map(|&k| &distinct[k * length..][..length]).copied().collect();
    let z: Vec<f32> = (0..300 * length).map(|_| random.below(5) as f32).collect();
    let (expected, margins) = vq_nearest(&doubles(&z), &doubles(&codes), length);
    assert!(margins.iter().all(|&margin| margin == 0.0));
    let (z, codebook) = (upload("z", &[300, length], &z), upload("codebook", &[180, length], &codes));
    for kind in variants() {
        assert_eq!(search(kind, &z, &codebook), expected, "{kind}");
    }
}

/// All of them are equally far, with scores far below 0.
#[test]
fn far_codewords_and_equal_ones_still_have_a_nearest() {
    for (value, codewords) in [(0.0, 5), (1e15, 70), (-3e17, 300)] {
        let codebook = upload("codebook", &[codewords, 8], &vec![value; codewords * 8]);
        let z = upload("z", &[3, 8], &[0.5; 24]);
        for kind in variants() {
            assert_eq!(search(kind, &z, &codebook), [0; 3], "{codewords} codewords at {value} by {kind}");
        }
    }
}

#[test]
fn no_rows_are_no_work() {
    let codebook = upload("codebook", &[7, 4], &[1.0; 28]);
    let z = Tensor::zeros(gpu(), "z", &[0, 4], Dtype::F32).unwrap();
    assert!(search(variants()[0], &z, &codebook).is_empty());
}

proptest! {
    #![proptest_config(budget(16))]

    #[test]
    fn random_shapes_equal_the_twin(
        rows in 1usize..200,
        codewords in 1usize..700,
        length in prop_oneof![Just(4usize), Just(8), Just(16), Just(32)],
        half in any::<bool>(),
        seed in any::<u64>(),
    ) {
        check(rows, codewords, length, half, seed);
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused_by_name() {
    let zeros = |shape: &[usize], dtype| Tensor::zeros(gpu(), "zeros", shape, dtype).unwrap();
    let refused = |z: &Tensor, codebook: &Tensor| {
        let nearest = VqNearest::new(gpu(), VqNearestConfig::default()).unwrap();
        let error = nearest.record(&mut Schedule::new(gpu()), z, codebook).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error:?}");
        error.to_string()
    };
    let float = |shape: &[usize]| zeros(shape, Dtype::F32);
    for (error, words) in [
        (refused(&float(&[3, 8]), &float(&[5, 6])), ["vq_nearest", "`codebook`", "[5, 6]", "4, 8, 16 or 32"]),
        (refused(&float(&[3, 8]), &float(&[0, 8])), ["vq_nearest", "`codebook`", "[0, 8]", "65536"]),
        (refused(&float(&[3, 8]), &float(&[65537, 4])), ["vq_nearest", "`codebook`", "65537", "65536"]),
        (refused(&float(&[3, 4]), &float(&[5, 8])), ["vq_nearest", "`z`", "[3, 4]", "8 elements"]),
        (refused(&float(&[24]), &float(&[5, 8])), ["vq_nearest", "`z`", "[24]", "[rows, length]"]),
        (refused(&zeros(&[3, 8], Dtype::F16), &float(&[5, 8])), ["vq_nearest", "`z`", "f16", "f32"]),
        (refused(&float(&[3, 8]), &zeros(&[5, 8], Dtype::U32)), ["vq_nearest", "`codebook`", "u32", "f16"]),
    ] {
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}
