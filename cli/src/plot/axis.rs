//! Scales and their marks.

/// How values are laid along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences; the axis starts at 0 when no value is negative.
    Linear,
    /// Equal ratios, marked at 1, 2 and 5 of each power of ten.
    Log10,
    /// Equal ratios, marked at powers of two: sizes such as tokens. 1024 is written 1k.
    Log2,
}

impl Scale {
    /// Whether the scale has a place for the value.
    pub fn shows(self, value: f64) -> bool {
        value.is_finite() && (self == Scale::Linear || value > 0.0)
    }

    fn forward(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Log10 => value.log10(),
            Scale::Log2 => value.log2(),
        }
    }
}

/// A scale over the range from `low` to `high`, with the values that are marked.
pub struct Axis {
    scale: Scale,
    /// The value at the start.
    pub low: f64,
    high: f64,
    /// The values that are marked, in increasing order.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// The range of the values, a little wider on a logarithmic scale so that markers stay inside.
    pub fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (mut low, mut high) = match scale {
            Scale::Linear => (low.min(0.0), high),
            _ => {
                let ratio = if low == high { 2.0 } else { (high / low).powf(0.03) };
                (low / ratio, high * ratio)
            }
        };
        if low == high {
            high = low + 1.0;
        }
        let step = nice_step(high - low);
        if scale == Scale::Linear && low < 0.0 {
            low = (low / step).floor() * step;
        }
        let ticks = match scale {
            Scale::Linear => steps(low, high, step),
            Scale::Log2 => {
                let count = (high.log2() - low.log2()).ceil();
                steps(low.log2(), high.log2(), (count / 14.0).ceil()).into_iter().map(f64::exp2).collect()
            }
            Scale::Log10 => decades(low, high),
        };
        Self { scale, low, high, ticks }
    }

    /// Raises the top to the next mark, so that the highest line of the grid closes the chart.
    pub fn rounded(mut self) -> Self {
        if self.scale == Scale::Linear
            && let [first, second, ..] = self.ticks[..]
            && let Some(&last) = self.ticks.last()
            && last < self.high * (1.0 - 1e-9)
        {
            self.high = last + second - first;
            self.ticks.push(self.high);
        }
        self
    }

    /// 0 at the low end, 1 at the high end.
    pub fn position(&self, value: f64) -> f64 {
        let [value, low, high] = [value, self.low, self.high].map(|v| self.scale.forward(v));
        (value - low) / (high - low)
    }

    /// A mark as text. All marks of an axis that passes 10000 are in thousands or millions.
    pub fn text(&self, tick: f64) -> String {
        if tick != 0.0 && tick.abs() < 1e-4 {
            return format!("{tick:.1e}").replace(".0e", "e");
        }
        let base: f64 = if self.scale == Scale::Log2 { 1024.0 } else { 1000.0 };
        let plain = self.scale != Scale::Log2 && self.high < 10_000.0;
        let units = [(3, "G"), (2, "M"), (1, "k")].into_iter();
        let unit = units.filter(|_| !plain).find(|&(power, _)| tick.abs() >= base.powi(power) * (1.0 - 1e-9));
        let (power, unit) = unit.unwrap_or((0, ""));
        // Marks have few digits; rounding drops the error of their arithmetic.
        let value = format!("{:.6}", tick / base.powi(power));
        format!("{}{unit}", value.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// The step of 1, 2 or 5 times a power of ten that marks a range about six times.
fn nice_step(range: f64) -> f64 {
    let raw = range / 6.0;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= raw * 0.999);
    step.unwrap_or(10.0) * power
}

/// The multiples of `step` from `low` to `high`.
fn steps(low: f64, high: f64, step: f64) -> Vec<f64> {
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(|index| index as f64 * step).collect()
}

/// Powers of ten; with 2 and 5 where fewer than four powers fit, with all digits where even those are few.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let marks = |digits: &[f64]| -> Vec<f64> {
        let all = powers.clone().flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)));
        all.filter(|tick| (low..=high).contains(tick)).collect()
    };
    let choices: [&[f64]; 3] = [&[1.0], &[1.0, 2.0, 5.0], &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]];
    let marked = choices.into_iter().map(marks).find(|ticks| ticks.len() >= 4);
    marked.unwrap_or_else(|| steps(low, high, nice_step(high - low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        let texts = |scale, low: f64, high: f64| {
            let axis = Axis::new(scale, [low, high].into_iter()).rounded();
            axis.ticks.iter().map(|&tick| axis.text(tick)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(texts(Scale::Linear, 1.0, 3.5), "0 1 2 3 4");
        assert_eq!(texts(Scale::Linear, 0.0, 0.3), "0 0.05 0.1 0.15 0.2 0.25 0.3");
        assert_eq!(texts(Scale::Linear, -3.0, 25_000.0), "-5k 0 5k 10k 15k 20k 25k");
        assert_eq!(texts(Scale::Log2, 1024.0, 16_384.0), "1k 2k 4k 8k 16k");
        assert_eq!(texts(Scale::Log10, 0.1, 2000.0), "0.1 1 10 100 1000");
        assert_eq!(texts(Scale::Log10, 3.0, 90.0), "5 10 20 50");
        assert_eq!(texts(Scale::Log10, 1e-6, 2e-4), "1e-6 2e-6 5e-6 1e-5 2e-5 5e-5 0.0001 0.0002");
        assert_eq!(texts(Scale::Log10, 4.0, 4.1), "4 4.02 4.04 4.06 4.08 4.1");
    }
}
