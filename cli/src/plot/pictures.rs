//! Heat maps, and rows of small pictures.

use std::path::Path;

use anyhow::{Result, ensure};
use plotters::style::RGBColor;

use super::canvas::{Canvas, INK, MARGIN, SOFT_INK, Side, WIDTH, color, draw, text_width};
use super::save;

/// A square of shares: how much each row takes of each column, nothing above the diagonal.
#[derive(Clone, Debug)]
pub struct HeatMap {
    /// Stands above the map.
    pub title: String,
    /// What a column is.
    pub x_label: String,
    /// What a row is.
    pub y_label: String,
    /// What the colours show.
    pub value_label: String,
    /// Rows and columns.
    pub size: usize,
    /// `[size, size]`, 0 to 1.
    pub values: Vec<f64>,
    /// Cells with a ring and a text beside the map: (row, column, text).
    pub marks: Vec<(usize, usize, String)>,
    /// Other texts beside the map.
    pub notes: Vec<String>,
}

/// A small picture in a row of them.
#[derive(Clone, Debug)]
pub struct Still {
    /// Stands below it.
    pub caption: String,
    /// `[side, side, 3]`, values in 0..1.
    pub pixels: Vec<f32>,
    /// Has a frame in the accent colour.
    pub accent: bool,
    /// A part with an outline: top, left and side in pixels.
    pub outline: Option<[usize; 3]>,
}

/// Rows of small pictures with a heading each.
#[derive(Clone, Debug)]
pub struct FilmStrip {
    /// Stands above the rows.
    pub title: String,
    /// What colours mean.
    pub legend: Vec<(String, [u8; 3])>,
    /// Most points of a picture's side.
    pub largest: f64,
    /// Heading and pictures of each row; the first `lead` of a row stand apart from the others.
    pub rows: Vec<(String, Vec<Still>)>,
    /// Pictures that stand apart.
    pub lead: usize,
}

/// Colours of 0, 1/4, 1/2, 3/4 and 1: from the page's white to a dark blue, evenly darker.
const RAMP: [(f64, f64, f64); 5] = [
    (247.0, 248.0, 250.0),
    (184.0, 212.0, 232.0),
    (96.0, 163.0, 206.0),
    (26.0, 99.0, 164.0),
    (6.0, 38.0, 92.0),
];

/// Series 1's colour: what the eye should find.
const ACCENT: usize = 1;

