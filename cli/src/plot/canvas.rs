//! A white picture on which charts are drawn, measured in points.

use std::io::Cursor;
use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont};
use anyhow::{Context, Result, anyhow};
use image::imageops::FilterType;
use image::{ImageFormat, RgbImage};
use notosans::{BOLD_TTF, REGULAR_TTF};
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

/// The width of every chart in points.
pub const WIDTH: f64 = 900.0;
/// The free border in points.
pub const MARGIN: f64 = 28.0;
/// Pixels of the picture per point: sharp on dense screens.
const DENSITY: u32 = 2;
/// Pixels drawn per pixel of the picture: shapes are drawn with hard edges, averaging smooths them.
const OVERSAMPLE: u32 = 2;

/// Okabe and Ito's colours, told apart with any colour vision; without the yellow, which is faint on white.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(96, 96, 96),
];
/// The colour of values and names.
pub const INK: RGBColor = RGBColor(32, 33, 36);
/// The colour of axes.
pub const SOFT_INK: RGBColor = RGBColor(95, 99, 104);
/// The colour of the grid.
pub const GRID: RGBColor = RGBColor(228, 230, 234);

/// The colour of series `index`.
pub fn color(index: usize) -> RGBColor {
    COLORS[index % COLORS.len()]
}

/// The side of a text that stands at its place.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    /// The text starts there.
    Left,
    /// The text is centred there.
    Center,
    /// The text ends there.
    Right,
}

/// A drawing area measured in points.
pub struct Canvas<'a> {
    area: DrawingArea<BitMapBackend<'a>, Shift>,
}

impl Canvas<'_> {
    /// Draws title and legend and returns the height below them; `swatch` draws sample `index` at a point.
    pub fn header(
        &self,
        title: &str,
        names: &[&str],
        swatch: impl Fn(&Self, usize, (f64, f64)) -> Result<()>,
    ) -> Result<f64> {
        self.write(&BOLD, title, (MARGIN, 30.0), 18.0, INK, Side::Left)?;
        for (index, (name, (x, row))) in names.iter().zip(Self::legend(names)).enumerate() {
            let y = 62.0 + 24.0 * row as f64;
            swatch(self, index, (x, y))?;
            self.text(name, (x + 34.0, y), 12.5, INK, Side::Left)?;
        }
        Ok(52.0 + 24.0 * Self::legend_rows(names) as f64)
    }

    /// Where each entry of the legend starts: its x and its row.
    fn legend(names: &[&str]) -> Vec<(f64, usize)> {
        let (mut x, mut row) = (MARGIN, 0);
        let mut place = |name: &&str| {
            let width = 34.0 + text_width(name, 12.5);
            if x > MARGIN && x + width > WIDTH - MARGIN {
                (x, row) = (MARGIN, row + 1);
            }
            let start = x;
            x += width + 22.0;
            (start, row)
        };
        names.iter().map(&mut place).collect()
    }

    /// Rows of the legend.
    pub fn legend_rows(names: &[&str]) -> usize {
        Self::legend(names).last().map_or(0, |entry| entry.1 + 1)
    }

    /// Writes `text` with its capitals centred on the height of `at`.
    pub fn text(&self, text: &str, at: (f64, f64), size: f64, ink: RGBColor, side: Side) -> Result<()> {
        self.write(&REGULAR, text, at, size, ink, side)
    }

    fn write(
        &self,
        font: &FontRef,
        text: &str,
        at: (f64, f64),
        size: f64,
        ink: RGBColor,
        side: Side,
    ) -> Result<()> {
        let (glyphs, width) = set(font, text, size);
        let before = match side {
            Side::Left => 0.0,
            Side::Center => width / 2.0,
            Side::Right => width,
        };
        let (left, baseline) = pixel((at.0 - before, at.1 + size * CAPITAL / 2.0));
        let mut drawn = Ok(());
        for outline in glyphs.into_iter().filter_map(|glyph| font.outline_glyph(glyph)) {
            let corner = outline.px_bounds().min;
            outline.draw(|x, y, cover| {
                let place = (left + corner.x as i32 + x as i32, baseline + corner.y as i32 + y as i32);
                let ink = ink.mix(f64::from(cover.min(1.0)));
                if drawn.is_ok() {
                    drawn = self.area.draw_pixel(place, &ink);
                }
            });
        }
        drawn.map_err(|error| anyhow!("{error}"))
    }

    /// A line through points.
    pub fn line(&self, points: &[(f64, f64)], width: f64, ink: RGBColor, dashed: bool) -> Result<()> {
        let style = ink.stroke_width(pixels(width) as u32);
        let points = points.iter().copied().map(pixel).collect::<Vec<_>>();
        let drawn = if dashed && points.len() > 1 {
            self.area.draw(&DashedPathElement::new(points, pixels(7.0), pixels(5.0), style))
        } else {
            self.area.draw(&PathElement::new(points, style))
        };
        drawn.map_err(|error| anyhow!("{error}"))
    }

    /// A filled rectangle.
    pub fn rectangle(&self, from: (f64, f64), to: (f64, f64), ink: RGBColor) -> Result<()> {
        let shape = Rectangle::new([pixel(from), pixel(to)], ink.filled());
        self.area.draw(&shape).map_err(|error| anyhow!("{error}"))
    }

    /// A circle, not filled.
    pub fn ring(&self, at: (f64, f64), radius: f64, width: f64, ink: RGBColor) -> Result<()> {
        let style = ink.stroke_width(pixels(width) as u32);
        self.area.draw(&Circle::new(pixel(at), pixels(radius), style)).map_err(|error| anyhow!("{error}"))
    }

    /// The marker of series `index` on a white rim, so that crossing lines stay apart.
    pub fn marker(&self, at: (f64, f64), index: usize, hollow: bool) -> Result<()> {
        self.shape(at, index, 6.25, WHITE)?;
        self.shape(at, index, 4.75, color(index))?;
        if hollow { self.shape(at, index, 2.5, WHITE) } else { Ok(()) }
    }

    /// Disc, square, triangle or diamond of about equal area: shapes tell series apart without colour.
    fn shape(&self, (x, y): (f64, f64), index: usize, radius: f64, ink: RGBColor) -> Result<()> {
        let corners = |unit: &[(f64, f64)]| {
            let corner = |&(cx, cy): &(f64, f64)| pixel((x + radius * cx, y + radius * cy));
            self.area.draw(&Polygon::new(unit.iter().map(corner).collect::<Vec<_>>(), ink.filled()))
        };
        let drawn = match index % 4 {
            0 => self.area.draw(&Circle::new(pixel((x, y)), pixels(radius), ink.filled())),
            1 => corners(&[(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)]),
            2 => corners(&[(0.0, -1.25), (1.15, 0.8), (-1.15, 0.8)]),
            _ => corners(&[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)]),
        };
        drawn.map_err(|error| anyhow!("{error}"))
    }
}

