//! Encoder, training and files, end to end on the adapter of the tests.

mod common;

use common::{Random, doubles, golden_path, gpu, variants};
use gristmill::codec::{
    Codebook, Encoded, Encoder, EncoderConfig, TrainingConfig, decode, read_gvq, train_codebook, write_gvq,
};
use gristmill::kernels::lowrank_vq::{Combine, LowRankVqConfig, Preset, unpack_indices};
use gristmill::models::picture::Picture;
use gristmill::twins::lowrank_vq::{VqShape, lowrank_vq};
use gristmill::{Dtype, Error};
use pollster::block_on;
use safetensors::SafeTensors;
use std::ops::ControlFlow;

fn go_on(_: f64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Pixels of a picture, owned.
struct Photo {
    pixels: Vec<f32>,
    height: usize,
    width: usize,
    channels: usize,
}

impl Photo {
    /// Soft waves of a few directions, different in every channel, with some noise.
    fn waves(height: usize, width: usize, channels: usize, seed: u64) -> Photo {
        let mut random = Random::new(seed);
        let angles = random.normal(4 * channels, 0.2);
        let noise = random.normal(height * width * channels, 0.02);
        let value = |at: usize| {
            let (y, x, c) = (at / channels / width, at / channels % width, at % channels);
            let wave = |k: usize| {
                let phase = angles[4 * c + k] * y as f32 + angles[4 * c + (k + 1) % 4] * x as f32;
                (phase + k as f32).sin() * 0.12
            };
            0.5 + (0..4).map(wave).sum::<f32>() + noise[at]
        };
        let pixels = (0..height * width * channels).map(value).collect();
        Photo { pixels, height, width, channels }
    }

    fn file(path: &str) -> Photo {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let image = image::open(path).unwrap().into_rgb32f();
        let (width, height) = (image.width() as usize, image.height() as usize);
        Photo { pixels: image.into_raw(), height, width, channels: 3 }
    }

    fn picture(&self) -> Picture<'_> {
        let &Photo { ref pixels, height, width, channels } = self;
        Picture { pixels, height, width, channels }
    }

    fn encode(&self, config: &EncoderConfig, codebook: &Codebook) -> Encoded {
        let encoder = Encoder::new(gpu(), config.clone(), codebook).unwrap();
        block_on(encoder.encode(self.picture(), go_on)).unwrap()
    }

    /// Mean squared error of what the twin decodes, clamped.
    fn error(&self, encoded: &Encoded, codebook: &Codebook) -> f64 {
        let decoded = twin(encoded, codebook);
        let squares =
            self.pixels.iter().zip(decoded).map(|(&a, b)| (f64::from(a) - b.clamp(0.0, 1.0)).powi(2));
        squares.sum::<f64>() / self.pixels.len() as f64
    }
}

fn twin(encoded: &Encoded, codebook: &Codebook) -> Vec<f64> {
    let LowRankVqConfig { height, width, channels, patch, rank, iterations, combine, .. } = encoded.config;
    let bits = encoded.config.bits_per_index(codebook.codewords()).unwrap();
    let mean = combine == Combine::Mean;
    let shape = VqShape { height, width, channels, patch, rank, iterations, bits, mean };
    lowrank_vq(&doubles(&codebook.floats()), &encoded.words, &shape)
}

/// Codewords that look like factors of pictures: mostly positive, few shapes.
fn random_codebook(codewords: usize, patch: usize, seed: u64) -> Codebook {
    let mut random = Random::new(seed);
    let mut elements = random.normal(codewords * patch, 0.15);
    let levels = random.normal(codewords, 0.6);
    for (codeword, level) in elements.chunks_exact_mut(patch).zip(levels) {
        codeword.iter_mut().for_each(|value| *value += level);
    }
    Codebook::from_floats(patch, &elements).unwrap()
}

