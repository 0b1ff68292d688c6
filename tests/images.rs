//! Non-local means against its twin, and textures in and out.

mod common;
#[path = "common/textures.rs"]
mod textures;

use common::{Random, assert_close, doubles, gpu, read, upload, variants};
use gristmill::kernels::image::{record_load_texture, record_store_texture};
use gristmill::models::non_local_means::{NonLocalMeans, NonLocalMeansConfig};
use gristmill::twins::non_local_means::{NonLocalMeansShape, non_local_means};
use gristmill::{Plan, Schedule, no_progress, wgpu};
use textures::{read_texture, texture, write_texture};

fn run(plan: &Plan) {
    plan.poison();
    pollster::block_on(plan.run(no_progress)).unwrap();
}

/// Edges, a slope and noise, in 0..1.
fn picture(height: usize, width: usize, channels: usize, seed: u64) -> Vec<f32> {
    let noise = Random::new(seed).normal(height * width * channels, 0.1);
    let clean = |index: usize| {
        let (pixel, channel) = (index / channels, index % channels);
        let (y, x) = (pixel / width, pixel % width);
        let square = (y / 5 + x / 7) % 2;
        0.2 + 0.4 * square as f32 + 0.2 * x as f32 / width as f32 + 0.1 * channel as f32
    };
    noise.iter().enumerate().map(|(index, noise)| (clean(index) + noise).clamp(0.0, 1.0)).collect()
}

fn denoise(config: &NonLocalMeansConfig, image: &[f32]) -> Vec<f32> {
    let image = upload("image", &[config.height, config.width, config.channels], image);
    let mut schedule = Schedule::new(gpu());
    let result = NonLocalMeans::new(gpu(), config.clone()).unwrap().record(&mut schedule, &image).unwrap();
    run(&schedule.compile().unwrap());
    read(&result)
}

/// Sides that are no multiple of the tile, one pixel more than it, and less than its margin.
#[test]
fn images_of_any_size_equal_the_twin() {
    for (height, width, channels, radius, tile, margin) in [
        (23, 37, 3, 1, 8, 4),
        (17, 9, 1, 2, 8, 3),
        (5, 3, 3, 1, 4, 6),
        (2, 2, 1, 1, 16, 8),
        (1, 30, 4, 0, 7, 5),
    ] {
        let image = picture(height, width, channels, 1);
        let h = 0.12 * ((2 * radius + 1) as f32) * (channels as f32).sqrt();
        let shape = NonLocalMeansShape { height, width, channels, tile, margin, radius };
        let expected = non_local_means(&doubles(&image), &shape, h as f64);
        for kind in variants() {
            let config =
                NonLocalMeansConfig { height, width, channels, radius, tile, margin, h, variant: Some(kind) };
            assert_close(&format!("{config:?}, seed 1"), &denoise(&config, &image), &expected, 2e-5);
        }
    }
}

#[test]
fn noise_shrinks_and_a_flat_image_stays_flat() {
    let (height, width, channels) = (33, 41, 3);
    let config = NonLocalMeansConfig::for_noise(height, width, channels, 0.1);
    let flat = vec![0.3; height * width * channels];
    assert_close("flat", &denoise(&config, &flat), &doubles(&flat), 4e-6);
    let noise = Random::new(2).normal(flat.len(), 0.1);
    let noisy: Vec<f32> = flat.iter().zip(&noise).map(|(a, b)| a + b).collect();
    let deviation = |image: &[f32]| {
        (image.iter().map(|value| (value - 0.3).powi(2)).sum::<f32>() / image.len() as f32).sqrt()
    };
    let (before, after) = (deviation(&noisy), deviation(&denoise(&config, &noisy)));
    assert!(after < 0.5 * before, "deviation {before} before, {after} after");
}

/// Several batches of tiles, each with the memory of the one before.
#[test]
fn a_large_image_is_served_in_batches_that_share_memory() {
    let (height, width, channels) = (190, 210, 3);
    let config = NonLocalMeansConfig {
        tile: 16,
        margin: 24,
        ..NonLocalMeansConfig::for_noise(height, width, channels, 0.1)
    };
    let pixels = picture(height, width, channels, 3);
    let image = upload("image", &[height, width, channels], &pixels);
    let mut schedule = Schedule::new(gpu());
    let result = NonLocalMeans::new(gpu(), config.clone()).unwrap().record(&mut schedule, &image).unwrap();
    let plan = schedule.compile().unwrap();
    let report = plan.report();
    assert!(report.dispatches > 8 && 2 * report.bytes < report.bytes_unshared, "{report:?}");
    run(&plan);
    let found = read(&result);
    // The lower right corner by the twin: its tile begins at (176, 208), its window 24 pixels before.
    let (top, left) = (144, 176);
    let corner = |image: &[f32]| -> Vec<f32> {
        (top..height).flat_map(|y| image[(y * width + left) * 3..(y * width + width) * 3].to_vec()).collect()
    };
    let shape = NonLocalMeansShape { height: 46, width: 34, channels, tile: 16, margin: 24, radius: 1 };
    let expected = non_local_means(&doubles(&corner(&pixels)), &shape, config.h as f64);
    let last_tile = |tile_rows: &[f64]| -> Vec<f64> {
        (32..46).flat_map(|y| tile_rows[(y * 34 + 32) * 3..(y * 34 + 34) * 3].to_vec()).collect()
    };
    let found: Vec<f32> = last_tile(&doubles(&corner(&found))).iter().map(|value| *value as f32).collect();
    assert_close("the last tile", &found, &last_tile(&expected), 2e-5);
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let good = NonLocalMeansConfig::for_noise(20, 20, 3, 0.1);
    for (config, words) in [
        (NonLocalMeansConfig { channels: 5, ..good.clone() }, "`channels` = 5; expected 1 to 4"),
        (NonLocalMeansConfig { tile: 0, ..good.clone() }, "`tile` = 0; expected 1 to 256"),
        (NonLocalMeansConfig { height: 1, ..good.clone() }, "`height` = 1; expected 2 to 65536"),
        (NonLocalMeansConfig { h: 0.0, ..good.clone() }, "`h` = 0; expected a positive number"),
    ] {
        let error = NonLocalMeans::new(gpu(), config).unwrap_err().to_string();
        assert_eq!(error, format!("non_local_means: {words}"));
    }
    let image = upload("image", &[20, 21, 3], &vec![0.0; 20 * 21 * 3]);
    let filter = NonLocalMeans::new(gpu(), good).unwrap();
    let error = filter.record(&mut Schedule::new(gpu()), &image).unwrap_err().to_string();
    assert_eq!(error, "non_local_means: tensor `image` has shape [20, 21, 3]; expected [20, 20, 3]");
}