fn ramp(share: f64) -> RGBColor {
    let at = share.clamp(0.0, 1.0) * (RAMP.len() - 1) as f64;
    let index = (at as usize).min(RAMP.len() - 2);
    let (from, to, part) = (RAMP[index], RAMP[index + 1], at - index as f64);
    let mix = |a: f64, b: f64| (a + (b - a) * part).round() as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

impl HeatMap {
    /// Writes the map as a PNG file, two pixels per point.
    pub fn save(&self, path: &Path) -> Result<()> {
        save(path, self.png()?)
    }

    /// The map as the bytes of a PNG file.
    pub fn png(&self) -> Result<Vec<u8>> {
        let size = self.size;
        ensure!(
            size > 0 && self.values.len() == size * size,
            "map `{}` has {} values for {size} x {size} cells",
            self.title,
            self.values.len()
        );
        let (left, top, side) = (MARGIN + 44.0, 64.0, 576.0);
        let (cell, bottom) = (side / size as f64, top + side);
        draw(bottom + 64.0, |canvas| {
            canvas.header(&self.title, &[], |_, _, _| Ok(()))?;
            // Cells meet at whole pixels of the drawing, so that no seam shows.
            let edge = |index: usize| (index as f64 * cell * 4.0).round() / 4.0;
            for row in 0..size {
                for column in 0..=row {
                    let ink = ramp(self.values[row * size + column]);
                    let from = (left + edge(column), top + edge(row));
                    canvas.rectangle(from, (left + edge(column + 1), top + edge(row + 1)), ink)?;
                }
            }
            canvas.line(&[(left, top), (left, bottom), (left + side, bottom)], 1.25, SOFT_INK, false)?;
            canvas.line(&[(left, top), (left + side, bottom)], 1.0, SOFT_INK, false)?;
            let step = [1, 2, 4, 8, 16, 32, 64].into_iter().find(|step| size / step <= 8).unwrap_or(128);
            for tick in (0..size).step_by(step) {
                let middle = (tick as f64 + 0.5) * cell;
                let text = tick.to_string();
                canvas.line(&[(left - 5.0, top + middle), (left, top + middle)], 1.25, SOFT_INK, false)?;
                canvas.text(&text, (left - 9.0, top + middle), 12.0, SOFT_INK, Side::Right)?;
                canvas.line(
                    &[(left + middle, bottom), (left + middle, bottom + 5.0)],
                    1.25,
                    SOFT_INK,
                    false,
                )?;
                canvas.text(&text, (left + middle, bottom + 17.0), 12.0, SOFT_INK, Side::Center)?;
            }
            canvas.text(&self.x_label, (left + side / 2.0, bottom + 42.0), 12.5, SOFT_INK, Side::Center)?;
            canvas.text(&self.y_label, (MARGIN, 50.0), 12.5, SOFT_INK, Side::Left)?;
            for (row, column, _) in &self.marks {
                let at = (left + (*column as f64 + 0.5) * cell, top + (*row as f64 + 0.5) * cell);
                canvas.ring(at, cell / 2.0 + 6.0, 2.0, color(ACCENT))?;
            }
            self.beside(canvas, left, top, side)
        })
    }

    /// The scale of the colours and the texts, in the empty half above the diagonal.
    fn beside(&self, canvas: &Canvas, left: f64, top: f64, side: f64) -> Result<()> {
        let (right, width) = (WIDTH - MARGIN, 190.0);
        let x = right - width;
        canvas.text(&self.value_label, (right, top + 6.0), 12.5, SOFT_INK, Side::Right)?;
        for part in 0..64 {
            let at = |part: usize| x + width * part as f64 / 64.0;
            let ink = ramp((part as f64 + 0.5) / 64.0);
            canvas.rectangle((at(part), top + 20.0), (at(part + 1), top + 34.0), ink)?;
        }
        for (share, text, place) in
            [(0.0, "0", Side::Left), (0.5, "50 %", Side::Center), (1.0, "100 %", Side::Right)]
        {
            canvas.text(text, (x + width * share, top + 47.0), 12.0, SOFT_INK, place)?;
        }
        let marked = self.marks.iter().map(|(_, _, text)| (true, text));
        let texts = marked.chain(self.notes.iter().map(|text| (false, text)));
        let mut y = top + 92.0;
        for (marked, text) in texts {
            // The diagonal leaves less room the higher up a text stands.
            let start = (left + (y - top) + 90.0).clamp(left + side * 0.55, x);
            if marked {
                canvas.ring((start + 8.0, y), 7.0, 2.0, color(ACCENT))?;
            }
            for line in wrapped(text, right - start - 24.0) {
                canvas.text(&line, (start + 24.0, y), 12.5, INK, Side::Left)?;
                y += 18.0;
            }
            y += 10.0;
        }
        Ok(())
    }
}

/// The words of a text in lines of at most `width` points.
fn wrapped(text: &str, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), 12.5) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

impl FilmStrip {
    /// Writes the rows as a PNG file, two pixels per point.
    pub fn save(&self, path: &Path) -> Result<()> {
        save(path, self.png()?)
    }

    /// The rows as the bytes of a PNG file.
    pub fn png(&self) -> Result<Vec<u8>> {
        const GAP: f64 = 6.0;
        const APART: f64 = 18.0;
        let columns = self.rows.iter().map(|(_, stills)| stills.len()).max().unwrap_or(0);
        ensure!(columns > 0, "film `{}` has no picture", self.title);
        let apart = if self.lead > 0 { APART } else { 0.0 };
        let room = WIDTH - 2.0 * MARGIN - apart;
        let side = ((room + GAP) / columns as f64 - GAP).min(self.largest).floor();
        let names: Vec<_> = self.legend.iter().map(|(name, _)| name.as_str()).collect();
        let head = 52.0 + 24.0 * Canvas::legend_rows(&names) as f64;
        let row_height = side + 62.0;
        draw(head + row_height * self.rows.len() as f64 + 12.0, |canvas| {
            let swatch = |canvas: &Canvas, index: usize, (x, y): (f64, f64)| {
                let [r, g, b] = self.legend[index].1;
                canvas.rectangle((x, y - 7.0), (x + 26.0, y + 7.0), RGBColor(r, g, b))
            };
            let mut top = canvas.header(&self.title, &names, swatch)? + 14.0;
            for (heading, stills) in &self.rows {
                canvas.text(heading, (MARGIN, top), 12.5, SOFT_INK, Side::Left)?;
                for (index, still) in stills.iter().enumerate() {
                    let shift = if index >= self.lead { apart } else { 0.0 };
                    let at = (MARGIN + index as f64 * (side + GAP) + shift, top + 14.0);
                    still.draw(canvas, at, side)?;
                }
                top += row_height;
            }
            Ok(())
        })
    }
}