fn config(patch: usize, rank: usize, iterations: usize, sweeps: usize) -> EncoderConfig {
    EncoderConfig { patch, rank, iterations, sweeps, variant: None }
}

/// Golden `lrvq_encoded`: a picture, a codebook, and the error of a plain encoder without sweeps, 1.044e-3.
#[test]
fn the_golden_picture_is_encoded_as_well_and_sweeps_only_help() {
    let bytes = std::fs::read(golden_path("lrvq_encoded.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor("codebook").unwrap();
    let codebook = Codebook::from_bytes(8, Dtype::F32, tensor.data().to_vec()).unwrap();
    let source = file.tensor("source").unwrap();
    let pixels =
        source.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let photo = Photo { pixels, height: 96, width: 96, channels: 3 };
    let errors: Vec<f64> = [0, 1, 2, 4]
        .map(|sweeps| photo.error(&photo.encode(&config(8, 1, 2, sweeps), &codebook), &codebook))
        .to_vec();
    println!("mean squared error after 0, 1, 2 and 4 sweeps: {errors:?}");
    // Without sweeps it is the same encoder.
    approx::assert_relative_eq!(errors[0], 1.043_666_503_6e-3, max_relative = 1e-4);
    assert!(errors.windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + 1e-6)), "{errors:?}");
    assert!(errors[3] < 0.995 * errors[0], "{errors:?}");
}

/// When sweeps change nothing any more, no other codeword in any one place leaves less error: all of them are tried, in f64.
#[test]
fn a_finished_code_can_not_be_improved_by_one_codeword() {
    for (patch, rank, iterations, channels) in [(4, 1, 1, 1), (8, 2, 1, 3), (4, 1, 3, 1)] {
        let photo = Photo::waves(2 * patch + 1, patch + 3, channels, 31);
        let codebook = random_codebook(37, patch, 32);
        let settings = config(patch, rank, iterations, 30);
        let encoded = photo.encode(&settings, &codebook);
        let bits = encoded.config.bits_per_index(37).unwrap();
        let count = encoded.config.indices() as usize;
        let indices = unpack_indices(&encoded.words, count, bits).unwrap();
        // Unclamped, and over whole patches: what the encoder minimises. The repeated edge is encoded too.
        let padded = padded(&photo, patch);
        let error = |indices: &[u32]| -> f64 {
            let words = gristmill::kernels::lowrank_vq::pack_indices(indices, bits);
            let config = settings.decoder(padded.height, padded.width, channels);
            let decoded = twin(&Encoded { config, words }, &codebook);
            padded.pixels.iter().zip(decoded).map(|(&a, b)| (f64::from(a) - b).powi(2)).sum()
        };
        let best = error(&indices);
        for place in 0..count {
            for other in 0..37 {
                let mut changed = indices.clone();
                changed[place] = other;
                let found = error(&changed);
                assert!(found > best - 1e-5, "index {place} as {other}: {found} instead of {best}");
            }
        }
    }
}

/// The picture in whole patches, its last pixels repeated.
fn padded(photo: &Photo, patch: usize) -> Photo {
    let height = photo.height.next_multiple_of(patch);
    let width = photo.width.next_multiple_of(patch);
    let channels = photo.channels;
    let value = |at: usize| {
        let (y, x, c) = (at / channels / width, at / channels % width, at % channels);
        photo.pixels[(y.min(photo.height - 1) * photo.width + x.min(photo.width - 1)) * channels + c]
    };
    Photo { pixels: (0..height * width * channels).map(value).collect(), height, width, channels }
}

