//! `segment` as a script sees it.

mod common;

use common::{Folder, assert_refused, gristmill, without_adapter};

const SCENE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/scenes/scene-03.png");
const PHOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/coffee.png");

#[test]
fn segments_a_scene_and_a_photo_of_any_shape() {
    let folder = Folder::new("segment");
    let output = folder.path("out.png");
    for (input, words) in
        [(SCENE, &["of 577 rows kept", "merged", "plain", "ms"][..]), (PHOTO, &["of 577 rows kept"])]
    {
        let result = gristmill(&["segment", input, &output]);
        let text = String::from_utf8_lossy(&result.stdout).into_owned();
        assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert!(image::open(&output).unwrap().width() > 1000);
        std::fs::remove_file(&output).unwrap();
    }
}

#[test]
fn refuses_what_it_can_not_segment() {
    let folder = Folder::new("no-segment");
    let output = folder.path("out.png");
    let run = |args: &[&str]| gristmill(&[&["segment"][..], args].concat());
    assert_refused(&run(&["nowhere.png", &output]), &output, &["nowhere.png"]);
    assert_refused(&run(&[SCENE, &output, "--weights", SCENE]), &output, &["not a whole safetensors file"]);
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/clustvit_net_a.safetensors");
    assert_refused(&run(&[SCENE, &output, "--weights", other]), &output, &["`config`", "missing field"]);
    let wrong = folder.path("out.jpg");
    assert_refused(&run(&[SCENE, &wrong]), &wrong, &["out.jpg", ".png"]);
    assert_refused(&without_adapter(&["segment", SCENE, &output]), &output, &["no GPU adapter"]);
}
