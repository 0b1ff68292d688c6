//! What the golden vectors hold beside the outputs of `run`: pooled blocks, weights, scores, orders and margins; and each stage by
//! itself, with what the file has for the stage before.

use crate::common::{assert_close, golden_names, golden_path, gpu, read, upload, variants};
use crate::sparse_case::{Found, TOLERANCE, score_tolerance};
use gristmill::kernels::attention::{AttentionInputs, EMPTY_LSE, lse_to_host};
use gristmill::kernels::native_sparse::{
    BlockSelection, CacheShape, Compression, Gates, NativeSparseAttention, NativeSparseCache,
    NativeSparseConfig, NativeSparseInputs, NewTokens, SelectInputs, SelectedAttention, SelectedConfig,
};
use gristmill::twins::attention::AttentionShape;
use gristmill::twins::native_sparse::{
    NativeSparseOptions, NativeSparseResult, NativeSparseSources, block_importance,
    compressed_attention_rows, gate_values, native_sparse, select_blocks, selected_attention_rows,
};
use gristmill::twins::video_nsa::video_nsa;
use gristmill::{Dtype as TensorDtype, Schedule, Tensor, no_progress};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Results of size 4 are stored as f32.
const ROUNDING: f64 = 4e-7;

struct Golden {
    name: String,
    bytes: Vec<u8>,
    shape: AttentionShape,
    config: NativeSparseConfig,
    options: NativeSparseOptions,
}

impl Golden {
    fn read(name: &str) -> Self {
        let path = golden_path(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let config: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["config"]).unwrap();
        let dims = |name: &str| <[usize; 4]>::try_from(file.tensor(name).unwrap().shape()).unwrap();
        let [batch, query_tokens, query_heads, head_dim] = dims("q");
        let [_, tokens, kv_heads, _] = dims("k");
        let [_, _, _, value_dim] = dims("v");
        let shape =
            AttentionShape { batch, query_tokens, tokens, query_heads, kv_heads, head_dim, value_dim };
        let count = |key: &str| config[key].as_u64().unwrap() as usize;
        let scale = config["scale"].as_f64();
        let config = NativeSparseConfig {
            cmp_block: count("cmp_block"),
            cmp_stride: count("cmp_stride"),
            sel_block: count("sel_block"),
            top_n: count("top_n"),
            window: count("window"),
            n_init: count("n_init"),
            n_local: count("n_local"),
            q_offset: config["q_offset"].as_i64(),
            scale: scale.map(|scale| scale as f32),
            variant: None,
        };
        let options = NativeSparseOptions { scale, ..NativeSparseOptions::from(&config) };
        Self { name: name.into(), shape, config, options, bytes: bytes.clone() }
    }

    fn all() -> impl Iterator<Item = Self> {
        golden_names("nsa_", 10).into_iter().map(|name| Self::read(&name))
    }

    /// Files without a compressed block have no tensors for it.
    fn holds(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).is_ok()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.words(name, Dtype::F32).into_iter().map(f32::from_bits).collect()
    }

    fn doubles(&self, name: &str) -> Vec<f64> {
        self.floats(name).into_iter().map(f64::from).collect()
    }

    fn lists(&self, name: &str) -> Vec<i32> {
        self.words(name, Dtype::I32).into_iter().map(|word| word as i32).collect()
    }

    fn words(&self, name: &str, dtype: Dtype) -> Vec<u32> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(name).unwrap_or_else(|error| panic!("{}: {name}: {error}", self.name));
        assert_eq!(view.dtype(), dtype, "{}: {name}", self.name);
        view.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// A tensor of the file on the GPU.
    fn upload(&self, name: &str) -> Tensor {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        upload(name, file.tensor(name).unwrap().shape(), &self.floats(name))
    }

    fn rows(&self) -> Vec<usize> {
        (0..self.shape.query_tokens).collect()
    }

    #[track_caller]
    fn compare(&self, name: &str, found: &[f64], tolerance: f64) {
        let floats: Vec<f32> = found.iter().map(|value| *value as f32).collect();
        assert_close(&format!("{} `{name}`", self.name), &floats, &self.doubles(name), tolerance);
    }

    /// Every intermediate of the file, whose names may have a prefix.
    fn compare_all(&self, prefix: &str, found: &NativeSparseResult) {
        let name = |name: &str| format!("{prefix}{name}");
        for (short, values) in [
            ("o_cmp", &found.o_cmp),
            ("o_slc", &found.o_slc),
            ("o_swa", &found.o_swa),
            ("lse_cmp", &found.lse_cmp),
            ("lse_slc", &found.lse_slc),
            ("lse_swa", &found.lse_swa),
            ("imp", &found.importance),
            ("margin", &found.selection.margin),
            ("out", &found.out),
        ] {
            self.compare(&name(short), values, ROUNDING);
        }
        for (short, values) in [("k_cmp", &found.cmp_key), ("v_cmp", &found.cmp_value)] {
            if self.holds(&name(short)) {
                self.compare(&name(short), values, ROUNDING);
            }
        }
        assert_eq!(self.lists(&name("rank")), found.selection.rank, "{}: rank", self.name);
        assert_eq!(self.lists(&name("idx")), found.selection.blocks, "{}: idx", self.name);
    }
}

