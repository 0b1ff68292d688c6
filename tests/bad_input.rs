//! Bad input ends in an error of one line that names the tensor or key, what was found and what was expected.

#[path = "bad_input/atd.rs"]
mod atd;
#[path = "bad_input/cluster_merge.rs"]
mod cluster_merge;
mod common;
#[path = "bad_input/lowrank_vq.rs"]
mod lowrank_vq;
#[path = "bad_input/native_sparse.rs"]
mod native_sparse;
#[path = "bad_input/pure_pass.rs"]
mod pure_pass;

use common::{gpu, upload, variants};
use gristmill::kernels::attention::{Attention, AttentionConfig, AttentionInputs, PackedSequences};
use gristmill::kernels::cache::KvCache;
use gristmill::kernels::flash_lla::{FlashLla, FlashLlaConfig, FlashLlaInputs, LlaProbe, LlaProbeConfig};
use gristmill::run::{RunOptions, run, run_twin};
use gristmill::{Dtype, Error, Gpu, GpuOptions, Schedule, Tensor, VariantKind};
use safetensors::{Dtype as FileDtype, tensor::TensorView};
use std::collections::HashMap;

/// A safetensors file in the making.
#[derive(Clone, Default)]
struct File {
    tensors: Vec<(String, FileDtype, Vec<usize>, Vec<u8>)>,
    config: Option<String>,
}

