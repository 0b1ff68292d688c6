//! Native sparse attention and VideoNSA name what does not fit.

use crate::common::{gpu, upload};
use crate::{File, plain, refused, refused_bytes, set};
use gristmill::kernels::attention::PackedSequences;
use gristmill::kernels::native_sparse::{
    CacheShape, Compression, Gates, NativeSparseAttention, NativeSparseCache, NativeSparseConfig,
    NativeSparseInputs, NewTokens,
};
use gristmill::models::video_nsa::VideoNsa;
use gristmill::run::{RunOptions, run, run_twin};
use gristmill::{Dtype, Schedule, Tensor};
use safetensors::{Dtype as FileDtype, SafeTensors};

const CONFIG: &str = r#"{"cmp_block": 4, "cmp_stride": 2, "sel_block": 4, "top_n": 2, "window": 3}"#;

/// 3 queries on 9 keys, which are 3 blocks to select from.
fn native_sparse() -> File {
    File::default()
        .filled("q", &[1, 3, 4, 8])
        .filled("k", &[1, 9, 2, 8])
        .filled("v", &[1, 9, 2, 8])
        .filled("gates", &[1, 3, 4, 3])
        .config(CONFIG)
}

fn with_blocks(count: usize, blocks: &[i32]) -> File {
    let bytes = blocks.iter().flat_map(|block| block.to_le_bytes()).collect();
    native_sparse().raw("idx", FileDtype::I32, &[1, 3, 2, count], bytes)
}

fn video_nsa() -> File {
    File::default()
        .filled("q", &[1, 9, 4, 8])
        .filled("k", &[1, 9, 2, 8])
        .filled("v", &[1, 9, 2, 8])
        .filled("gate_logits", &[1, 9, 4, 3])
        .raw("is_vision", FileDtype::U8, &[9], vec![0, 1, 1, 1, 1, 1, 0, 0, 0])
        .config(r#"{"cmp_block": 2, "top_n": 2, "window": 3}"#)
}

#[test]
fn the_files_that_are_spoiled_below_run() {
    let lists = [0, 1, -1, 2, 1, 0, 2, -1, 0, 0, -1, -1];
    for file in [native_sparse(), with_blocks(2, &lists), with_blocks(1, &lists[..6])] {
        pollster::block_on(run(gpu(), "native_sparse", &file.bytes(), &plain())).unwrap();
        run_twin("native_sparse", &file.bytes(), &plain()).unwrap();
    }
    pollster::block_on(run(gpu(), "video_nsa", &video_nsa().bytes(), &plain())).unwrap();
    run_twin("video_nsa", &video_nsa().bytes(), &plain()).unwrap();
}

/// A tensor's elements of four bytes in the result of both.
fn both(kernel: &str, file: &File, options: &RunOptions, name: &str) -> [(Vec<usize>, Vec<u32>); 2] {
    let results = [
        pollster::block_on(run(gpu(), kernel, &file.bytes(), options)).unwrap(),
        run_twin(kernel, &file.bytes(), options).unwrap(),
    ];
    results.map(|bytes| {
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let view = file.tensor(name).unwrap();
        let words = view.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()));
        (view.shape().to_vec(), words.collect())
    })
}

#[test]
fn given_blocks_come_back_in_order() {
    let file = with_blocks(2, &[1, 0, 2, -1, -1, 0, 0, 0, -1, -1, 2, 1]);
    let expected = [0, 1, 2, -1, 0, -1, 0, 0, -1, -1, 1, 2].map(|block: i32| block as u32);
    for (shape, words) in both("native_sparse", &file, &plain(), "idx") {
        assert_eq!((shape.as_slice(), words.as_slice()), (&[1, 3, 2, 2][..], &expected[..]));
    }
}