#[test]
fn the_twin_has_the_intermediates_of_every_file() {
    for golden in Golden::all() {
        let [q, k, v, gates] = ["q", "k", "v", "gates"].map(|name| golden.doubles(name));
        let sources = NativeSparseSources::new(&q, &k, &v, &gates);
        golden.compare_all("", &native_sparse(&sources, &golden.shape, &golden.options));
        golden.compare("gates", &gate_values(&golden.doubles("gate_logits")), ROUNDING);
        // So wide that a selection in f32 must be the file's; the ties have one order.
        let least = golden.doubles("margin").into_iter().fold(f64::INFINITY, f64::min);
        let narrow = score_tolerance(golden.shape.query_heads / golden.shape.kv_heads);
        assert!(least > narrow || golden.name.contains("ties"), "{}: a margin of {least}", golden.name);
    }
}

#[test]
fn every_stage_of_the_twin_continues_from_the_file() {
    for golden in Golden::all().filter(|golden| golden.holds("p_cmp")) {
        let (shape, options, rows) = (&golden.shape, &golden.options, golden.rows());
        let [q, k, v] = ["q", "k", "v"].map(|name| golden.doubles(name));
        let [k_cmp, v_cmp] = ["k_cmp", "v_cmp"].map(|name| golden.doubles(name));
        let compressed = compressed_attention_rows(&q, &k_cmp, &v_cmp, shape, options, &rows);
        golden.compare("o_cmp", &compressed.out, ROUNDING);
        golden.compare("p_cmp", &compressed.weights, ROUNDING);
        golden.compare("lse_cmp", &compressed.lse, ROUNDING);

        let lists = shape.batch * shape.query_tokens * shape.kv_heads;
        let group = shape.query_heads / shape.kv_heads;
        let scores = block_importance(&golden.doubles("p_cmp"), lists, group, shape.tokens, options);
        golden.compare("imp", &scores, ROUNDING * group as f64);

        let positions: Vec<i64> = rows.iter().map(|&row| options.position(shape, row)).collect();
        let selection =
            select_blocks(&golden.doubles("imp"), &positions, shape.kv_heads, shape.tokens, options);
        assert_eq!(selection.rank, golden.lists("rank"), "{}", golden.name);

        let selected = selected_attention_rows(&q, &k, &v, &golden.lists("idx"), shape, options, &rows);
        golden.compare("o_slc", &selected.out, ROUNDING);
        golden.compare("lse_slc", &selected.lse, ROUNDING);
    }
}

#[test]
fn the_twin_has_what_the_vision_tokens_of_the_hybrid_go_through() {
    let golden = Golden::read("videonsa_hybrid.safetensors");
    let [q, k, v, gates] = ["q", "k", "v", "gates"].map(|name| golden.doubles(name));
    let file = SafeTensors::deserialize(&golden.bytes).unwrap();
    let marks: Vec<bool> = file.tensor("is_vision").unwrap().data().iter().map(|mark| *mark == 1).collect();
    let found = video_nsa(&q, &k, &v, &gates, &marks, &golden.shape, &golden.options);
    golden.compare("out", &found.out, ROUNDING);
    golden.compare_all("vision_", &found.vision);
}

/// The cache keeps the blocks it has pooled.
#[test]
fn blocks_are_pooled_as_in_the_files() {
    for golden in Golden::all().filter(|golden| golden.holds("k_cmp")) {
        let AttentionShape { batch, tokens, kv_heads, head_dim, value_dim, .. } = golden.shape;
        let operator = NativeSparseAttention::new(gpu(), golden.config.clone()).unwrap();
        let shape = CacheShape {
            batch,
            capacity: tokens,
            kv_heads,
            head_dim,
            value_dim,
            dtype: TensorDtype::F32,
            own_compressed: false,
            own_window: false,
        };
        let cache = NativeSparseCache::new(gpu(), &operator, shape).unwrap();
        let (k, v) = (golden.upload("k"), golden.upload("v"));
        let mut schedule = Schedule::new(gpu());
        operator.record_append(&mut schedule, &cache, &NewTokens::new(&k, &v)).unwrap();
        pollster::block_on(schedule.compile().unwrap().run(no_progress)).unwrap();
        for (name, tensor) in [("k_cmp", &cache.cmp_key), ("v_cmp", &cache.cmp_value)] {
            assert_close(&golden.name, &read(tensor), &golden.doubles(name), 2e-6);
        }
    }
}