impl File {
    fn floats(self, name: &str, shape: &[usize], data: &[f32]) -> Self {
        self.raw(name, FileDtype::F32, shape, data.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// 1, 2, 3 .. in hundredths.
    fn filled(self, name: &str, shape: &[usize]) -> Self {
        let data: Vec<f32> = (1..=shape.iter().product::<usize>()).map(|i| i as f32 / 100.0).collect();
        self.floats(name, shape, &data)
    }

    fn raw(mut self, name: &str, dtype: FileDtype, shape: &[usize], bytes: Vec<u8>) -> Self {
        self.tensors.retain(|tensor| tensor.0 != name);
        self.tensors.push((name.into(), dtype, shape.to_vec(), bytes));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.tensors.retain(|tensor| tensor.0 != name);
        self
    }

    fn config(self, config: &str) -> Self {
        Self { config: Some(config.into()), ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, dtype, shape, bytes)| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let metadata = self.config.clone().map(|config| HashMap::from([("config".to_string(), config)]));
        safetensors::serialize(views, metadata).unwrap()
    }
}

fn attention() -> File {
    File::default().filled("q", &[1, 3, 4, 8]).filled("k", &[1, 5, 2, 8]).filled("v", &[1, 5, 2, 8])
}

fn flash_lla() -> File {
    attention().raw("mask", FileDtype::U8, &[3, 5], vec![1; 15]).filled("key_bias", &[1, 5])
}

fn sqa_layer() -> File {
    File::default()
        .filled("x", &[1, 3, 8])
        .filled("Wq", &[8, 8])
        .filled("Wk", &[8, 4])
        .filled("Wv", &[8, 4])
        .filled("Wo", &[8, 8])
        .config(r#"{"query_heads": 2, "kv_heads": 1, "head_dim": 4}"#)
}

#[track_caller]
fn runs(kernel: &str, file: &File, options: &RunOptions) {
    pollster::block_on(run(gpu(), kernel, &file.bytes(), options)).unwrap();
    run_twin(kernel, &file.bytes(), options).unwrap();
}

/// The error of a run, on the GPU and by the twin, which must be one line with these words.
#[track_caller]
fn refused(kernel: &str, file: &File, options: RunOptions, words: &[&str]) {
    refused_bytes(kernel, &file.bytes(), &options, words);
    let twin = run_twin(kernel, &file.bytes(), &options);
    assert!(twin.is_err(), "the twin took what the GPU refuses with {words:?}");
}

#[track_caller]
fn refused_bytes(kernel: &str, bytes: &[u8], options: &RunOptions, words: &[&str]) {
    let error = match pollster::block_on(run(gpu(), kernel, bytes, options)) {
        Ok(_) => panic!("{kernel} took what it should refuse with {words:?}"),
        Err(error) => error.to_string(),
    };
    assert!(!error.contains('\n'), "more than one line: {error}");
    for word in words {
        assert!(error.contains(word), "no `{word}` in: {error}");
    }
}

fn set(pairs: &[&str]) -> RunOptions {
    RunOptions { set: pairs.iter().map(|pair| pair.to_string()).collect(), ..RunOptions::default() }
}

fn plain() -> RunOptions {
    RunOptions::default()
}

#[test]
fn the_files_that_are_spoiled_below_run() {
    for (kernel, file) in [("attention", attention()), ("flash_lla", flash_lla()), ("sqa_layer", sqa_layer())]
    {
        runs(kernel, &file, &plain());
    }
}

#[test]
fn tensors_that_do_not_fit_each_other_are_named_with_both_shapes() {
    let file = attention;
    for (file, words) in [
        (file().filled("k", &[1, 5, 2, 6]), ["`k`", "head dim 6", "expected 8", "[1, 3, 4, 8]"]),
        (file().filled("q", &[1, 3, 3, 8]), ["`q`", "3 heads", "multiple of the 2 heads", ""]),
        (file().filled("v", &[1, 4, 2, 8]), ["`v`", "[1, 4, 2, 8]", "[1, 5, 2, ", ""]),
        (file().filled("k", &[2, 5, 2, 8]), ["`k`", "batch 2", "expected 1", ""]),
        (file().filled("q", &[3, 4, 8]), ["`q`", "[3, 4, 8]", "expected [", ""]),
        (
            file().filled("q", &[1, 3, 4, 300]).filled("k", &[1, 5, 2, 300]),
            ["`q`", "head dim 300", "1 to 256", ""],
        ),
        (file().filled("key_bias", &[1, 4]), ["`key_bias`", "[1, 4]", "[1, 5]", ""]),
        (file().raw("key_mask", FileDtype::U8, &[5], vec![1; 5]), ["`key_mask`", "[5]", "[1, 5]", ""]),
    ] {
        // The twin has no limit of 256; its shape errors are those of the host otherwise.
        let limit = words[2] == "1 to 256";
        if limit {
            refused_bytes("attention", &file.bytes(), &plain(), &words);
        } else {
            refused("attention", &file, plain(), &words);
        }
    }
    refused("sqa_layer", &sqa_layer().filled("Wk", &[8, 8]), plain(), &["`Wk`", "[8, 8]", "[8, 4]"]);
    refused("sqa_layer", &sqa_layer().filled("bo", &[4]), plain(), &["`bo`", "[4]", "[8]"]);
}

#[test]
fn empty_tensors_are_refused() {
    for (name, shape) in [("q", [1, 0, 4, 8]), ("k", [1, 0, 2, 8]), ("q", [0, 3, 4, 8]), ("k", [1, 5, 0, 8])]
    {
        let file = attention().filled(name, &shape);
        let shape = format!("{shape:?}");
        refused("attention", &file, plain(), &[&format!("`{name}`"), &shape]);
    }
    let nothing = attention().filled("k", &[1, 0, 2, 8]).filled("v", &[1, 0, 2, 8]);
    refused("attention", &nothing, plain(), &["`k`", "[1, 0, 2, 8]", "empty"]);
    refused("sqa_layer", &sqa_layer().filled("x", &[1, 0, 8]), plain(), &["`x`", "[1, 0, 8]"]);
}

#[test]
fn a_nan_or_infinity_is_named_with_its_place() {
    for (name, bad, at) in [("q", f32::NAN, 95), ("k", f32::INFINITY, 0), ("v", f32::NEG_INFINITY, 41)] {
        let shape: [usize; 4] = if name == "q" { [1, 3, 4, 8] } else { [1, 5, 2, 8] };
        let mut data = vec![0.5; shape.iter().product()];
        data[at] = bad;
        let index = format!("index {at}");
        refused(
            "attention",
            &attention().floats(name, &shape, &data),
            plain(),
            &[&format!("`{name}`"), &index],
        );
    }
    let half_nan = 0x7e00u16.to_le_bytes().repeat(5);
    let file = attention().raw("key_bias", FileDtype::F16, &[1, 5], half_nan);
    refused("attention", &file, plain(), &["`key_bias`", "index 0"]);
}

#[test]
fn values_past_the_range_of_the_storage_are_refused() {
    let mut data = vec![0.5; 80];
    data[17] = 70000.0;
    let file = attention().floats("k", &[1, 5, 2, 8], &data);
    let halves = RunOptions { dtype: Dtype::F16, ..plain() };
    refused_bytes("attention", &file.bytes(), &halves, &["`k`", "70000", "index 17", "6.5504e4", "f16"]);
    let doubles = 1e300f64.to_le_bytes().repeat(80);
    let file = attention().raw("v", FileDtype::F64, &[1, 5, 2, 8], doubles);
    refused_bytes("attention", &file.bytes(), &plain(), &["`v`", "index 0", "f32"]);
}

#[test]
fn files_that_are_not_whole_are_refused() {
    let bytes = attention().bytes();
    for length in [0, 4, 8, 60, bytes.len() - 1] {
        refused_bytes("attention", &bytes[..length], &plain(), &["not a whole safetensors file"]);
    }
    let mut broken = bytes.clone();
    broken[0] = 0xff;
    refused_bytes("attention", &broken, &plain(), &["not a whole safetensors file"]);
    refused_bytes("attention", b"{}{}{}{}{}{}{}{}{}", &plain(), &["not a whole safetensors file"]);
    refused("attention", &attention().without("k"), plain(), &["`k`", "missing", "q, v"]);
}

#[test]
fn types_that_a_tensor_can_not_have_are_refused() {
    let integers = attention().raw("q", FileDtype::I32, &[1, 3, 4, 8], vec![0; 4 * 96]);
    refused("attention", &integers, plain(), &["`q`", "integers", "F16, F32 or F64"]);
    let long = attention().raw("k", FileDtype::I64, &[1, 5, 2, 8], vec![0; 8 * 80]);
    refused("attention", &long, plain(), &["`k`", "I64", "U8"]);
    let float_mask = attention().filled("key_mask", &[1, 5]);
    refused("attention", &float_mask, plain(), &["`key_mask`", "floats", "U8"]);
    let two = attention().raw("key_mask", FileDtype::U8, &[1, 5], vec![1, 0, 1, 2, 1]);
    refused("attention", &two, plain(), &["`key_mask`", "2", "index 3", "0 or 1"]);
}

#[test]
fn keys_and_values_of_the_configuration_are_checked() {
    let with = |pair: &str, words: &[&str]| refused("attention", &attention(), set(&[pair]), words);
    with("casual=true", &["`casual`", "causal, window, q_offset, scale"]);
    with("causal=maybe", &["`causal`", "maybe", "true, false, 1 or 0"]);
    with("window=-2", &["`window`", "-2", "null, -1 or a number"]);
    with("window=1.5", &["`window`", "1.5", "null, -1 or a number"]);
    with("window=[3]", &["`window`", "[3]", "null, -1 or a number"]);
    with("scale=big", &["`scale`", "big", "a finite number"]);
    with("q_offset=0.5", &["`q_offset`", "0.5", "an integer"]);
    with("causal", &["--set", "key=value", "`causal`"]);
    refused_bytes(
        "attention",
        &attention().bytes(),
        &set(&["scale=1e300"]),
        &["`scale`", "inf", "a finite number"],
    );
    let far = set(&["q_offset=9223372036854775807"]);
    refused_bytes("attention", &attention().bytes(), &far, &["`q_offset`", "9223372036854775807", "2^29"]);

    refused("attention", &attention().config(r#"{"heads": 4}"#), plain(), &["`heads`", "causal, window"]);
    refused("attention", &attention().config("[1]"), plain(), &["attention", "not a JSON object"]);
    let options = RunOptions { config: Some("{".into()), ..plain() };
    refused("attention", &attention(), options, &["attention", "not a JSON object"]);

    let layer = |pairs: &[&str], words: &[&str]| refused("sqa_layer", &sqa_layer(), set(pairs), words);
    layer(&["query_heads=0"], &["`query_heads`", "0", "a positive integer"]);
    layer(&["query_heads=null"], &["`query_heads`", "missing", "a positive integer"]);
    layer(&["query_heads=3", "kv_heads=2"], &["`query_heads`", "3", "a multiple or a divisor"]);
    layer(&["head_dim=null", "heads=3"], &["`heads`", "3", "a divisor of dm = 8"]);
    layer(&["head_dim=null"], &["`head_dim`", "missing", "head_dim or heads"]);
    layer(&["head_dim=5", "rope=1"], &["`head_dim`", "5", "even"]);
}

#[test]
fn unknown_kernels_and_variants_list_the_known_ones() {
    refused("atention", &attention(), plain(), &["`atention`", "attention", "sqa_layer"]);
    let error = "fast".parse::<VariantKind>().unwrap_err();
    assert_eq!(error, "variant `fast`; expected one of portable, subgroup, cpu, cpu-plain");
    if !variants().contains(&VariantKind::Subgroup) {
        let options = RunOptions { variant: Some(VariantKind::Subgroup), ..plain() };
        refused_bytes(
            "attention",
            &attention().bytes(),
            &options,
            &["`variant`", "subgroup", "the device has"],
        );
    }
    let options = GpuOptions { adapter: Some("no such adapter".into()), ..GpuOptions::default() };
    let error = pollster::block_on(Gpu::request(options)).unwrap_err();
    assert!(matches!(error, Error::NoAdapter { .. }), "{error:?}");
    assert!(error.to_string().contains("`no such adapter`; found: "), "{error}");
}

#[test]
fn local_linear_attention_names_what_does_not_fit() {
    let refuse =
        |file: File, options: RunOptions, words: &[&str]| refused("flash_lla", &file, options, words);
    let file = flash_lla;
    for (file, words) in [
        (file().filled("k", &[1, 5, 2, 6]), ["`k`", "6", "8"]),
        (file().filled("q", &[1, 3, 3, 8]), ["`q`", "3 heads", "multiple of the 2 heads"]),
        (file().filled("v", &[1, 4, 2, 8]), ["`v`", "[1, 4, 2, 8]", "[1, 5, 2, "]),
        (file().filled("q", &[3, 4, 8]), ["`q`", "[3, 4, 8]", "expected ["]),
        (
            file().filled("q", &[1, 3, 4, 129]).filled("k", &[1, 5, 2, 129]),
            ["`q`", "head dim 129", "1 to 128"],
        ),
        (file().filled("v", &[1, 5, 2, 256]), ["`v`", "head dim 256", "1 to 128"]),
        (file().raw("mask", FileDtype::U8, &[5, 3], vec![1; 15]), ["`mask`", "[5, 3]", "[3, 5]"]),
        (file().raw("mask", FileDtype::U8, &[1, 5], vec![1; 5]), ["`mask`", "[1, 5]", "[3, 5]"]),
        (file().raw("mask", FileDtype::U8, &[3, 5], vec![3; 15]), ["`mask`", "3 at index 0", "0 or 1"]),
        (file().filled("mask", &[3, 5]), ["`mask`", "floats", "U8"]),
        (file().filled("key_bias", &[5]), ["`key_bias`", "[5]", "[1, 5]"]),
        (file().floats("v", &[1, 5, 2, 8], &[f32::NAN; 80]), ["`v`", "not finite", "index 0"]),
        (file().without("k"), ["`k`", "missing", "key_bias, mask, q, v"]),
    ] {
        refuse(file, plain(), &words);
    }
    for (pair, words) in [
        ("ridge=-0.1", ["`ridge`", "-0.1", "at least 0"]),
        ("ridge=1e300", ["`ridge`", "inf", "a finite number"]),
        ("ridge_floor=-1", ["`ridge_floor`", "-1", "at least 0"]),
        ("rtol=-1e-3", ["`rtol`", "-0.001", "at least 0"]),
        ("rtol=small", ["`rtol`", "small", "a finite number"]),
        ("max_iters=5000", ["`max_iters`", "5000", "0 to 1024"]),
        ("max_iters=-1", ["`max_iters`", "-1", "an integer, at least 0"]),
        ("max_iters=2.5", ["`max_iters`", "2.5", "an integer, at least 0"]),
        ("scale=1e300", ["`scale`", "inf", "a finite number"]),
        ("q_offset=1000000000", ["`q_offset`", "1000000000", "2^29"]),
        ("lambda=1", ["`lambda`", "unknown key", "ridge, ridge_floor, rtol, max_iters"]),
        ("causal=2", ["`causal`", "2", "true, false, 1 or 0"]),
    ] {
        refuse(file(), set(&[pair]), &words);
    }
}

#[test]
fn local_linear_attention_checks_its_configuration_and_inputs() {
    let text = |config: FlashLlaConfig| FlashLla::new(gpu(), config).unwrap_err().to_string();
    let error = text(FlashLlaConfig { ridge: f32::NAN, ..Default::default() });
    assert_eq!(error, "flash_lla: `ridge` = NaN; expected a finite number, at least 0");
    let error = text(FlashLlaConfig { max_iters: 5000, ..Default::default() });
    assert_eq!(error, "flash_lla: `max_iters` = 5000; expected 0 to 1024");
    let probe = |config: LlaProbeConfig| LlaProbe::new(gpu(), config).unwrap_err().to_string();
    let error = probe(LlaProbeConfig { scale: Some(f32::INFINITY), ..Default::default() });
    assert_eq!(error, "lla_probe: `scale` = inf; expected a finite number");

    let rows = upload("rows", &[1, 40, 2, 4], &[0.0; 320]);
    let words =
        |shape: &[usize]| Tensor::upload(gpu(), "words", shape, &vec![0u32; shape.iter().product()]).unwrap();
    let (mask, packed_wrong, lengths) = (words(&[40, 2]), words(&[40, 40]), words(&[1]));
    let refused = |inputs: FlashLlaInputs<'_>| {
        let operator = FlashLla::new(gpu(), FlashLlaConfig::default()).unwrap();
        operator.record(&mut Schedule::new(gpu()), inputs).unwrap_err().to_string()
    };
    let plain = FlashLlaInputs::new(&rows, &rows, &rows);
    let error = refused(FlashLlaInputs { mask: Some(&mask), lengths: Some(&lengths), ..plain });
    assert_eq!(error, "flash_lla: `lengths` = given; expected none beside a mask");
    let error = refused(FlashLlaInputs { mask: Some(&packed_wrong), ..plain });
    assert_eq!(error, "flash_lla: tensor `mask` has shape [40, 40]; expected [40, 2]");
    let error = refused(FlashLlaInputs { mask: Some(&rows), ..plain });
    assert_eq!(error, "flash_lla: tensor `mask` is f32; expected u32");
    let error = refused(FlashLlaInputs { lengths: Some(&mask), ..plain });
    assert_eq!(error, "flash_lla: tensor `lengths` has shape [40, 2]; expected [1]");

    let operator = LlaProbe::new(gpu(), LlaProbeConfig::default()).unwrap();
    let short = upload("beta", &[1, 40, 2, 3], &[0.0; 240]);
    let error = operator.record(&mut Schedule::new(gpu()), plain, &short).unwrap_err().to_string();
    assert_eq!(error, "lla_probe: tensor `beta` has shape [1, 40, 2, 3]; expected [1, 40, 2, 4]");
}

/// An output of 137 MiB from inputs of half a MiB, on a device with the limits that every WebGPU adapter has.
#[test]
fn an_output_past_the_binding_limit_is_refused_before_anything_runs() {
    let gpu =
        pollster::block_on(Gpu::request(GpuOptions { webgpu_defaults: true, ..Default::default() })).unwrap();
    let file = File::default()
        .filled("q", &[1, 140_000, 1, 1])
        .filled("k", &[1, 1, 1, 1])
        .filled("v", &[1, 1, 1, 256]);
    let error = pollster::block_on(run(&gpu, "attention", &file.bytes(), &plain())).unwrap_err();
    let Error::Limit { needed, allowed, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*needed, *allowed), (4 * 140_000 * 256, 128 << 20));
    let text = error.to_string();
    for word in
        ["[1, 140000, 1, 256]", "maxStorageBufferBindingSize", "143360000", "134217728", "split the batch"]
    {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
    assert_eq!(gpu.submits(), 0);
    let error = Tensor::zeros(&gpu, "big", &[1 << 20, 33], Dtype::F32).unwrap_err();
    assert!(
        matches!(error, Error::Limit { .. }) && error.to_string().contains("`big` [1048576, 33]"),
        "{error}"
    );
}

/// WebGPU forbids a dispatch that reads and writes one buffer.
#[test]
fn an_output_over_an_input_is_refused() {
    let two = upload("rows", &[1, 2, 1, 4], &[0.0; 8]);
    let planned = {
        let mut schedule = Schedule::new(gpu());
        let attention = Attention::new(gpu(), AttentionConfig::default()).unwrap();
        let out = attention.record(&mut schedule, AttentionInputs::new(&two, &two, &two)).unwrap().out;
        (schedule, out)
    };
    let cache = |key: &Tensor| {
        let cache = KvCache::new(gpu(), 1, 2, 1, 4, 4, Dtype::F32).unwrap();
        KvCache { key: key.clone(), ..cache }
    };
    let mut schedule = Schedule::new(gpu());
    cache(&two).record_append(&mut schedule, &two, &two).unwrap();
    let error = schedule.compile().unwrap_err();
    assert!(matches!(error, Error::Schedule(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("append key: `rows` and `rows` lie in one buffer"), "{text}");

    // The same with a tensor whose memory is still to be planned.
    let (mut schedule, out) = planned;
    cache(&out).record_append(&mut schedule, &out, &two).unwrap();
    let error = schedule.compile().unwrap_err();
    assert!(matches!(error, Error::Schedule(_)), "{error:?}");
}

#[test]
fn tensors_are_checked_when_they_are_made_and_read() {
    let text = |error: Error| error.to_string();
    let floats = upload("rows", &[2, 3], &[0.0; 6]);
    let error = text(Tensor::upload(gpu(), "rows", &[2, 2], &[0.0f32; 3]).unwrap_err());
    assert_eq!(error, "upload: tensor `rows` has shape [2, 2]; expected 3 elements");
    let error = text(floats.write(gpu(), &[0u32; 6]).unwrap_err());
    assert_eq!(error, "write: tensor `rows` is f32; expected u32");
    let error = text(floats.reshape(&[4]).unwrap_err());
    assert_eq!(error, "reshape: tensor `rows` has shape [2, 3]; expected as many elements as [4]");
    let error = text(pollster::block_on(floats.read::<u32>(gpu())).unwrap_err());
    assert_eq!(error, "read: tensor `rows` is f32; expected u32");
}

#[test]
fn packed_bounds_start_at_zero_and_do_not_fall() {
    let text = |query: &[u32], key: &[u32]| PackedSequences::new(gpu(), query, key).unwrap_err().to_string();
    assert!(
        text(&[1, 2], &[0, 2])
            .contains("`query_bounds` = [1, 2]; expected at least two entries, the first 0")
    );
    assert!(text(&[0, 2], &[0]).contains("`key_bounds` = [0]"));
    assert!(text(&[0, 5, 3], &[0, 1, 2]).contains("3 after 5 at entry 2; expected entries that do not fall"));
    assert!(
        text(&[0, 5], &[0, 1, 2]).contains("`key_bounds` = 3 entries; expected 2 entries, as query_bounds")
    );

    let sequences = PackedSequences::new(gpu(), &[0, 2], &[0, 3]).unwrap();
    let rows = upload("rows", &[2, 1, 4], &[0.0; 8]);
    let inputs = AttentionInputs { sequences: Some(&sequences), ..AttentionInputs::new(&rows, &rows, &rows) };
    let attention = Attention::new(gpu(), AttentionConfig::default()).unwrap();
    let error = attention.record(&mut Schedule::new(gpu()), inputs).unwrap_err().to_string();
    assert_eq!(error, "attention: tensor `k` has 2 packed tokens; expected 3, where the last sequence ends");
    let lengths = Tensor::upload(gpu(), "lengths", &[1], &[2u32]).unwrap();
    let sequences = PackedSequences::new(gpu(), &[0, 2], &[0, 2]).unwrap();
    let inputs = AttentionInputs { sequences: Some(&sequences), lengths: Some(&lengths), ..inputs };
    let error = attention.record(&mut Schedule::new(gpu()), inputs).unwrap_err().to_string();
    assert_eq!(error, "attention: `lengths` = given; expected none beside packed sequences");
}

#[test]
fn scales_and_offsets_out_of_range_are_refused() {
    let text = |config: AttentionConfig| Attention::new(gpu(), config).unwrap_err().to_string();
    for scale in [f32::NAN, f32::INFINITY] {
        let error = text(AttentionConfig { scale: Some(scale), ..Default::default() });
        assert_eq!(error, format!("attention: `scale` = {scale}; expected a finite number"));
    }
    for offset in [1 << 29, -(1 << 29), i64::MIN] {
        let error = text(AttentionConfig { q_offset: Some(offset), ..Default::default() });
        assert_eq!(error, format!("attention: `q_offset` = {offset}; expected a position within ±2^29"));
    }
}

/// A run by name tells its progress, and ends where it is told to.
#[test]
fn a_run_by_name_can_be_stopped() {
    use gristmill::run::OnProgress;
    use std::cell::RefCell;
    use std::ops::ControlFlow;
    use std::rc::Rc;

    let bytes = std::fs::read("tests/golden/sqa_attn_cross.safetensors").unwrap();
    let shares = Rc::new(RefCell::new(Vec::new()));
    let seen = shares.clone();
    let progress = OnProgress::new(move |share| {
        seen.borrow_mut().push(share);
        ControlFlow::Continue(())
    });
    pollster::block_on(run(common::gpu(), "attention", &bytes, &RunOptions { progress, ..plain() })).unwrap();
    assert_eq!(shares.borrow().last(), Some(&1.0));
    let progress = OnProgress::new(|_| ControlFlow::Break(()));
    let stopped =
        pollster::block_on(run(common::gpu(), "attention", &bytes, &RunOptions { progress, ..plain() }));
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
}
