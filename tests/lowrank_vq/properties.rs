//! What must hold of a low-rank code whatever the codebook, on the decoder's own output in every build.

use crate::common::{assert_close, doubles, gpu, read, variants};
use crate::vq_case::{Case, Data};
use gristmill::kernels::lowrank_vq::{
    Combine, LowRankVq, LowRankVqConfig, LowRankVqSteps, Preset, pack_indices, unpack_pixels,
};
use gristmill::{Dtype, Schedule, Tensor, no_progress};

/// A codebook of small positive values: no sum of products leaves 0..1, so that the clamp changes nothing.
fn unclamped(config: LowRankVqConfig) -> (Case, Data) {
    let case = Case::new(config, 50);
    let mut data = case.data();
    let most = (1.0 / case.config.products() as f32).sqrt();
    data.codebook.iter_mut().for_each(|value| *value = (value.abs() * most).min(most));
    (case, data)
}

fn ragged() -> LowRankVqConfig {
    LowRankVqConfig { patch: 8, rank: 2, iterations: 3, ..Preset::B.config(29, 43, 3) }
}

/// Indices in the order patch, iteration, channel, slot; `place` says where each comes from.
fn rearranged(case: &Case, data: &Data, place: impl Fn([usize; 4]) -> [usize; 4]) -> Data {
    let LowRankVqConfig { rank, iterations, channels, .. } = case.config;
    let indices = case.indices(data);
    let at = |[s, i, c, t]: [usize; 4]| indices[((s * iterations + i) * channels + c) * 2 * rank + t];
    let mut result = Vec::with_capacity(indices.len());
    for s in 0..case.config.grid().iter().product() {
        for i in 0..iterations {
            for c in 0..channels {
                result.extend((0..2 * rank).map(|t| at(place([s, i, c, t]))));
            }
        }
    }
    case.with_indices(data, &result)
}

#[test]
fn the_order_of_ranks_and_iterations_does_not_matter() {
    let case = Case::new(ragged(), 50);
    let data = case.data();
    let LowRankVqConfig { rank, iterations, .. } = case.config;
    // Ranks of both sides together.
    let ranks = rearranged(&case, &data, |[s, i, c, t]| [s, i, c, t / rank * rank + (t + 1) % rank]);
    let rounds = rearranged(&case, &data, |[s, i, c, t]| [s, (i + 1) % iterations, c, t]);
    for kind in variants() {
        let expected = doubles(&case.decode(&data, kind).image);
        for (what, other) in [("ranks", &ranks), ("iterations", &rounds)] {
            let found = case.decode(other, kind).image;
            assert_close(&format!("{what} permuted, by {kind}"), &found, &expected, 2e-6);
        }
        assert_ne!(ranks.words, data.words);
    }
}

#[test]
fn swapped_sides_on_a_transposed_grid_transpose_the_image() {
    let case = Case::new(ragged(), 50);
    let data = case.data();
    let LowRankVqConfig { height, width, channels, rank, .. } = case.config;
    let turned = Case {
        config: LowRankVqConfig { height: width, width: height, ..case.config.clone() },
        ..case.clone()
    };
    let [rows, columns] = case.config.grid();
    let swapped = rearranged(&case, &data, |[s, i, c, t]| {
        let (y, x) = (s / rows, s % rows);
        [x * columns + y, i, c, (t + rank) % (2 * rank)]
    });
    for kind in variants() {
        let image = case.decode(&data, kind).image;
        let found = turned.decode(&swapped, kind).image;
        let pixels = (0..width).flat_map(|y| (0..height).map(move |x| (y, x)));
        let expected: Vec<f64> = pixels
            .flat_map(|(y, x)| image[(x * width + y) * channels..][..channels].to_vec())
            .map(|value| value as f64)
            .collect();
        assert_close(&format!("transposed by {kind}"), &found, &expected, 2e-6);
    }
}

