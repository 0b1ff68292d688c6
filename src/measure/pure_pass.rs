//! ATD-light with Pure-Pass to measure: the network, category attention alone, and the mask alone.

use super::{Prepared, noise_values};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::pure_pass::{PurePassConfig, PurePassMask};
use crate::models::atd::{
    Atd, AtdConfig, AtdLayer, AtdMacs, AtdSizes, Compensation, NamedTensors, PurePass, layer_name,
};
use crate::schedule::Schedule;
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

/// Category attention of one layer: sort, attention and projection, with a given mask.
pub fn atd_category_attention(
    gpu: &Gpu,
    case: &PurePassCase,
    variant: Option<VariantKind>,
) -> Result<Prepared> {
    let config = case.config(variant);
    let sizes = AtdSizes { layers: vec![1], ..atd_light() };
    let weights = random_weights(&config, &sizes);
    let layer = AtdLayer::new(gpu, &config, &sizes, &weights, &layer_name(0, 0), false)?;
    let pixels = case.side * case.side;
    let random = |name: &str, width: usize| -> Result<Tensor> {
        let values: Vec<f32> = noise_values(name, pixels * width, 0.5).collect();
        Tensor::upload(gpu, name, &[pixels, width], &values)
    };
    let qkv = random("qkv", 3 * sizes.channels)?;
    let sum = random("sum", sizes.channels)?;
    let last = sizes.tokens - 1;
    let category: Vec<u32> = noise_values("category", pixels, 0.5)
        .map(|value| ((value + 0.5) * sizes.tokens as f32) as u32)
        .map(|category| category.min(last as u32))
        .collect();
    let category = Tensor::upload(gpu, "category", &[pixels], &category)?;
    let mask: Vec<u32> = (0..pixels).map(|pixel| case.is_pure(pixel) as u32).collect();
    let mask = Tensor::upload(gpu, "mask", &[pixels], &mask)?;
    let mut schedule = Schedule::new(gpu);
    let (sorted, out) =
        layer.record_category_branch(&mut schedule, &qkv, &category, &sum, case.pure.map(|_| &mask))?;
    drop(sorted);
    let plan = schedule.compile()?;
    let extra_bytes = plan.report().bytes - out.padded_bytes();
    Ok(Prepared { plan, variant: layer.explain().kind, extra_bytes })
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
