//! What `gristmill bench` measures: one record per kernel, variant and shape, as a text table and as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One measurement. Rates and times are of the median run; a peak of 0 says that the peak was not measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BenchRecord {
    /// The kernel's name, as in `gristmill run --list`.
    pub kernel: String,
    /// The shader build that ran.
    pub variant: String,
    /// The storage type, `f32` or `f16`.
    pub dtype: String,
    /// The shape by key (`tokens`, `head_dim`, ...); in JSON these keys stand beside the fields.
    #[serde(flatten)]
    pub shape: BTreeMap<String, Value>,
    /// Median time in milliseconds.
    pub ms: f64,
    /// Arithmetic rate in GFLOP/s.
    pub gflops: f64,
    /// Memory rate in GB/s: the bytes that the algorithm must move, each once.
    pub gbps: f64,
    /// The adapter's measured arithmetic peak in GFLOP/s.
    pub peak_gflops: f64,
    /// The adapter's measured memory peak in GB/s.
    pub peak_gbps: f64,
    /// The share of the nearer of the two peaks that was reached, 0 to 1.
    pub peak_share: f64,
    /// The name of what the kernel is compared with.
    pub baseline: Option<String>,
    /// Median time of the baseline in milliseconds.
    pub baseline_ms: Option<f64>,
    /// Time of the baseline over time of the kernel.
    pub speedup: Option<f64>,
    /// The speedup that the paper reports for this shape.
    pub paper_speedup: Option<f64>,
    /// Scratch memory of the kernel in bytes: what it allocates beyond inputs and outputs.
    pub extra_bytes: u64,
    /// What else was measured or follows from the shape, by name: in JSON only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, f64>,
}

impl BenchRecord {
    /// Derives rates from the work of one run: `flops` operations and `bytes` moved in `ms` milliseconds.
    pub fn with_work(mut self, ms: f64, flops: f64, bytes: f64) -> Self {
        self.ms = ms;
        self.gflops = flops / ms * 1e-6;
        self.gbps = bytes / ms * 1e-6;
        self
    }

    /// Adds the adapter's peaks. A kernel is limited by the peak that it comes nearer to, so that is its share.
    pub fn with_peaks(mut self, gflops: f64, gbps: f64) -> Self {
        let share = |rate: f64, peak: f64| if peak > 0.0 { rate / peak } else { 0.0 };
        self.peak_gflops = gflops;
        self.peak_gbps = gbps;
        self.peak_share = share(self.gflops, gflops).max(share(self.gbps, gbps));
        self
    }

    /// Adds the baseline and the speedup over it.
    pub fn with_baseline(mut self, name: impl Into<String>, ms: f64) -> Self {
        self.baseline = Some(name.into());
        self.baseline_ms = Some(ms);
        self.speedup = Some(ms / self.ms);
        self
    }

    /// The shape on one line: `head_dim=64 tokens=4096`.
    pub fn shape_text(&self) -> String {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.shape.iter().map(|(key, value)| format!("{key}={}", text(value))).collect::<Vec<_>>().join(" ")
    }

    fn cells(&self) -> [String; HEADERS.len()] {
        let times = |ratio: f64| format!("{ratio:.2}x");
        [
            self.kernel.clone(),
            self.variant.clone(),
            self.dtype.clone(),
            self.shape_text(),
            figures(self.ms),
            positive(self.gflops, figures),
            positive(self.gbps, figures),
            positive(self.peak_share, |share| format!("{:.1}%", share * 100.0)),
            self.baseline.clone().unwrap_or_default(),
            self.baseline_ms.map_or_else(String::new, figures),
            self.speedup.map_or_else(String::new, times),
            self.paper_speedup.map_or_else(String::new, times),
            byte_size(self.extra_bytes),
        ]
    }
}

/// The headers of all columns.
const HEADERS: [&str; 13] = [
    "kernel",
    "variant",
    "dtype",
    "shape",
    "ms",
    "GFLOP/s",
    "GB/s",
    "peak",
    "baseline",
    "baseline ms",
    "speedup",
    "paper",
    "scratch",
];

/// The columns that some record fills, by their place in `HEADERS`.
fn filled(rows: &[[String; HEADERS.len()]]) -> Vec<usize> {
    (0..HEADERS.len()).filter(|&column| rows.iter().any(|row| !row[column].is_empty())).collect()
}

/// The headers and rows of a table of records, without the columns that no record fills.
pub fn columns(records: &[BenchRecord]) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let rows: Vec<_> = records.iter().map(BenchRecord::cells).collect();
    let filled = filled(&rows);
    let pick = |row: &[String; HEADERS.len()]| filled.iter().map(|&column| row[column].clone()).collect();
    (filled.iter().map(|&column| HEADERS[column]).collect(), rows.iter().map(pick).collect())
}

