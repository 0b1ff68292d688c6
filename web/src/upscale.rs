//! Super-resolution of a picture.

use crate::convert::{Object, Rgba, object};
use crate::error::Failure;
use crate::session::Session;
use gristmill::kernels::pure_pass::PurePassConfig;
use gristmill::models::atd::{Atd, Compensation, PurePass, Tiling, upscale as enlarge};
use gristmill::models::picture::Picture;
use gristmill::run::atd_file;
use js_sys::{Function, Uint8Array};
use wasm_bindgen::prelude::*;
use web_time::Instant;

#[wasm_bindgen]
impl Session {
    /// Enlarges a picture by the network that `weights` holds. Options: `purePass` (`false`, or `colors` and `window`), `tile`.
    pub async fn upscale(
        &self,
        picture: JsValue,
        weights: Uint8Array,
        options: JsValue,
        watch: Function,
    ) -> Result<JsValue, Failure> {
        let (gpu, options, watch) = self.begin(options, watch)?;
        let picture = Rgba::new(picture)?;
        let (mut config, weights) = atd_file(&weights.to_vec())?;
        if let Some(wanted) = options.get("purePass") {
            config.pure_pass =
                if wanted.is_falsy() { None } else { Some(pure_pass(config.pure_pass, wanted)?) };
        }
        let default = Tiling::default();
        let tiling = Tiling { tile: options.count("tile", default.tile, 1..=4096)?, ..default };
        let start = Instant::now();
        let model = Atd::new(&gpu, config, &weights)?;
        let (height, width, channels) = (picture.height, picture.width, 3);
        let seen = picture.colors();
        let result =
            enlarge(&gpu, &model, Picture { pixels: &seen, height, width, channels }, tiling, |share| {
                watch.share(share)
            })
            .await?;
        drop(seen);
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;

        let pure_share = result
            .mask
            .as_ref()
            .map_or(0.0, |mask| mask.iter().filter(|pure| **pure).count() as f64 / mask.len() as f64);
        let saved =
            model.config().pure_pass.map_or(0.0, |pure| model.macs().saved(pure_share, pure.compensation));
        let mask = result.mask.map(|mask| {
            let bytes: Vec<u8> = mask.into_iter().map(u8::from).collect();
            JsValue::from(Uint8Array::from(&bytes[..]))
        });
        let large = Rgba {
            width: result.width,
            height: result.height,
            bytes: to_bytes(&result.pixels, result.width, &picture),
        };
        let answer = object()
            .set("picture", large.into_js())
            .set("mask", mask.unwrap_or(JsValue::UNDEFINED))
            .set("pureShare", pure_share)
            .set("savedShare", saved)
            .set("scale", model.config().scale as f64)
            .set("tiles", result.tiles as f64)
            .set("tileBytes", result.report.bytes as f64)
            .set("variant", model.explain().kind.name())
            .set("milliseconds", milliseconds);
        Ok(answer.into())
    }
}

/// Changes what is named.
fn pure_pass(own: Option<PurePass>, wanted: JsValue) -> Result<PurePass, Failure> {
    let wanted = Object::from(wanted);
    let own =
        own.unwrap_or(PurePass { mask: PurePassConfig::default(), compensation: Compensation::default() });
    let mask = PurePassConfig {
        colors: wanted.count("colors", own.mask.colors, 1..=256)?,
        window: wanted.count("window", own.mask.window, 1..=256)?,
    };
    Ok(PurePass { mask, ..own })
}

/// Colours over black with the small picture's opacity, which is enlarged beside them (bilinear) and divided out.
fn to_bytes(colors: &[f32], width: usize, small: &Rgba) -> Vec<u8> {
    let byte = |value: f32| (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
    let pixels = colors.chunks_exact(3);
    if small.is_opaque() {
        return pixels.flat_map(|color| [byte(color[0]), byte(color[1]), byte(color[2]), 255]).collect();
    }
    let scale = (width / small.width) as f32;
    let opacity = |at: usize| {
        let place = |at: usize, side: usize| {
            let exact = ((at as f32 + 0.5) / scale - 0.5).clamp(0.0, (side - 1) as f32);
            let low = exact as usize;
            (low, (low + 1).min(side - 1), exact - low as f32)
        };
        let (top, bottom, down) = place(at / width, small.height);
        let (left, right, across) = place(at % width, small.width);
        let alpha = |y: usize, x: usize| f32::from(small.bytes[(y * small.width + x) * 4 + 3]) / 255.0;
        let line = |y: usize| alpha(y, left) + across * (alpha(y, right) - alpha(y, left));
        line(top) + down * (line(bottom) - line(top))
    };
    pixels
        .enumerate()
        .flat_map(|(at, pixel)| {
            let alpha = opacity(at);
            let color = |value: f32| if alpha > 0.0 { byte(value / alpha) } else { 0 };
            [color(pixel[0]), color(pixel[1]), color(pixel[2]), byte(alpha)]
        })
        .collect()
}