#[test]
fn a_picture_of_codewords_is_found_again() {
    for (patch, channels, variant) in [(8, 3, None), (16, 1, None), (32, 1, None), (4, 3, None)] {
        // Factors of distinct lengths, so that the decomposition has one answer.
        let mut random = Random::new(5);
        let mut elements: Vec<f32> = random.normal(64 * patch, 0.3);
        elements.iter_mut().for_each(|value| *value = value.abs() + 0.1);
        for (at, codeword) in elements.chunks_exact_mut(patch).enumerate() {
            let squared: f32 = codeword.iter().map(|value| value * value).sum();
            // Codewords come in pairs of one length, as the decomposition halves the singular value.
            let length = 1.0 + (at / 2) as f32 / 16.0;
            codeword.iter_mut().for_each(|value| *value *= length / squared.sqrt());
        }
        let codebook = Codebook::from_floats(patch, &elements).unwrap();
        let settings = EncoderConfig { variant, ..config(patch, 1, 1, 2) };
        let decoder = settings.decoder(3 * patch, 2 * patch, channels);
        let pairs = (0..decoder.indices() as usize / 2).map(|_| random.below(32) as u32);
        let indices: Vec<u32> = pairs.flat_map(|pair| [2 * pair, 2 * pair + 1]).collect();
        let words = gristmill::kernels::lowrank_vq::pack_indices(&indices, 6);
        let drawn = Encoded { config: decoder, words };
        let pixels: Vec<f32> = twin(&drawn, &codebook).into_iter().map(|value| value as f32).collect();
        // Samples past 1 would be clamped before they are encoded.
        let most = pixels.iter().copied().fold(0.0, f32::max);
        let scale = (1.0 / most).min(1.0).sqrt();
        let elements: Vec<f32> = codebook.floats().iter().map(|value| value * scale).collect();
        let codebook =
            Codebook::from_bytes(patch, Dtype::F32, elements.iter().flat_map(|v| v.to_le_bytes()).collect())
                .unwrap();
        let pixels: Vec<f32> = pixels.iter().map(|value| value * scale * scale).collect();
        let photo = Photo { pixels, height: 3 * patch, width: 2 * patch, channels };
        let found = photo.encode(&settings, &codebook);
        let error = photo.error(&found, &codebook);
        assert!(error < 1e-10, "patch {patch}: {error:e}");
    }
}

/// Ragged sizes, one pixel, grey; every build; and the same words each time.
#[test]
fn pictures_of_any_size_decode_to_themselves() {
    for (height, width, channels, patch, rank, iterations) in
        [(1, 1, 1, 4, 1, 1), (33, 21, 3, 8, 1, 2), (17, 40, 1, 16, 3, 1), (45, 70, 3, 32, 4, 1)]
    {
        let photo = Photo::waves(height, width, channels, 7);
        // Trained on more of the same waves.
        let settings = config(patch, rank, iterations, 1);
        let more = Photo::waves(64, 96, channels, 7);
        let training = TrainingConfig { encoder: settings.clone(), ..small_training(9) };
        let codebook = block_on(train_codebook(gpu(), &[more.picture()], &training, go_on)).unwrap().codebook;
        let mean = photo.pixels.iter().sum::<f32>() / photo.pixels.len() as f32;
        let flat = photo.pixels.iter().map(|value| f64::from(value - mean).powi(2)).sum::<f64>();
        for kind in variants() {
            let settings = EncoderConfig { variant: Some(kind), sweeps: 2, ..settings.clone() };
            let encoded = photo.encode(&settings, &codebook);
            assert_eq!(encoded, photo.encode(&settings, &codebook));
            let error = photo.error(&encoded, &codebook);
            // Far better than one grey level, except where the picture is one pixel.
            let most = if height == 1 { 1e-2 } else { 0.6 * flat / photo.pixels.len() as f64 };
            println!(
                "{height} x {width}, {kind}: {error:.1e}, one grey level {:.1e}",
                flat / photo.pixels.len() as f64
            );
            assert!(error < most, "{height} x {width}, {kind}: {error:e}, at most {most:e}");
            let bytes = block_on(decode(gpu(), &encoded, &codebook, Some(kind))).unwrap();
            let expected = twin(&encoded, &codebook);
            assert_eq!(bytes.len(), expected.len());
            for (byte, value) in bytes.iter().zip(expected) {
                assert!((f64::from(*byte) - 255.0 * value.clamp(0.0, 1.0)).abs() < 0.51);
            }
        }
    }
}

