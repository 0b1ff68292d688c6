//! What the golden vectors hold beside the outputs of `run`: solutions, softmax attention, limits, and the solver's steps.

use crate::common::{assert_close, golden_names, golden_path, gpu, read, upload, variants};
use gristmill::kernels::flash_lla::{FlashLlaInputs, LlaProbe, LlaProbeConfig, status};
use gristmill::twins::attention::AttentionShape;
use gristmill::twins::flash_lla::{LlaOptions, flash_lla, flash_lla_cg, lla_decode, lla_probe};
use gristmill::{Schedule, no_progress};
use half::f16;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Results are stored as f32.
const ROUNDING: f64 = 1e-7;

struct Golden {
    name: String,
    bytes: Vec<u8>,
    shape: AttentionShape,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
    mask: Option<Vec<bool>>,
    config: Value,
}

impl Golden {
    fn read(name: &str) -> Self {
        let path = golden_path(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let config = serde_json::from_str(&header.metadata().as_ref().unwrap()["config"]).unwrap();
        let dims = |name: &str| <[usize; 4]>::try_from(file.tensor(name).unwrap().shape()).unwrap();
        let [batch, query_tokens, query_heads, head_dim] = dims("q");
        let [_, tokens, kv_heads, _] = dims("k");
        let [_, _, _, value_dim] = dims("v");
        let shape =
            AttentionShape { batch, query_tokens, tokens, query_heads, kv_heads, head_dim, value_dim };
        let mask = file.tensor("mask").ok();
        let mask = mask.map(|mask| mask.data().iter().map(|&visible| visible == 1).collect());
        let [q, k, v] = ["q", "k", "v"].map(|name| floats(&file, name));
        Self { name: name.into(), shape, q, k, v, mask, config, bytes: bytes.clone() }
    }

    fn all() -> impl Iterator<Item = Self> {
        golden_names("lla_", 19).into_iter().map(|name| Self::read(&name))
    }

    fn number(&self, key: &str) -> f64 {
        self.config[key].as_f64().unwrap_or_else(|| panic!("{}: `{key}`", self.name))
    }

    /// The limit of a falling ridge, not the kernels' floor.
    fn options(&self) -> LlaOptions<'_> {
        LlaOptions {
            causal: self.config["causal"].as_bool().unwrap(),
            q_offset: self.config["q_offset"].as_i64(),
            mask: self.mask.as_deref(),
            key_bias: None,
            scale: Some(self.number("scale")),
            ridge: self.number("ridge"),
            ridge_floor: self.number("ridge_floor"),
            singular_floor: false,
        }
    }

    fn expected(&self, name: &str) -> Vec<f64> {
        floats(&SafeTensors::deserialize(&self.bytes).unwrap(), name)
    }

    /// Equal up to the rounding of the largest element.
    #[track_caller]
    fn compare(&self, name: &str, found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len(), "{}: {name}", self.name);
        let finite = expected.iter().filter(|x| x.is_finite());
        let tolerance = ROUNDING * finite.fold(1.0, |most: f64, x| most.max(x.abs()));
        for (index, (f, e)) in found.iter().zip(expected).enumerate() {
            let equal = f == e || (f - e).abs() <= tolerance;
            assert!(equal, "{}: {name} {index} is {f} instead of {e} ± {tolerance:e}", self.name);
        }
    }
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let view = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let data = view.data();
    match view.dtype() {
        Dtype::F16 => {
            data.chunks_exact(2).map(|b| f16::from_le_bytes(b.try_into().unwrap()).to_f64()).collect()
        }
        Dtype::F32 => {
            data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64).collect()
        }
        Dtype::U32 => {
            data.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()) as f64).collect()
        }
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn the_twin_has_the_solutions_of_every_file() {
    for golden in Golden::all() {
        let (shape, options) = (&golden.shape, golden.options());
        let found = flash_lla(&golden.q, &golden.k, &golden.v, shape, &options);
        let statuses: Vec<f64> = found.status.iter().map(|&status| status as f64).collect();
        for (name, values) in [
            ("out", &found.out),
            ("lse", &found.lse),
            ("beta", &found.beta),
            ("kbar", &found.mean_key),
            ("eta", &found.eta),
            ("status", &statuses),
        ] {
            golden.compare(name, values, &golden.expected(name));
        }
        let softmax = flash_lla_cg(&golden.q, &golden.k, &golden.v, shape, &options, 0.0, 0);
        golden.compare("o_softmax", &softmax.out, &golden.expected("o_softmax"));
        for splits in [1, 7] {
            let found = lla_decode(&golden.q, &golden.k, &golden.v, shape, &options, splits);
            golden.compare("out", &found.out, &golden.expected("out"));
        }
        let given = lla_probe(&golden.q, &golden.k, &golden.v, &found.beta, shape, &options);
        golden.compare("out", &given.out, &golden.expected("out"));
    }
}