#[test]
fn gates_win_over_their_logits_and_settings_over_the_file() {
    let close = |a: &[u32], b: &[u32], tolerance: f32| {
        let near = |a: u32, b: u32| (f32::from_bits(a) - f32::from_bits(b)).abs() <= tolerance;
        a.iter().zip(b).all(|(a, b)| a == b || near(*a, *b))
    };
    let file = native_sparse();
    let logits = native_sparse().filled("gate_logits", &[1, 3, 4, 3]);
    let only_logits = logits.clone().without("gates");
    let [plain_gpu, plain_twin] = both("native_sparse", &file, &plain(), "out");
    assert!(close(&plain_gpu.1, &plain_twin.1, 2e-5));
    assert_eq!(both("native_sparse", &logits, &plain(), "out")[0], plain_gpu);
    let [logits_gpu, logits_twin] = both("native_sparse", &only_logits, &plain(), "out");
    assert!(close(&logits_gpu.1, &logits_twin.1, 2e-5) && !close(&logits_gpu.1, &plain_gpu.1, 1e-2));
    // Half storage rounds values of up to 1.44, and gates.
    let halves = RunOptions { dtype: Dtype::F16, ..plain() };
    let [halves_gpu, _] = both("native_sparse", &file, &halves, "out");
    assert!(close(&halves_gpu.1, &plain_gpu.1, 2e-3) && halves_gpu != plain_gpu);
    for (pair, name) in
        [("window=0", "o_swa"), ("q_offset=-1", "o_slc"), ("scale=3", "o_cmp"), ("top_n=3", "idx")]
    {
        let [before, _] = both("native_sparse", &file, &plain(), name);
        let [after, twin] = both("native_sparse", &file, &set(&[pair]), name);
        assert_ne!(before, after, "{pair}");
        assert!(after.0 == twin.0 && close(&after.1, &twin.1, 2e-5), "{pair}");
    }
    // No bound is a window over everything.
    let [none, twin] = both("native_sparse", &file, &set(&["window=-1"]), "o_swa");
    assert!(close(&none.1, &twin.1, 2e-5));
    assert_eq!(none, both("native_sparse", &file, &set(&["window=1000"]), "o_swa")[0]);
}

#[test]
fn tensors_that_do_not_fit() {
    let file = native_sparse;
    for (file, words) in [
        (file().filled("k", &[1, 9, 2, 6]), ["`k`", "6", "8"]),
        (file().filled("q", &[1, 3, 3, 8]), ["`q`", "3 heads", "multiple of the 2 heads"]),
        (file().filled("v", &[1, 8, 2, 8]), ["`v`", "[1, 8, 2, 8]", "[1, 9, 2, "]),
        (file().filled("q", &[3, 4, 8]), ["`q`", "[3, 4, 8]", "expected ["]),
        (file().filled("gates", &[1, 3, 2, 3]), ["`gates`", "[1, 3, 2, 3]", "[1, 3, 4, 3]"]),
        (file().filled("gates", &[1, 3, 4]), ["`gates`", "[1, 3, 4]", "3"]),
        (
            file().without("gates").filled("gate_logits", &[1, 9, 4, 3]),
            ["`gate_logits`", "[1, 9, 4, 3]", "[1, 3, 4, 3]"],
        ),
        (file().without("gates"), ["native_sparse", "`gates` or `gate_logits`", "missing"]),
        (file().without("v"), ["`v`", "missing", "gates, k, q"]),
        (file().floats("gates", &[1, 3, 4, 3], &[f32::INFINITY; 36]), ["`gates`", "not finite", "index 0"]),
        (with_blocks(1, &[0, 1, 2, -1, 3, 0]), ["`idx`", "has 3 at index 4", "-1 to 2"]),
        (with_blocks(1, &[0, -2, 2, -1, 0, 0]), ["`idx`", "has -2 at index 1", "9 tokens"]),
        (with_blocks(0, &[]), ["`idx`", "[1, 3, 2, 0]", "n above 0"]),
        (
            file().raw("idx", FileDtype::I32, &[1, 9, 2, 1], vec![0; 72]),
            ["`idx`", "[1, 9, 2, 1]", "[1, 3, 2, n]"],
        ),
        (file().raw("idx", FileDtype::I32, &[6], vec![0; 24]), ["`idx`", "[6]", "[1, 3, 2, n]"]),
        (file().filled("idx", &[1, 3, 2, 1]), ["`idx`", "floats", "I32"]),
    ] {
        refused("native_sparse", &file, plain(), &words);
    }
    let wide = file().filled("q", &[1, 3, 4, 257]).filled("k", &[1, 9, 2, 257]);
    refused_bytes("native_sparse", &wide.bytes(), &plain(), &["`q`", "head dim 257", "1 to 256"]);
}