#[test]
fn compressed_attention_continues_from_the_pooled_blocks_of_the_files() {
    for golden in Golden::all().filter(|golden| golden.holds("k_cmp")) {
        let [q, k, v, gates] = ["q", "k", "v", "gates"].map(|name| golden.upload(name));
        let (k_cmp, v_cmp) = (golden.upload("k_cmp"), golden.upload("v_cmp"));
        for kind in variants() {
            let config = NativeSparseConfig { variant: Some(kind), ..golden.config.clone() };
            let operator = NativeSparseAttention::new(gpu(), config).unwrap();
            let inputs = NativeSparseInputs {
                compression: Compression::Given { key: &k_cmp, value: &v_cmp },
                ..NativeSparseInputs::new(&q, &k, &v, Gates::Values(&gates))
            };
            let mut schedule = Schedule::new(gpu());
            let outputs = operator.record(&mut schedule, &inputs).unwrap();
            let plan = schedule.compile().unwrap();
            plan.poison();
            pollster::block_on(plan.run(no_progress)).unwrap();
            let found = Found::read(&outputs);
            let what = |name: &str| format!("{} `{name}` by {kind}", golden.name);
            for (branch, suffix) in ["cmp", "slc", "swa"].into_iter().enumerate() {
                let (o, lse) = (format!("o_{suffix}"), format!("lse_{suffix}"));
                assert_close(&what(&o), &found.branches[branch], &golden.doubles(&o), TOLERANCE);
                assert_close(&what(&lse), &found.lse[branch], &golden.doubles(&lse), TOLERANCE);
            }
            assert_eq!(found.blocks, golden.lists("idx"), "{}", what("idx"));
        }
    }
}

#[test]
fn selection_continues_from_the_pooled_keys_and_sums_of_the_files() {
    for golden in Golden::all().filter(|golden| golden.holds("k_cmp")) {
        let (query, cmp_key) = (golden.upload("q"), golden.upload("k_cmp"));
        let finite = golden.floats("lse_cmp").into_iter().map(|lse| lse.max(EMPTY_LSE));
        let AttentionShape { batch, query_tokens, query_heads, tokens, .. } = golden.shape;
        let lse = upload("lse", &[batch, query_tokens, query_heads], &finite.collect::<Vec<f32>>());
        for kind in variants() {
            let config = NativeSparseConfig { variant: Some(kind), ..golden.config.clone() };
            let inputs = SelectInputs {
                query: &query,
                cmp_key: &cmp_key,
                lse_cmp: &lse,
                tokens,
                lengths: None,
                sequences: None,
            };
            let mut schedule = Schedule::new(gpu());
            let blocks = BlockSelection::new(gpu(), config).unwrap().record(&mut schedule, &inputs).unwrap();
            let plan = schedule.compile().unwrap();
            plan.poison();
            pollster::block_on(plan.run(no_progress)).unwrap();
            let words = pollster::block_on(blocks.read::<u32>(gpu())).unwrap();
            let lists: Vec<i32> = words.into_iter().map(|block| block as i32).collect();
            assert_eq!(lists, golden.lists("idx"), "{} by {kind}", golden.name);
        }
    }
}

#[test]
fn selected_attention_continues_from_the_lists_of_the_files() {
    for golden in Golden::all() {
        let [q, k, v] = ["q", "k", "v"].map(|name| golden.upload(name));
        let words: Vec<u32> = golden.lists("idx").into_iter().map(|block| block as u32).collect();
        let AttentionShape { batch, query_tokens, kv_heads, .. } = golden.shape;
        let NativeSparseConfig { sel_block, top_n, q_offset, scale, .. } = golden.config;
        let blocks = Tensor::upload(gpu(), "idx", &[batch, query_tokens, kv_heads, top_n], &words).unwrap();
        for kind in variants() {
            let config = SelectedConfig { sel_block, q_offset, scale, variant: Some(kind) };
            let mut schedule = Schedule::new(gpu());
            let inputs = AttentionInputs::new(&q, &k, &v);
            let selected = SelectedAttention::new(gpu(), config).unwrap();
            let found = selected.record(&mut schedule, inputs, &blocks).unwrap();
            let plan = schedule.compile().unwrap();
            plan.poison();
            pollster::block_on(plan.run(no_progress)).unwrap();
            let mut lse = read(&found.lse);
            lse_to_host(&mut lse);
            let what = |name: &str| format!("{} `{name}` by {kind}", golden.name);
            assert_close(&what("o_slc"), &read(&found.out), &golden.doubles("o_slc"), TOLERANCE);
            assert_close(&what("lse_slc"), &lse, &golden.doubles("lse_slc"), TOLERANCE);
        }
    }
}
