//! What holds for any tokens and ids (ClustViT specification, section 8).

use crate::common::{Random, assert_close, doubles, variants};
use crate::merge_case::{Case, Data, Merged};
use gristmill::kernels::cluster_merge::Gate;
use gristmill::twins::cluster_merge::MergeShape;

fn case(seed: u64) -> Case {
    Case { gate: Gate::None, seed, ..Case::new(3, 150, 3, 20) }
}

/// The rows of an image's merged sequence.
fn image_rows(case: &Case, merged: &Merged, image: usize) -> Vec<f32> {
    let width = case.shape.width;
    let [start, end] = [0, 1].map(|i| merged.map.bounds[image + i] as usize * width);
    merged.packed[start..end].to_vec()
}

#[test]
fn sizes_times_rows_sum_to_the_sum_of_all_tokens() {
    let case = case(21);
    let data = case.data();
    for variant in variants() {
        let merged = case.merge(&data, variant);
        let width = case.shape.width;
        for image in 0..3 {
            let own = merged.map.own_rows[image] as usize;
            let counts = &merged.map.counts[image * 4..(image + 1) * 4];
            let mut sums = vec![0.0f64; width];
            for (row, values) in image_rows(&case, &merged, image).chunks_exact(width).enumerate() {
                let size = if row < own { 1 } else { counts[1 + row - own] };
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += size as f64 * *value as f64);
            }
            let tokens = doubles(&data.x[image * 151 * width..(image + 1) * 151 * width]);
            let expected: Vec<f64> =
                (0..width).map(|column| tokens.iter().skip(column).step_by(width).sum()).collect();
            let sums: Vec<f32> = sums.iter().map(|&sum| sum as f32).collect();
            assert_close("sums", &sums, &expected, 1e-4);
        }
    }
}

#[test]
fn merging_what_was_merged_and_unmerged_changes_no_kept_row() {
    let case = case(22);
    let data = case.data();
    for variant in variants() {
        let once = case.merge(&data, variant);
        let again = case.merge(&Data { x: once.unmerged.clone(), ids: data.ids.clone() }, variant);
        assert_eq!(again.map, once.map);
        let means = doubles(&once.means);
        assert_close("means of equal rows", &again.means, &means, 1e-6);
        let tokens = case.shape.tokens;
        for (index, id) in data.ids.iter().enumerate().filter(|(_, id)| **id == 0) {
            let row = (index / tokens * (1 + tokens) + 1 + index % tokens) * case.shape.width;
            let range = row..row + case.shape.width;
            assert_eq!(again.unmerged[range.clone()], data.x[range], "token {index} of id {id}");
        }
    }
}

#[test]
fn an_image_of_a_batch_is_the_same_alone() {
    for gate in [Gate::Image, Gate::None] {
        let case = Case { gate, ..case(23) };
        let data = case.data();
        let alone = Case { shape: MergeShape { batch: 1, ..case.shape }, ..case.clone() };
        for variant in variants() {
            let all = case.merge(&data, variant);
            for image in 0..3 {
                let x = data.x[image * 151 * 20..(image + 1) * 151 * 20].to_vec();
                let ids = data.ids[image * 150..(image + 1) * 150].to_vec();
                assert_eq!(image_rows(&case, &all, image), alone.merge(&Data { x, ids }, variant).packed);
            }
        }
    }
}

#[test]
fn renaming_clusters_renames_representatives() {
    let case = case(24);
    let data = case.data();
    let renamed: Vec<u32> = data.ids.iter().map(|&id| [0, 3, 1, 2][id as usize]).collect();
    for variant in variants() {
        let (one, two) = (
            case.merge(&data, variant),
            case.merge(&Data { x: data.x.clone(), ids: renamed.clone() }, variant),
        );
        assert_eq!(one.unmerged, two.unmerged);
        let mean = |merged: &Merged, image: usize, id: usize| {
            merged.means[(image * 3 + id - 1) * 20..(image * 3 + id) * 20].to_vec()
        };
        for image in 0..3 {
            for (id, other) in [(1, 3), (2, 1), (3, 2)] {
                assert_eq!(mean(&one, image, id), mean(&two, image, other));
            }
        }
    }
}

#[test]
fn permuting_tokens_permutes_their_rows() {
    let case = Case { shape: MergeShape { batch: 1, tokens: 60, clusters: 3, width: 8 }, ..case(25) };
    let data = case.data();
    let mut random = Random::new(26);
    let mut order: Vec<usize> = (0..60).collect();
    (1..60).rev().for_each(|end| order.swap(end, random.below(end + 1)));
    let row = |x: &[f32], token: usize| x[(1 + token) * 8..(2 + token) * 8].to_vec();
    let mut x = data.x[..8].to_vec();
    x.extend(order.iter().flat_map(|&token| row(&data.x, token)));
    let ids: Vec<u32> = order.iter().map(|&token| data.ids[token]).collect();
    for variant in variants() {
        let (plain, permuted) =
            (case.merge(&data, variant), case.merge(&Data { x: x.clone(), ids: ids.clone() }, variant));
        let expected: Vec<f64> =
            order.iter().flat_map(|&token| doubles(&row(&plain.unmerged, token))).collect();
        assert_close("unmerged", &permuted.unmerged[8..], &expected, 1e-6);
    }
}
