//! Every kernel on the visitor's adapter.

use crate::convert::{Object, Watch};
use crate::error::Failure;
use crate::session::Session;
use gristmill::measure::{self, SuiteCase};
use js_sys::{Array, Function};
use serde_json::json;
use std::ops::ControlFlow;
use wasm_bindgen::prelude::*;

/// Share of the whole that measuring the adapter's peaks takes.
const PEAKS: f64 = 0.1;

#[wasm_bindgen]
impl Session {
    /// JSON: the adapter's peaks and a record for each kernel, which is told to `watch` as it is measured. Options: `kernels`,
    /// `samples`.
    pub async fn bench(&self, options: JsValue, watch: Function) -> Result<String, Failure> {
        let (gpu, watch, options) = (self.gpu(), Watch::new(watch), Object::from(options));
        let samples = options.count("samples", 5, 1..=1000)?;
        let kernels: Vec<String> = match options.get("kernels") {
            Some(names) => Array::from(&names).iter().filter_map(|name| name.as_string()).collect(),
            None => bench_cases(),
        };
        watch.check(0.0)?;
        let peaks = measure::peaks(&gpu).await?;
        let mut records = Vec::new();
        for (done, kernel) in kernels.iter().enumerate() {
            watch.check(PEAKS + (1.0 - PEAKS) * done as f64 / kernels.len() as f64)?;
            let SuiteCase { kernel, shape, prepared, done: part } = measure::suite(&gpu, kernel)?;
            let measured = measure::measure(&gpu, &[prepared], samples).await?.remove(0);
            let part = part.unwrap_or(1.0);
            let rate = |work: f64| work * part / measured.ms * 1e-6;
            let (gflops, gbps) = (rate(measured.cost.flops), rate(measured.cost.bytes));
            let record = json!({
                "kernel": kernel,
                "shape": shape,
                "variant": measured.variant.name(),
                "milliseconds": measured.ms,
                "gflops": gflops,
                "gbps": gbps,
                "share": (gflops / peaks.gflops).max(gbps / peaks.gbps),
            });
            let share = PEAKS + (1.0 - PEAKS) * (done + 1) as f64 / kernels.len() as f64;
            if let ControlFlow::Break(()) = watch.tell(share, record.to_string().into()) {
                return Err(gristmill::Error::Cancelled.into());
            }
            records.push(record);
        }
        let report = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "peaks": { "gflops": peaks.gflops, "gbps": peaks.gbps },
            "records": records,
        });
        Ok(report.to_string())
    }
}

/// The names of the kernels that `bench` measures.
#[wasm_bindgen(js_name = benchCases)]
pub fn bench_cases() -> Vec<String> {
    measure::suite_kernels().map(String::from).collect()
}
