//! Line and bar charts as PNG pictures. The font is part of the program, so a bare machine draws the same chart.

mod axis;
mod canvas;
mod pictures;

use std::path::Path;

use anyhow::{Context, Result, ensure};

pub use self::axis::Scale;
pub use self::canvas::{INK, color};
pub use self::pictures::{FilmStrip, HeatMap, Still};

use self::axis::Axis;
use self::canvas::{Canvas, GRID, MARGIN, SOFT_INK, Side, WIDTH, draw, text_width};
use crate::record::figures;

/// A named line through points, each with a marker.
#[derive(Clone, Debug)]
pub struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    color: Option<usize>,
    dashed: bool,
}

impl Series {
    /// A solid line in the next colour.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name: name.into(), points: points.into_iter().collect(), color: None, dashed: false }
    }

    /// The same colour and marker as series number `index`: for pairs such as measured and published.
    pub fn color(mut self, index: usize) -> Self {
        self.color = Some(index);
        self
    }

    /// A dashed line with hollow markers: for figures that were not measured here.
    pub fn dashed(mut self) -> Self {
        self.dashed = true;
        self
    }
}

/// Lines over two axes.
#[derive(Clone, Debug)]
pub struct LineChart {
    /// Stands above the chart.
    pub title: String,
    /// What the horizontal axis shows, with its unit.
    pub x_label: String,
    /// What the vertical axis shows, with its unit.
    pub y_label: String,
    /// The horizontal scale.
    pub x_scale: Scale,
    /// The vertical scale.
    pub y_scale: Scale,
    /// The lines. Points that are not finite, or not positive on a logarithmic axis, are left out.
    pub series: Vec<Series>,
}

/// Horizontal bars: one group per label, one bar of a group per series.
#[derive(Clone, Debug)]
pub struct BarChart {
    /// Stands above the chart.
    pub title: String,
    /// What the bars show, with its unit.
    pub value_label: String,
    /// The label of each group, from the top.
    pub labels: Vec<String>,
    /// Name and one value per label; a value that is not finite or is negative draws no bar.
    pub series: Vec<(String, Vec<f64>)>,
}

impl LineChart {
    /// Writes the chart as a PNG file of 900 x 540 points, two pixels per point.
    pub fn save(&self, path: &Path) -> Result<()> {
        save(path, self.png()?)
    }

