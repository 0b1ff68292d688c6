//! The golden vectors stage by stage; the outputs by name are among all the others in `tests/goldens.rs`.

use crate::common::{assert_close, doubles, gpu, read, variants};
use crate::vq_case::{Case, Data};
use gristmill::kernels::lowrank_vq::{Combine, LowRankVqConfig, LowRankVqSteps, pack_indices};
use gristmill::twins::lowrank_vq::{assemble, to_bytes};
use gristmill::{Schedule, no_progress};
use half::f16;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

const FILES: [&str; 6] = ["basic", "encoded", "k2", "mean_gray", "p32_f16", "ragged"];

struct Golden {
    case: Case,
    data: Data,
    indices: Vec<u32>,
    /// Before the clamp.
    raw: Vec<f64>,
    bytes: Vec<u8>,
}

fn golden(name: &str) -> Golden {
    let path = format!("{}/tests/golden/lrvq_{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let config: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["config"]).unwrap();
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let config = LowRankVqConfig {
        height: size("height"),
        width: size("width"),
        channels: size("channels"),
        patch: size("patch"),
        rank: size("rank"),
        iterations: size("iterations"),
        bits: Some(size("bits")),
        combine: if config["combine"] == "mean" { Combine::Mean } else { Combine::Sum },
        variant: None,
    };
    let words = |name: &str| -> Vec<u32> {
        let data = file.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let view = file.tensor("codebook").unwrap();
    let half = view.dtype() == Dtype::F16;
    let codebook: Vec<f32> = if half {
        let pairs = view.data().chunks_exact(2);
        pairs.map(|b| f16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect()
    } else {
        words("codebook").into_iter().map(f32::from_bits).collect()
    };
    let floats = |name: &str| words(name).into_iter().map(|bits| f32::from_bits(bits) as f64).collect();
    Golden {
        case: Case { f16: half, ..Case::new(config, view.shape()[0]) },
        data: Data { codebook, words: words("words") },
        indices: words("idx"),
        raw: floats("image_raw"),
        bytes: file.tensor("image_u8").unwrap().data().to_vec(),
    }
}

#[test]
fn words_and_indices_are_each_others() {
    for name in FILES {
        let Golden { case, data, indices, .. } = golden(name);
        assert_eq!(case.indices(&data), indices, "{name}");
        assert_eq!(pack_indices(&indices, case.shape().bits), data.words, "{name}");
        case.config.check_words(case.codewords, &data.words).unwrap();
        let own = LowRankVqConfig { bits: None, ..case.config.clone() };
        assert_eq!(own.bits_per_index(case.codewords).unwrap(), case.shape().bits, "{name}");
    }
}

#[test]
fn every_build_matches_image_and_bytes() {
    for name in FILES {
        let Golden { case, data, raw, bytes, .. } = golden(name);
        assert_close(name, &case.twin(&data).iter().map(|x| *x as f32).collect::<Vec<_>>(), &raw, 1e-6);
        for kind in variants() {
            case.compare(&format!("{name} by {kind}"), &case.decode(&data, kind), &raw);
        }
        let found = case.decode_in_steps(&data);
        case.compare(&format!("{name} in steps"), &found, &raw);
        assert_eq!(to_bytes(&case.twin(&data)), bytes, "{name}");
    }
}

#[test]
fn the_steps_match_indices_and_unclamped_samples() {
    for name in FILES {
        let Golden { case, data, indices, raw, .. } = golden(name);
        let decoder = LowRankVqSteps::new(gpu(), case.config.clone()).unwrap();
        let (codebook, words) = case.upload(&data);
        let mut schedule = Schedule::new(gpu());
        let (_, steps) = decoder.record(&mut schedule, &codebook, &words).unwrap();
        let plan = schedule.compile().unwrap();
        plan.poison();
        pollster::block_on(plan.run(no_progress)).unwrap();
        assert_eq!(pollster::block_on(steps.indices.read::<u32>(gpu())).unwrap(), indices, "{name}");
        let image = assemble(&doubles(&read(&steps.samples)), &case.shape());
        assert_close(name, &image.iter().map(|x| *x as f32).collect::<Vec<_>>(), &raw, 1e-6);
    }
}
