//! ATD-light with Pure-Pass by the share of pure pixels: category attention alone, and, asked for with `network=true`, the network.

use super::Bench;
use crate::plot::{LineChart, Scale, Series};
use crate::record::{BenchRecord, figures, text_table};
use anyhow::{Context, Result, bail, ensure};
use gristmill::Dtype;
use gristmill::measure::{
    AtdTimes, Measured, PurePassCase, atd_category_attention, atd_network, atd_window_projection,
    pure_pass_mask,
};
use gristmill::models::atd::Compensation;
use serde_json::{Value, json};

pub const KEYS: &[&str] = &["size", "scale", "pure", "comp", "network"];

/// Percent of the pixels that are pure.
const PURE: [usize; 4] = [25, 50, 75, 100];

/// Category attention of a layer without and with Pure-Pass, the mask, and the network without and with it, all in turns.
pub fn pure_pass(bench: &Bench) -> Result<Vec<BenchRecord>> {
    let side = bench.settings.count("size", 256)?;
    ensure!(side.is_multiple_of(16), "--set size: {side}; expected a multiple of 16");
    let scale = bench.settings.count("scale", 2)?;
    let comp = bench.settings.text("comp", "v");
    let Some(compensation) = Compensation::ALL.into_iter().find(|known| known.name() == comp) else {
        bail!("--set comp: `{comp}`; expected v, proj_v or zero");
    };
    let shares = bench.settings.counts("pure", &PURE)?;
    ensure!(shares.iter().all(|share| *share <= 100), "--set pure: expected 1 to 100, percent of the pixels");
    let with_network = bench.settings.text("network", "false") == "true";
    let plain = PurePassCase { side, scale, pure: None, compensation };
    let cases: Vec<_> = std::iter::once(plain)
        .chain(shares.iter().map(|&share| PurePassCase { pure: Some(share), ..plain }))
        .collect();

    bench.say(format!("ATD-light, {side} x {side}: compiling"));
    let mut labels = vec![("atd window projection", plain)];
    let mut prepared = vec![atd_window_projection(&bench.gpu, &plain, bench.variant)?];
    for case in &cases {
        prepared.push(atd_category_attention(&bench.gpu, case, bench.variant)?);
        labels.push(("atd category attention", *case));
    }
    prepared.push(pure_pass_mask(&bench.gpu, &cases[cases.len() / 2], bench.variant)?);
    labels.push(("pure_pass_mask", cases[cases.len() / 2]));
    if with_network {
        for case in &cases {
            prepared.push(atd_network(&bench.gpu, case, bench.variant)?);
            labels.push(("atd", *case));
        }
    }
    bench.say(format!("ATD-light, {side} x {side}, {} runs in turns", prepared.len()));
    let mut measured = bench.measure(&prepared)?;
    // Category attention starts on top of the projection before it, which also adds what pure pixels get: what is more than that alone.
    let (before, others) = measured.split_at_mut(1);
    others[..cases.len()].iter_mut().for_each(|category| *category = difference(category, &before[0]));
    let mut records: Vec<BenchRecord> = Vec::new();
    for ((kernel, case), measured) in labels.into_iter().zip(&measured) {
        let keys = [
            ("size", json!(side)),
            ("scale", json!(scale)),
            ("pure", json!(case.pure)),
            ("comp", json!(comp)),
        ];
        let mut record = bench.record(kernel, Dtype::F32, &keys, measured);
        let first = records.iter().find(|other| other.kernel == kernel).map(|other| other.ms);
        if let (Some(first), Some(share)) = (first, case.pure) {
            record = record.with_baseline(kernel, first);
            record.details.insert("saved".into(), 1.0 - measured.ms / first);
            record
                .details
                .insert("saved_per_share".into(), (1.0 - measured.ms / first) / (0.01 * share as f64));
            if kernel == "atd" {
                record.details.insert("predicted".into(), case.predicted());
            }
        }
        records.push(record);
    }
    if with_network {
        // The plain network's parts, beside their multiplications.
        let plan = &prepared[cases.len() + 2].plan;
        let times = AtdTimes::new(&pollster::block_on(plan.profile())?);
        let plain =
            records.iter_mut().find(|record| record.kernel == "atd").context("the network was timed")?;
        for (name, share) in AtdTimes::PARTS.iter().zip(times.shares()) {
            plain.details.insert(format!("share of {name}"), share);
        }
    }
    Ok(records)
}

