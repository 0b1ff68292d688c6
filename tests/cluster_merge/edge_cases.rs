//! Nothing kept, everything kept, one token, clusters without members, logits that tie or are no numbers.

use crate::common::{Random, gpu, read, upload, variants};
use crate::merge_case::{Case, Data, read_unsigned};
use gristmill::kernels::cluster_merge::{ClusterMerge, ClusterMergeConfig, ClusterWeights, Gate, RowMap};
use gristmill::twins::cluster_merge::MergeShape;
use gristmill::{Dtype, Error, Schedule, Tensor, no_progress};

fn with_ids(case: &Case, ids: &[u32]) -> Data {
    Data { ids: ids.to_vec(), ..case.data() }
}

#[test]
fn one_id_alone_leaves_an_image_as_it_is() {
    let case = Case::new(1, 37, 3, 20);
    for variant in variants() {
        for id in 0..=3 {
            let data = with_ids(&case, &[id; 37]);
            let merged = case.merge(&data, variant);
            assert_eq!(merged.packed, data.x);
            assert_eq!(merged.unmerged, data.x);
            assert_eq!(merged.map.bounds, [0, 38]);
        }
    }
}

#[test]
fn without_a_gate_nothing_or_everything_may_be_kept() {
    let case = Case { gate: Gate::None, ..Case::new(2, 70, 4, 12) };
    let mut ids = vec![0; 140];
    ids[70..].fill(2);
    for variant in variants() {
        let data = with_ids(&case, &ids);
        let merged = case.merge(&data, variant);
        // Kept: 1 + N + K rows, all there is room for. Merged: the class token and the representatives.
        assert_eq!(merged.map.bounds, [0, 75, 80]);
        assert_eq!(merged.packed[..71 * 12], data.x[..71 * 12]);
        assert!(merged.packed[71 * 12..75 * 12].iter().all(|value| value.to_bits() == 0));
        assert_eq!(merged.packed[75 * 12..76 * 12], data.x[71 * 12..72 * 12]);
        // Only cluster 2 of the second image has members.
        let empty = [76, 78, 79].map(|row| &merged.packed[row * 12..(row + 1) * 12]);
        assert!(empty.concat().iter().all(|value| value.to_bits() == 0));
    }
}

#[test]
fn a_gate_for_the_batch_opens_for_all() {
    // Neither image has two ids, but the batch has.
    let mut ids = vec![0; 20];
    ids[10..].fill(1);
    for (gate, bounds) in [(Gate::Image, [0, 11, 22]), (Gate::Batch, [0, 13, 16]), (Gate::None, [0, 13, 16])]
    {
        let case = Case { gate, ..Case::new(2, 10, 2, 8) };
        for variant in variants() {
            assert_eq!(case.merge(&with_ids(&case, &ids), variant).map.bounds, bounds, "{gate:?} {variant}");
        }
    }
}

#[test]
fn a_single_member_is_its_own_representative() {
    let case = Case { gate: Gate::None, ..Case::new(1, 5, 5, 9) };
    for variant in variants() {
        let data = with_ids(&case, &[1, 2, 3, 4, 5]);
        let merged = case.merge(&data, variant);
        assert_eq!(merged.packed, data.x);
        assert_eq!(merged.unmerged, data.x);
    }
}

#[test]
fn an_id_past_the_clusters_keeps_its_token() {
    let case = Case::new(1, 6, 2, 4);
    for variant in variants() {
        let merged = case.merge(&with_ids(&case, &[0, 3, 1, u32::MAX, 2, 0]), variant);
        let expected = case.merge(&with_ids(&case, &[0, 0, 1, 0, 2, 0]), variant);
        assert_eq!(merged, expected);
    }
}

#[test]
fn rows_that_are_no_numbers_stay_out_of_other_clusters() {
    let case = Case::new(1, 130, 2, 8);
    let mut data = case.data();
    data.ids = (0..130).map(|token| token % 3).collect();
    let clean = data.clone();
    // Token 4 belongs to cluster 1.
    data.x[5 * 8..6 * 8].fill(f32::NAN);
    for variant in variants() {
        let (found, expected) = (case.merge(&data, variant), case.merge(&clean, variant));
        assert!(found.means[..8].iter().all(|mean| mean.is_nan()));
        assert_eq!(found.means[8..], expected.means[8..]);
    }
}

