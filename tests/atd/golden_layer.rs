//! One layer at true ATD-light size: every branch, the order, the dictionary, and category attention under Pure-Pass.

use crate::common::{assert_close, golden_path, gpu, read, upload, variants};
use crate::{run, words};
use gristmill::kernels::category_sort::SortedCategories;
use gristmill::kernels::pure_pass::PurePassConfig;
use gristmill::models::atd::{
    AtdConfig, AtdLayer, AtdLayerOutput, AtdSizes, Compensation, NamedTensors, PurePass,
};
use gristmill::twins::atd::AtdTwin;
use gristmill::{Schedule, VariantKind};
use safetensors::SafeTensors;

const SIZE: [usize; 2] = [16, 32];
const PIXELS: usize = 512;
const TOLERANCE: f64 = 2e-5;

struct Golden {
    bytes: Vec<u8>,
    weights: NamedTensors,
    sizes: AtdSizes,
}

impl Golden {
    fn load() -> Self {
        let bytes = std::fs::read(golden_path("atd_light_layer.safetensors")).unwrap();
        let weights = NamedTensors::from_safetensors(&bytes, "params.").unwrap();
        let sizes = AtdSizes::of_layer(&weights, "").unwrap();
        Self { bytes, weights, sizes }
    }

    fn words(&self, name: &str) -> Vec<u32> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = file.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.words(name).into_iter().map(f32::from_bits).collect()
    }

    fn doubles(&self, name: &str) -> Vec<f64> {
        self.floats(name).into_iter().map(f64::from).collect()
    }

    fn mask(&self) -> Vec<u32> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        file.tensor("mask").unwrap().data().iter().map(|&byte| byte as u32).collect()
    }

    fn layer(&self, variant: VariantKind, compensation: Option<Compensation>) -> AtdLayer {
        let config = AtdConfig { variant: Some(variant), ..self.config(compensation) };
        AtdLayer::new(gpu(), &config, &self.sizes, &self.weights, "", true).unwrap()
    }

    fn config(&self, compensation: Option<Compensation>) -> AtdConfig {
        let pure_pass =
            compensation.map(|compensation| PurePass { mask: PurePassConfig::default(), compensation });
        AtdConfig { pure_pass, ..Default::default() }
    }

    /// What category attention adds under a mask.
    fn category(
        &self,
        variant: VariantKind,
        compensation: Compensation,
        mask: &[u32],
    ) -> (Vec<f32>, Vec<u32>) {
        let layer = self.layer(variant, Some(compensation));
        let mut schedule = Schedule::new(gpu());
        let x = upload("x", &[PIXELS, 48], &self.floats("x"));
        let dictionary = upload("td", &[64, 48], &self.floats("td"));
        let mask = upload("mask", &[PIXELS], mask);
        let output = layer.record(&mut schedule, &x, &dictionary, SIZE, Some(&mask)).unwrap();
        run(schedule);
        let active = words(&output.sorted.active_count)[0] as usize;
        (self.branch(&output), words(&output.sorted.order)[..active].to_vec())
    }

    /// The sum of all branches less x and the two that see all pixels.
    fn branch(&self, output: &AtdLayerOutput) -> Vec<f32> {
        let others = [self.floats("x"), self.floats("x_win"), self.floats("x_atd")];
        others.iter().fold(read(&output.after_category), |rest, other| difference(&rest, other))
    }
}

