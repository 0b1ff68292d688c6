//! The whole ClustViT against its golden vectors, intermediates included, its twin, and the plain transformer.

mod common;

use common::{Random, assert_close, golden_path, gpu, read, upload, variants};
use gristmill::kernels::cluster_merge::Gate;
use gristmill::models::clustvit::{ClustVit, ClustVitConfig, NamedTensors, SegmenterConfig, SegmenterHead};
use gristmill::run::{RunOptions, run, run_twin};
use gristmill::{Dtype, Schedule, Tensor, VariantKind, no_progress};
use safetensors::SafeTensors;
use std::collections::BTreeMap;

/// A golden file's tensors by name, in f64 and f32.
struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    fn read(name: &str) -> Self {
        Self { bytes: std::fs::read(golden_path(name)).unwrap() }
    }

    fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(name).unwrap();
        let data = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        (view.shape().to_vec(), data)
    }

    fn mask(&self, name: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).unwrap().data().to_vec()
    }

    fn upload(&self, name: &str) -> Tensor {
        let (shape, data) = self.floats(name);
        upload(name, &shape, &data)
    }

    fn weights(&self, prefix: &str) -> NamedTensors {
        NamedTensors::from_safetensors(&self.bytes, prefix).unwrap()
    }
}

fn config(file: &str, variant: VariantKind) -> ClustVitConfig {
    let variant = Some(variant);
    let common = ClustVitConfig { gate: Gate::Batch, variant, ..Default::default() };
    match file {
        "clustvit_net_a.safetensors" => {
            ClustVitConfig { patch: 8, heads: 4, full_blocks: 2, clusters: 3, ..common }
        }
        _ => ClustVitConfig {
            patch: 4,
            heads: 3,
            full_blocks: 0,
            clusters: 2,
            outputs: Some(vec![0, 1, 2]),
            ..common
        },
    }
}

/// Runs a plan on poisoned memory.
fn run_plan(schedule: Schedule) {
    let plan = schedule.compile().unwrap();
    plan.poison();
    pollster::block_on(plan.run(no_progress)).unwrap();
}

/// The rows of the padded layout that exist: CLS, kept tokens and representatives of every image.
fn without_padding(padded: &[f32], mask: &[u8], width: usize) -> Vec<f64> {
    let rows = padded.chunks_exact(width).zip(mask).filter(|(_, padding)| **padding == 0);
    rows.flat_map(|(row, _)| row.iter().map(|&value| value as f64)).collect()
}

#[test]
fn every_intermediate_matches_the_golden_vectors() {
    for file in ["clustvit_net_a.safetensors", "clustvit_net_b.safetensors"] {
        let golden = Golden::read(file);
        let width = golden.floats("model.cls").1.len();
        let mask = golden.mask("info.key_mask");
        for variant in variants() {
            let model = ClustVit::new(gpu(), config(file, variant), &golden.weights("model.")).unwrap();
            let mut schedule = Schedule::new(gpu());
            let mut seen = BTreeMap::new();
            let mut see = |name: &str, tensor: &Tensor| {
                seen.insert(name.to_string(), tensor.clone());
            };
            model.record_observed(&mut schedule, &golden.upload("img"), None, &mut see).unwrap();
            run_plan(schedule);
            for (name, tensor) in &seen {
                if ["ids", "cu_seqlens"].contains(&name.as_str()) {
                    continue;
                }
                let what = format!("{file} `info.{name}` by {variant}");
                let mut found = read(tensor);
                let (shape, wanted) = golden.floats(&format!("info.{name}"));
                let merged =
                    ["merged_in", "merged_out"].contains(&name.as_str()) || shape[1] * shape[0] == mask.len();
                let expected =
                    if merged { without_padding(&wanted, &mask, width) } else { common::doubles(&wanted) };
                if name == "logits" {
                    // Ours have the class token's row as well.
                    let (tokens, choices) = (shape[1], shape[2]);
                    let images = found.chunks_exact((1 + tokens) * choices);
                    found = images.flat_map(|image| image[choices..].to_vec()).collect();
                } else if merged {
                    found.truncate(expected.len());
                }
                assert_close(&what, &found, &expected, 5e-5);
            }
            let names: Vec<_> = seen.keys().map(String::as_str).collect();
            assert!(names.len() >= 9 && names.contains(&"merged_out"), "{names:?}");
        }
    }
}

