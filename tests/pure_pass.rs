//! Pure-Pass: labels, mask and list of active pixels, exactly those of the twin.

mod common;
#[path = "common/textures.rs"]
mod textures;

use common::{Random, budget, golden_names, golden_path, gpu, upload, variants};
use gristmill::kernels::category_sort::CategorySort;
use gristmill::kernels::pure_pass::{PureMask, PurePassConfig, PurePassMask};
use gristmill::twins::pure_pass::{category_order, color_labels, levels, pure_mask, window_grid};
use gristmill::{Schedule, Tensor, no_progress, wgpu};
use proptest::prelude::*;
use safetensors::SafeTensors;

/// Labels and mask of a picture's mask that `record` records, through memory full of NaN.
fn masked(
    config: PurePassConfig,
    record: impl Fn(&PurePassMask, &mut Schedule) -> PureMask,
) -> (Vec<u32>, Vec<u32>) {
    let operator = PurePassMask::new(gpu(), config, None).unwrap();
    let mut schedule = Schedule::new(gpu());
    let found = record(&operator, &mut schedule);
    run(schedule);
    (words(&found.labels), words(&found.mask))
}

fn run(schedule: Schedule) {
    let plan = schedule.compile().unwrap();
    plan.poison();
    pollster::block_on(plan.run(no_progress)).unwrap();
}

fn words(tensor: &Tensor) -> Vec<u32> {
    pollster::block_on(tensor.read::<u32>(gpu())).unwrap()
}

fn of_tensor(config: PurePassConfig, shape: &[usize], values: &[f32]) -> (Vec<u32>, Vec<u32>) {
    let picture = upload("img", shape, values);
    masked(config, |operator, schedule| operator.record(schedule, &picture).unwrap())
}

fn unit(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|&byte| byte as f32 / 255.0).collect()
}

/// Patches of few colours, some of them one level apart, so that windows of both kinds occur.
fn patches(random: &mut Random, height: usize, width: usize, side: usize) -> Vec<u8> {
    let colors: Vec<[u8; 3]> = (0..6).map(|_| [0; 3].map(|_: u8| random.below(256) as u8)).collect();
    let columns = width.div_ceil(side);
    let patches: Vec<[u8; 3]> = (0..height.div_ceil(side) * columns).map(|_| random.pick(&colors)).collect();
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let color = patches[y / side * columns + x / side];
            rgb.extend(color.map(|c| c.saturating_add(random.below(2) as u8)));
        }
    }
    rgb
}

