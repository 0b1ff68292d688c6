//! Convolutions beside a linear layer in the same run.

use super::Bench;
use super::kernels::against_portable;
use crate::record::{BenchRecord, figures, text_table};
use anyhow::Result;
use gristmill::Dtype;
use gristmill::kernels::convolution::ConvolutionKind;
use gristmill::measure::{self, ConvolutionCase};
use serde_json::json;

pub const KEYS: &[&str] = &["size", "inputs", "outputs", "kernel", "dtype"];

/// Kind, channels in and out, kernel, stride, padding.
type Form = (ConvolutionKind, usize, usize, usize, usize, usize);

/// The layers of super-resolution networks and of a VQ-VAE decoder.
const FORMS: [Form; 9] = [
    (ConvolutionKind::Full, 64, 64, 3, 1, 1),
    (ConvolutionKind::Full, 128, 128, 3, 1, 1),
    (ConvolutionKind::Full, 48, 48, 3, 1, 1),
    (ConvolutionKind::Full, 128, 32, 3, 1, 1),
    (ConvolutionKind::Full, 64, 64, 1, 1, 0),
    (ConvolutionKind::Full, 64, 3, 3, 1, 1),
    (ConvolutionKind::Transposed, 128, 64, 4, 2, 1),
    (ConvolutionKind::Depthwise, 64, 64, 5, 1, 2),
    (ConvolutionKind::Depthwise, 64, 64, 7, 1, 3),
];

/// Every form on a square picture; with one of its keys set, a full convolution of that shape.
pub fn convolution(bench: &Bench) -> Result<Vec<BenchRecord>> {
    let settings = &bench.settings;
    let dtype = settings.dtype()?;
    let size = settings.count("size", if bench.is_cpu() { 64 } else { 512 })?;
    let kernel = settings.count("kernel", 3)?;
    let inputs = settings.count("inputs", 64)?;
    let own = (ConvolutionKind::Full, inputs, settings.count("outputs", inputs)?, kernel, 1, kernel / 2);
    let asked = ["inputs", "outputs", "kernel"].iter().any(|key| settings.is_set(key));
    let forms = if asked { vec![own] } else { FORMS.to_vec() };
    let mut records = vec![linear(bench)?];
    for (kind, inputs, outputs, kernel, stride, padding) in forms {
        let name = format!("{kind:?}").to_lowercase();
        bench.say(format!("convolution, {name}, {inputs} to {outputs} channels, {kernel} x {kernel}"));
        let case = ConvolutionCase { kind, size: [size; 2], inputs, outputs, kernel, stride, padding, dtype };
        let keys = [
            ("form", json!(name)),
            ("size", json!(size)),
            ("inputs", json!(inputs)),
            ("outputs", json!(outputs)),
            ("kernel", json!(kernel)),
        ];
        let prepare = |variant| measure::convolution(&bench.gpu, case, variant);
        records.push(against_portable(bench, "convolution", dtype, &keys, prepare)?);
    }
    Ok(records)
}

/// A square product, what convolutions are compared with.
pub fn linear(bench: &Bench) -> Result<BenchRecord> {
    let size = if bench.is_cpu() { 512 } else { 4096 };
    bench.say(format!("linear, {size} x {size} x {size}"));
    let prepared = measure::linear(&bench.gpu, [size; 3], Dtype::F32, bench.variant)?;
    let keys = [("rows", json!(size)), ("inputs", json!(size)), ("outputs", json!(size))];
    Ok(bench.record("linear", Dtype::F32, &keys, &bench.measure(&[prepared])?[0]))
}

/// Rates of the convolutions as shares of the linear layer's.
pub fn summary(records: &[BenchRecord]) -> String {
    let Some(linear) = records.iter().find(|record| record.kernel == "linear") else { return String::new() };
    let rows = records.iter().filter(|record| record.kernel == "convolution").map(|record| {
        let share = format!("{:.0}%", 100.0 * record.gflops / linear.gflops);
        vec![record.shape_text(), figures(record.gflops), share]
    });
    let headers = ["convolution", "GFLOP/s", "of linear"];
    format!("beside `linear` in the same run\n{}", text_table(&headers, &rows.collect::<Vec<_>>()))
}
