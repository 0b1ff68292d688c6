//! ATD-light with Pure-Pass to measure: the network, category attention alone, and the mask alone.

use super::{Prepared, noise_values};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::pure_pass::{PurePassConfig, PurePassMask};
use crate::models::atd::{
    Atd, AtdConfig, AtdLayer, AtdMacs, AtdSizes, Compensation, NamedTensors, PurePass, layer_name,
};
use crate::schedule::{Schedule, StepTime};
use crate::tensor::Tensor;
use crate::variant::VariantKind;

/// A square picture, a share of whose windows has one colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurePassCase {
    /// Pixels along a side, a multiple of 16.
    pub side: usize,
    /// How many times larger the network makes it.
    pub scale: usize,
    /// Percent of the pixels that are pure; `None`: without Pure-Pass.
    pub pure: Option<usize>,
    /// What pure pixels get.
    pub compensation: Compensation,
}

impl PurePassCase {
    fn config(&self, variant: Option<VariantKind>) -> AtdConfig {
        let pure_pass = PurePass { mask: PurePassConfig::default(), compensation: self.compensation };
        AtdConfig {
            scale: self.scale,
            pure_pass: self.pure.map(|_| pure_pass),
            variant,
            ..Default::default()
        }
    }

    /// Share of the network's multiplications that Pure-Pass saves, 0 to 1, by their count.
    pub fn predicted(&self) -> f64 {
        let pure = self.pure.unwrap_or(0) as f64 / 100.0;
        AtdMacs::new(&self.config(None), &atd_light()).saved(pure, self.compensation)
    }

    /// Whether the window that a pixel lies in is plain: they are spread evenly.
    fn is_pure(&self, pixel: usize) -> bool {
        let window = PurePassConfig::default().window;
        let columns = self.side.div_ceil(window);
        let place = pixel / self.side / window * columns + pixel % self.side / window;
        let percent = self.pure.unwrap_or(0);
        // A golden step scatters them over the rows of windows.
        (place * 61) % 100 < percent
    }

    /// Noise, grey in the plain windows.
    fn picture(&self) -> Vec<f32> {
        let noise = noise_values("picture", self.side * self.side * 3, 0.5);
        noise.enumerate().map(|(i, value)| if self.is_pure(i / 3) { 0.5 } else { 0.5 + value }).collect()
    }
}

/// The sizes of ATD-light.
pub fn atd_light() -> AtdSizes {
    AtdSizes { channels: 48, tokens: 64, reduced: 8, hidden: 48, kernel: 7, layers: vec![6; 4] }
}

/// ATD-light with random weights, ready to be timed.
pub fn atd_network(gpu: &Gpu, case: &PurePassCase, variant: Option<VariantKind>) -> Result<Prepared> {
    let config = case.config(variant);
    let sizes = atd_light();
    let model = Atd::new(gpu, config.clone(), &random_weights(&config, &sizes))?;
    let picture = Tensor::upload(gpu, "picture", &[case.side, case.side, 3], &case.picture())?;
    let mut schedule = Schedule::new(gpu);
    let out = model.record(&mut schedule, &picture)?.out;
    let plan = schedule.compile()?;
    let extra_bytes = plan.report().bytes - out.padded_bytes();
    Ok(Prepared { plan, variant: model.explain().kind, extra_bytes })
}

/// A layer of ATD-light from the projection of window attention to that of category attention, without the dictionary: what pure pixels
/// get is added with the former, and counts where it is compared with [`atd_window_projection`].
pub fn atd_category_attention(
    gpu: &Gpu,
    case: &PurePassCase,
    variant: Option<VariantKind>,
) -> Result<Prepared> {
    let branch = Branch::new(gpu, case, variant)?;
    let sizes = atd_light();
    let last = sizes.tokens - 1;
    let category: Vec<u32> = noise_values("category", branch.pixels, 0.5)
        .map(|value| ((value + 0.5) * sizes.tokens as f32) as u32)
        .map(|category| category.min(last as u32))
        .collect();
    let category = Tensor::upload(gpu, "category", &[branch.pixels], &category)?;
    let mask: Vec<u32> = (0..branch.pixels).map(|pixel| case.is_pure(pixel) as u32).collect();
    let mask = Tensor::upload(gpu, "mask", &[branch.pixels], &mask)?;
    let mask = case.pure.map(|_| &mask);
    let mut schedule = Schedule::new(gpu);
    let sum = branch.record_window_sum(&mut schedule, mask)?;
    drop(branch.layer.record_category_branch(&mut schedule, &branch.qkv, &category, &sum, mask)?);
    branch.prepared(schedule, sum)
}