proptest! {
    #![proptest_config(budget(40))]

    #[test]
    fn labels_and_mask_equal_the_twin(
        size in (1usize..40, 1usize..60),
        colors in 1usize..40,
        window in 1usize..20,
        side in 1usize..30,
        pictures in 1usize..4,
        seed in any::<u64>(),
    ) {
        let (height, width) = size;
        let config = PurePassConfig { colors, window };
        let mut random = Random::new(seed);
        let rgb: Vec<Vec<u8>> = (0..pictures).map(|_| patches(&mut random, height, width, side)).collect();
        let (labels, mask) = of_tensor(config, &[pictures, height, width, 3], &unit(&rgb.concat()));
        for (picture, rgb) in rgb.iter().enumerate() {
            let of = |words: &[u32]| words[picture * height * width..][..height * width].to_vec();
            let expected = color_labels(rgb, &config);
            prop_assert_eq!(of(&labels), expected.clone());
            let pure: Vec<u32> = pure_mask(&expected, height, width, window).into_iter().map(u32::from).collect();
            prop_assert_eq!(of(&mask), pure);
        }
    }

    #[test]
    fn the_second_grid_only_adds_pixels(height in 1usize..40, width in 1usize..40, window in 1usize..12, seed in any::<u64>()) {
        let labels: Vec<u32> = Random::new(seed).mask(height * width, 0.02);
        let one = window_grid(&labels, height, width, window, 0);
        let both = pure_mask(&labels, height, width, window);
        prop_assert!(one.iter().zip(&both).all(|(one, both)| !one || *both));
    }

    #[test]
    fn every_build_sorts_stably(
        elements in 1usize..2000,
        categories in prop::sample::select(vec![1usize, 2, 7, 64, 255]),
        share in prop::sample::select(vec![0.0, 0.3, 0.97, 1.0]),
        seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let keys: Vec<u32> = (0..elements).map(|_| random.below(categories) as u32).collect();
        let mask = random.mask(elements, share);
        let hidden: Vec<bool> = mask.iter().map(|&m| m == 1).collect();
        for kind in variants() {
            let sort = CategorySort::new(gpu(), categories, Some(kind)).unwrap();
            let (key_tensor, mask_tensor) = (upload("keys", &[elements], &keys), upload("mask", &[elements], &mask));
            let mut schedule = Schedule::new(gpu());
            let plain = sort.record(&mut schedule, &key_tensor, None).unwrap();
            let masked = sort.record(&mut schedule, &key_tensor, Some(&mask_tensor)).unwrap();
            run(schedule);
            prop_assert_eq!(words(&plain.order), category_order(&keys, None));
            prop_assert_eq!(words(&plain.active_count), vec![elements as u32]);
            prop_assert_eq!(words(&masked.order), category_order(&keys, Some(&hidden)));
            let active = hidden.iter().filter(|hidden| !**hidden).count() as u32;
            prop_assert_eq!(words(&masked.active_count), vec![active]);
            let starts = words(&masked.starts);
            prop_assert_eq!((starts.len(), starts[categories], starts[categories + 1]), (categories + 2, active, elements as u32));
            for category in 0..categories {
                let count = (0..elements).filter(|&i| !hidden[i] && keys[i] == category as u32).count() as u32;
                prop_assert_eq!(starts[category + 1] - starts[category], count);
            }
        }
    }

    /// Values at, just below and just above the border between two levels.
    #[test]
    fn quantisation_is_exact(level in 0u32..256, steps in -3i32..=3, seed in any::<u64>()) {
        let border = ((level as f64 - 0.5) / 255.0).max(0.0) as f32;
        let value = f32::from_bits(border.to_bits().saturating_add_signed(steps));
        let values = [value, f32::from_bits(Random::new(seed).below(0x3f80_0001) as u32), -0.0];
        // 255 centres of one hue each; only the levels matter.
        let config = PurePassConfig { colors: 255, window: 1 };
        let doubles: Vec<f64> = values.iter().map(|&v| v as f64).collect();
        let (labels, _) = of_tensor(config, &[1, 1, 3], &values);
        prop_assert_eq!(labels, color_labels(&levels(&doubles), &config));
    }
}

#[test]
fn grey_ties_go_to_the_first_centre() {
    let rgb: Vec<u8> = (0..=255).flat_map(|level| [level; 3]).collect();
    let labels = |colors| of_tensor(PurePassConfig { colors, window: 8 }, &[16, 16, 3], &unit(&rgb)).0;
    // Of six centres three are equally far from grey: dark greys are nearest to red, green and blue, bright ones to yellow, cyan, magenta.
    let six = labels(6);
    let switch = six.iter().position(|&label| label == 1).unwrap();
    assert_eq!(switch, 127);
    assert!(six[..switch].iter().all(|&label| label == 0) && six[switch..].iter().all(|&label| label == 1));
    for colors in [1, 3, 6, 8, 12, 16, 24, 255] {
        assert_eq!(labels(colors), color_labels(&rgb, &PurePassConfig { colors, window: 8 }), "{colors}");
    }
}

#[test]
fn plain_pictures_are_pure_and_checkerboards_are_not() {
    let config = PurePassConfig::default();
    let flat = vec![0.3; 37 * 50 * 3];
    assert!(of_tensor(config, &[37, 50, 3], &flat).1.iter().all(|&pure| pure == 1));
    let board =
        |x: usize| if (x % 37 + x / 37).is_multiple_of(2) { [1.0, 0.0, 0.0] } else { [0.0, 0.0, 1.0] };
    let board: Vec<f32> = (0..37 * 50).flat_map(board).collect();
    assert!(of_tensor(config, &[50, 37, 3], &board).1.iter().all(|&pure| pure == 0));
    // Windows of one pixel, one colour.
    for config in [PurePassConfig { window: 1, ..config }, PurePassConfig { colors: 1, ..config }] {
        assert!(of_tensor(config, &[50, 37, 3], &board).1.iter().all(|&pure| pure == 1));
    }
    assert_eq!(of_tensor(config, &[1, 1, 3], &[0.1, 0.7, 0.2]).1, [1]);
}

