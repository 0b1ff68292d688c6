//! Pure-Pass: a picture of bytes, classes and windows within their bounds.

use super::{File, plain, refused, runs, set};
use crate::common::{gpu, upload};
use gristmill::Schedule;
use gristmill::kernels::category_sort::CategorySort;
use gristmill::kernels::pure_pass::{PurePassConfig, PurePassMask};
use safetensors::Dtype as FileDtype;

fn picture() -> File {
    File::default().raw("img", FileDtype::U8, &[3, 5, 3], vec![9; 45])
}

#[test]
fn pictures_and_keys_are_checked() {
    runs("pure_pass_mask", &picture(), &plain());
    for (file, words) in [
        (picture().raw("img", FileDtype::U8, &[5, 9], vec![9; 45]), ["`img`", "[5, 9]", "[H, W, 3]"]),
        (picture().raw("img", FileDtype::U8, &[3, 3, 5], vec![9; 45]), ["`img`", "[3, 3, 5]", "[H, W, 3]"]),
        (picture().raw("img", FileDtype::U8, &[0, 5, 3], vec![]), ["`img`", "[0, 5, 3]", "nothing empty"]),
        (picture().filled("img", &[3, 5, 3]), ["`img`", "floats", "U8"]),
        (
            picture().raw("img", FileDtype::I32, &[1, 1, 3], [256i32, 0, 0].map(i32::to_le_bytes).concat()),
            ["`img`", "256 at index 0", "0 to 255"],
        ),
        (picture().without("img"), ["`img`", "missing", "U8"]),
    ] {
        refused("pure_pass_mask", &file, plain(), &words);
    }
    for (key, words) in [
        ("colors=0", ["`colors`", "0", "positive"]),
        ("colors=256", ["`colors`", "256", "1 to 255"]),
        ("window=257", ["`window`", "257", "1 to 256"]),
        ("window=-1", ["`window`", "-1", "positive"]),
        ("size=3", ["`size`", "colors", "window"]),
    ] {
        refused("pure_pass_mask", &picture(), set(&[key]), &words);
    }
}

#[test]
fn operators_check_their_tensors() {
    let operator = PurePassMask::new(gpu(), PurePassConfig::default(), None).unwrap();
    let mut schedule = Schedule::new(gpu());
    for (shape, elements) in [(vec![2, 3, 2], 12), (vec![12], 12), (vec![0, 4, 3], 0)] {
        let picture = upload("img", &shape, &vec![0.0f32; elements]);
        let error = operator.record(&mut schedule, &picture).unwrap_err().to_string();
        assert!(error.contains("`img`") && error.contains(&format!("{shape:?}")), "{error}");
    }
    let integers = upload("img", &[2, 2, 3], &[0u32; 12]);
    let error = operator.record(&mut schedule, &integers).unwrap_err().to_string();
    assert!(error.contains("`img` is u32") && error.contains("f32"), "{error}");

    let error = CategorySort::new(gpu(), 256, None).unwrap_err().to_string();
    assert!(error.contains("`categories` = 256") && error.contains("1 to 255"), "{error}");
    let sort = CategorySort::new(gpu(), 3, None).unwrap();
    let (keys, mask) = (upload("keys", &[4], &[0u32; 4]), upload("mask", &[5], &[0u32; 5]));
    let error = sort.record(&mut schedule, &keys, Some(&mask)).unwrap_err().to_string();
    assert!(error.contains("`mask` has shape [5]") && error.contains("[4]"), "{error}");
}
