//! Attention to look at: frames that look for each other, and time against heads.

use crate::convert::{Object, object};
use crate::error::{Failure, unusable};
use crate::session::Session;
use gristmill::measure::{self, AttentionCase};
use gristmill::models::frame_search::{FRAME_TOKENS, FrameSearch, FrameSearchConfig, FrameTokens};
use gristmill::{Dtype, Plan};
use js_sys::{Array, Float32Array, Function, Uint32Array};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
impl Session {
    /// Which frames of a film its frames select. Options: `topN`.
    #[wasm_bindgen(js_name = searchFrames)]
    pub async fn search_frames(
        &self,
        pixels: Float32Array,
        options: JsValue,
        watch: Function,
    ) -> Result<JsValue, Failure> {
        let (gpu, options, watch) = self.begin(options, watch)?;
        let default = FrameSearchConfig::default();
        let config = FrameSearchConfig { top_n: options.count("topN", default.top_n, 1..=4096)?, ..default };
        let tokens = FrameTokens::new(&pixels.to_vec())?;
        let search = FrameSearch::new(&gpu, &tokens, &config)?;
        let run = async |plan: &Plan, from: f64| {
            // Once to compile, once to be timed.
            plan.run(|at| watch.share(from + 0.2 * at.fraction)).await?;
            let start = web_time::Instant::now();
            plan.run(|at| watch.share(from + 0.2 + 0.25 * at.fraction)).await?;
            Ok::<_, gristmill::Error>(start.elapsed().as_secs_f64() * 1e3)
        };
        let sparse = run(&search.sparse, 0.05).await?;
        let dense = run(&search.dense, 0.5).await?;
        let selection = search.selection(&gpu).await?;
        let rows = selection.frames * FRAME_TOKENS;
        let narrow = |values: &[f64]| -> Vec<f32> { values.iter().map(|value| *value as f32).collect() };
        let answer = object()
            .set("frames", selection.frames as f64)
            .set("topN", config.top_n as f64)
            .set("lists", Uint32Array::from(&selection.lists[..]))
            .set("heat", Float32Array::from(&narrow(&selection.heat())[..]))
            .set("weight", Float32Array::from(&narrow(&selection.weight)[..]))
            .set("meanKeys", search.cost().mean_keys(rows))
            .set("sparseMilliseconds", sparse)
            .set("denseMilliseconds", dense);
        Ok(answer.into())
    }

    /// Times dense attention of `shapes` in turns. Options: `samples`.
    #[wasm_bindgen(js_name = timeAttention)]
    pub async fn time_attention(
        &self,
        shapes: Array,
        options: JsValue,
        watch: Function,
    ) -> Result<Array, Failure> {
        let (gpu, options, watch) = self.begin(options, watch)?;
        let samples = options.count("samples", 5, 1..=1000)?;
        let mut prepared = Vec::new();
        for shape in shapes.iter() {
            prepared.push(measure::attention(&gpu, attention_case(&Object::from(shape))?, None)?);
        }
        let plans: Vec<_> = prepared.iter().map(|one| &one.plan).collect();
        let times = measure::time_watched(&gpu, &plans, samples, |share| watch.share(share)).await?;
        let answers = Array::new();
        for (one, milliseconds) in prepared.iter().zip(times) {
            let answer = object()
                .set("milliseconds", milliseconds)
                .set("gflops", one.plan.cost().flops / milliseconds * 1e-6)
                .set("variant", one.variant.name());
            answers.push(&answer.into());
        }
        Ok(answers)
    }
}

fn attention_case(shape: &Object) -> Result<AttentionCase, Failure> {
    let count = |name: &str| match shape.get(name) {
        None => Err(unusable(name, "missing", "a whole number")),
        Some(_) => shape.count(name, 0, 1..=1 << 20),
    };
    let tokens = count("tokens")?;
    Ok(AttentionCase {
        batch: 1,
        query_tokens: tokens,
        tokens,
        query_heads: count("queryHeads")?,
        kv_heads: count("kvHeads")?,
        head_dim: count("headDim")?,
        causal: shape.flag("causal", false),
        dtype: Dtype::F32,
    })
}