    /// The chart as the bytes of a PNG file.
    pub fn png(&self) -> Result<Vec<u8>> {
        let shown = |&(x, y): &(f64, f64)| self.x_scale.shows(x) && self.y_scale.shows(y);
        let lines: Vec<Vec<(f64, f64)>> =
            self.series.iter().map(|series| series.points.iter().copied().filter(shown).collect()).collect();
        ensure!(lines.iter().any(|line| !line.is_empty()), "chart `{}` has no point to draw", self.title);
        let x = Axis::new(self.x_scale, lines.iter().flatten().map(|point| point.0));
        let y = Axis::new(self.y_scale, lines.iter().flatten().map(|point| point.1)).rounded();
        let names: Vec<&str> = self.series.iter().map(|series| series.name.as_str()).collect();

        draw(540.0, |canvas| {
            let header = canvas.header(&self.title, &names, |canvas, index, at| {
                let series = &self.series[index];
                let number = series.color.unwrap_or(index);
                // A dashed sample has one dash on either side of its marker.
                let ends = if series.dashed { [7.0, 19.0] } else { [13.0, 13.0] };
                for (from, to) in [(0.0, ends[0]), (ends[1], 26.0)] {
                    canvas.line(&[(at.0 + from, at.1), (at.0 + to, at.1)], 2.5, color(number), false)?;
                }
                canvas.marker((at.0 + 13.0, at.1), number, series.dashed)
            })?;
            let y_width = y.ticks.iter().map(|tick| text_width(&y.text(*tick), 12.0)).fold(0.0, f64::max);
            let (left, right) = (MARGIN + y_width + 10.0, WIDTH - MARGIN - 8.0);
            let (top, bottom) = (header + 38.0, 540.0 - 64.0);
            let place = |(px, py): (f64, f64)| {
                (left + x.position(px) * (right - left), bottom - y.position(py) * (bottom - top))
            };

            canvas.text(&self.y_label, (MARGIN, header + 10.0), 12.5, SOFT_INK, Side::Left)?;
            for &tick in &y.ticks {
                let height = place((x.low, tick)).1;
                canvas.line(&[(left, height), (right, height)], 1.0, GRID, false)?;
                canvas.text(&y.text(tick), (left - 10.0, height), 12.0, SOFT_INK, Side::Right)?;
            }
            canvas.line(&[(left, bottom), (right, bottom)], 1.25, SOFT_INK, false)?;
            let mut free = f64::NEG_INFINITY;
            for &tick in &x.ticks {
                let (middle, text) = (place((tick, y.low)).0, x.text(tick));
                canvas.line(&[(middle, bottom), (middle, bottom + 5.0)], 1.25, SOFT_INK, false)?;
                let half = text_width(&text, 12.0) / 2.0;
                if middle - half > free {
                    canvas.text(&text, (middle, bottom + 17.0), 12.0, SOFT_INK, Side::Center)?;
                    free = middle + half + 8.0;
                }
            }
            canvas.text(
                &self.x_label,
                ((left + right) / 2.0, bottom + 42.0),
                12.5,
                SOFT_INK,
                Side::Center,
            )?;

            for (index, (series, line)) in self.series.iter().zip(&lines).enumerate() {
                let number = series.color.unwrap_or(index);
                let points: Vec<(f64, f64)> = line.iter().copied().map(place).collect();
                canvas.line(&points, 2.5, color(number), series.dashed)?;
                points.iter().try_for_each(|&point| canvas.marker(point, number, series.dashed))?;
            }
            Ok(())
        })
    }
}

impl BarChart {
    /// Writes the chart as a PNG file, 900 points wide and as high as its bars need, two pixels per point.
    pub fn save(&self, path: &Path) -> Result<()> {
        save(path, self.png()?)
    }

    /// The chart as the bytes of a PNG file.
    pub fn png(&self) -> Result<Vec<u8>> {
        let shown = |value: &f64| value.is_finite() && *value >= 0.0;
        for (name, values) in &self.series {
            let (found, expected) = (values.len(), self.labels.len());
            ensure!(
                found == expected,
                "chart `{}`: {name} has {found} values for {expected} labels",
                self.title
            );
        }
        let values: Vec<f64> =
            self.series.iter().flat_map(|series| &series.1).copied().filter(shown).collect();
        ensure!(!values.is_empty(), "chart `{}` has no bar to draw", self.title);
        let axis = Axis::new(Scale::Linear, values.into_iter()).rounded();
        let bar = if self.series.len() == 1 { 22.0 } else { 18.0 };
        let group = bar * self.series.len() as f64 + 14.0;
        let names: Vec<&str> = match &self.series[..] {
            [_] => vec![],
            series => series.iter().map(|series| series.0.as_str()).collect(),
        };
        let legend_rows = Canvas::legend_rows(&names);
        let height = 52.0 + 24.0 * legend_rows as f64 + 12.0 + group * self.labels.len() as f64 + 64.0;

        draw(height, |canvas| {
            let top = canvas.header(&self.title, &names, |canvas, index, at| {
                canvas.rectangle((at.0, at.1 - 6.0), (at.0 + 24.0, at.1 + 6.0), color(index))
            })? + 12.0;
            let label_width = self.labels.iter().map(|label| text_width(label, 12.5)).fold(0.0, f64::max);
            let (left, right) = (MARGIN + label_width.min(400.0) + 12.0, WIDTH - MARGIN - 44.0);
            let bottom = top + group * self.labels.len() as f64;
            let place = |value: f64| left + axis.position(value) * (right - left);

            for &tick in &axis.ticks {
                let x = place(tick);
                canvas.line(&[(x, top), (x, bottom)], 1.0, GRID, false)?;
                canvas.text(&axis.text(tick), (x, bottom + 14.0), 12.0, SOFT_INK, Side::Center)?;
            }
            let middle = ((left + right) / 2.0, bottom + 38.0);
            canvas.text(&self.value_label, middle, 12.5, SOFT_INK, Side::Center)?;
            for (row, label) in self.labels.iter().enumerate() {
                let start = top + group * row as f64 + 7.0;
                let middle = start + (group - 14.0) / 2.0;
                canvas.text(label, (left - 12.0, middle), 12.5, INK, Side::Right)?;
                for (index, (_, values)) in self.series.iter().enumerate().filter(|(_, s)| shown(&s.1[row])) {
                    let (y, end) = (start + bar * index as f64, place(values[row]));
                    canvas.rectangle((left, y + 1.0), (end, y + bar - 1.0), color(index))?;
                    let text = figures(values[row]);
                    canvas.text(&text, (end + 6.0, y + bar / 2.0), 11.5, INK, Side::Left)?;
                }
            }
            canvas.line(&[(left, top), (left, bottom)], 1.25, SOFT_INK, false)
        })
    }
}