impl Still {
    fn draw(&self, canvas: &Canvas, at: (f64, f64), side: f64) -> Result<()> {
        let pixels = (self.pixels.len() / 3).isqrt();
        ensure!(pixels > 0 && pixels * pixels * 3 == self.pixels.len(), "a picture of a film is square");
        if self.accent {
            let rim = 3.0;
            let far = (at.0 + side + rim, at.1 + side + rim);
            canvas.rectangle((at.0 - rim, at.1 - rim), far, color(ACCENT))?;
        }
        let edge = |index: usize| (index as f64 * side / pixels as f64 * 4.0).round() / 4.0;
        for (index, pixel) in self.pixels.chunks_exact(3).enumerate() {
            let (y, x) = (index / pixels, index % pixels);
            let [r, g, b] = [0, 1, 2].map(|c| (pixel[c].clamp(0.0, 1.0) * 255.0).round() as u8);
            let from = (at.0 + edge(x), at.1 + edge(y));
            canvas.rectangle(from, (at.0 + edge(x + 1), at.1 + edge(y + 1)), RGBColor(r, g, b))?;
        }
        if let Some([top, left, part]) = self.outline {
            let scale = side / pixels as f64;
            let (y, x, part) = (at.1 + top as f64 * scale, at.0 + left as f64 * scale, part as f64 * scale);
            for (rim, width, ink) in [(1.0, 3.5, RGBColor(255, 255, 255)), (0.0, 1.75, color(ACCENT))] {
                let (low, high) = (-rim, part + rim);
                let sides = [
                    (low, low, high, low + width),
                    (low, high - width, high, high),
                    (low, low, low + width, high),
                    (high - width, low, high, high),
                ];
                for (left, top, right, bottom) in sides {
                    canvas.rectangle((x + left, y + top), (x + right, y + bottom), ink)?;
                }
            }
        }
        let ink = if self.accent { color(ACCENT) } else { SOFT_INK };
        canvas.text(&self.caption, (at.0 + side / 2.0, at.1 + side + 13.0), 12.0, ink, Side::Center)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_darken_with_the_share() {
        let light = |share: f64| {
            let RGBColor(r, g, b) = ramp(share);
            r as u32 + g as u32 + b as u32
        };
        let shares: Vec<u32> = (0..=20).map(|step| light(step as f64 / 20.0)).collect();
        assert!(shares.windows(2).all(|pair| pair[0] > pair[1]), "{shares:?}");
        assert_eq!(ramp(-1.0), ramp(0.0));
        assert_eq!(ramp(2.0), RGBColor(6, 38, 92));
    }

    #[test]
    fn long_texts_are_wrapped_between_words() {
        let lines = wrapped("one two three four five six seven", 80.0);
        assert!(lines.len() > 1 && lines.iter().all(|line| text_width(line, 12.5) <= 80.0));
        assert_eq!(lines.join(" "), "one two three four five six seven");
    }

    #[test]
    fn sizes_that_do_not_fit_are_named() {
        let map = HeatMap {
            title: "Frames".into(),
            x_label: String::new(),
            y_label: String::new(),
            value_label: String::new(),
            size: 3,
            values: vec![0.5; 8],
            marks: vec![],
            notes: vec![],
        };
        assert!(map.png().unwrap_err().to_string().contains("8 values for 3 x 3 cells"));
        assert!(HeatMap { values: vec![0.5; 9], ..map }.png().is_ok());
        let empty = FilmStrip { title: "Film".into(), legend: vec![], largest: 96.0, rows: vec![], lead: 0 };
        assert!(empty.png().unwrap_err().to_string().contains("no picture"));
    }
}
