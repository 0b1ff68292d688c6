//! `gristmill upscale`: sizes of what it writes, its mask, and what it refuses.

mod common;

use common::{Folder, assert_refused, gristmill};

/// Weights of a small network for twice the size, with Pure-Pass in their configuration.
const WEIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/atd_small_pp_v.safetensors");
/// The same without it.
const PLAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/atd_small.safetensors");

fn picture(folder: &Folder, height: u32, width: u32) -> String {
    let path = folder.path("in.png");
    let color = |x: u32, y: u32| {
        image::Rgb([(40 + 3 * x) as u8, (9 * y) as u8, if x < width / 2 { 200 } else { 10 }])
    };
    image::RgbImage::from_fn(width, height, color).save(&path).unwrap();
    path
}

#[test]
fn enlarges_pictures_of_any_size_and_writes_the_mask() {
    let folder = Folder::new("upscale");
    let (output, mask) = (folder.path("out.png"), folder.path("mask.png"));
    for (height, width) in [(45, 70), (1, 1), (9, 9)] {
        let input = picture(&folder, height, width);
        let run =
            gristmill(&["upscale", &input, &output, "--weights", WEIGHTS, "--mask", &mask, "--tile", "32"]);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        assert_eq!(image::open(&output).unwrap().to_rgb8().dimensions(), (2 * width, 2 * height));
        let mask = image::open(&mask).unwrap().to_luma8();
        assert_eq!(mask.dimensions(), (width, height));
        assert!(mask.pixels().all(|pixel| pixel.0[0] == 0 || pixel.0[0] == 255));
    }
    let said =
        gristmill(&["upscale", &folder.path("in.png"), &output, "--weights", WEIGHTS, "--no-pure-pass"]);
    let said = String::from_utf8_lossy(&said.stdout).to_string();
    assert!(said.contains("18 x 18 pixels") && !said.contains("pure"), "{said}");
}

#[test]
fn refuses_what_does_not_fit() {
    let folder = Folder::new("upscale_bad");
    let (input, output) = (picture(&folder, 12, 10), folder.path("out.png"));
    let run = |weights: &str, extra: &[&str]| {
        gristmill(&[&["upscale", &input, &output, "--weights", weights][..], extra].concat())
    };
    let missing = folder.path("missing.safetensors");
    assert_refused(&run(&missing, &[]), &output, &["cannot read", "missing.safetensors"]);
    assert_refused(&run(&input, &[]), &output, &["in.png", "not a whole safetensors file"]);
    assert_refused(
        &run(WEIGHTS, &["--scale", "3"]),
        &output,
        &["`model.up_w`", "[12, 16, 3, 3]", "[27, 16, 3, 3]"],
    );
    assert_refused(&run(WEIGHTS, &["--tile", "30"]), &output, &["`tile` = 30", "multiple of the window, 8"]);
    let mask = folder.path("mask.png");
    assert_refused(&run(PLAIN, &["--mask", &mask]), &output, &["--mask", "no pure_pass"]);
    let cut = folder.path("cut.png");
    let whole = std::fs::read(&input).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    assert_refused(
        &gristmill(&["upscale", &cut, &output]),
        &output,
        &["cut.png", "not a PNG or JPEG picture"],
    );
}

#[test]
fn takes_every_kind_of_png_and_keeps_its_opacity() {
    let folder = Folder::new("upscale_kinds");
    let (input, output) = (folder.path("in.png"), folder.path("out.png"));
    let (width, height) = (23, 17);
    let grey = |x: u32, y: u32| (10 * x + y) as u8;
    let opacity = |x: u32| if x < 12 { 0 } else { 255 };
    let pictures: [image::DynamicImage; 5] = [
        image::GrayImage::from_fn(width, height, |x, y| image::Luma([grey(x, y)])).into(),
        image::ImageBuffer::from_fn(width, height, |x, y| image::Luma([257 * u16::from(grey(x, y))])).into(),
        image::ImageBuffer::from_fn(width, height, |x, y| image::Rgb([257 * u16::from(grey(x, y)); 3]))
            .into(),
        image::RgbaImage::from_fn(width, height, |x, y| image::Rgba([grey(x, y), 200, 40, opacity(x)]))
            .into(),
        image::GrayAlphaImage::from_fn(width, height, |x, y| image::LumaA([grey(x, y), opacity(x)])).into(),
    ];
    for picture in pictures {
        picture.save(&input).unwrap();
        let run = gristmill(&["upscale", &input, &output]);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(said.contains("46 x 34 pixels") && said.contains("of the multiplications saved"), "{said}");
        let large = image::open(&output).unwrap();
        assert_eq!((large.width(), large.height()), (46, 34));
        assert_eq!(large.color().has_alpha(), picture.color().has_alpha());
        if large.color().has_alpha() {
            let large = large.to_rgba8();
            assert!(large.enumerate_pixels().all(|(x, _, pixel)| match x {
                0..20 => pixel.0 == [0; 4],
                28.. => pixel.0[3] == 255,
                _ => true,
            }));
        }
    }
}
