//! `run pure_pass_mask`.

use super::{Config, Done, Inputs, KernelSpec, KeySpec, Outputs, RunOptions, Running, required};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::pure_pass::{NAME, PurePassConfig, PurePassMask};
use crate::schedule::Schedule;
use crate::tensor::Tensor;

pub(super) const SPEC: KernelSpec = KernelSpec {
    name: NAME,
    about: "Pure-Pass: the pixels whose window has one colour class",
    inputs: &[required("img", "U8 [H, W, 3]")],
    keys: &[
        KeySpec { name: "colors", default: "16", about: "colour classes, 1 to 255" },
        KeySpec { name: "window", default: "8", about: "pixels along a window's side, 1 to 256" },
    ],
    outputs: &[
        required("labels", "U8 [H, W], the colour class"),
        required("mask", "U8 [H, W], 1 = pure, in one of two grids half a window apart"),
    ],
    gpu: |gpu, inputs, config, options| -> Running<'_> { Box::pin(on_gpu(gpu, inputs, config, options)) },
};

/// A picture to classify, checked.
pub(super) struct Picture {
    pub config: PurePassConfig,
    pub height: usize,
    pub width: usize,
    pub rgb: Vec<u8>,
}

pub(super) fn picture(inputs: &Inputs, config: &Config) -> Result<Picture> {
    let default = PurePassConfig::default();
    let config = PurePassConfig {
        colors: config.count_or_none("colors")?.unwrap_or(default.colors),
        window: config.count_or_none("window")?.unwrap_or(default.window),
    };
    config.check()?;
    let [height, width, channels] = inputs.dims("img", "[H, W, 3]")?;
    if channels != 3 || height == 0 || width == 0 {
        let found = format!("has shape [{height}, {width}, {channels}]");
        return Err(Error::shape(NAME, "img", found, "[H, W, 3], nothing empty"));
    }
    let level = |(index, &value): (usize, &i64)| {
        let wrong = |_| Error::shape(NAME, "img", format!("has {value} at index {index}"), "0 to 255");
        u8::try_from(value).map_err(wrong)
    };
    let rgb = inputs.integers("img")?.iter().enumerate().map(level).collect::<Result<_>>()?;
    Ok(Picture { config, height, width, rgb })
}

pub(super) fn outputs(height: usize, width: usize, labels: &[u32], mask: &[u32]) -> Outputs {
    let bytes = |words: &[u32]| words.iter().map(|&word| word as u8).collect::<Vec<_>>();
    let mut outputs = Outputs::default();
    outputs.bytes("labels", &[height, width], &bytes(labels));
    outputs.bytes("mask", &[height, width], &bytes(mask));
    outputs
}

async fn on_gpu(gpu: &Gpu, inputs: &Inputs, config: &Config, options: &RunOptions) -> Result<Done> {
    let Picture { config, height, width, rgb } = picture(inputs, config)?;
    let variant = gpu.variant(options.variant)?.kind.name();
    let values: Vec<f32> = rgb.iter().map(|&level| level as f32 / 255.0).collect();
    let img = Tensor::upload(gpu, "img", &[height, width, 3], &values)?;
    let mut schedule = Schedule::new(gpu);
    let pure = PurePassMask::new(gpu, config, options.variant)?.record(&mut schedule, &img)?;
    let plan = schedule.compile()?;
    let start = web_time::Instant::now();
    plan.run(options.watch()).await?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let (labels, mask) = (pure.labels.read::<u32>(gpu).await?, pure.mask.read::<u32>(gpu).await?);
    Ok(Done { outputs: outputs(height, width, &labels, &mask), variant, milliseconds })
}