/// Half the codebook: a power of two, so to the last digit.
#[test]
fn the_image_grows_with_the_square_of_the_codebook() {
    let (case, data) = unclamped(ragged());
    let half = Data { codebook: data.codebook.iter().map(|value| value / 2.0).collect(), ..data.clone() };
    for kind in variants() {
        let whole = case.decode(&data, kind).image;
        let expected: Vec<f64> = whole.iter().map(|&value| value as f64 / 4.0).collect();
        assert_close(
            &format!("half the codebook by {kind}"),
            &case.decode(&half, kind).image,
            &expected,
            0.0,
        );
    }
}

#[test]
fn the_mean_is_the_sum_by_the_number_of_iterations() {
    let (case, data) = unclamped(ragged());
    let config = LowRankVqConfig { combine: Combine::Mean, ..case.config.clone() };
    let mean = Case { config, ..case.clone() };
    for kind in variants() {
        let sum = case.decode(&data, kind).image;
        let expected: Vec<f64> = sum.iter().map(|&value| value as f64 / 3.0).collect();
        assert_close(&format!("mean by {kind}"), &mean.decode(&data, kind).image, &expected, 1e-7);
    }
}

/// Largest element that is left of a matrix `[side, side]` after so many steps of elimination with full pivoting.
fn residual(matrix: &[f64], side: usize, steps: usize) -> f64 {
    let mut rest = matrix.to_vec();
    for _ in 0..steps {
        let pivot = (0..rest.len()).max_by(|&a, &b| rest[a].abs().total_cmp(&rest[b].abs())).unwrap();
        if rest[pivot] == 0.0 {
            break;
        }
        let (row, column) = (pivot / side, pivot % side);
        let (rows, columns): (Vec<f64>, Vec<f64>) =
            (0..side).map(|i| (rest[row * side + i], rest[i * side + column] / rest[pivot])).unzip();
        for y in 0..side {
            for x in 0..side {
                rest[y * side + x] -= columns[y] * rows[x];
            }
        }
    }
    rest.iter().fold(0.0, |most: f64, value| most.max(value.abs()))
}

#[test]
fn a_patch_has_no_higher_rank_than_its_outer_products() {
    for (patch, rank, iterations) in [(8, 1, 1), (8, 2, 2), (16, 1, 3), (32, 4, 1)] {
        let config = LowRankVqConfig { patch, rank, iterations, ..Preset::B.config(2 * patch, 3 * patch, 3) };
        let (case, data) = unclamped(config);
        for kind in variants() {
            let image = case.decode(&data, kind).image;
            let mut full = 0;
            for (s, c) in (0..6).flat_map(|s| (0..3).map(move |c| (s, c))) {
                let sample = |y: usize, x: usize| {
                    let (y, x) = (s / 3 * patch + y, s % 3 * patch + x);
                    image[(y * 3 * patch + x) * 3 + c] as f64
                };
                let matrix: Vec<f64> = (0..patch * patch).map(|i| sample(i / patch, i % patch)).collect();
                let (what, products) =
                    (format!("patch {s} of {patch}, channel {c}, by {kind}"), rank * iterations);
                assert!(residual(&matrix, patch, products) < 1e-5, "{what}: rank above {products}");
                full += (residual(&matrix, patch, products - 1) > 1e-3) as usize;
            }
            // Fewer where a codeword occurs twice.
            assert!(full >= 9, "{full} of 18 channels of patches have their full rank");
        }
    }
}

/// Factors whose products f32 holds to the last digit.
#[test]
fn a_codebook_with_the_factors_of_an_image_gives_that_image() {
    let config = LowRankVqConfig { patch: 8, rank: 2, iterations: 1, ..Preset::B.config(16, 24, 3) };
    let codewords = config.indices() as usize;
    let case = Case::new(config.clone(), codewords);
    let codebook: Vec<f32> =
        (0..codewords * 8).map(|i| ((i * 37 + i / 8 * 11) % 90) as f32 / 128.0).collect();
    let indices: Vec<u32> = (0..codewords as u32).collect();
    let words = pack_indices(&indices, config.bits_per_index(codewords).unwrap());
    let data = Data { codebook: codebook.clone(), words };
    let mut expected = vec![0.0; 16 * 24 * 3];
    for (s, c, r) in (0..6).flat_map(|s| (0..3).flat_map(move |c| (0..2).map(move |r| (s, c, r)))) {
        let factor = |slot: usize| &codebook[((s * 3 + c) * 4 + slot) * 8..][..8];
        let (left, right) = (factor(r), factor(2 + r));
        for (y, x) in (0..8).flat_map(|y| (0..8).map(move |x| (y, x))) {
            let pixel = (s / 3 * 8 + y) * 24 + s % 3 * 8 + x;
            expected[pixel * 3 + c] += (left[y] * right[x]) as f64;
        }
    }
    assert!(expected.iter().all(|value| *value <= 1.0));
    for kind in variants() {
        assert_close(&format!("exact by {kind}"), &case.decode(&data, kind).image, &expected, 0.0);
    }
}