#[test]
fn the_segmenter_head_matches_the_golden_vectors() {
    let golden = Golden::read("clustvit_net_a.safetensors");
    for variant in variants() {
        let config = SegmenterConfig { heads: 4, variant: Some(variant), ..Default::default() };
        let head = SegmenterHead::new(gpu(), config, &golden.weights("head.")).unwrap();
        assert_eq!(head.classes(), 5);
        let mut schedule = Schedule::new(gpu());
        let masks = head.record(&mut schedule, &golden.upload("features.0")).unwrap();
        run_plan(schedule);
        let (shape, wanted) = golden.floats("head_out");
        let (classes, patches) = (shape[1], shape[2] * shape[3]);
        // The file has a plane for each class.
        let expected: Vec<f64> = wanted
            .chunks_exact(classes * patches)
            .flat_map(|image| {
                (0..patches * classes).map(move |i| image[i % classes * patches + i / classes] as f64)
            })
            .collect();
        assert_close(&format!("head_out by {variant}"), &read(&masks), &expected, 5e-5);
    }
}

/// Weights of a small model in the sizes given, with no pattern in them.
fn random_weights(
    width: usize,
    depth: usize,
    rows: usize,
    inputs: [usize; 2],
    clusters: usize,
) -> NamedTensors {
    let mut random = Random::new(31);
    let mut weights = NamedTensors::default();
    let [channels, patch] = inputs;
    let (mlp, hidden) = (2 * width + 3, width + 5);
    let mut add = |name: &str, shape: &[usize]| {
        let inputs = if shape.len() > 1 { shape[1..].iter().product() } else { 100 };
        let deviation = 1.5 * (inputs as f32).powf(-0.5);
        let offset = if name.ends_with("_g") { 1.0 } else { 0.0 };
        let data = random.normal(shape.iter().product(), deviation).iter().map(|x| x + offset).collect();
        weights.insert(name, shape, data);
    };
    add("cls", &[width]);
    add("pos", &[rows, width]);
    add("pe_w", &[width, channels, patch, patch]);
    add("norm_g", &[width]);
    add("norm_b", &[width]);
    for i in 0..depth {
        let shapes: [(&str, Vec<usize>); 12] = [
            ("ln1_g", vec![width]),
            ("ln1_b", vec![width]),
            ("ln2_g", vec![width]),
            ("ln2_b", vec![width]),
            ("wqkv", vec![3 * width, width]),
            ("bqkv", vec![3 * width]),
            ("wo", vec![width, width]),
            ("bo", vec![width]),
            ("w1", vec![mlp, width]),
            ("b1", vec![mlp]),
            ("w2", vec![width, mlp]),
            ("b2", vec![width]),
        ];
        for (part, shape) in shapes {
            add(&format!("blocks.{i}.{part}"), &shape);
        }
    }
    add("clusterer.w1", &[hidden, width]);
    add("clusterer.b1", &[hidden]);
    add("clusterer.w2", &[clusters + 1, hidden]);
    add("clusterer.b2", &[clusters + 1]);
    add("regen.w1", &[width, 2 * width]);
    add("regen.b1", &[width]);
    add("regen.w2", &[width, width]);
    add("regen.b2", &[width]);
    weights
}

const CLUSTERS: usize = 3;

fn small(variant: VariantKind) -> ClustVitConfig {
    ClustVitConfig {
        patch: 3,
        heads: 3,
        full_blocks: 1,
        clusters: CLUSTERS,
        variant: Some(variant),
        ..Default::default()
    }
}