fn small_training(seed: u64) -> TrainingConfig {
    let encoder = config(8, 1, 2, 1);
    TrainingConfig { encoder, codewords: 64, blocks: 600, clusterings: 4, rounds: 6, seed }
}

#[test]
fn training_lowers_the_error_and_follows_its_seed() {
    let photos = [Photo::waves(64, 80, 3, 1), Photo::waves(50, 60, 1, 2)];
    let pictures: Vec<_> = photos.iter().map(Photo::picture).collect();
    let train = |config: &TrainingConfig| block_on(train_codebook(gpu(), &pictures, config, go_on)).unwrap();
    let trained = train(&small_training(1));
    println!("{:?}", trained.errors);
    assert_eq!(trained.errors.len(), 7);
    assert!(trained.errors[6] < 0.9 * trained.errors[0], "{:?}", trained.errors);
    assert_eq!(trained.codebook, train(&small_training(1)).codebook);
    assert_ne!(trained.codebook, train(&small_training(2)).codebook);
    // Better on a picture that it has not seen than codewords drawn from the factors alone.
    let other = Photo::waves(60, 64, 3, 3);
    let settings = config(8, 1, 2, 4);
    let error = |codebook: &Codebook| other.error(&other.encode(&settings, codebook), codebook);
    let drawn = TrainingConfig { clusterings: 0, rounds: 0, ..small_training(1) };
    let (trained, drawn) = (error(&trained.codebook), error(&train(&drawn).codebook));
    assert!(trained < drawn, "{trained:e} after training, {drawn:e} before");
}

/// Held-out photos with the codebooks that come with the library, 21.3 times smaller than 8 bits per sample, or 78.8 times.
/// The paper's operating point is a mean squared error of 3.6e-3 at that rate.
#[test]
fn shipped_codebooks_reach_the_papers_error_on_photos_they_have_not_seen() {
    let photos = ["tests/photos/astronaut.png", "cli/assets/chelsea.png"].map(Photo::file);
    for (preset, ratio) in [(Preset::A, 64.0 / 3.0), (Preset::B, 64.0 / 3.0), (Preset::C, 4096.0 / 52.0)] {
        let codebook = Codebook::shipped(preset).unwrap();
        let errors = photos.each_ref().map(|photo| {
            let encoded = photo.encode(&EncoderConfig::preset(preset), &codebook);
            let rate = preset.config(4096, 4096, 3).rate(codebook.codewords()).unwrap();
            assert!((rate.ratio - ratio).abs() < 1e-9);
            photo.error(&encoded, &codebook)
        });
        let mean = (errors[0] + errors[1]) / 2.0;
        println!(
            "preset {}: astronaut {:.2e}, chelsea {:.2e}, mean {mean:.2e}",
            preset.name, errors[0], errors[1]
        );
        assert!(mean <= 3.6e-3, "preset {}: {mean:e}", preset.name);
    }
}