/// Streams whose last index ends in the middle of a word among them.
#[test]
fn indices_come_back_from_the_bit_stream() {
    for (codewords, bits) in [(2, 1), (256, 8), (300, 9), (1000, 10), (8192, 13), (65536, 16), (3, 32)] {
        let config = LowRankVqConfig { patch: 4, rank: 3, iterations: 1, ..Preset::B.config(17, 30, 1) };
        let case = Case::new(LowRankVqConfig { bits: Some(bits), ..config }, codewords);
        let data = case.data();
        let decoder = LowRankVqSteps::new(gpu(), case.config.clone()).unwrap();
        let (codebook, words) = case.upload(&data);
        let mut schedule = Schedule::new(gpu());
        let (_, steps) = decoder.record(&mut schedule, &codebook, &words).unwrap();
        let plan = schedule.compile().unwrap();
        plan.poison();
        pollster::block_on(plan.run(no_progress)).unwrap();
        let found = pollster::block_on(steps.indices.read::<u32>(gpu())).unwrap();
        assert_eq!(found, case.indices(&data), "{bits} bits");
        let codeword = |&index: &u32| &data.codebook[index as usize * 4..][..4];
        let factors: Vec<f64> = found.iter().flat_map(codeword).map(|&value| value as f64).collect();
        assert_close("factors", &read(&steps.factors), &factors, 0.0);
    }
}

/// Offsets of more than 2^32 bits, where the adapter can bind as much: a stream of 576 MiB, 2^27 + 2^24 indices of 32 bits.
#[test]
fn a_stream_of_more_than_four_gigabits_is_read_to_its_end() {
    let config = LowRankVqConfig {
        patch: 4,
        rank: 1 << 15,
        iterations: 1,
        bits: Some(32),
        ..Preset::B.config(192, 192, 1)
    };
    let words_needed = config.rate(2).unwrap().words;
    if gpu().limits().max_storage_buffer_binding_size < 4 * words_needed {
        return;
    }
    // Only the last patch has codewords that are not 0.
    let words = Tensor::zeros(gpu(), "words", &[words_needed as usize], Dtype::U32).unwrap();
    let (buffer, _) = words.buffer().unwrap();
    let ones = [1u8, 0, 0, 0].repeat(1 << 16);
    gpu().queue().write_buffer(buffer, 4 * (words_needed - (1 << 16)), &ones);
    let value = (1.0f32 / (1 << 15) as f32).sqrt();
    let codebook = [vec![0.0; 4], vec![value; 4]].concat();
    let codebook = Tensor::upload(gpu(), "codebook", &[2, 4], &codebook).unwrap();
    for kind in variants() {
        let config = LowRankVqConfig { variant: Some(kind), ..config.clone() };
        let decoder = LowRankVq::new(gpu(), config).unwrap();
        let mut schedule = Schedule::new(gpu());
        let bytes = decoder.record_u8(&mut schedule, &codebook, &words).unwrap();
        pollster::block_on(schedule.compile().unwrap().run(no_progress)).unwrap();
        let bytes = unpack_pixels(&pollster::block_on(bytes.read::<u32>(gpu())).unwrap(), 192, 1);
        let place = |i: usize| i / 192 >= 188 && i % 192 >= 188;
        assert!(bytes.iter().enumerate().all(|(i, &byte)| byte == if place(i) { 255 } else { 0 }), "{kind}");
    }
}
