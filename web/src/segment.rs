//! Segmentation by a transformer that merges tokens.

use crate::convert::{Object, Rgba, object};
use crate::error::{Failure, unusable};
use crate::session::Session;
use gristmill::measure;
use gristmill::models::segmenter::{Segmenter, SegmenterOptions, SegmenterSizes};
use js_sys::{Array, Function, Uint8Array, Uint32Array};
use wasm_bindgen::prelude::*;
use web_time::Instant;

#[wasm_bindgen]
impl Session {
    /// What the weights are made for: `side`, `tokens`, `classes`.
    pub fn segmenter(&self, weights: Uint8Array) -> Result<JsValue, Failure> {
        let SegmenterSizes { side, tokens, classes } = SegmenterSizes::read(&weights.to_vec())?;
        Ok(report(side, tokens, &classes).into())
    }

    /// The class of every pixel of a picture of the weights' size. Options: `merge`, `samples`.
    pub async fn segment(
        &self,
        picture: JsValue,
        weights: Uint8Array,
        options: JsValue,
        watch: Function,
    ) -> Result<JsValue, Failure> {
        let (gpu, options, watch) = self.begin(options, watch)?;
        let picture = Rgba::new(picture)?;
        let merge = options.flag("merge", true);
        let samples = options.count("samples", 3, 0..=1000)?;
        let options = SegmenterOptions { merge, ..SegmenterOptions::default() };
        let model = Segmenter::new(&gpu, &weights.to_vec(), &options)?;
        let side = model.side();
        if (picture.width, picture.height) != (side, side) {
            let found = format!("{} x {}", picture.width, picture.height);
            return Err(unusable(
                "picture",
                found,
                &format!("{side} x {side}, the size of the weights' pictures"),
            ));
        }
        let part = if samples == 0 { 1.0 } else { 0.5 };
        let start = Instant::now();
        let result = model.segment(&gpu, &picture.colors(), |at| watch.share(part * at.fraction)).await?;
        let mut milliseconds = start.elapsed().as_secs_f64() * 1e3;
        if samples > 0 {
            let progress = |share: f64| watch.share(part + (1.0 - part) * share);
            milliseconds = measure::time_watched(&gpu, &[model.plan()], samples, progress).await?[0];
        }
        let clusters = result.clusters.map(|ids| JsValue::from(Uint32Array::from(&ids[..])));
        let answer = report(side, model.tokens(), model.classes())
            .set("labels", Uint8Array::from(&result.classes[..]))
            .set("clusters", clusters.unwrap_or(JsValue::UNDEFINED))
            .set("rows", result.rows as f64)
            .set("allRows", model.all_rows() as f64)
            .set("variant", model.explain().kind.name())
            .set("milliseconds", milliseconds);
        Ok(answer.into())
    }
}

fn report(side: usize, tokens: usize, classes: &[String]) -> Object {
    let classes: Array = classes.iter().map(|name| JsValue::from(name.as_str())).collect();
    object().set("side", side as f64).set("tokens", tokens as f64).set("classes", classes)
}
