//! Window and category attention, the dictionary and its refinement on random data, in every build, against their twins.

use crate::common::{Random, assert_close, budget, doubles, gpu, read, upload, variants};
use crate::{run, words};
use gristmill::kernels::category_sort::CategorySort;
use gristmill::kernels::grouped_attention::{
    CategoryAttention, CategoryAttentionConfig, WindowAttention, WindowAttentionConfig,
};
use gristmill::kernels::linear_types::{Activation, WeightLayout};
use gristmill::kernels::token_dictionary::{DictionaryWeights, RefinementWeights, TokenDictionary};
use gristmill::twins::atd::{categories, category_attention, refine, similarities, window_attention};
use gristmill::twins::linear::linear;
use gristmill::twins::pure_pass::category_order;
use gristmill::{Schedule, Tensor};
use proptest::prelude::*;

proptest! {
    #![proptest_config(budget(12))]

    #[test]
    fn windows(
        window in prop::sample::select(vec![2usize, 4, 7, 8, 16, 24]),
        windows in (1usize..4, 1usize..4),
        heads in 1usize..5,
        dim in prop::sample::select(vec![1usize, 5, 8, 12, 40]),
        shifted in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let (height, width) = (windows.0 * window, windows.1 * window);
        let mut random = Random::new(seed);
        let qkv = random.normal(height * width * 3 * heads * dim, 1.0);
        let table = random.normal((2 * window - 1) * (2 * window - 1) * heads, 0.5);
        let expected = window_attention(&doubles(&qkv), &doubles(&table), [height, width], window, heads, shifted);
        for kind in variants() {
            let config = WindowAttentionConfig { window, heads, shifted, variant: Some(kind) };
            let operator = WindowAttention::new(gpu(), config).unwrap();
            let bias = operator.upload_bias(gpu(), &table).unwrap();
            let tensor = upload("qkv", &[height, width, 3 * heads * dim], &qkv);
            let mut schedule = Schedule::new(gpu());
            let out = operator.record(&mut schedule, &tensor, &bias).unwrap();
            run(schedule);
            assert_close(&format!("windows of {window} by {kind}"), &read(&out), &expected, 1e-5);
        }
    }

    /// Lists of all lengths: none, one pixel, one less and one more than a group, groups that don't divide.
    #[test]
    fn lists(
        pixels in 1usize..400,
        group in prop::sample::select(vec![1usize, 3, 16, 50, 128, 300]),
        length in 0usize..6,
        heads in 1usize..4,
        dim in prop::sample::select(vec![1usize, 5, 8, 12, 40]),
        seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let active = [0, 1, group.saturating_sub(1), group, group + 1, pixels][length].min(pixels);
        let qkv = random.normal(pixels * 3 * heads * dim, 0.7);
        let keys: Vec<u32> = (0..pixels).map(|_| random.below(5) as u32).collect();
        // The first pixels are active, at random places.
        let mut places: Vec<usize> = (0..pixels).collect();
        (1..pixels).for_each(|i| places.swap(i, random.below(i + 1)));
        let mut hidden = vec![true; pixels];
        places[..active].iter().for_each(|&place| hidden[place] = false);
        let order = category_order(&keys, Some(&hidden))[..active].to_vec();
        let expected = category_attention(&doubles(&qkv), &order, group, [heads, dim], 1.7);
        let mask: Vec<u32> = hidden.iter().map(|&hidden| hidden as u32).collect();
        for kind in variants() {
            let sort = CategorySort::new(gpu(), 5, Some(kind)).unwrap();
            let config = CategoryAttentionConfig { group, heads, variant: Some(kind) };
            let operator = CategoryAttention::new(gpu(), config).unwrap();
            let mut schedule = Schedule::new(gpu());
            let (keys, mask) = (upload("keys", &[pixels], &keys), upload("mask", &[pixels], &mask));
            let sorted = sort.record(&mut schedule, &keys, Some(&mask)).unwrap();
            let tensor = upload("qkv", &[pixels, 3 * heads * dim], &qkv);
            let out = operator.record(&mut schedule, &tensor, &sorted, 1.7).unwrap();
            run(schedule);
            prop_assert_eq!(words(&sorted.active_count)[0] as usize, active);
            let found = &read(&out)[..active * heads * dim];
            assert_close(&format!("{active} of {pixels} by {kind}"), found, &expected, 2e-5);
        }
    }

    #[test]
    fn dictionaries(
        pixels in 1usize..700,
        tokens in prop::sample::select(vec![1usize, 3, 8, 64, 70]),
        channels in prop::sample::select(vec![1usize, 6, 16, 48]),
        reduced in prop::sample::select(vec![1usize, 4, 10]),
        seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let mut tensor = |name: &str, shape: &[usize], deviation: f32| -> (Tensor, Vec<f64>) {
            let data = random.normal(shape.iter().product(), deviation);
            (upload(name, shape, &data), doubles(&data))
        };
        let x = tensor("x", &[pixels, channels], 1.0);
        let dictionary = tensor("dictionary", &[tokens, channels], 1.0);
        let width = 1.0 / (channels as f32).sqrt();
        let [wq, wk] = ["wq", "wk"].map(|name| tensor(name, &[reduced, channels], width));
        let [bq, bk] = ["bq", "bk"].map(|name| tensor(name, &[reduced], 0.1));
        let (wv, bv) = (tensor("wv", &[channels, channels], width), tensor("bv", &[channels], 0.1));
        let scale = tensor("scale", &[tokens], 1.0);
        let residual = tensor("residual", &[pixels, channels], 1.0);
        let (gain, sigma) = (tensor("gain", &[tokens], 2.0), tensor("sigma", &[tokens], 2.0));

        let project = |x: &[f64], weight: &[f64], bias: &[f64]| {
            linear(x, weight, Some(bias), channels, bias.len(), WeightLayout::OutIn, Activation::None)
        };
        let similarity = similarities(&project(&x.1, &wq.1, &bq.1), &project(&dictionary.1, &wk.1, &bk.1), &scale.1);
        let value = project(&dictionary.1, &wv.1, &bv.1);
        let attended = linear(&similarity, &value, None, tokens, channels, WeightLayout::InOut, Activation::None);
        let attended: Vec<f64> = attended.iter().zip(&residual.1).map(|(a, b)| a + b).collect();
        let refined = refine(&dictionary.1, &similarity, &x.1, &gain.1, &sigma.1);

        let weights = DictionaryWeights {
            wq: wq.0, bq: bq.0, wk: wk.0, bk: bk.0, wv: wv.0, bv: bv.0, scale: scale.0,
        };
        let refinement = RefinementWeights { gain: gain.0, sigma: sigma.0 };
        for kind in variants() {
            let operator = TokenDictionary::new(gpu(), Some(kind)).unwrap();
            let mut schedule = Schedule::new(gpu());
            let found = operator.record(&mut schedule, &x.0, &dictionary.0, &weights, Some(&residual.0)).unwrap();
            // The refinement of the twin's similarities: it magnifies the rounding of nearly constant ones.
            let exact: Vec<f32> = similarity.iter().map(|&s| s as f32).collect();
            let exact = upload("similarity", &[pixels, tokens], &exact);
            let new = operator.record_refinement(&mut schedule, &dictionary.0, &exact, &x.0, &refinement).unwrap();
            run(schedule);
            // A query that is nearly 0 has a direction that rounding decides.
            assert_close(&format!("similarity by {kind}"), &read(&found.similarity), &similarity, 1e-3);
            assert_close(&format!("attention by {kind}"), &read(&found.out), &attended, 2e-3);
            assert_close(&format!("dictionary by {kind}"), &read(&new), &refined, 1e-4);
            let own: Vec<f64> = doubles(&read(&found.similarity));
            let nearest = categories(&own, tokens);
            let found = words(&found.category);
            let worse = |pixel: &usize| {
                let row = &own[pixel * tokens..][..tokens];
                row[found[*pixel] as usize] < row[nearest[*pixel] as usize] - 1e-6
            };
            prop_assert_eq!((0..pixels).filter(worse).count(), 0);
        }
    }
}

#[test]
fn of_equally_similar_tokens_the_first_counts() {
    let operator = TokenDictionary::new(gpu(), None).unwrap();
    let one = |name: &str, shape: &[usize]| upload(name, shape, &vec![1f32; shape.iter().product()]);
    let weights = DictionaryWeights {
        wq: one("wq", &[4, 8]),
        bq: one("bq", &[4]),
        wk: one("wk", &[4, 8]),
        bk: one("bk", &[4]),
        wv: one("wv", &[8, 8]),
        bv: one("bv", &[8]),
        scale: one("scale", &[6]),
    };
    let mut schedule = Schedule::new(gpu());
    let found =
        operator.record(&mut schedule, &one("x", &[70, 8]), &one("td", &[6, 8]), &weights, None).unwrap();
    run(schedule);
    assert_eq!(words(&found.category), vec![0; 70]);
    assert_close("similarity", &read(&found.similarity), &vec![1.0 / 6.0; 420], 1e-6);
}