/// To the rounding of the file up to 8 steps. At 16 the last digits of f64 rule a few rows, where directions have lost their
/// orthogonality: 60 digits give other values than both the file and the twin.
#[test]
fn the_twin_takes_the_solver_step_by_step() {
    let golden = Golden::read("lla_cgtrace_d32.safetensors");
    let (outs, betas) = (golden.expected("o_cov_after"), golden.expected("beta_cov_after"));
    let size = 24 * 32;
    for (step, iterations) in [0, 1, 2, 3, 4, 8, 16].into_iter().enumerate() {
        let found =
            flash_lla_cg(&golden.q, &golden.k, &golden.v, &golden.shape, &golden.options(), 1e-6, iterations);
        let (out, beta) = (&outs[step * size..][..size], &betas[step * size..][..size]);
        if iterations < 16 {
            golden.compare("o_cov_after", &found.out, out);
            golden.compare("beta_cov_after", &found.beta, beta);
        } else {
            let error = |row: usize| {
                let row = row * 32..(row + 1) * 32;
                out[row.clone()].iter().zip(&found.out[row]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
            };
            let errors: Vec<f64> = (0..24).map(error).collect();
            let equal = errors.iter().filter(|error| **error < 1e-5).count();
            assert!(equal >= 20 && errors.iter().all(|error| *error < 2e-2), "{errors:?}");
        }
        assert!(found.iterations.iter().all(|&count| count == iterations as u32));
    }
}

/// 12 keys in 32 dimensions.
#[test]
fn the_twin_has_the_limit_of_a_falling_ridge() {
    let golden = Golden::read("lla_rankdef_d32.safetensors");
    for (ridge_floor, name, status) in [(0.0, "o_ridge0", status::SINGULAR), (1e-6, "o_floor1e6", 0)] {
        let options = LlaOptions { ridge: 0.0, ridge_floor, ..golden.options() };
        let found = flash_lla(&golden.q, &golden.k, &golden.v, &golden.shape, &options);
        golden.compare(name, &found.out, &golden.expected(name));
        assert!(found.status.iter().all(|&found| found == status), "{name}: {:?}", found.status);
    }
}

/// Statistics and output phases alone, with the solution of the file.
#[test]
fn the_probe_reproduces_the_output_from_beta() {
    for name in ["lla_tiny_d4", "lla_scale0_d16", "lla_gqa_d32", "lla_mask_d32", "lla_affine_ridge03_d32"] {
        let golden = Golden::read(&format!("{name}.safetensors"));
        let AttentionShape { batch, query_tokens, tokens, query_heads, kv_heads, head_dim, value_dim } =
            golden.shape;
        let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
        let q_shape = [batch, query_tokens, query_heads, head_dim];
        let q = upload("q", &q_shape, &single(&golden.q));
        let k = upload("k", &[batch, tokens, kv_heads, head_dim], &single(&golden.k));
        let v = upload("v", &[batch, tokens, kv_heads, value_dim], &single(&golden.v));
        let beta = upload("beta", &q_shape, &single(&golden.expected("beta")));
        let mask = golden.mask.as_ref().map(|mask| {
            let words = gristmill::kernels::flash_lla::pack_mask(mask, tokens);
            gristmill::Tensor::upload(gpu(), "mask", &[query_tokens, tokens.div_ceil(32)], &words).unwrap()
        });
        for kind in variants() {
            let config = LlaProbeConfig {
                causal: golden.options().causal,
                q_offset: golden.options().q_offset,
                scale: Some(golden.number("scale") as f32),
                variant: Some(kind),
            };
            let mut schedule = Schedule::new(gpu());
            let inputs = FlashLlaInputs { mask: mask.as_ref(), ..FlashLlaInputs::new(&q, &k, &v) };
            let probe = LlaProbe::new(gpu(), config).unwrap();
            let found = probe.record(&mut schedule, inputs, &beta).unwrap();
            let plan = schedule.compile().unwrap();
            plan.poison();
            pollster::block_on(plan.run(no_progress)).unwrap();
            let what = format!("{name} by {kind}");
            assert_close(&format!("{what}: out"), &read(&found.out), &golden.expected("out"), 2e-5);
            let mut lse = read(&found.lse);
            gristmill::kernels::attention::lse_to_host(&mut lse);
            assert_close(&format!("{what}: lse"), &lse, &golden.expected("lse"), 2e-5);
        }
    }
}