/// The first step of [`atd_category_attention`] alone, without Pure-Pass.
pub fn atd_window_projection(
    gpu: &Gpu,
    case: &PurePassCase,
    variant: Option<VariantKind>,
) -> Result<Prepared> {
    let branch = Branch::new(gpu, case, variant)?;
    let mut schedule = Schedule::new(gpu);
    let sum = branch.record_window_sum(&mut schedule, None)?;
    branch.prepared(schedule, sum)
}

/// A layer with random inputs of its parts.
struct Branch {
    layer: AtdLayer,
    pixels: usize,
    qkv: Tensor,
    attended: Tensor,
    x: Tensor,
}

impl Branch {
    fn new(gpu: &Gpu, case: &PurePassCase, variant: Option<VariantKind>) -> Result<Self> {
        let config = case.config(variant);
        let sizes = AtdSizes { layers: vec![1], ..atd_light() };
        let weights = random_weights(&config, &sizes);
        let layer = AtdLayer::new(gpu, &config, &sizes, &weights, &layer_name(0, 0), false)?;
        let pixels = case.side * case.side;
        let random = |name: &str, width: usize| -> Result<Tensor> {
            let values: Vec<f32> = noise_values(name, pixels * width, 0.5).collect();
            Tensor::upload(gpu, name, &[pixels, width], &values)
        };
        let channels = sizes.channels;
        Ok(Self {
            layer,
            pixels,
            qkv: random("qkv", 3 * channels)?,
            attended: random("attended", channels)?,
            x: random("x", channels)?,
        })
    }

    fn record_window_sum(&self, schedule: &mut Schedule, mask: Option<&Tensor>) -> Result<Tensor> {
        self.layer.record_window_sum(schedule, &self.attended, &self.x, &self.qkv, mask)
    }

    fn prepared(&self, schedule: Schedule, out: Tensor) -> Result<Prepared> {
        let plan = schedule.compile()?;
        let extra_bytes = plan.report().bytes - out.padded_bytes();
        Ok(Prepared { plan, variant: self.layer.explain().kind, extra_bytes })
    }
}

/// The mask of the case's picture alone.
pub fn pure_pass_mask(gpu: &Gpu, case: &PurePassCase, variant: Option<VariantKind>) -> Result<Prepared> {
    let operator = PurePassMask::new(gpu, PurePassConfig::default(), variant)?;
    let picture = Tensor::upload(gpu, "picture", &[case.side, case.side, 3], &case.picture())?;
    let mut schedule = Schedule::new(gpu);
    let pure = operator.record(&mut schedule, &picture)?;
    let plan = schedule.compile()?;
    let extra_bytes = plan.report().bytes - pure.mask.padded_bytes();
    Ok(Prepared { plan, variant: gpu.variant(variant)?.kind, extra_bytes })
}

/// Milliseconds of a network's parts, in the order of [`AtdTimes::PARTS`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AtdTimes {
    /// Milliseconds.
    pub ms: [f64; AtdTimes::PARTS.len()],
}

impl AtdTimes {
    /// The parts of [`AtdMacs`], with what belongs to each: norms to the matrices behind them, sorting to category attention.
    pub const PARTS: [&str; 10] = [
        "convolutions",
        "qkv",
        "window attention",
        "window projection",
        "dictionary",
        "category attention",
        "category projection",
        "feed-forward",
        "depthwise",
        "refinement",
    ];