/// The height of Noto Sans' capitals in em.
const CAPITAL: f64 = 0.714;

static REGULAR: LazyLock<FontRef> = LazyLock::new(|| font(REGULAR_TTF));
static BOLD: LazyLock<FontRef> = LazyLock::new(|| font(BOLD_TTF));

fn font(bytes: &'static [u8]) -> FontRef<'static> {
    FontRef::try_from_slice(bytes).expect("the built-in font is whole")
}

/// The width of a text in points.
pub fn text_width(text: &str, size: f64) -> f64 {
    set(&REGULAR, text, size).1
}

/// Places the glyphs of a line on a baseline through the origin, in pixels; with the line's width in points.
fn set(font: &FontRef, text: &str, size: f64) -> (Vec<Glyph>, f64) {
    let scale = f64::from(DENSITY * OVERSAMPLE);
    // The library measures a font by the height of its line, people by its em.
    let line = font.height_unscaled() / font.units_per_em().unwrap_or(1000.0);
    let scaled = font.as_scaled(PxScale::from((size * scale) as f32 * line));
    let (mut x, mut last) = (0.0, None);
    let glyphs = text.chars().map(|letter| {
        let id = scaled.glyph_id(letter);
        x += last.replace(id).map_or(0.0, |last| scaled.kern(last, id));
        let glyph = id.with_scale_and_position(scaled.scale(), ab_glyph::point(x, 0.0));
        x += scaled.h_advance(id);
        glyph
    });
    (glyphs.collect(), f64::from(x) / scale)
}

fn pixels(points: f64) -> i32 {
    (points * f64::from(DENSITY * OVERSAMPLE)).round() as i32
}

fn pixel(at: (f64, f64)) -> (i32, i32) {
    (pixels(at.0), pixels(at.1))
}

/// Draws on white and encodes as PNG.
pub fn draw(height: f64, content: impl FnOnce(&Canvas) -> Result<()>) -> Result<Vec<u8>> {
    let [width, height] = [WIDTH, height].map(|side| side as u32 * DENSITY);
    let size = (width * OVERSAMPLE, height * OVERSAMPLE);
    let mut buffer = vec![255; (size.0 * size.1 * 3) as usize];
    let canvas = Canvas { area: BitMapBackend::with_buffer(&mut buffer, size).into_drawing_area() };
    content(&canvas)?;
    canvas.area.present().map_err(|error| anyhow!("{error}"))?;
    drop(canvas);
    let drawn = RgbImage::from_raw(size.0, size.1, buffer).context("the drawing does not fill its sides")?;
    let mut png = Cursor::new(Vec::new());
    image::imageops::resize(&drawn, width, height, FilterType::Triangle)
        .write_to(&mut png, ImageFormat::Png)?;
    Ok(png.into_inner())
}
