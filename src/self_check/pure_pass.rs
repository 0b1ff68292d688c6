//! Pure-Pass and a small ATD network.

use super::{Check, Checker, doubles};
use crate::error::Result;
use crate::kernels::pure_pass::{PurePassConfig, PurePassMask};
use crate::models::atd::{Atd, AtdConfig, AtdSizes, Compensation, NamedTensors, PurePass};
use crate::schedule::{Schedule, no_progress};
use crate::tensor::Dtype;
use crate::twins::atd::AtdTwin;
use crate::twins::pure_pass::{color_labels, levels, pure_mask};

impl<F: FnMut(&Check)> Checker<'_, F> {
    /// Noise to the left, grey to the right: `[height, width, 3]`.
    fn half_plain(&mut self, height: usize, width: usize) -> Vec<f32> {
        let noise = self.values(height * width * 3);
        let value = |(i, v): (usize, f32)| if i / 3 % width < width / 2 { 0.5 + 0.5 * v } else { 0.4 };
        noise.into_iter().enumerate().map(value).collect()
    }

    pub(super) async fn pure_pass(&mut self) -> Result<()> {
        let (height, width) = (37, 50);
        let picture = self.half_plain(height, width);
        let config = PurePassConfig { colors: 12, window: 5 };
        let operator = PurePassMask::new(self.gpu, config, self.variant)?;
        let mut schedule = Schedule::new(self.gpu);
        let found = operator.record(&mut schedule, &self.upload("img", &[height, width, 3], &picture)?)?;
        let active = operator.record_active(&mut schedule, &found.mask)?;
        let plan = schedule.compile()?;
        plan.poison();
        plan.run(no_progress).await?;
        let labels = color_labels(&levels(&doubles(picture)), &config);
        let mask = pure_mask(&labels, height, width, config.window);
        let same = found.labels.read::<u32>(self.gpu).await? == labels;
        self.push("colour classes", same, "exact".into());
        let bits: Vec<u32> = mask.iter().map(|&pure| pure as u32).collect();
        let same = found.mask.read::<u32>(self.gpu).await? == bits;
        self.push("pure mask", same, format!("exact, {} of {} pure", bits.iter().sum::<u32>(), bits.len()));
        let listed: Vec<u32> = (0..mask.len() as u32).filter(|&i| !mask[i as usize]).collect();
        let order = active.order.read::<u32>(self.gpu).await?;
        let same = active.active_count.read::<u32>(self.gpu).await? == [listed.len() as u32];
        self.push("active pixels", same && order[..listed.len()] == listed, "exact".into());
        Ok(())
    }

    pub(super) async fn atd(&mut self) -> Result<()> {
        let (height, width) = (23, 18);
        let sizes = AtdSizes { channels: 12, tokens: 9, reduced: 3, hidden: 10, kernel: 5, layers: vec![2] };
        let pure_pass = PurePass {
            mask: PurePassConfig { colors: 6, window: 4 },
            compensation: Compensation::ProjectedValue,
        };
        let config = AtdConfig {
            scale: 2,
            window: 8,
            group: 50,
            heads: 2,
            pure_pass: Some(pure_pass),
            dtype: Dtype::F32,
            variant: self.variant,
        };
        let mut weights = NamedTensors::default();
        for (name, shape) in sizes.shapes(config.heads, config.window, config.scale) {
            let inputs: usize = if shape.len() > 1 { shape[1..].iter().product() } else { 100 };
            let size = if name.ends_with(".td") { 1.0 } else { (3.0 / inputs as f32).sqrt() };
            let offset = if name.ends_with("_g") { 1.0 } else { 0.0 };
            let values = self.values(shape.iter().product());
            weights.insert(&name, &shape, values.iter().map(|value| value * size + offset).collect());
        }
        let picture = self.half_plain(height, width);
        let mut schedule = Schedule::new(self.gpu);
        let tensor = self.upload("img", &[height, width, 3], &picture)?;
        let out = Atd::new(self.gpu, config.clone(), &weights)?.record(&mut schedule, &tensor)?.out;
        let found = self.run(schedule, &out).await?;
        let twin = AtdTwin { config: &config, sizes: &sizes, weights: &weights };
        self.compare("ATD with Pure-Pass", &found, &twin.network(&doubles(picture), [height, width]), 1e-4);
        Ok(())
    }
}
