//! Sizes and streams at the edge of what is allowed, and textures.

use crate::common::{gpu, variants};
use crate::textures::{read_texture, texture, write_texture};
use crate::vq_case::{Case, Data};
use gristmill::kernels::finite::check_finite;
use gristmill::kernels::lowrank_vq::{Combine, LowRankVq, LowRankVqConfig, LowRankVqSteps, Preset};
use gristmill::wgpu::TextureUsages as Usage;
use gristmill::{Error, Schedule, Tensor, no_progress};

/// One pixel, one row, one column, one pixel more or less than whole patches, and whole strips of workgroups.
#[test]
fn images_of_any_size_are_cropped() {
    for (height, width) in [(1, 1), (1, 50), (50, 1), (15, 17), (16, 16), (17, 15), (33, 64), (16, 129)] {
        for (patch, channels) in [(4, 3), (16, 3), (16, 1)] {
            Case::new(LowRankVqConfig { patch, ..Preset::B.config(height, width, channels) }, 99).check();
        }
    }
}

#[test]
fn an_empty_image_runs_nothing() {
    for (height, width) in [(0, 0), (0, 5), (5, 0)] {
        for channels in [1, 3] {
            let case = Case::new(Preset::B.config(height, width, channels), 4096);
            let data = case.data();
            assert!(data.words.is_empty());
            case.check();
            let decoder = LowRankVq::new(gpu(), case.config.clone()).unwrap();
            let (codebook, words) = case.upload(&data);
            let view = texture(1, 1, Usage::STORAGE_BINDING);
            let mut schedule = Schedule::new(gpu());
            let view = view.create_view(&Default::default());
            decoder.record_texture(&mut schedule, &codebook, &words, &view).unwrap_or_else(|error| {
                assert!(height > 1 || width > 1, "{error}");
            });
            let image = decoder.record(&mut schedule, &codebook, &words).unwrap();
            let plan = schedule.compile().unwrap();
            assert_eq!(plan.report().dispatches, 0);
            pollster::block_on(plan.run(no_progress)).unwrap();
            assert_eq!(image.shape(), [height, width, channels]);
        }
    }
}

#[test]
fn codebooks_of_every_size_are_read() {
    for codewords in [1, 2, 3, 255, 257, 65535, 65536] {
        for f16 in [false, true] {
            Case { f16, ..Case::new(Preset::A.config(24, 40, 3), codewords) }.check();
        }
    }
    // Past what 16 bits tell apart.
    Case::new(Preset::A.config(24, 40, 3), 70_000).check();
}

#[test]
fn an_index_past_the_codebook_is_its_last_codeword() {
    for (codewords, bits) in [(1, 1), (3, 2), (17, 5), (5000, 13), (4096, 16), (7, 32)] {
        let config = LowRankVqConfig { bits: Some(bits), ..Preset::B.config(40, 70, 3) };
        let case = Case { wrong_indices: true, ..Case::new(config, codewords) };
        let data = case.data();
        let error = case.config.check_words(codewords, &data.words).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Shape { .. }) && text.contains("`words` has index"), "{text}");
        case.check();
    }
}

/// Most samples lie outside 0..1.
#[test]
fn samples_out_of_range_are_clamped() {
    let case = Case::new(Preset::B.config(40, 70, 3), 300);
    let data = case.data();
    let data = Data { codebook: data.codebook.iter().map(|value| 6.0 * value - 2.0).collect(), ..data };
    let raw = case.twin(&data);
    let outside = raw.iter().filter(|value| !(0.0..=1.0).contains(*value)).count();
    assert!(2 * outside > raw.len(), "{outside} of {}", raw.len());
    for kind in variants() {
        // Products are larger by the square of 6 and more.
        let found = case.decode(&data, kind);
        let near = |raw: f64| raw.clamp(0.0, 1.0);
        for (found, raw) in found.image.iter().zip(&raw) {
            assert!(
                (0.0..=1.0).contains(found) && (*found as f64 - near(*raw)).abs() < 1e-4,
                "{found}, {raw}"
            );
        }
    }
}

#[test]
fn many_outer_products_need_several_rounds() {
    for (patch, rank, iterations, combine) in [
        (4, 1, 7, Combine::Mean),
        (8, 5, 1, Combine::Sum),
        (16, 3, 3, Combine::Mean),
        (32, 9, 1, Combine::Sum),
        (32, 1, 20, Combine::Mean),
    ] {
        let config = LowRankVqConfig { patch, rank, iterations, combine, ..Preset::B.config(35, 70, 3) };
        Case { f16: true, ..Case::new(config, 1000) }.check();
    }
}

/// WGSL lets a kernel assume that there is none, so the host looks for it.
#[test]
fn a_nan_in_the_codebook_is_found() {
    let case = Case::new(Preset::B.config(16, 16, 3), 64);
    let mut data = case.data();
    data.codebook[77] = f32::NAN;
    let (codebook, _) = case.upload(&data);
    let error = pollster::block_on(check_finite(gpu(), &codebook)).unwrap_err();
    assert_eq!(error.to_string(), "tensor `codebook` is not finite at index 77");
}