fn difference(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[test]
fn every_branch_matches() {
    let golden = Golden::load();
    let (x, dictionary) = (golden.floats("x"), golden.floats("td"));
    for kind in variants() {
        let layer = golden.layer(kind, None);
        let mut schedule = Schedule::new(gpu());
        let (x_tensor, td) = (upload("x", &[PIXELS, 48], &x), upload("td", &[64, 48], &dictionary));
        let output = layer.record(&mut schedule, &x_tensor, &td, SIZE, None).unwrap();
        run(schedule);
        let check = |name: &str, found: &[f32]| {
            assert_close(&format!("{name} by {kind}"), found, &golden.doubles(name), TOLERANCE);
        };
        let sums = [&x, &read(&output.after_window), &read(&output.after_category)];
        check("x_win", &difference(sums[1], sums[0]));
        check("x_aca", &difference(&difference(sums[2], sums[1]), &golden.floats("x_atd")));
        check("sim", &read(&output.similarity));
        check("out", &read(&output.out));
        check("td_out", &read(output.dictionary.as_ref().unwrap()));
        assert_eq!(words(&output.sorted.order), golden.words("order"), "{kind}");
    }
}

#[test]
fn category_attention_matches_in_the_golden_order() {
    let golden = Golden::load();
    for kind in variants() {
        let layer = golden.layer(kind, None);
        let mut schedule = Schedule::new(gpu());
        let x = upload("x", &[PIXELS, 48], &golden.floats("x"));
        let dictionary = upload("td", &[64, 48], &golden.floats("td"));
        let zeros = upload("zeros", &[PIXELS, 48], &vec![0f32; PIXELS * 48]);
        let qkv = layer.record(&mut schedule, &x, &dictionary, SIZE, None).unwrap().qkv;
        let sorted = SortedCategories {
            order: upload("order", &[PIXELS], &golden.words("order")),
            starts: upload("starts", &[1], &[0u32]),
            active_count: upload("active", &[1], &[PIXELS as u32]),
        };
        layer.record_category(&mut schedule, &qkv, &sorted, &zeros, false).unwrap();
        run(schedule);
        assert_close(&format!("x_aca by {kind}"), &read(&zeros), &golden.doubles("x_aca"), TOLERANCE);
    }
}

#[test]
fn pure_pixels_leave_category_attention() {
    let golden = Golden::load();
    let mask = golden.mask();
    for kind in variants() {
        for (name, compensation) in [
            ("pp_v", Compensation::Value),
            ("pp_proj_v", Compensation::ProjectedValue),
            ("pp_zero", Compensation::Zero),
        ] {
            let (branch, order) = golden.category(kind, compensation, &mask);
            assert_close(&format!("{name} by {kind}"), &branch, &golden.doubles(name), TOLERANCE);
            assert_eq!(order, golden.words("order_pp"), "{name} by {kind}");
        }
        // All pixels pure, and one left: pixels 130 to 144 of the golden.
        let rows = 130 * 48..145 * 48;
        let (branch, order) = golden.category(kind, Compensation::Value, &[1; PIXELS]);
        assert_close("all pure", &branch[rows.clone()], &golden.doubles("pp_v_all"), TOLERANCE);
        assert!(order.is_empty());
        let mut one_left = [1; PIXELS];
        one_left[137] = 0;
        let (branch, order) = golden.category(kind, Compensation::Value, &one_left);
        assert_close("one left", &branch[rows], &golden.doubles("pp_v_one_left"), TOLERANCE);
        assert_eq!(order, [137]);
        // No pixel pure: bit for bit what the layer without Pure-Pass gives.
        let none = golden.category(kind, Compensation::Value, &[0; PIXELS]).0;
        let plain = {
            let layer = golden.layer(kind, None);
            let mut schedule = Schedule::new(gpu());
            let x = upload("x", &[PIXELS, 48], &golden.floats("x"));
            let dictionary = upload("td", &[64, 48], &golden.floats("td"));
            let output = layer.record(&mut schedule, &x, &dictionary, SIZE, None).unwrap();
            run(schedule);
            golden.branch(&output)
        };
        assert!(none == plain, "{kind}");
    }
}

#[test]
fn the_twin_matches() {
    let golden = Golden::load();
    let (x, dictionary) = (golden.doubles("x"), golden.doubles("td"));
    let mask: Vec<bool> = golden.mask().iter().map(|&pure| pure == 1).collect();
    let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
    for compensation in [None].into_iter().chain(Compensation::ALL.map(Some)) {
        let config = golden.config(compensation);
        let twin = AtdTwin { config: &config, sizes: &golden.sizes, weights: &golden.weights };
        let mask = compensation.map(|_| mask.as_slice());
        let result = twin.layer("", &x, &dictionary, SIZE, true, mask);
        let check =
            |name: &str, found: &[f64]| assert_close(name, &single(found), &golden.doubles(name), 1e-6);
        match compensation {
            None => {
                check("x_win", &result.window);
                check("x_atd", &result.dictionary_attention);
                check("x_aca", &result.category);
                check("sim", &result.similarity);
                check("out", &result.out);
                check("td_out", &result.dictionary);
                assert_eq!(result.order, golden.words("order"));
            }
            Some(compensation) => {
                check(&format!("pp_{}", compensation.name()), &result.category);
                assert_eq!(result.order, golden.words("order_pp"));
            }
        }
    }
}