fn difference(more: &Measured, less: &Measured) -> Measured {
    let mut rest = more.clone();
    rest.ms = (more.ms - less.ms).max(0.0);
    rest.cost.flops -= less.cost.flops;
    rest.cost.bytes -= less.cost.bytes;
    rest
}

/// What each share of pure pixels saves, and what the mask costs.
pub fn summary(records: &[BenchRecord]) -> String {
    let rows = records.iter().map(|record| {
        let detail = |key: &str| record.details.get(key);
        vec![
            record.kernel.clone(),
            record.shape["pure"].as_u64().map_or_else(|| "-".into(), |share| format!("{share}%")),
            figures(record.ms),
            detail("saved").map_or_else(String::new, |saved| format!("{:.1}%", 100.0 * saved)),
            detail("saved_per_share").map_or_else(String::new, |per| format!("{per:.2}")),
            detail("predicted").map_or_else(String::new, |saved| format!("{:.1}%", 100.0 * saved)),
        ]
    });
    let table = text_table(
        &["", "pure", "ms", "saved", "of the share", "by multiplications"],
        &rows.collect::<Vec<_>>(),
    );
    let ms = |kernel: &str| records.iter().find(|record| record.kernel == kernel).map(|record| record.ms);
    match (ms("pure_pass_mask"), ms("atd")) {
        (Some(mask), Some(network)) => format!(
            "{table}\nThe mask takes {:.2} % of the network's time.\n\nParts of the network without Pure-Pass (a profiled run):\n{}",
            100.0 * mask / network,
            parts(records)
        ),
        _ => table,
    }
}

/// Each part's share of the time and of the multiplications.
fn parts(records: &[BenchRecord]) -> String {
    let Some(plain) = records.iter().find(|record| record.kernel == "atd") else { return String::new() };
    let scale = plain.shape["scale"].as_u64().unwrap_or(2) as usize;
    let case = PurePassCase { side: 256, scale, pure: None, compensation: Compensation::Value };
    let rows = AtdTimes::PARTS.iter().zip(AtdTimes::predicted(&case)).map(|(name, macs)| {
        let time = plain.details.get(&format!("share of {name}")).copied().unwrap_or(f64::NAN);
        vec![name.to_string(), format!("{:.1}%", 100.0 * time), format!("{:.1}%", 100.0 * macs)]
    });
    text_table(&["", "of the time", "of the multiplications"], &rows.collect::<Vec<_>>())
}

/// Time saved against the share of pure pixels, and dashed that share itself.
pub fn plot(records: &[BenchRecord]) -> LineChart {
    let share = |record: &BenchRecord| record.shape.get("pure").and_then(Value::as_f64);
    let of = |kernel: &str| -> Vec<(f64, f64)> {
        let of_kernel = records.iter().filter(|record| record.kernel == kernel);
        of_kernel.filter_map(|record| Some((share(record)?, 100.0 * record.details.get("saved")?))).collect()
    };
    let shares = of("atd category attention").iter().map(|(share, _)| (*share, *share)).collect::<Vec<_>>();
    LineChart {
        title: "Pure-Pass in ATD-light".into(),
        x_label: "pure pixels, percent".into(),
        y_label: "time saved, percent".into(),
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        series: vec![
            Series::new("category attention", of("atd category attention")).color(0),
            Series::new("the share", shares).color(0).dashed(),
            Series::new("network", of("atd")).color(1),
        ],
    }
}