/// The texture is larger than the image; what lies beside it stays.
#[test]
fn a_texture_gets_the_bytes_of_the_image_and_no_more() {
    for (config, f16) in [
        (Preset::A.config(37, 61, 3), false),
        (Preset::B.config(50, 64, 3), true),
        (Preset::B.config(33, 47, 1), false),
        (Preset::C.config(70, 130, 3), true),
        (LowRankVqConfig { patch: 4, ..Preset::B.config(9, 5, 3) }, false),
    ] {
        let case = Case { f16, ..Case::new(config, 500) };
        let LowRankVqConfig { height, width, channels, .. } = case.config;
        let data = case.data();
        let (codebook, words) = case.upload(&data);
        let (columns, rows) = (width as u32 + 7, height as u32 + 3);
        let before: Vec<u8> = (0..4 * columns * rows).map(|i| (i * 7 % 251) as u8).collect();
        let fill = |bytes: &[u8]| -> Vec<u8> {
            let mut expected = before.clone();
            for (i, pixel) in bytes.chunks_exact(channels).enumerate() {
                let [red, green, blue] = std::array::from_fn(|c| pixel[c % channels]);
                let at = i / width * columns as usize + i % width;
                expected[4 * at..4 * at + 4].copy_from_slice(&[red, green, blue, 255]);
            }
            expected
        };
        let target = || {
            let target = texture(columns, rows, Usage::STORAGE_BINDING | Usage::COPY_SRC | Usage::COPY_DST);
            write_texture(&target, &before);
            target
        };
        for kind in variants() {
            let config = LowRankVqConfig { variant: Some(kind), ..case.config.clone() };
            let decoder = LowRankVq::new(gpu(), config).unwrap();
            let target = target();
            let mut schedule = Schedule::new(gpu());
            let view = target.create_view(&Default::default());
            decoder.record_texture(&mut schedule, &codebook, &words, &view).unwrap();
            // Into an encoder of the caller's.
            let plan = schedule.compile().unwrap();
            let mut encoder = gpu().device().create_command_encoder(&Default::default());
            plan.encode(&mut encoder).unwrap();
            gpu().queue().submit([encoder.finish()]);
            assert_eq!(read_texture(&target), fill(&case.decode(&data, kind).bytes), "{case:?} by {kind}");
        }
        let target = target();
        let mut schedule = Schedule::new(gpu());
        let view = target.create_view(&Default::default());
        let steps = LowRankVqSteps::new(gpu(), case.config.clone()).unwrap();
        steps.record_texture(&mut schedule, &codebook, &words, &view).unwrap();
        pollster::block_on(schedule.compile().unwrap().run(no_progress)).unwrap();
        assert_eq!(read_texture(&target), fill(&case.decode_in_steps(&data).bytes), "{case:?} in steps");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let case = Case::new(Preset::B.config(40, 70, 3), 300);
    let data = case.data();
    let (codebook, words) = case.upload(&data);
    let decoder = LowRankVq::new(gpu(), case.config.clone()).unwrap();
    let refused = |codebook: &Tensor, words: &Tensor, part: &str| {
        let error = decoder.record(&mut Schedule::new(gpu()), codebook, words).unwrap_err().to_string();
        assert!(error.starts_with("lowrank_vq: ") && error.contains(part), "{error}");
    };
    refused(&words, &words, "`codebook` has shape [");
    refused(
        &codebook.reshape(&[600, 8]).unwrap(),
        &words,
        "`codebook` has shape [600, 8]; expected [codewords, 16]",
    );
    refused(&codebook.reshape(&[4800]).unwrap(), &words, "`codebook` has shape [4800]");
    refused(&codebook, &codebook, "`words` has shape [300, 16]");
    refused(&codebook, &codebook.reshape(&[4800]).unwrap(), "`words` is f32; expected u32");
    let short = Tensor::upload(gpu(), "words", &[3], &[1u32, 2, 3]).unwrap();
    refused(&codebook, &short, "`words` has 3 words; expected 102: 360 indices of 9 bits");
    let small = texture(69, 40, Usage::STORAGE_BINDING).create_view(&Default::default());
    let error = decoder.record_texture(&mut Schedule::new(gpu()), &codebook, &words, &small).unwrap_err();
    assert_eq!(
        error.to_string(),
        "lowrank_vq: tensor `texture` has 69 x 40 pixels; expected at least 70 x 40"
    );

    let good = case.config.clone();
    for (config, words) in [
        (LowRankVqConfig { channels: 2, ..good.clone() }, "`channels` = 2; expected 1 or 3"),
        (LowRankVqConfig { patch: 12, ..good.clone() }, "`patch` = 12; expected 4, 8, 16 or 32"),
        (LowRankVqConfig { rank: 0, ..good.clone() }, "`rank` = 0; expected at least 1"),
        (LowRankVqConfig { iterations: 0, ..good.clone() }, "`iterations` = 0; expected at least 1"),
        (LowRankVqConfig { bits: Some(33), ..good.clone() }, "`bits` = 33; expected 1 to 32"),
    ] {
        let error = LowRankVq::new(gpu(), config.clone()).unwrap_err().to_string();
        assert_eq!(error, format!("lowrank_vq: {words}"));
        assert!(LowRankVqSteps::new(gpu(), config).is_err());
    }
    let few = LowRankVqConfig { bits: Some(8), ..good };
    let error = LowRankVq::new(gpu(), few).unwrap().record(&mut Schedule::new(gpu()), &codebook, &words);
    assert_eq!(
        error.unwrap_err().to_string(),
        "lowrank_vq: `bits` = 8; expected at least 9 for 300 codewords"
    );
}
