//! Token merging: ids, maps and weights must fit each other.

use super::{File, plain, refused, set};
use safetensors::Dtype as FileDtype;

fn merge() -> File {
    File::default()
        .filled("x", &[2, 4, 8])
        .filled("w1", &[5, 8])
        .filled("b1", &[5])
        .filled("w2", &[3, 5])
        .filled("b2", &[3])
        .integers("ids", &[2, 3], &[0, 1, 2, 0, 0, 2])
        .config(r#"{"K": 2}"#)
}

/// Two images of three tokens: one of five rows, one of three kept tokens and two representatives.
fn regenerate() -> File {
    File::default()
        .filled("original", &[2, 3, 8])
        .filled("processed", &[9, 8])
        .filled("w1", &[8, 16])
        .filled("b1", &[8])
        .filled("w2", &[8, 8])
        .filled("b2", &[8])
        .integers("ids", &[2, 3], &[0, 1, 2, 0, 0, 2])
        .integers("row_map", &[2, 3], &[1, 2, 3, 1, 2, 4])
        .integers("cu_seqlens", &[3], &[0, 4, 9])
        .config(r#"{"K": 2}"#)
}

impl File {
    fn integers(self, name: &str, shape: &[usize], data: &[i32]) -> Self {
        self.raw(name, FileDtype::I32, shape, data.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

#[test]
fn the_files_that_are_spoiled_below_run() {
    super::runs("cluster_merge", &merge(), &plain());
    super::runs("cluster_merge", &merge().without("ids"), &set(&["gate=batch"]));
    super::runs("cluster_regenerate", &regenerate(), &plain());
    // Left alone by the gate: every token has its own row.
    let alone = regenerate()
        .integers("ids", &[2, 3], &[0, 1, 2, 2, 2, 2])
        .integers("row_map", &[2, 3], &[1, 2, 3, 1, 2, 3])
        .integers("cu_seqlens", &[3], &[0, 4, 8])
        .filled("processed", &[8, 8]);
    super::runs("cluster_regenerate", &alone, &plain());
}

#[test]
fn tensors_to_merge_are_checked() {
    let file = merge;
    for (file, words) in [
        (file().filled("x", &[8, 8]), ["`x`", "[8, 8]", "[B, 1+N, D]"]),
        (file().filled("x", &[2, 1, 8]), ["`x`", "[2, 1, 8]", "at least one more"]),
        (file().filled("x", &[0, 4, 8]), ["`x`", "[0, 4, 8]", "nothing empty"]),
        (file().floats("x", &[2, 4, 8], &[f32::NAN; 64]), ["`x`", "not finite", "index 0"]),
        (file().filled("w1", &[5, 7]), ["`w1`", "[5, 7]", "[5, 8]"]),
        (file().filled("w1", &[0, 8]), ["`w1`", "[0, 8]", "[1, 8]"]),
        (file().filled("b1", &[4]), ["`b1`", "[4]", "[5]"]),
        (file().filled("w2", &[4, 5]), ["`w2`", "[4, 5]", "[3, 5]"]),
        (file().filled("b2", &[1, 3]), ["`b2`", "[1, 3]", "[3]"]),
        (file().without("b2"), ["`b2`", "missing", "w1"]),
        (file().integers("ids", &[2, 3], &[0, 1, 3, 0, 0, 2]), ["`ids`", "3 at index 2", "0 to K = 2"]),
        (file().integers("ids", &[2, 3], &[0, -1, 2, 0, 0, 2]), ["`ids`", "-1 at index 1", "0 to"]),
        (file().integers("ids", &[3, 2], &[0; 6]), ["`ids`", "[3, 2]", "[2, 3]"]),
        (file().filled("ids", &[2, 3]), ["`ids`", "floats", "I32"]),
    ] {
        refused("cluster_merge", &file, plain(), &words);
    }
    for (pair, words) in [
        ("K=0", ["`K`", "0", "positive"]),
        ("K=3", ["`w2`", "[3, 5]", "[4, 5]"]),
        ("K=2000", ["`K`", "2000", "1 to 1024"]),
        ("gate=maybe", ["`gate`", "maybe", "none or image or batch"]),
        ("K=null", ["`K`", "missing", "positive"]),
    ] {
        refused("cluster_merge", &merge(), set(&[pair]), &words);
    }
}

#[test]
fn merged_rows_are_checked() {
    let file = regenerate;
    for (file, words) in [
        (file().filled("processed", &[8, 8]), ["`processed`", "[8, 8]", "[9, 8]"]),
        (file().filled("original", &[6, 8]), ["`original`", "[6, 8]", "[B, N, D]"]),
        (file().filled("original", &[2, 0, 8]), ["`original`", "[2, 0, 8]", "no empty"]),
        (file().filled("w1", &[8, 8]), ["`w1`", "[8, 8]", "[8, 16]"]),
        (file().filled("w2", &[16, 8]), ["`w2`", "[16, 8]", "[8, 8]"]),
        (file().integers("cu_seqlens", &[3], &[0, 4, 3]), ["`cu_seqlens`", "[0, 4, 3]", "do not fall"]),
        (file().integers("cu_seqlens", &[3], &[1, 4, 9]), ["`cu_seqlens`", "[1, 4, 9]", "start at 0"]),
        (file().integers("cu_seqlens", &[2], &[0, 9]), ["`cu_seqlens`", "[2]", "[3]"]),
        (file().integers("cu_seqlens", &[3], &[0, 5, 9]), ["`row_map`", "image 0", "`cu_seqlens`"]),
        (file().integers("row_map", &[2, 3], &[1, 2, 3, 1, 2, 5]), ["`row_map`", "image 1", "`ids`"]),
        (file().integers("row_map", &[2, 3], &[1, 3, 2, 1, 2, 4]), ["`row_map`", "image 0", "`ids`"]),
        (file().integers("ids", &[2, 3], &[0, 1, 2, 0, 0, 3]), ["`ids`", "3 at index 5", "0 to K = 2"]),
    ] {
        refused("cluster_regenerate", &file, plain(), &words);
    }
}
