//! The paper's test-time regression: who learns a piecewise linear function while reading it.

use super::DemoArgs;
use crate::denoise::bar;
use crate::plot::{LineChart, Scale, Series};
use crate::report::Report;
use anyhow::Result;
use gristmill::Gpu;
use gristmill::models::test_time_regression::{RegressionData, Regressor, TestTimeRegression, best};

/// Pairs of a segment; the error against position is drawn for the second.
const SEGMENTS: [usize; 4] = [64, 128, 256, 512];
const DRAWN: usize = 1;

/// Positions whose errors are averaged for one point of a line.
const BIN: usize = 16;

/// Errors of softmax, linear and local linear attention for each length of a segment.
pub struct Regression {
    task: TestTimeRegression,
    outcomes: Vec<[Outcome; 3]>,
}

struct Outcome {
    regressor: Regressor,
    /// Mean squared error by position.
    errors: Vec<f64>,
}

impl Outcome {
    fn mean(&self) -> f64 {
        mean(&self.errors)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

impl Regression {
    /// Chooses the settings of each method on one sequence, measures on others, and draws the plots.
    pub fn run(gpu: &Gpu, args: &DemoArgs) -> Result<Self> {
        let variant = args.adapter.variant;
        let task = TestTimeRegression::default();
        let bar = bar("    ");
        let mut outcomes = Vec::new();
        for segment in SEGMENTS {
            bar.set_message(format!("segments of {segment}"));
            let task = TestTimeRegression { segment, ..task };
            let choosing = TestTimeRegression { seed: task.seed + 1, sequences: 1, ..task }.data()?;
            let data = task.data()?;
            let outcome = |candidates: &Vec<Regressor>| -> Result<Outcome> {
                let regressor = pollster::block_on(best(gpu, &choosing, candidates, variant))?;
                bar.inc(1000 / (3 * SEGMENTS.len() as u64));
                Ok(Outcome { regressor, errors: errors(gpu, args, &data, regressor)? })
            };
            let [softmax, linear, lla] = Regressor::candidates();
            outcomes.push([outcome(&softmax)?, outcome(&linear)?, outcome(&lla)?]);
        }
        bar.finish_and_clear();
        let regression = Self { task, outcomes };
        regression.by_position().save(&args.output.join("regression.png"))?;
        regression.by_segment().save(&args.output.join("regression_segments.png"))?;
        Ok(regression)
    }

    /// One line for the terminal.
    pub fn summary(&self) -> String {
        let each = self.outcomes[DRAWN].iter().map(|o| format!("{} {:.3}", o.regressor.name(), o.mean()));
        let each: Vec<_> = each.collect();
        format!("mean squared error, segments of {}: {}", SEGMENTS[DRAWN], each.join(", "))
    }

    fn by_position(&self) -> LineChart {
        let line = |outcome: &Outcome| {
            let points = outcome.errors.chunks(BIN).enumerate();
            let points = points.map(|(bin, errors)| ((bin * BIN + BIN / 2) as f64, mean(errors)));
            Series::new(outcome.regressor.name(), points)
        };
        LineChart {
            title: format!("A line that changes every {} pairs", SEGMENTS[DRAWN]),
            x_label: format!("position (means of {BIN})"),
            y_label: "mean squared error, 1 = knowing nothing".into(),
            x_scale: Scale::Linear,
            y_scale: Scale::Log10,
            series: self.outcomes[DRAWN].iter().map(line).collect(),
        }
    }

    fn by_segment(&self) -> LineChart {
        let line = |method: usize| {
            let points = SEGMENTS.iter().zip(&self.outcomes);
            let points = points.map(|(&segment, of)| (segment as f64, of[method].mean()));
            Series::new(self.outcomes[0][method].regressor.name(), points)
        };
        LineChart {
            title: "The longer a line lasts, the more a local line gains".into(),
            x_label: "pairs of a segment".into(),
            y_label: "mean squared error".into(),
            x_scale: Scale::Log2,
            y_scale: Scale::Log10,
            series: (0..3).map(line).collect(),
        }
    }

    /// Mean error, that of the first segment, and that of the last quarter of the segments after it.
    fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let header =
            ["segment", "method", "scale", "ridge", "mean", "first segment", "end of later segments"];
        let rows = SEGMENTS.iter().zip(&self.outcomes).flat_map(|(&segment, of)| {
            of.iter().map(move |outcome| {
                let (scale, ridge) = match outcome.regressor {
                    Regressor::Softmax { scale } => (scale.to_string(), "–".to_string()),
                    Regressor::Linear { ridge } => ("0".into(), ridge.to_string()),
                    Regressor::Lla { scale, ridge } => (scale.to_string(), ridge.to_string()),
                };
                let (first, later) = outcome.errors.split_at(segment);
                let ends: Vec<f64> =
                    later.chunks(segment).flat_map(|one| &one[3 * segment / 4..]).copied().collect();
                let errors = [outcome.mean(), mean(first), mean(&ends)].map(|error| format!("{error:.3}"));
                let name = outcome.regressor.name().to_string();
                [segment.to_string(), name, scale, ridge].into_iter().chain(errors).collect()
            })
        });
        (header.map(str::to_owned).into(), rows.collect())
    }

    /// The section of the report.
    pub fn report(&self, report: &mut Report) {
        let TestTimeRegression { sequences, tokens, dim, noise, .. } = self.task;
        let (header, rows) = self.table();
        report
            .section("Local linear attention: learning while reading")
            .paragraph(&format!(
                "The paper's test-time regression: {tokens} pairs of a key and a value with {dim} elements each; the value \
                 is a linear function of the key (plus noise of {noise}), a new one in every segment. The value of \
                 each pair is predicted from the pairs before it. Keys of a segment lie around a centre of their own, all of \
                 the length √{dim}. Softmax attention learns where a segment lies, but not its slope; one line \
                 through all pairs (linear attention, the limit of scale 0) serves the first segment alone; a local \
                 line learns both, and goes on learning within each segment."
            ))
            .pictures(&[
                ("regression.png", "the error falls within every segment: mean of the sequences"),
                ("regression_segments.png", "the same for other lengths of a segment"),
            ])
            .paragraph(&format!(
                "Mean squared errors over {sequences} sequences. Scale and ridge of each method are its best of a grid (scales \
                 0.25 to 2, ridges 0.001 to 0.3), chosen on another sequence. The keys' distribution is ours: the paper's \
                 lengths and its kind of task, not its data."
            ))
            .table(&header, &rows);
    }
}

fn errors(gpu: &Gpu, args: &DemoArgs, data: &RegressionData, regressor: Regressor) -> Result<Vec<f64>> {
    let predictions = pollster::block_on(data.predict(gpu, regressor, args.adapter.variant))?;
    Ok(data.errors(&predictions))
}