#[test]
fn configurations_that_can_not_be() {
    for (pairs, words) in [
        (&["cmp_stride=3"][..], ["`cmp_block`", "4", "a multiple of cmp_stride = 3"]),
        (&["sel_block=5"], ["`sel_block`", "5", "a multiple of cmp_stride = 2"]),
        (&["cmp_stride=8"], ["`cmp_block`", "4", "a multiple of cmp_stride = 8"]),
        (&["cmp_block=0"], ["`cmp_block`", "0", "a positive integer"]),
        (&["cmp_stride=-2"], ["`cmp_stride`", "-2", "a positive integer"]),
        (&["top_n=0"], ["`top_n`", "0", "a positive integer"]),
        (&["top_n=4294967296"], ["`top_n`", "4294967296", "2^29"]),
        (&["window=-2"], ["`window`", "-2", "-1 or a number of tokens"]),
        (&["window=1.5"], ["`window`", "1.5", "-1 or a number of tokens"]),
        (&["n_init=-1"], ["`n_init`", "-1", "an integer, at least 0"]),
        (&["n_local=two"], ["`n_local`", "two", "an integer, at least 0"]),
        (&["scale=1e300"], ["`scale`", "inf", "a finite number"]),
        (&["q_offset=1000000000"], ["`q_offset`", "1000000000", "2^29"]),
        (&["block=4"], ["`block`", "unknown key", "cmp_block, cmp_stride, sel_block, top_n, window"]),
        (&["causal=false"], ["`causal`", "unknown key", "n_local"]),
    ] {
        refused("native_sparse", &native_sparse(), set(pairs), &words);
    }
}

#[test]
fn videos_that_do_not_fit() {
    let file = video_nsa;
    for (file, options, words) in [
        (file().without("gate_logits"), plain(), ["video_nsa", "`gates` or `gate_logits`", "missing"]),
        (file().without("is_vision"), plain(), ["`is_vision`", "missing", "U8 [T]"]),
        (file().raw("is_vision", FileDtype::U8, &[8], vec![1; 8]), plain(), ["`is_vision`", "[8]", "[9]"]),
        (
            file().raw("is_vision", FileDtype::U8, &[1, 9], vec![1; 9]),
            plain(),
            ["`is_vision`", "[1, 9]", "["],
        ),
        (
            file().raw("is_vision", FileDtype::U8, &[9], vec![2; 9]),
            plain(),
            ["`is_vision`", "2 at index 0", "0 or 1"],
        ),
        (
            file().filled("q", &[1, 5, 4, 8]).filled("gate_logits", &[1, 5, 4, 3]),
            plain(),
            ["`q`", "5 tokens", "9, as k"],
        ),
        (
            file().filled("gate_logits", &[1, 9, 3, 3]),
            plain(),
            ["`gate_logits`", "[1, 9, 3, 3]", "[1, 9, 4, 3]"],
        ),
        (file(), set(&["q_offset=3"]), ["`q_offset`", "unknown key", "sel_block"]),
        (file(), set(&["cmp_stride=3"]), ["`cmp_block`", "2", "a multiple of cmp_stride = 3"]),
        (file(), set(&["window=-7"]), ["`window`", "-7", "-1 or a number of tokens"]),
    ] {
        refused("video_nsa", &file, options, &words);
    }
    let config = NativeSparseConfig { q_offset: Some(3), ..NativeSparseConfig::video(16) };
    let error = VideoNsa::new(gpu(), config).unwrap_err().to_string();
    assert_eq!(error, "video_nsa: `q_offset` = 3; expected none, as all tokens are given");
}

