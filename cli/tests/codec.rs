//! `encode`, `decode` and `codebook train` as a script sees them.

mod common;

use common::{Folder, assert_refused, gristmill, without_adapter};

const PHOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/chelsea.png");

/// What the command prints, once it went well.
#[track_caller]
fn printed(args: &[&str]) -> String {
    let result = gristmill(args);
    assert!(result.status.success(), "{args:?}: {}", String::from_utf8_lossy(&result.stderr));
    String::from_utf8_lossy(&result.stdout).into_owned()
}

/// The decibels of a line `PSNR 30.12 dB (...)`.
#[track_caller]
fn psnr(text: &str) -> f64 {
    let number = text.split("PSNR ").nth(1).and_then(|rest| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no PSNR: {text}"))
}

fn psnr_between(one: &str, other: &str) -> f64 {
    let [one, other] = [one, other].map(|path| image::open(path).unwrap().into_rgb8().into_raw());
    assert_eq!(one.len(), other.len());
    let squares = one.iter().zip(&other).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>();
    -10.0 * (squares / one.len() as f64 / 255.0f64.powi(2)).log10()
}

#[test]
fn a_photo_survives_each_preset() {
    let folder = Folder::new("codec");
    let (file, picture) = (folder.path("out.gvq"), folder.path("out.png"));
    for (preset, bytes, least) in [("A", 19_552, 30.0), ("b", 19_892, 30.5), ("C", 5_908, 27.4)] {
        let text = printed(&["encode", PHOTO, &file, "--preset", preset]);
        assert!(text.contains(&format!("451 x 300 pixels: {bytes} bytes")), "{text}");
        assert!(psnr(&text) > least, "{text}");
        assert_eq!(std::fs::metadata(&file).unwrap().len(), bytes);
        let text_of_decode = printed(&["decode", &file, &picture]);
        assert!(text_of_decode.contains("451 x 300 pixels in patches"), "{text_of_decode}");
        let found = psnr_between(PHOTO, &picture);
        assert!((found - psnr(&text)).abs() < 0.02, "{found} against {text}");
    }
}

#[test]
fn a_codebook_of_ones_own_is_trained_and_used() {
    let folder = Folder::new("codebook");
    let small = folder.path("small.png");
    image::open(PHOTO).unwrap().crop_imm(150, 100, 70, 53).save(&small).unwrap();
    let (codebook, file) = (folder.path("own.safetensors"), folder.path("own.gvq"));
    let size = ["--patch", "4", "--rank", "1", "--iterations", "2", "--codewords", "32"];
    let train = ["codebook", "train", &small, "--output", &codebook, "--blocks", "400", "--rounds", "2"];
    let text = printed(&[&train[..], &size, &["--held-out", PHOTO]].concat());
    for word in ["32 codewords of 4", "chelsea.png: ", "held-out mean: ", "bits per pixel"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let encode = ["encode", &small, &file, "--patch", "4", "--rank", "1", "--iterations", "2"];
    let text = printed(&[&encode[..], &["--codebook", &codebook]].concat());
    assert!(psnr(&text) > 20.0, "{text}");
    // The file names its codebook: whoever decodes it needs that one, unless it is inline.
    let picture = folder.path("own.png");
    let words = ["own.gvq", "codebook", "not at hand"];
    assert_refused(&gristmill(&["decode", &file, &picture]), &picture, &words);
    printed(&["decode", &file, &picture, "--codebook", &codebook]);
    std::fs::remove_file(&picture).unwrap();
    printed(&[&encode[..], &["--codebook", &codebook, "--inline"]].concat());
    printed(&["decode", &file, &picture]);
    let decoded = image::open(&picture).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (70, 53));
}

#[test]
fn refuses_what_it_can_not_encode() {
    let folder = Folder::new("no-encode");
    let output = folder.path("out.gvq");
    let run = |args: &[&str]| gristmill(&[&["encode"][..], args].concat());
    assert_refused(&run(&["nowhere.png", &output]), &output, &["nowhere.png"]);
    let text = folder.path("text.png");
    std::fs::write(&text, "no picture").unwrap();
    assert_refused(&run(&[&text, &output]), &output, &["text.png", "not a PNG or JPEG"]);
    for (args, words) in [
        (&["--preset", "E"][..], &["--preset", "'E'", "A, B, C"][..]),
        (&["--patch", "8"], &["no codebook comes with the program", "codebook train"]),
        (&["--rank", "0"], &["`rank` = 0", "at least 1"]),
        (&["--rank", "17"], &["`rank` = 17", "at most the patch's side, 16"]),
        (&["--codebook", &text], &["text.png", "not a whole safetensors file"]),
    ] {
        assert_refused(&run(&[&[PHOTO, &output][..], args].concat()), &output, words);
    }
    let wrong = folder.path("out.jpg");
    assert_refused(&run(&[PHOTO, &wrong]), &wrong, &["out.jpg", ".gvq"]);
    assert_refused(&without_adapter(&["encode", PHOTO, &output]), &output, &["no GPU adapter"]);
}

#[test]
fn refuses_what_it_can_not_decode_or_train() {
    let folder = Folder::new("no-decode");
    let (file, output) = (folder.path("in.gvq"), folder.path("out.png"));
    printed(&["encode", PHOTO, &file, "--preset", "C", "--sweeps", "0"]);
    let whole = std::fs::read(&file).unwrap();
    let decode = |bytes: &[u8]| {
        let broken = folder.path("broken.gvq");
        std::fs::write(&broken, bytes).unwrap();
        gristmill(&["decode", &broken, &output])
    };
    assert_refused(&decode(&whole[..1000]), &output, &["broken.gvq", "1000", &whole.len().to_string()]);
    assert_refused(&decode(b"no image"), &output, &["broken.gvq", "gvq"]);
    let mut flipped = whole.clone();
    flipped[2000] ^= 4;
    assert_refused(&decode(&flipped), &output, &["broken.gvq", "checksum"]);
    assert_refused(&gristmill(&["decode", "nowhere.gvq", &output]), &output, &["nowhere.gvq"]);

    let codebook = folder.path("out.safetensors");
    let train =
        |args: &[&str]| gristmill(&[&["codebook", "train", "--output", &codebook][..], args].concat());
    assert_refused(&train(&[]), &codebook, &["<PICTURES>"]);
    assert_refused(&train(&[PHOTO, "--codewords", "70000"]), &codebook, &["`codewords` = 70000", "65536"]);
    let small = folder.path("small.png");
    image::open(PHOTO).unwrap().crop_imm(0, 0, 90, 15).save(&small).unwrap();
    assert_refused(&train(&[&small]), &codebook, &["90 x 15 pixels", "at least 16 x 16"]);
}