fn features(config: ClustVitConfig, img: &Tensor, ids: Option<&Tensor>) -> Vec<f32> {
    let weights = random_weights(15, 3, 1 + 35, [2, 3], CLUSTERS);
    let model = ClustVit::new(gpu(), config, &weights).unwrap();
    let mut schedule = Schedule::new(gpu());
    let output = match ids {
        Some(ids) => model.record_ids(&mut schedule, img, ids),
        None => model.record(&mut schedule, img),
    }
    .unwrap();
    run_plan(schedule);
    read(&output.features[0])
}

fn images(count: usize, seed: u64) -> Tensor {
    upload("img", &[count, 2, 15, 21], &Random::new(seed).normal(count * 2 * 15 * 21, 1.0))
}

/// With one id alone the gate leaves every token where it is: the result is the plain transformer's.
#[test]
fn without_two_ids_it_is_the_plain_transformer() {
    let img = images(2, 32);
    for variant in variants() {
        let plain = features(ClustVitConfig { merge: false, ..small(variant) }, &img, None);
        for id in [0u32, 2] {
            let ids = upload("ids", &[2, 35], &[id; 70]);
            let merged = features(small(variant), &img, Some(&ids));
            assert_close(&format!("{variant}, id {id}"), &merged, &common::doubles(&plain), 1e-5);
        }
    }
}

#[test]
fn an_image_of_a_batch_is_the_same_alone() {
    let count = 3;
    let img = images(count, 33);
    let pixels = read(&img);
    let mut random = Random::new(34);
    // One image keeps everything, one nothing but what the gate wants.
    let mut ids: Vec<u32> = (0..35 * count).map(|_| random.below(CLUSTERS + 1) as u32).collect();
    ids[35..70].fill(0);
    ids[70..].fill(1);
    ids[71] = 2;
    for variant in variants() {
        let all = features(small(variant), &img, Some(&upload("ids", &[count, 35], &ids)));
        for image in 0..count {
            let alone = upload("img", &[1, 2, 15, 21], &pixels[image * 630..(image + 1) * 630]);
            let ids = upload("ids", &[1, 35], &ids[image * 35..(image + 1) * 35]);
            let alone = features(small(variant), &alone, Some(&ids));
            let of_all = &all[image * 35 * 15..(image + 1) * 35 * 15];
            assert_close(&format!("image {image} by {variant}"), of_all, &common::doubles(&alone), 1e-5);
        }
    }
}

#[test]
fn halves_store_the_weights() {
    let img = images(1, 35);
    let ids: Vec<u32> = (0..35).map(|token| token % 4).collect();
    let ids = upload("ids", &[1, 35], &ids);
    for variant in variants() {
        let full = features(small(variant), &img, Some(&ids));
        // Rounding each weight to 11 bits moves features of size 1 to 3 by some thousandths.
        let half = features(ClustVitConfig { dtype: Dtype::F16, ..small(variant) }, &img, Some(&ids));
        assert_close(&format!("{variant}"), &half, &common::doubles(&full), 3e-2);
        assert_ne!(half, full);
    }
}