#[test]
fn tensors_of_the_library_are_checked() {
    let config = NativeSparseConfig { cmp_block: 4, cmp_stride: 2, sel_block: 4, ..Default::default() };
    let operator = NativeSparseAttention::new(gpu(), config.clone()).unwrap();
    let zeros = |shape: &[usize]| upload("zeros", shape, &vec![0.0; shape.iter().product()]);
    let words = |shape: &[usize]| Tensor::zeros(gpu(), "words", shape, Dtype::U32).unwrap();
    let half = |shape: &[usize]| Tensor::zeros(gpu(), "half", shape, Dtype::F16).unwrap();
    let (q, k, gates) = (zeros(&[1, 3, 4, 8]), zeros(&[1, 9, 2, 8]), zeros(&[1, 3, 4, 3]));
    let base = NativeSparseInputs::new(&q, &k, &k, Gates::Values(&gates));
    let refused = |inputs: NativeSparseInputs<'_>| {
        let mut schedule = Schedule::new(gpu());
        operator.record(&mut schedule, &inputs).unwrap_err().to_string()
    };
    let (other, other_half, lists) = (zeros(&[1, 8, 2, 8]), half(&[1, 9, 2, 8]), words(&[1, 3, 3, 1]));
    let (lengths, weights) = (words(&[2]), zeros(&[2, 5]));
    let sequences = PackedSequences::new(gpu(), &[0, 3], &[0, 9]).unwrap();
    let pool = gristmill::kernels::native_sparse::BlockPool { weights: Some(&weights), position: None };
    for (inputs, expected) in [
        (NativeSparseInputs { compressed: Some((&other, &k)), ..base }, "`compressed k`"),
        (NativeSparseInputs { window: Some((&k, &other)), ..base }, "`window v`"),
        (NativeSparseInputs { window: Some((&other_half, &k)), ..base }, "`window k` is f16; expected f32"),
        (NativeSparseInputs { blocks: Some(&lists), ..base }, "`idx` has shape [1, 3, 3, 1]"),
        (NativeSparseInputs { blocks: Some(&k), ..base }, "`idx` is f32; expected u32"),
        (NativeSparseInputs { lengths: Some(&lengths), ..base }, "`lengths` has shape [2]; expected [1]"),
        (NativeSparseInputs { gates: Gates::Logits(&q), ..base }, "`gate_logits` has shape [1, 3, 4, 8]"),
        (
            NativeSparseInputs { gates: Gates::Tempered { logits: &gates, temperature: 0.0 }, ..base },
            "`temperature` = 0; expected a finite number above 0",
        ),
        (
            NativeSparseInputs { compression: Compression::Given { key: &k, value: &k }, ..base },
            "`compressed key` has shape [1, 9, 2, 8]; expected [1, 3, 2, 8]",
        ),
        (
            NativeSparseInputs { compression: Compression::Pool { key: pool, value: pool }, ..base },
            "`weights of k` has shape [2, 5]; expected [2, 4]",
        ),
        (NativeSparseInputs { sequences: Some(&sequences), ..base }, "`q`"),
    ] {
        let error = refused(inputs);
        assert!(error.contains(expected), "no `{expected}` in: {error}");
    }

    let shape = CacheShape {
        batch: 1,
        capacity: 9,
        kv_heads: 2,
        head_dim: 8,
        value_dim: 8,
        dtype: Dtype::F32,
        own_compressed: false,
        own_window: false,
    };
    let error = NativeSparseCache::new(gpu(), &operator, CacheShape { capacity: 0, ..shape }).unwrap_err();
    assert!(error.to_string().contains("no empty dimension"), "{error}");
    let cache = NativeSparseCache::new(gpu(), &operator, shape).unwrap();
    let append = |new: NewTokens<'_>| {
        operator.record_append(&mut Schedule::new(gpu()), &cache, &new).unwrap_err().to_string()
    };
    let long = zeros(&[1, 10, 2, 8]);
    assert!(append(NewTokens::new(&long, &long)).contains("[1, 10, 2, 8]; expected [1, 1..=9, 2, 8]"));
    let error = append(NewTokens { window: Some((&k, &k)), ..NewTokens::new(&k, &k) });
    assert_eq!(error, "native_sparse: `window` = given; expected not given, as in the cache");
    let given = Compression::Given { key: &k, value: &k };
    let error = append(NewTokens { compression: given, ..NewTokens::new(&k, &k) });
    assert!(error.contains("a rule for new blocks"), "{error}");
    let placed = NativeSparseConfig { q_offset: Some(3), ..config };
    let placed = NativeSparseAttention::new(gpu(), placed).unwrap();
    let mut schedule = Schedule::new(gpu());
    let error = placed.record_attend(&mut schedule, &cache, &q, Gates::Values(&gates)).unwrap_err();
    assert!(error.to_string().contains("`q_offset` = 3"), "{error}");
}