#[test]
fn textures_come_back_byte_for_byte() {
    use wgpu::TextureUsages as Usage;
    for (width, height, channels) in [(1, 1, 4), (37, 23, 3), (37, 23, 4), (130, 5, 3)] {
        let (columns, rows) = (width as usize, height as usize);
        let mut random = Random::new(9);
        let bytes: Vec<u8> = (0..4 * columns * rows).map(|_| random.below(256) as u8).collect();
        let source = texture(width, height, Usage::TEXTURE_BINDING | Usage::COPY_DST);
        write_texture(&source, &bytes);
        let result = texture(width, height, Usage::STORAGE_BINDING | Usage::COPY_SRC);
        let [source, target] = [&source, &result].map(|texture| texture.create_view(&Default::default()));
        let mut schedule = Schedule::new(gpu());
        let image = record_load_texture(&mut schedule, &source, rows, columns, channels).unwrap();
        record_store_texture(&mut schedule, &image, &target).unwrap();
        run(&schedule.compile().unwrap());

        let pixels = bytes.chunks_exact(4);
        let values: Vec<f64> = pixels
            .clone()
            .flat_map(|pixel| pixel[..channels].to_vec())
            .map(|byte| byte as f64 / 255.0)
            .collect();
        assert_close(&format!("{width} x {height} x {channels}"), &read(&image), &values, 1e-7);
        let opaque = |pixel: &[u8]| if channels == 4 { pixel[3] } else { 255 };
        let expected: Vec<u8> =
            pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2], opaque(pixel)]).collect();
        assert_eq!(read_texture(&result), expected, "{width} x {height} x {channels}");
    }
}

#[test]
fn a_part_of_a_texture_is_loaded_and_colours_out_of_range_are_clamped() {
    use wgpu::TextureUsages as Usage;
    let source = texture(6, 4, Usage::TEXTURE_BINDING | Usage::COPY_DST);
    let bytes: Vec<u8> = (0..96).collect();
    write_texture(&source, &bytes);
    let mut schedule = Schedule::new(gpu());
    let view = source.create_view(&Default::default());
    let part = record_load_texture(&mut schedule, &view, 2, 5, 3).unwrap();
    run(&schedule.compile().unwrap());
    let pixel = |y: usize, x: usize| bytes[(y * 6 + x) * 4..][..3].to_vec();
    let places = (0..2).flat_map(|y| (0..5).map(move |x| (y, x)));
    let expected: Vec<f64> = places.flat_map(|(y, x)| pixel(y, x)).map(|byte| byte as f64 / 255.0).collect();
    assert_close("2 x 5 of 4 x 6", &read(&part), &expected, 1e-7);

    let result = texture(2, 1, Usage::STORAGE_BINDING | Usage::COPY_SRC);
    let image = upload("image", &[1, 2, 3], &[-1.0, 0.0, 1.0, 2.0, 0.2, 1e9]);
    let mut schedule = Schedule::new(gpu());
    record_store_texture(&mut schedule, &image, &result.create_view(&Default::default())).unwrap();
    run(&schedule.compile().unwrap());
    assert_eq!(read_texture(&result), [0, 0, 255, 255, 255, 51, 255, 255]);
}

#[test]
fn textures_have_three_or_four_channels() {
    let view = texture(2, 2, wgpu::TextureUsages::TEXTURE_BINDING).create_view(&Default::default());
    let error = record_load_texture(&mut Schedule::new(gpu()), &view, 2, 2, 2).unwrap_err().to_string();
    assert_eq!(error, "image: `channels` = 2; expected 3 or 4");
    let grey = upload("grey", &[2, 2, 1], &[0.0; 4]);
    let error = record_store_texture(&mut Schedule::new(gpu()), &grey, &view).unwrap_err().to_string();
    assert_eq!(error, "image: `channels` = 1; expected 3 or 4");
}