#[test]
fn models_that_do_not_fit_are_refused() {
    let weights = random_weights(15, 3, 1 + 35, [2, 3], CLUSTERS);
    let base = small(variants()[0]);
    let refused = |config: ClustVitConfig, weights: &NamedTensors, img: &[usize], words: &[&str]| {
        let result = ClustVit::new(gpu(), config, weights).and_then(|model| {
            let img = Tensor::zeros(gpu(), "img", img, Dtype::F32).unwrap();
            model.record(&mut Schedule::new(gpu()), &img)
        });
        let error = result.map(drop).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}: {words:?}");
    };
    let fine = [1, 2, 15, 21];
    for (config, words) in [
        (ClustVitConfig { clusters: 0, ..base.clone() }, ["`K`", "0", "1 to 1024"]),
        (ClustVitConfig { clusters: 4, ..base.clone() }, ["`clusterer.w2`", "[4, 20]", "[5, 20]"]),
        (ClustVitConfig { heads: 4, ..base.clone() }, ["`heads`", "4", "divisor of D = 15"]),
        (ClustVitConfig { patch: 0, ..base.clone() }, ["`patch`", "0", "at least 1"]),
        (ClustVitConfig { patch: 5, ..base.clone() }, ["`pe_w`", "[15, 2, 3, 3]", "[15, 2, 5, 5]"]),
        (ClustVitConfig { full_blocks: 3, ..base.clone() }, ["`ip`", "3", "0 to 2"]),
        (ClustVitConfig { outputs: Some(vec![]), ..base.clone() }, ["`outputs`", "[]", "0 to 2"]),
        (ClustVitConfig { outputs: Some(vec![1, 1]), ..base.clone() }, ["`outputs`", "[1, 1]", "rising"]),
        (ClustVitConfig { outputs: Some(vec![3]), ..base.clone() }, ["`outputs`", "[3]", "0 to 2"]),
        (ClustVitConfig { epsilon: 0.0, ..base.clone() }, ["`epsilon`", "0", "positive"]),
    ] {
        refused(config, &weights, &fine, &words);
    }
    for (img, words) in [
        (vec![1, 2, 15, 20], ["`img`", "[1, 2, 15, 20]", "multiples of patch = 3"]),
        (vec![1, 3, 15, 21], ["`img`", "3 channels", "expected 2"]),
        (vec![1, 2, 15, 18], ["`img`", "30 patches", "expected 35"]),
        (vec![2, 15, 21], ["`img`", "[2, 15, 21]", "[B, 3, H, W]"]),
        (vec![0, 2, 15, 21], ["`img`", "[0, 2, 15, 21]", "no empty"]),
    ] {
        refused(base.clone(), &weights, &img, &words);
    }
    for name in weights.names() {
        let mut without = NamedTensors::with_prefix("model.");
        let mut wrong = NamedTensors::with_prefix("model.");
        for other in weights.names() {
            let (shape, data) = weights.get(other).unwrap();
            if other == name {
                let shape = [&[1], shape].concat();
                wrong.insert(other, &shape, data.to_vec());
            } else {
                without.insert(other, shape, data.to_vec());
                wrong.insert(other, shape, data.to_vec());
            }
        }
        // A block without its first matrix is none at all, and neither are those behind it.
        if !(name.starts_with("blocks.1") || name.starts_with("blocks.2")) || !name.ends_with("wqkv") {
            let full = format!("`model.{name}`");
            refused(base.clone(), &without, &fine, &[&full, "is missing"]);
        }
        let full = format!("`model.{name}`");
        refused(base.clone(), &wrong, &fine, &[&full, "has shape [1, ", "expected ["]);
    }
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let golden = Golden::read("clustvit_net_a.safetensors");
    let set = |pair: &str| RunOptions { set: vec![pair.into()], ..RunOptions::default() };
    for (pair, words) in [
        ("K=0", ["`K`", "0", "positive"]),
        ("K=2", ["`model.clusterer.w2`", "[4, 48]", "[3, 48]"]),
        ("patch=7", ["`model.pe_w`", "[32, 3, 8, 8]", "[32, 3, 7, 7]"]),
        ("ip=4", ["`ip`", "4", "0 to 3"]),
        ("heads=5", ["`heads`", "5", "divisor of D = 32"]),
        ("outputs=[4]", ["`outputs`", "[4]", "0 to 3"]),
        ("outputs=3", ["`outputs`", "3", "list"]),
        ("eps=0", ["`eps`", "0", "between 0 and 1"]),
        ("gate=2", ["`gate`", "2", "none or image or batch"]),
    ] {
        let error =
            pollster::block_on(run(gpu(), "clustvit", &golden.bytes, &set(pair))).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}: {words:?}");
        assert!(run_twin("clustvit", &golden.bytes, &set(pair)).is_err(), "the twin took {pair}");
    }
    // Another gate gives the same here, and the plain transformer something else.
    let found = |pair: &str| {
        let bytes = pollster::block_on(run(gpu(), "clustvit", &golden.bytes, &set(pair))).unwrap();
        Golden { bytes }.floats("out").1
    };
    assert_eq!(found("gate=batch"), found("gate=image"));
    assert_ne!(found("gate=batch"), found("merge=false"));
}
