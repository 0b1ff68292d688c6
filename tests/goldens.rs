//! Golden vectors through the same `run` that the command line and the browser use.

mod common;

use common::{assert_close, gpu, variants};
use gristmill::run::{RunOptions, run, run_twin};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::path::PathBuf;

fn golden(file: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A tensor's dtype and its elements, of four bytes or one.
fn words(file: &SafeTensors<'_>, name: &str) -> (Dtype, Vec<u32>) {
    let view = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    if view.dtype() == Dtype::U8 {
        return (Dtype::U8, view.data().iter().map(|&byte| byte as u32).collect());
    }
    (view.dtype(), view.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect())
}

/// File, kernel, and outputs with their tolerances; integers are exact whatever it says, bytes are not.
type Golden = (String, String, Vec<(String, f64)>);

fn goldens() -> Vec<Golden> {
    let tolerances: serde_json::Map<String, Value> =
        serde_json::from_slice(&golden("tolerances.json")).unwrap();
    let each = |(file, entry): (String, Value)| {
        let bytes = golden(&file);
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let kernel = header.metadata().as_ref().unwrap()["kernel"].clone();
        let outputs = entry.as_object().unwrap().iter();
        let outputs = outputs.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect();
        (file, kernel, outputs)
    };
    tolerances.into_iter().map(each).collect()
}

fn compare(file: &str, by: &str, result: &[u8], expected: &[u8], outputs: &[(String, f64)]) {
    let (result, expected) =
        (SafeTensors::deserialize(result).unwrap(), SafeTensors::deserialize(expected).unwrap());
    assert!(!outputs.is_empty(), "{file} has no tolerance");
    for (name, tolerance) in outputs {
        let ((found_dtype, found), (dtype, wanted)) = (words(&result, name), words(&expected, name));
        let what = format!("{file} `{name}` by {by}");
        assert_eq!(found_dtype, dtype, "{what}");
        if [Dtype::U32, Dtype::I32].contains(&dtype) {
            assert_eq!(found, wanted, "{what}");
            continue;
        }
        if dtype == Dtype::U8 {
            assert_eq!(found.len(), wanted.len(), "{what}");
            let off = found.iter().zip(&wanted).position(|(a, b)| a.abs_diff(*b) as f64 > *tolerance);
            assert_eq!(off, None, "{what}: the first byte that is off by more than {tolerance}");
            continue;
        }
        let found: Vec<f32> = found.into_iter().map(f32::from_bits).collect();
        let wanted: Vec<f64> = wanted.into_iter().map(|bits| f32::from_bits(bits) as f64).collect();
        assert_close(&what, &found, &wanted, *tolerance);
    }
}

#[test]
fn every_variant_matches_the_golden_vectors() {
    let all = goldens();
    assert!(all.len() >= 99, "{} golden files", all.len());
    for (file, kernel, outputs) in &all {
        let input = golden(file);
        for kind in variants() {
            let options = RunOptions { variant: Some(kind), ..Default::default() };
            let result = pollster::block_on(run(gpu(), kernel, &input, &options))
                .unwrap_or_else(|error| panic!("{file} by {kind}: {error}"));
            compare(file, kind.name(), &result, &input, outputs);
        }
    }
}

#[test]
fn the_twin_matches_the_golden_vectors() {
    for (file, kernel, outputs) in goldens() {
        let input = golden(&file);
        // Solved to the last digit: the goldens are.
        let solved = ["rtol=1e-12".to_string(), "max_iters=1024".to_string()];
        let set = if kernel == "flash_lla" { solved.to_vec() } else { Vec::new() };
        let result = run_twin(&kernel, &input, &RunOptions { set, ..RunOptions::default() }).unwrap();
        // The goldens are stored as f32, and so is the twin's result.
        let outputs: Vec<_> = outputs.into_iter().map(|(name, limit)| (name, limit.min(2e-6))).collect();
        compare(&file, "twin", &result, &input, &outputs);
    }
}
