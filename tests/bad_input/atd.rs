//! ATD: weights that are missing or misshaped, pictures that are too small, keys out of their bounds.

use super::{File, plain, refused, runs, set};
use gristmill::models::atd::AtdSizes;
use safetensors::Dtype as FileDtype;

/// A network of one layer on windows of 4 x 4.
fn network() -> File {
    let sizes = AtdSizes { channels: 4, tokens: 3, reduced: 2, hidden: 4, kernel: 3, layers: vec![2] };
    let mut file = File::default()
        .filled("img", &[1, 3, 5, 6])
        .config(r#"{"scale": 2, "window": 4, "group": 8, "heads": 2, "pure_pass": {"colors": 6, "window": 2, "comp": "zero"}}"#);
    for (name, shape) in sizes.shapes(2, 4, 2) {
        file = file.filled(&format!("model.{name}"), &shape);
    }
    file
}

#[test]
fn the_network_that_is_spoiled_below_runs() {
    runs("atd", &network(), &plain());
    runs("atd", &network(), &set(&["pure_pass=null"]));
    runs("atd", &network().filled("img", &[2, 3, 2, 9]), &plain());
}

#[test]
fn weights_are_checked_by_name_and_shape() {
    let layer = "model.blocks.0.layers.1.";
    for (file, words) in [
        (network().without("model.first_w"), ["`model.first_w`", "is missing", "[C, 3, 3, 3]"]),
        (network().without("model.up_b"), ["`model.up_b`", "is missing", "[12]"]),
        (
            network().without("model.blocks.0.layers.0.sigma"),
            ["`model.blocks.0.layers.0.sigma`", "is missing", "[3]"],
        ),
        (network().filled("model.up_w", &[27, 4, 3, 3]), ["`model.up_w`", "[27, 4, 3, 3]", "[12, 4, 3, 3]"]),
        (network().filled("model.first_w", &[4, 27]), ["`model.first_w`", "[4, 27]", "[C, 3, 3, 3]"]),
        (network().filled(&format!("{layer}wqkv"), &[4, 12]), ["layers.1.wqkv`", "[4, 12]", "[12, 4]"]),
        (network().filled(&format!("{layer}win.rpb"), &[49, 3]), ["layers.1.win.rpb`", "[49, 3]", "[49, 2]"]),
        (
            network().filled("model.blocks.0.layers.0.dw_w", &[4, 1, 4, 4]),
            ["layers.0.dw_w`", "4 x 4", "an odd side"],
        ),
        (
            network().raw("model.norm_g", FileDtype::I32, &[4], vec![0; 16]),
            ["`model.norm_g`", "holds integers", "F32"],
        ),
        (
            network().floats("model.norm_g", &[4], &[1.0, f32::NAN, 1.0, 1.0]),
            ["`model.norm_g`", "not finite", "1"],
        ),
    ] {
        refused("atd", &file, plain(), &words);
    }
}

#[test]
fn pictures_and_keys_are_checked() {
    for (file, words) in [
        (network().filled("img", &[1, 3, 1, 6]), ["`img`", "1 x 6 pixels", "at least 2"]),
        (network().filled("img", &[1, 4, 5, 6]), ["`img`", "[1, 4, 5, 6]", "[B, 3, H, W]"]),
        (network().filled("img", &[3, 5, 6]), ["`img`", "[3, 5, 6]", "[B, 3, H, W]"]),
        (network().filled("img", &[0, 3, 5, 6]), ["`img`", "[0, 3, 5, 6]", "B > 0"]),
    ] {
        refused("atd", &file, plain(), &words);
    }
    for (pair, words) in [
        ("scale=0", ["`scale`", "0", "positive"]),
        ("scale=9", ["`scale`", "9", "1 to 8"]),
        ("window=5", ["`window`", "5", "even"]),
        ("heads=3", ["`heads`", "3", "divisor of the 4 channels"]),
        ("group=0", ["`group`", "0", "positive"]),
        ("pure_pass=1", ["`pure_pass`", "1", "null or an object"]),
        (r#"pure_pass={"comp": "mean"}"#, ["`comp`", "mean", "v or proj_v or zero"]),
        (r#"pure_pass={"size": 2}"#, ["`size`", "unknown", "colors, window, comp"]),
        (r#"pure_pass={"colors": 256}"#, ["`colors`", "256", "1 to 255"]),
    ] {
        refused("atd", &network(), set(&[pair]), &words);
    }
}