#[test]
fn a_texture_gives_what_the_tensor_gives() {
    let (height, width) = (21, 34);
    let config = PurePassConfig { colors: 12, window: 5 };
    let mut random = Random::new(7);
    let rgb = patches(&mut random, height, width, 9);
    let alpha: Vec<u8> = (0..height * width).map(|i| if i % width < 12 { 0 } else { 255 }).collect();
    let rgba: Vec<u8> = rgb.chunks_exact(3).zip(&alpha).flat_map(|(c, &a)| [c[0], c[1], c[2], a]).collect();
    let usage = wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST;
    let texture = textures::texture(width as u32, height as u32, usage);
    textures::write_texture(&texture, &rgba);
    let view = texture.create_view(&Default::default());
    let by_texture = |alpha| {
        masked(config, |operator, schedule| {
            operator.record_texture(schedule, &view, height, width, alpha).unwrap()
        })
    };
    assert_eq!(by_texture(false), of_tensor(config, &[height, width, 3], &unit(&rgb)));
    let with_alpha = by_texture(true);
    assert_eq!(with_alpha, of_tensor(config, &[height, width, 4], &unit(&rgba)));
    // Transparent pixels have a class of their own, so windows of them alone are pure.
    let mut expected = color_labels(&rgb, &config);
    expected.iter_mut().zip(&alpha).filter(|(_, alpha)| **alpha == 0).for_each(|(label, _)| *label = 12);
    assert_eq!(with_alpha.0, expected);
    assert!(with_alpha.1.chunks_exact(width).all(|row| row[..10].iter().all(|&pure| pure == 1)));
}

#[test]
fn active_pixels_and_windows_are_listed_in_order() {
    for (count, share) in [(1, 0.0), (1, 1.0), (300, 0.5), (70_000, 0.3)] {
        let mask = Random::new(count as u64).mask(count, share);
        let tensor = upload("mask", &[count], &mask);
        for kind in variants() {
            let operator = PurePassMask::new(gpu(), PurePassConfig::default(), Some(kind)).unwrap();
            let mut schedule = Schedule::new(gpu());
            let active = operator.record_active(&mut schedule, &tensor).unwrap();
            run(schedule);
            let expected: Vec<u32> = (0..count as u32).filter(|&i| mask[i as usize] == 0).collect();
            assert_eq!(words(&active.active_count), [expected.len() as u32], "{kind}");
            assert_eq!(words(&active.order)[..expected.len()], expected, "{kind}");
        }
    }
}

/// The grids of the goldens; labels and mask are among all the others in `tests/goldens.rs`.
#[test]
fn the_twin_matches_the_golden_grids_and_centres() {
    for name in golden_names("pure_pass_mask_", 32) {
        let bytes = std::fs::read(golden_path(&name)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let number = |from: &str, to: char| -> usize {
            let text = &name[name.find(from).unwrap() + from.len()..];
            text[..text.find(to).unwrap()].parse().unwrap()
        };
        let (colors, window) = (number("_K", 'w'), number(&format!("_K{}w", number("_K", 'w')), '_'));
        let img = file.tensor("img").unwrap();
        let [height, width, _] = img.shape().try_into().unwrap();
        let labels = color_labels(img.data(), &PurePassConfig { colors, window });
        let grids =
            [0, window / 2].map(|offset| window_grid(&labels, height, width, window, offset)).concat();
        let grids: Vec<u8> = grids.into_iter().map(u8::from).collect();
        assert_eq!(grids, file.tensor("grids").unwrap().data(), "{name}");
    }
    let bytes = std::fs::read(golden_path("pure_pass_centers.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for colors in [4, 6, 8, 12, 16, 24] {
        let view = file.tensor(&format!("centers_int.K{colors}")).unwrap();
        let expected: Vec<i32> =
            view.data().chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(PurePassConfig { colors, window: 8 }.centers().concat(), expected, "{colors} colours");
    }
}