/// The records as a text table with aligned columns; empty for no records.
pub fn table(records: &[BenchRecord]) -> String {
    let (headers, rows) = columns(records);
    if records.is_empty() { String::new() } else { text_table(&headers, &rows) }
}

/// A text table; columns of numbers stand to the right, others to the left.
pub fn text_table<H: AsRef<str>>(headers: &[H], rows: &[Vec<String>]) -> String {
    let column = |index: usize| rows.iter().filter_map(move |row| row.get(index));
    let shape: Vec<(usize, bool)> = (0..headers.len())
        .map(|index| {
            let widest = column(index).map(|cell| cell.chars().count()).max().unwrap_or(0);
            let numbers = column(index).all(|cell| !cell.starts_with(|c: char| c.is_alphabetic()));
            (widest.max(headers[index].as_ref().chars().count()), numbers)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.into_iter().zip(&shape).map(|(cell, &(width, right))| {
            if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let head = line(headers.iter().map(AsRef::as_ref).collect());
    let rule = "-".repeat(head.chars().count() - 1) + "\n";
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    [head, rule].into_iter().chain(body).collect()
}

/// Writes the records as a JSON list.
pub fn write_json(path: &Path, records: &[BenchRecord]) -> Result<()> {
    let mut text = serde_json::to_string_pretty(records)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A number with three significant figures and no exponent.
pub fn figures(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor();
    format!("{value:.*}", (2.0 - magnitude).clamp(0.0, 6.0) as usize)
}

/// A size in bytes with a binary unit: `1.5 MiB`.
pub fn byte_size(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut units = ["KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = "B";
    while size >= 1024.0
        && let Some(next) = units.next()
    {
        size /= 1024.0;
        unit = next;
    }
    let text = format!("{size:.1}");
    format!("{} {unit}", text.trim_end_matches(".0"))
}

fn positive(value: f64, format: impl Fn(f64) -> String) -> String {
    if value > 0.0 { format(value) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> BenchRecord {
        BenchRecord {
            kernel: "attention".into(),
            variant: "portable".into(),
            dtype: "f16".into(),
            shape: BTreeMap::from([("tokens".into(), 4096.into()), ("head_dim".into(), 64.into())]),
            ..Default::default()
        }
        .with_work(2.0, 4e9, 1e8)
        .with_peaks(4000.0, 100.0)
    }

    #[test]
    fn the_nearer_peak_gives_the_share() {
        let record = record();
        assert_eq!((record.gflops, record.gbps), (2000.0, 50.0));
        assert_eq!(record.peak_share, 0.5);
        assert_eq!(record.clone().with_peaks(0.0, 0.0).peak_share, 0.0);
        assert_eq!(record.with_peaks(2500.0, 100.0).peak_share, 0.8);
    }

    #[test]
    fn json_holds_the_shape_beside_the_fields() {
        let records = vec![record().with_baseline("dense", 5.0), record()];
        let text = serde_json::to_string(&records).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value[0]["tokens"], 4096);
        assert_eq!(value[0]["speedup"], 2.5);
        assert_eq!(value[1]["speedup"], Value::Null);
        assert_eq!(serde_json::from_str::<Vec<BenchRecord>>(&text).unwrap(), records);
    }

    #[test]
    fn a_written_file_reads_back() {
        let path = std::env::temp_dir().join(format!("gristmill-record-{}.json", std::process::id()));
        write_json(&path, &[record()]).unwrap();
        let read: Vec<BenchRecord> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read, [record()]);
    }

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let mut wide = record().with_baseline("dense", 123.0);
        wide.kernel = "native_sparse".into();
        let text = table(&[record(), wide]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        let shape = lines[0].find("shape").unwrap();
        assert!(lines[2][shape..].starts_with("head_dim=64 tokens=4096"));
        assert!(lines[3][shape..].starts_with("head_dim=64 tokens=4096"));
        let rate = lines[0].find("GFLOP/s").unwrap() + "GFLOP/s".len();
        assert!(lines[2][..rate].ends_with(" 2000") && lines[3][..rate].ends_with(" 2000"));
        assert!(lines[3].contains("61.50x") && !text.contains("paper") && text.contains("scratch"));
        assert!(lines.iter().all(|line| !line.ends_with(' ')));
        assert_eq!(columns(&[record()]).0.len(), 9);
    }

    #[test]
    fn no_records_make_no_table() {
        assert_eq!(table(&[]), "");
        assert_eq!(columns(&[]).0.len(), 0);
    }

    #[test]
    fn numbers_keep_three_figures() {
        let shown = [0.0, 0.000_012_34, 0.012_34, 1.234, 56.78, 12_345.6].map(figures);
        assert_eq!(shown, ["0", "0.000012", "0.0123", "1.23", "56.8", "12346"]);
        assert_eq!([0, 1023, 1536, 3 << 30].map(byte_size), ["0 B", "1023 B", "1.5 KiB", "3 GiB"]);
    }
}