/// The smallest of equal logits wins, and 0 where one is a NaN.
#[test]
fn ties_go_to_the_smallest_id_and_nans_to_none() {
    let (tokens, width) = (9, 4);
    let nan = f32::NAN;
    let logits = [
        [0.0f32, 0.0, 0.0, 0.0],
        [1.0, 1.0, 2.0, 2.0],
        [-1.0, -2.0, -1.0, -3.0],
        [-0.0, 0.0, -0.0, 0.0],
        [0.0, 1.0, 2.0, 3.0],
        [nan, 5.0, 1.0, 1.0],
        [1.0, nan, 5.0, 1.0],
        [1.0, 2.0, 3.0, nan],
        [-3e38, -2e38, 3e38, 3e38],
    ];
    let expected = [0, 2, 0, 0, 3, 0, 0, 0, 2];
    // relu(x) is x for what is not negative, so a row of logits is the difference of two rows of hidden values.
    let mut random = Random::new(3);
    let x = random.normal((1 + tokens) * width, 1.0);
    for variant in variants() {
        // One token at a time: its logits are the second layer's bias.
        for (row, expected) in logits.iter().zip(expected) {
            let config = ClusterMergeConfig { clusters: 3, variant: Some(variant), ..Default::default() };
            let operator = ClusterMerge::new(gpu(), config).unwrap();
            let (w1, b1) = (upload("w1", &[5, width], &[0.0f32; 20]), upload("b1", &[5], &[0.0f32; 5]));
            let (w2, b2) = (upload("w2", &[4, 5], &[0.0f32; 20]), upload("b2", &[4], row));
            let weights = ClusterWeights { w1: &w1, b1: &b1, w2: &w2, b2: &b2 };
            let mut schedule = Schedule::new(gpu());
            let x = upload("x", &[1, 1 + tokens, width], &x);
            let output = operator.record(&mut schedule, &x, weights).unwrap();
            let plan = schedule.compile().unwrap();
            plan.poison();
            pollster::block_on(plan.run(no_progress)).unwrap();
            assert_eq!(read_unsigned(&output.ids), vec![expected; tokens], "{row:?} by {variant}");
            let logits = read(&output.logits.unwrap());
            let same = |(a, b): (&f32, &f32)| a == b || a.is_nan() && b.is_nan();
            assert!(logits.iter().zip(row.iter().cycle()).all(same), "{logits:?}");
        }
    }
}

#[test]
fn more_images_than_a_workgroup_has_lanes() {
    let case = Case { seed: 11, ..Case::new(300, 5, 2, 3) };
    case.check();
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let case = Case::new(2, 6, 2, 8);
    let operator = case.operator(variants()[0]);
    let mut schedule = Schedule::new(gpu());
    let data = case.data();
    let x = case.upload(&data);
    let ids = |shape: &[usize]| Tensor::zeros(gpu(), "ids", shape, Dtype::U32).unwrap();
    let refused = |result: Result<(), Error>, words: &[&str]| {
        let error = result.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}: {words:?}");
    };
    refused(operator.record_ids(&mut schedule, &x, &ids(&[2, 7])).map(drop), &["`ids`", "[2, 7]", "[2, 6]"]);
    let floats = Tensor::zeros(gpu(), "ids", &[2, 6], Dtype::F32).unwrap();
    refused(operator.record_ids(&mut schedule, &x, &floats).map(drop), &["`ids`", "f32", "u32"]);
    let flat = x.reshape(&[14, 8]).unwrap();
    refused(operator.record_ids(&mut schedule, &flat, &ids(&[2, 6])).map(drop), &["`x`", "[14, 8]"]);
    let alone = x.reshape(&[14, 1, 8]).unwrap();
    refused(operator.record_ids(&mut schedule, &alone, &ids(&[14, 0])).map(drop), &["`x`", "[14, 1, 8]"]);
    for (clusters, word) in [(0, "`K` = 0"), (1025, "`K` = 1025")] {
        let config = ClusterMergeConfig { clusters, ..Default::default() };
        refused(ClusterMerge::new(gpu(), config).map(drop), &[word, "1 to 1024"]);
    }
    let (rows, one) = (ids(&[2, 6]), ids(&[1]));
    let map = RowMap::new(&rows, &ids(&[3]), &ids(&[6]), &one, true, 9);
    refused(map.map(drop), &["`own_rows`", "[3]", "[2]"]);
    let map = RowMap::new(&rows, &ids(&[2]), &ids(&[3]), &one, true, 9);
    refused(map.map(drop), &["`cu_seqlens`", "[3]", "[6]"]);
}

/// The kernel that has no rows for an image of one token among others.
#[test]
fn one_token_is_enough() {
    for gate in Gate::ALL {
        Case { gate, shape: MergeShape { batch: 3, tokens: 1, clusters: 1, width: 5 }, f16: false, seed: 5 }
            .check();
    }
}
