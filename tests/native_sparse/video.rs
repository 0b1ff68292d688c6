//! VideoNSA: sparse attention between the tokens of frames, dense attention for text.

use crate::common::{assert_close, doubles, gpu, read, upload, variants};
use crate::sparse_case::{Case, Data, TOLERANCE};
use gristmill::kernels::native_sparse::{Gates, NativeSparseConfig};
use gristmill::models::video_nsa::{VideoNsa, VideoNsaInputs};
use gristmill::twins::attention::AttentionShape;
use gristmill::twins::native_sparse::NativeSparseOptions;
use gristmill::twins::video_nsa::video_nsa;
use gristmill::{Schedule, Tensor, VariantKind, no_progress};

/// Frames of 16 tokens.
fn video(tokens: usize) -> Case {
    let config = NativeSparseConfig { top_n: 2, window: 12, ..NativeSparseConfig::video(16) };
    Case { sequences: vec![(tokens, tokens); 2], query_heads: 6, config, ..Case::default() }
}

fn run(case: &Case, data: &Data, is_vision: &[bool], kind: VariantKind) -> Vec<f32> {
    let (batch, tokens) = (case.sequences.len(), case.sequences[0].1);
    let [k, v] = &data.kv[0];
    let q = upload("q", &[batch, tokens, case.query_heads, case.head_dim], &data.q);
    let k = upload("k", &[batch, tokens, case.kv_heads, case.head_dim], k);
    let v = upload("v", &[batch, tokens, case.kv_heads, case.value_dim], v);
    let gates = upload("gates", &[batch, tokens, case.query_heads, 3], &data.gates);
    let marks: Vec<u32> = is_vision.iter().map(|mark| *mark as u32).collect();
    let marks = Tensor::upload(gpu(), "is_vision", &[tokens], &marks).unwrap();
    let config = NativeSparseConfig { variant: Some(kind), ..case.config.clone() };
    let gates = Gates::Values(&gates);
    let inputs = VideoNsaInputs { query: &q, key: &k, value: &v, gates, is_vision: &marks };
    let mut schedule = Schedule::new(gpu());
    let out = VideoNsa::new(gpu(), config).unwrap().record(&mut schedule, &inputs).unwrap();
    let plan = schedule.compile().unwrap();
    plan.poison();
    pollster::block_on(plan.run(no_progress)).unwrap();
    read(&out)
}

fn twin(case: &Case, data: &Data, is_vision: &[bool]) -> Vec<f64> {
    let [q, gates] = [&data.q, &data.gates].map(|tensor| doubles(tensor));
    let [k, v] = data.kv[0].each_ref().map(|tensor| doubles(tensor));
    let shape = AttentionShape { batch: case.sequences.len(), ..case.shape(case.sequences[0]) };
    video_nsa(&q, &k, &v, &gates, is_vision, &shape, &NativeSparseOptions::from(&case.config)).out
}

/// Text before, between and behind the frames; frames that text interrupts; one kind alone.
#[test]
fn every_mixture_equals_the_twin() {
    let case = video(90);
    let data = case.data();
    let mixtures: [fn(usize) -> bool; 7] = [
        |token| (5..69).contains(&token),
        |token| !(30..47).contains(&token),
        |token| token % 3 != 0,
        |token| token == 89,
        |token| token != 0,
        |_| true,
        |_| false,
    ];
    for mixture in mixtures {
        let is_vision: Vec<bool> = (0..90).map(mixture).collect();
        let expected = twin(&case, &data, &is_vision);
        for kind in variants() {
            let what = format!("{case:?} by {kind}: {is_vision:?}");
            assert_close(&what, &run(&case, &data, &is_vision, kind), &expected, TOLERANCE);
        }
    }
}

#[test]
fn video_alone_is_sparse_attention_and_text_alone_is_dense() {
    let case = video(77);
    let mut data = case.data();
    let dense = Case { config: NativeSparseConfig { window: 77, ..case.config.clone() }, ..case.clone() };
    for kind in variants() {
        let sparse = case.run(&data, kind);
        assert_close("video", &run(&case, &data, &[true; 77], kind), &doubles(&sparse.out), TOLERANCE);
        let window = dense.run(&data, kind).branches[2].clone();
        let text = run(&case, &data, &[false; 77], kind);
        assert_close("text", &text, &doubles(&window), TOLERANCE);
        // Text has no gates.
        data.gates.iter_mut().for_each(|gate| *gate = -*gate);
        assert!(text == run(&case, &data, &[false; 77], kind), "{kind}");
    }
}

#[test]
fn text_does_not_reach_the_frames() {
    let case = video(90);
    let data = case.data();
    let is_vision: Vec<bool> = (0..90).map(|token| (5..69).contains(&token)).collect();
    let mut changed = data.clone();
    let width = 2 * 16;
    for tensor in &mut changed.kv[0] {
        for token in (0..5).chain(90..95) {
            tensor[token * width..(token + 1) * width].fill(3.0);
        }
    }
    for kind in variants() {
        let (before, after) = (run(&case, &data, &is_vision, kind), run(&case, &changed, &is_vision, kind));
        let frames = |out: &[f32]| [out[5 * 96..69 * 96].to_vec(), out[95 * 96..159 * 96].to_vec()];
        assert!(frames(&before) == frames(&after), "{kind}: a row of the video saw text");
        assert!(before[69 * 96..90 * 96] != after[69 * 96..90 * 96], "{kind}: text sees text");
    }
}
