//! Low-rank vector-quantised images: the code must fit its codebook, and the codebook its sums.

use super::{File, plain, refused, refused_bytes, set};
use gristmill::Dtype;
use gristmill::run::RunOptions;
use safetensors::Dtype as FileDtype;

/// Two patches of 4 x 4 in grey: four indices of two bits, 0 1 2 0.
fn lowrank_vq() -> File {
    File::default()
        .filled("codebook", &[3, 4])
        .words(&[0b00_10_01_00])
        .config(r#"{"height": 3, "width": 6, "channels": 1, "patch": 4, "rank": 1}"#)
}

fn vq_nearest() -> File {
    File::default().filled("z", &[5, 8]).filled("codebook", &[3, 8])
}

impl File {
    fn words(self, words: &[u32]) -> Self {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.raw("words", FileDtype::U32, &[words.len()], bytes)
    }
}

#[test]
fn the_code_that_is_spoiled_below_runs() {
    super::runs("lowrank_vq", &lowrank_vq(), &plain());
    // Nothing to decode is no error.
    super::runs("lowrank_vq", &lowrank_vq().words(&[]), &set(&["height=0"]));
    super::runs("lowrank_vq", &lowrank_vq().words(&[]), &set(&["width=0"]));
}

#[test]
fn tensors_are_checked() {
    let file = lowrank_vq;
    for (file, words) in [
        (file().words(&[0b11_10_01_00]), ["`words`", "index 3 at place 3", "less than 3"]),
        (file().words(&[0, 0]), ["`words`", "has 2 words", "expected 1: 4 indices of 2 bits"]),
        (file().words(&[]), ["`words`", "has 0 words", "expected 1: 4 indices of 2 bits"]),
        (file().raw("words", FileDtype::I32, &[1], vec![0xff; 4]), ["`words`", "-1 at index 0", "2^32 - 1"]),
        (file().raw("words", FileDtype::U32, &[1, 1], vec![0; 4]), ["`words`", "[1, 1]", "[n]"]),
        (file().filled("words", &[1]), ["`words`", "floats", "U32"]),
        (file().filled("codebook", &[3, 8]), ["`codebook`", "[3, 8]", "[K, 4]"]),
        (file().filled("codebook", &[0, 4]), ["`codebook`", "[0, 4]", "at least one codeword"]),
        (file().filled("codebook", &[12]), ["`codebook`", "[12]", "[K, P]"]),
        (file().floats("codebook", &[3, 4], &[f32::NAN; 12]), ["`codebook`", "not finite", "index 0"]),
        (
            file().floats("codebook", &[3, 4], &[1e20; 12]),
            ["`codebook`", "1.0000000200408773e20", "stay finite"],
        ),
        (file().without("codebook"), ["`codebook`", "missing", "words"]),
    ] {
        refused("lowrank_vq", &file, plain(), &words);
    }
    let large = lowrank_vq().floats("codebook", &[3, 4], &[1e5; 12]);
    let halves = RunOptions { dtype: Dtype::F16, ..plain() };
    refused_bytes("lowrank_vq", &large.bytes(), &halves, &["`codebook`", "100000", "f16"]);
}

#[test]
fn keys_are_checked() {
    for (pair, words) in [
        ("height=null", ["`height`", "missing", "at least 0"]),
        ("width=-1", ["`width`", "-1", "at least 0"]),
        ("width=4294967296", ["`width`", "4294967296", "less than 2^32"]),
        ("height=100000000", ["`words`", "has 1 words", "100000000 indices"]),
        ("channels=2", ["`channels`", "2", "1 or 3"]),
        ("patch=null", ["`patch`", "missing", "a positive integer"]),
        ("patch=5", ["`patch`", "5", "4, 8, 16 or 32"]),
        ("rank=0", ["`rank`", "0", "a positive integer"]),
        ("rank=4294967296", ["`rank and iterations`", "4294967296", "2^32 indices"]),
        ("iterations=1.5", ["`iterations`", "1.5", "a positive integer"]),
        ("bits=1", ["`bits`", "1", "at least 2 for 3 codewords"]),
        ("bits=40", ["`bits`", "40", "1 to 32"]),
        ("combine=max", ["`combine`", "max", "sum or mean"]),
        ("combine=0", ["`combine`", "0", "sum or mean"]),
        (
            "ranks=1",
            ["`ranks`", "unknown key", "height, width, channels, patch, rank, iterations, bits, combine"],
        ),
    ] {
        refused("lowrank_vq", &lowrank_vq(), set(&[pair]), &words);
    }
    let huge = set(&["height=4294967295", "width=4294967295"]);
    refused("lowrank_vq", &lowrank_vq(), huge, &["`height and width`", "fewer than 2^32 indices"]);
}

#[test]
fn rows_and_codewords_of_the_search_must_fit() {
    super::runs("vq_nearest", &vq_nearest(), &plain());
    super::runs("vq_nearest", &vq_nearest().filled("z", &[0, 8]), &plain());
    let file = vq_nearest;
    for (file, words) in [
        (file().filled("z", &[5, 4]), ["`z`", "rows of 4", "rows of 8"]),
        (file().filled("z", &[40]), ["`z`", "[40]", "[n, P]"]),
        (file().filled("codebook", &[3, 2, 4]), ["`codebook`", "[3, 2, 4]", "[K, P]"]),
        (file().filled("codebook", &[3, 6]), ["`codebook`", "[3, 6]", "4, 8, 16 or 32"]),
        (file().filled("codebook", &[0, 8]), ["`codebook`", "[0, 8]", "1 to 65536"]),
        (file().filled("codebook", &[65537, 8]), ["`codebook`", "[65537, 8]", "1 to 65536"]),
        (file().floats("z", &[1, 8], &[1e30; 8]), ["`z`", "e30 at index 0", "±1e18"]),
        (file().floats("codebook", &[1, 8], &[f32::INFINITY; 8]), ["`codebook`", "not finite", "index 0"]),
        (file().raw("z", FileDtype::U8, &[1, 8], vec![1; 8]), ["`z`", "integers", "F16, F32 or F64"]),
        (file().without("z"), ["`z`", "missing", "codebook"]),
    ] {
        refused("vq_nearest", &file, plain(), &words);
    }
    refused("vq_nearest", &vq_nearest(), set(&["top=1"]), &["`top`", "unknown key", "it has none"]);
}