fn save(path: &Path, png: Vec<u8>) -> Result<()> {
    std::fs::write(path, png).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(scale: Scale, points: Vec<(f64, f64)>) -> LineChart {
        LineChart {
            title: "Time".into(),
            x_label: "tokens".into(),
            y_label: "ms".into(),
            x_scale: scale,
            y_scale: scale,
            series: vec![
                Series::new("measured", points.clone()),
                Series::new("paper", points).color(0).dashed(),
            ],
        }
    }

    fn size(png: &[u8]) -> (u32, u32) {
        let picture = image::load_from_memory(png).unwrap().into_rgb8();
        assert!(picture.pixels().any(|pixel| pixel.0 == [0, 114, 178]), "the first series has its colour");
        picture.dimensions()
    }

    #[test]
    fn lines_are_drawn_on_every_scale() {
        for scale in [Scale::Linear, Scale::Log10, Scale::Log2] {
            let points = vec![(1024.0, 1.5), (4096.0, 20.0), (200_000.0, 3000.0)];
            assert_eq!(size(&lines(scale, points).png().unwrap()), (1800, 1080));
            assert_eq!(size(&lines(scale, vec![(5.0, 5.0)]).png().unwrap()), (1800, 1080));
        }
    }

    #[test]
    fn texts_longer_than_the_picture_are_cut() {
        let mut chart = lines(Scale::Linear, vec![(1.0, 2.0), (2.0, 3.0)]);
        chart.title = "long title ".repeat(40);
        chart.series[0].color = Some(0);
        chart.series.extend((0..40).map(|index| Series::new(format!("series {index}"), [(1.0, 2.0)])));
        assert_eq!(size(&chart.png().unwrap()), (1800, 1080));
    }

    #[test]
    fn points_off_the_scale_are_left_out() {
        let points = vec![(0.0, 1.0), (f64::NAN, 1.0), (1.0, -2.0)];
        let error = lines(Scale::Log10, points.clone()).png().unwrap_err().to_string();
        assert!(error.contains("`Time` has no point"), "{error}");
        assert!(lines(Scale::Linear, points).png().is_ok());
    }

    #[test]
    fn bars_are_drawn_and_checked() {
        let mut chart = BarChart {
            title: "Rate".into(),
            value_label: "GFLOP/s".into(),
            labels: vec!["attention".into(), "native_sparse".into()],
            series: vec![("ours".into(), vec![120.0, f64::NAN]), ("dense".into(), vec![60.0, 0.0])],
        };
        let (width, height) = size(&chart.png().unwrap());
        assert!(width == 1800 && height > 300);
        chart.series[1].1.pop();
        let error = chart.png().unwrap_err().to_string();
        assert!(error.contains("dense has 1 values for 2 labels"), "{error}");
        chart.series.clear();
        assert!(chart.png().is_err());
    }
}
