//! Every kernel on the visitor's adapter.

use crate::error::Failure;
use crate::session::Session;
use gristmill::measure::{self, SuiteCase};
use js_sys::{Array, Function};
use serde_json::json;
use wasm_bindgen::prelude::*;

/// Share of the whole that measuring the adapter's peaks takes.
const PEAKS: f64 = 0.1;

#[wasm_bindgen]
impl Session {
    /// JSON: the adapter's peaks and a record for each kernel, which is told to `watch` as it is measured. Options: `kernels`,
    /// `samples`.
    pub async fn bench(&self, options: JsValue, watch: Function) -> Result<String, Failure> {
        let (gpu, options, watch) = self.begin(options, watch)?;
        let samples = options.count("samples", 5, 1..=1000)?;
        let kernels: Vec<String> = match options.get("kernels") {
            Some(names) => Array::from(&names).iter().filter_map(|name| name.as_string()).collect(),
            None => bench_cases(),
        };
        let peaks = measure::peaks(&gpu).await?;
        let part = (1.0 - PEAKS) / kernels.len() as f64;
        let mut records = Vec::new();
        for (number, kernel) in kernels.iter().enumerate() {
            let before = PEAKS + part * number as f64;
            watch.check(before)?;
            let SuiteCase { kernel, shape, prepared, done } = measure::suite(&gpu, kernel)?;
            let progress = |share: f64| watch.share(before + part * share);
            let ms = measure::time_watched(&gpu, &[&prepared.plan], samples, progress).await?[0];
            let cost = prepared.plan.cost();
            let rate = |work: f64| work * done.unwrap_or(1.0) / ms * 1e-6;
            let (gflops, gbps) = (rate(cost.flops), rate(cost.bytes));
            let record = json!({
                "kernel": kernel,
                "shape": shape,
                "variant": prepared.variant.name(),
                "milliseconds": ms,
                "gflops": gflops,
                "gbps": gbps,
                "share": (gflops / peaks.gflops).max(gbps / peaks.gbps),
            });
            if watch.tell(before + part, record.to_string().into()).is_break() {
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