    /// Sorts the steps of a plan of one network by the parts to which they belong: a layer records them one after the other.
    pub fn new(steps: &[StepTime]) -> Self {
        let [
            ends,
            qkv,
            window,
            window_projection,
            dictionary,
            category,
            projection,
            feed,
            depthwise,
            refinement,
        ] = std::array::from_fn(|part| part);
        let (mut ms, mut part) = ([0.0; Self::PARTS.len()], ends);
        for step in steps {
            part = match step.label {
                "window attention" => window,
                "dictionary keys" | "similarity" => dictionary,
                "column statistics" | "column slopes" | "column weights" | "chunk sums" | "refine" => {
                    refinement
                }
                "category attention" => category,
                "count categories" | "category starts" | "place categories" | "place values" => category,
                "norm" if part == category || part == projection => feed,
                "norm" => qkv,
                "linear" if part == window => window_projection,
                "linear" if part == window_projection => dictionary,
                "linear" if part == category => projection,
                "linear" if part == depthwise => feed,
                "linear" => part,
                _ if part == feed => depthwise,
                _ => ends,
            };
            ms[part] += step.ms;
        }
        Self { ms }
    }

    /// Share of each part in the time, 0 to 1.
    pub fn shares(&self) -> [f64; Self::PARTS.len()] {
        let total: f64 = self.ms.iter().sum();
        self.ms.map(|ms| ms / total)
    }

    /// Share of each part in the multiplications of ATD-light for this case, Pure-Pass not counted.
    pub fn predicted(case: &PurePassCase) -> [f64; Self::PARTS.len()] {
        let macs = AtdMacs::new(&case.config(None), &atd_light());
        let parts = [
            macs.convolutions,
            macs.qkv,
            macs.window,
            macs.window_projection,
            macs.dictionary,
            macs.category,
            macs.category_projection,
            macs.feed_forward,
            macs.depthwise,
            macs.refinement,
        ];
        parts.map(|part| part as f64 / macs.total() as f64)
    }
}

/// Matrices that neither grow nor shrink what they multiply.
fn random_weights(config: &AtdConfig, sizes: &AtdSizes) -> NamedTensors {
    let mut weights = NamedTensors::default();
    for (name, shape) in sizes.shapes(config.heads, config.window, config.scale) {
        let inputs: usize = if shape.len() > 1 { shape[1..].iter().product() } else { 100 };
        let limit = if name.ends_with(".td") { 1.0 } else { (3.0 / inputs as f32).sqrt() };
        let offset = if name.ends_with("_g") { 1.0 } else { 0.0 };
        let data = noise_values(&name, shape.iter().product(), limit).map(|value| value + offset);
        weights.insert(&name, &shape, data.collect());
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Clock, Cost};

    #[test]
    fn steps_are_sorted_by_the_part_they_belong_to() {
        let labels = [
            "pad picture",
            "convolution",
            "norm",
            "norm",
            "linear",
            "window attention",
            "linear",
            "linear",
            "linear",
            "linear",
            "dictionary keys",
            "linear",
            "similarity",
            "linear",
            "count categories",
            "category starts",
            "place categories",
            "category attention",
            "linear",
            "norm",
            "linear",
            "convolution",
            "linear",
            "column statistics",
            "column slopes",
            "column weights",
            "chunk sums",
            "refine",
            "norm",
            "linear",
            "convolution",
            "pixel shuffle",
        ];
        let steps =
            labels.map(|label| StepTime { label, ms: 1.0, cost: Cost::default(), clock: Clock::Host });
        let times = AtdTimes::new(&steps);
        assert_eq!(times.ms, [4.0, 5.0, 1.0, 1.0, 7.0, 4.0, 1.0, 3.0, 1.0, 5.0]);
        assert!((times.shares().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let case = PurePassCase { side: 64, scale: 2, pure: None, compensation: Compensation::Value };
        assert!((AtdTimes::predicted(&case).iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
