//! Token merging by similarity: golden vectors of the public code, random tokens against the twin, proportional attention.

mod common;
#[path = "common/merge_case.rs"]
#[allow(dead_code)]
mod merge_case;

use common::{Random, assert_close, budget, doubles, golden_path, gpu, read, upload};
use gristmill::kernels::attention::{Attention, AttentionConfig, AttentionInputs};
use gristmill::kernels::linear::{Linear, LinearConfig};
use gristmill::kernels::linear_types::WeightLayout;
use gristmill::kernels::tome::{Tome, TomeConfig, TomeOutput};
use gristmill::twins::tome::{tome_map, tome_match, tome_merge};
use gristmill::{Schedule, Tensor, no_progress};
use merge_case::read_unsigned;
use proptest::prelude::*;
use safetensors::SafeTensors;

fn golden(name: &str) -> (Vec<usize>, Vec<u32>) {
    let bytes = std::fs::read(golden_path("clustvit_misc.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    let words = view.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
    (view.shape().to_vec(), words)
}

fn floats(name: &str) -> Vec<f32> {
    golden(name).1.into_iter().map(f32::from_bits).collect()
}

/// Runs on one batch; also the rows given back to every token.
fn merge(config: TomeConfig, x: &Tensor, metric: &Tensor, sizes: &Tensor) -> (TomeOutput, Vec<f32>) {
    let mut schedule = Schedule::new(gpu());
    let output = Tome::new(config).record(&mut schedule, x, metric, sizes).unwrap();
    let &[batch, rows, width] = output.merged.shape() else { unreachable!() };
    let flat = output.merged.reshape(&[batch * rows, width]).unwrap();
    let back = output.map.record_unmerge(&mut schedule, &flat).unwrap();
    let plan = schedule.compile().unwrap();
    plan.poison();
    pollster::block_on(plan.run(no_progress)).unwrap();
    let back = read(&back);
    (output, back)
}

#[test]
fn matches_the_golden_vectors() {
    let (x, metric) = (upload("x", &[1, 33, 24], &floats("tome.x")), floats("tome.metric"));
    let metric = upload("metric", &[1, 33, 16], &metric);
    let sizes = upload("sizes", &[1, 33], &floats("tome.size"));
    let (output, back) = merge(TomeConfig { removed: 12, class_token: true }, &x, &metric, &sizes);
    let order = read_unsigned(&output.order);
    let [source, kept, destination] = ["tome.src", "tome.unm", "tome.dst"].map(|name| golden(name).1);
    assert_eq!(order[..12], source);
    assert_eq!(order[12..], kept);
    let matches = read_unsigned(&output.matches);
    let chosen: Vec<u32> = source.iter().map(|source| matches[*source as usize]).collect();
    assert_eq!(chosen, destination);
    assert_close("merged", &read(&output.merged), &doubles(&floats("tome.merged")), 1e-5);
    assert_close("new sizes", &read(&output.sizes), &doubles(&floats("tome.new_size")), 1e-6);
    assert_close("unmerged", &back, &doubles(&floats("tome.unmerged")), 1e-5);
}

#[test]
fn proportional_attention_matches_the_golden_vectors() {
    let (tokens, width, heads) = (21, 24, 3);
    let sizes = floats("prop.size");
    let logs: Vec<f32> = sizes.iter().map(|size| size.ln()).collect();
    let bias = upload("log sizes", &[1, tokens], &logs);
    let x = upload("x", &[1, tokens, width], &floats("prop.x"));
    let (weights, biases) = (floats("prop.wqkv"), floats("prop.bqkv"));
    for variant in common::variants() {
        let layout = WeightLayout::OutIn;
        let config = LinearConfig { layout, variant: Some(variant), ..Default::default() };
        let linear = Linear::new(gpu(), config).unwrap();
        let attention =
            Attention::new(gpu(), AttentionConfig { variant: Some(variant), ..Default::default() }).unwrap();
        for (key_bias, wanted) in [(Some(&bias), "prop.out"), (None, "prop.out_plain")] {
            let mut schedule = Schedule::new(gpu());
            let [q, k, v] = [0, 1, 2].map(|part| {
                let weight = &weights[part * width * width..(part + 1) * width * width];
                let weight = upload("weight", &[width, width], weight);
                let bias = upload("bias", &[width], &biases[part * width..(part + 1) * width]);
                let rows = linear.record(&mut schedule, &x, &weight, Some(&bias), None).unwrap();
                rows.reshape(&[1, tokens, heads, width / heads]).unwrap()
            });
            let inputs = AttentionInputs { key_bias, ..AttentionInputs::new(&q, &k, &v) };
            let out = attention.record(&mut schedule, inputs).unwrap().out;
            let out = out.reshape(&[1, tokens, width]).unwrap();
            let weight = upload("wo", &[width, width], &floats("prop.wo"));
            let bias = upload("bo", &[width], &floats("prop.bo"));
            let out = linear.record(&mut schedule, &out, &weight, Some(&bias), None).unwrap();
            let plan = schedule.compile().unwrap();
            plan.poison();
            pollster::block_on(plan.run(no_progress)).unwrap();
            assert_close(&format!("{wanted} by {variant}"), &read(&out), &doubles(&floats(wanted)), 1e-5);
        }
    }
}

proptest! {
    #![proptest_config(budget(40))]

    #[test]
    fn random_tokens_equal_the_twin(
        (batch, tokens, width, metric_width) in (1usize..=3, 2usize..=70, 1usize..=30, 2usize..=24),
        removed in 0usize..=40,
        class_token in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let x = random.normal(batch * tokens * width, 1.0);
        let metric = random.normal(batch * tokens * metric_width, 1.0);
        let sizes: Vec<f32> = (0..batch * tokens).map(|_| 1.0 + random.below(9) as f32).collect();
        let config = TomeConfig { removed, class_token };
        let left = Tome::new(config.clone()).rows(tokens);
        let (output, back) = merge(
            config,
            &upload("x", &[batch, tokens, width], &x),
            &upload("metric", &[batch, tokens, metric_width], &metric),
            &upload("sizes", &[batch, tokens], &sizes),
        );
        let map = read_unsigned(&output.map.rows);
        let (rows, new_sizes, logs) = (read(&output.merged), read(&output.sizes), read(&output.log_sizes));
        prop_assert_eq!(new_sizes.len(), batch * left);
        for image in 0..batch {
            let of = |data: &[f32], width: usize| {
                doubles(&data[image * tokens * width..(image + 1) * tokens * width])
            };
            let matching = tome_match(&of(&metric, metric_width), metric_width, removed, class_token);
            // Where scores nearly tie, f32 may rank them the other way round.
            let mut scores: Vec<f64> = matching.scores.iter().copied().filter(|s| s.is_finite()).collect();
            scores.sort_by(f64::total_cmp);
            prop_assume!(scores.windows(2).all(|pair| pair[1] - pair[0] > 3e-6));
            prop_assert_eq!(&map[image * tokens..(image + 1) * tokens], &tome_map(tokens, &matching));
            let (expected, expected_sizes) = tome_merge(&of(&x, width), &of(&sizes, 1), width, &matching);
            assert_close("merged", &rows[image * left * width..(image + 1) * left * width], &expected, 3e-6);
            let here = image * left..(image + 1) * left;
            assert_close("sizes", &new_sizes[here.clone()], &expected_sizes, 0.0);
            let expected: Vec<f64> = expected_sizes.iter().map(|size| size.ln()).collect();
            assert_close("log sizes", &logs[here], &expected, 1e-5);
            // No token is lost.
            prop_assert_eq!(expected_sizes.iter().sum::<f64>(), of(&sizes, 1).iter().sum::<f64>());
            for token in 0..tokens {
                let row = image * left + map[image * tokens + token] as usize;
                let place = (image * tokens + token) * width;
                prop_assert_eq!(&back[place..place + width], &rows[row * width..(row + 1) * width]);
            }
        }
    }
}

#[test]
fn equal_tokens_merge_in_order() {
    // All cosines are 1: the first sources go, the class token stays.
    let (x, sizes) = (upload("x", &[1, 8, 4], &[1.0f32; 32]), upload("sizes", &[1, 8], &[1.0f32; 8]));
    let (output, back) = merge(TomeConfig { removed: 2, class_token: true }, &x, &x, &sizes);
    assert_eq!(read_unsigned(&output.order), [1, 2, 0, 3]);
    assert_eq!(read(&output.sizes), [1.0, 1.0, 3.0, 1.0, 1.0, 1.0]);
    assert_eq!(back, [1.0; 32]);
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let zeros = |shape: &[usize]| upload("zeros", shape, &vec![0.0f32; shape.iter().product()]);
    let tome = Tome::new(TomeConfig { removed: 1, class_token: false });
    for (x, metric, sizes, words) in [
        (vec![2, 1, 4], vec![2, 1, 4], vec![2, 1], ["`x`", "[2, 1, 4]", "two tokens"]),
        (vec![2, 6], vec![2, 6, 4], vec![2, 6], ["`x`", "[2, 6]", "[batch, tokens, width]"]),
        (vec![2, 6, 4], vec![2, 5, 4], vec![2, 6], ["`metric`", "[2, 5, 4]", "[2, 6, 4]"]),
        (vec![2, 6, 4], vec![2, 6, 0], vec![2, 6], ["`metric`", "[2, 6, 0]", "[2, 6, 1]"]),
        (vec![2, 6, 4], vec![2, 6, 4], vec![2, 5], ["`sizes`", "[2, 5]", "[2, 6]"]),
    ] {
        let mut schedule = Schedule::new(gpu());
        let error =
            tome.record(&mut schedule, &zeros(&x), &zeros(&metric), &zeros(&sizes)).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}: {words:?}");
    }
}