#[test]
fn files_bring_image_and_codebook_back() {
    let photo = Photo::waves(21, 30, 3, 4);
    let (codebook, other) = (random_codebook(100, 8, 1), random_codebook(100, 8, 2));
    let encoded = photo.encode(&config(8, 2, 1, 1), &codebook);
    let named = write_gvq(&encoded, &codebook, false).unwrap();
    let inline = write_gvq(&encoded, &codebook, true).unwrap();
    assert_eq!(inline.len(), named.len() + 100 * 8 * 2 + 4);
    for (file, known) in [(&named, &[other.clone(), codebook.clone()][..]), (&inline, &[])] {
        let (found, with) = read_gvq(file, known).unwrap();
        assert_eq!(with, codebook);
        assert_eq!(found.words, encoded.words);
        let config = LowRankVqConfig { bits: None, ..found.config };
        assert_eq!(config, encoded.config);
    }
    match read_gvq(&named, std::slice::from_ref(&other)) {
        Err(Error::UnknownCodebook { hash }) => assert_eq!(hash, codebook.hash().to_string()),
        other => panic!("{other:?}"),
    }
    // The same bytes as codewords of another length have the same hash, but are not the codebook of the file.
    let longer = Codebook::from_bytes(16, Dtype::F16, codebook.bytes().to_vec()).unwrap();
    assert!(matches!(read_gvq(&named, std::slice::from_ref(&longer)), Err(Error::Shape { .. })));
    assert!(matches!(write_gvq(&encoded, &longer, true), Err(Error::Shape { .. })));
    let mut broken = inline.clone();
    broken[60] ^= 1;
    assert!(matches!(read_gvq(&broken, &[]), Err(Error::Gvq(_))));
    let short = Encoded { words: encoded.words[1..].to_vec(), ..encoded.clone() };
    assert!(matches!(write_gvq(&short, &codebook, false), Err(Error::Gvq(_))));
    let tall = LowRankVqConfig { rank: 1 << 16, ..encoded.config };
    let tall = Encoded { config: tall, words: encoded.words };
    assert!(write_gvq(&tall, &codebook, false).unwrap_err().to_string().contains("`rank` = 65536"));
}

#[test]
fn what_can_not_be_encoded_is_named() {
    let codebook = random_codebook(16, 8, 1);
    let says = |result: Result<Encoded, Error>, part: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    let new = |config| Encoder::new(gpu(), config, &codebook).map(|_| unreachable!());
    says(new(config(16, 1, 1, 1)), "has codewords of 8 elements; expected 16");
    says(new(config(8, 0, 1, 1)), "`rank` = 0");
    says(new(config(8, 9, 1, 1)), "`rank` = 9; expected at most the patch's side, 8");
    says(new(config(7, 1, 1, 1)), "`patch` = 7");

    let encoder = Encoder::new(gpu(), config(8, 1, 1, 1), &codebook).unwrap();
    let photo = Photo::waves(9, 9, 3, 1);
    let encode = |picture| block_on(encoder.encode(picture, go_on));
    says(encode(Picture { channels: 2, ..photo.picture() }), "`channels` = 2; expected 1 or 3");
    says(encode(Picture { height: 8, ..photo.picture() }), "has 243 values; expected 8 x 9 x 3");
    says(encode(Picture { pixels: &[], height: 0, width: 9, channels: 3 }), "9 x 0 pixels");
    let mut pixels = photo.pixels.clone();
    pixels[100] = f32::NAN;
    says(encode(Picture { pixels: &pixels, ..photo.picture() }), "`image` is not finite at index 100");
    let stop = |share: f64| if share > 0.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert!(matches!(block_on(encoder.encode(photo.picture(), stop)), Err(Error::Cancelled)));
}

#[test]
fn what_can_not_be_trained_is_named() {
    let photo = Photo::waves(20, 7, 3, 1);
    let says = |pictures: &[Picture<'_>], config: &TrainingConfig, part: &str| {
        let message = block_on(train_codebook(gpu(), pictures, config, go_on)).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    let good = small_training(1);
    says(&[photo.picture()], &good, "7 x 20 pixels; expected at least 8 x 8");
    says(&[], &good, "`pictures` = 0");
    says(&[photo.picture()], &TrainingConfig { codewords: 65537, ..good.clone() }, "`codewords` = 65537");
    says(&[photo.picture()], &TrainingConfig { blocks: 0, ..good.clone() }, "`blocks` = 0");
    let photo = Photo::waves(20, 20, 1, 1);
    let stop = |_| ControlFlow::Break(());
    let result = block_on(train_codebook(gpu(), &[photo.picture()], &good, stop));
    assert!(matches!(result, Err(Error::Cancelled)));
}
