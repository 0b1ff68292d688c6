//! `run lowrank_vq`.

use super::{Config, Done, Inputs, KernelSpec, KeySpec, Outputs, RunOptions, Running, required};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::lowrank_vq::{Combine, LowRankVq, LowRankVqConfig, NAME, unpack_pixels};
use crate::schedule::Schedule;
use crate::tensor::Tensor;

pub(super) const SPEC: KernelSpec = KernelSpec {
    name: NAME,
    about: "low-rank vector-quantised image decoder: each channel of a patch is a few outer products of codewords",
    inputs: &[
        required("codebook", "[K, P]"),
        required("words", "U32 [n], indices of b bits in the order [patch, iteration, channel, 2 rank]"),
    ],
    keys: &[
        KeySpec { name: "height", default: "required", about: "rows of pixels" },
        KeySpec { name: "width", default: "required", about: "pixels of a row" },
        KeySpec { name: "channels", default: "3", about: "1 or 3" },
        KeySpec { name: "patch", default: "required", about: "P, pixels along a patch's side: 4, 8, 16, 32" },
        KeySpec { name: "rank", default: "required", about: "outer products of an iteration" },
        KeySpec { name: "iterations", default: "1", about: "iterations" },
        KeySpec { name: "bits", default: "ceil(log2 K)", about: "b, bits of an index" },
        KeySpec { name: "combine", default: "sum", about: "sum or mean of the iterations" },
    ],
    outputs: &[
        required("image", "[H, W, C], clamped to 0..1"),
        required("image_u8", "U8 [H, W, C], floor(255 x + 0.5)"),
    ],
    gpu: |gpu, inputs, config, options| -> Running<'_> { Box::pin(on_gpu(gpu, inputs, config, options)) },
};

/// An image to decode, checked.
pub(super) struct Code {
    pub config: LowRankVqConfig,
    pub words: Vec<u32>,
}

/// Everything that the host can check: the sizes, every index, and that no sum of products overflows.
pub(super) fn code(inputs: &Inputs, config: &Config) -> Result<Code> {
    let size = |key| {
        let missing = || Error::config(NAME, key, "missing", "an integer, at least 0");
        config.whole(key)?.ok_or_else(missing)
    };
    let combines = [Combine::Sum, Combine::Mean];
    let combine = config.choice("combine", &combines.map(Combine::name))?;
    let config = LowRankVqConfig {
        height: size("height")?,
        width: size("width")?,
        channels: config.count_or_none("channels")?.unwrap_or(3),
        patch: config.count("patch")?,
        rank: config.count("rank")?,
        iterations: config.count_or_none("iterations")?.unwrap_or(1),
        bits: config.count_or_none("bits")?,
        combine: combines[combine.unwrap_or(0)],
        variant: None,
    };
    config.check()?;
    let [codewords, length] = inputs.dims("codebook", "[K, P]")?;
    if length != config.patch || codewords == 0 {
        let expected = format!("[K, {}], at least one codeword", config.patch);
        return Err(Error::shape(NAME, "codebook", format!("has shape [{codewords}, {length}]"), expected));
    }
    let _: [usize; 1] = inputs.dims("words", "[n]")?;
    let words = inputs.unsigned("words")?;
    config.check_words(codewords, &words)?;
    let largest = inputs.floats("codebook")?.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let most = (f32::MAX as f64 / config.products() as f64).sqrt();
    if largest > most {
        let expected =
            format!("at most {most:.1e}, so that sums of {} products stay finite", config.products());
        return Err(Error::shape(NAME, "codebook", format!("has values of size {largest:e}"), expected));
    }
    Ok(Code { config, words })
}

async fn on_gpu(gpu: &Gpu, inputs: &Inputs, config: &Config, options: &RunOptions) -> Result<Done> {
    let Code { config, words } = code(inputs, config)?;
    let config = LowRankVqConfig { variant: options.variant, ..config };
    let LowRankVqConfig { height, width, channels, .. } = config;
    let decoder = LowRankVq::new(gpu, config)?;
    let codebook = inputs.upload(gpu, "codebook", options.dtype)?;
    let words = Tensor::upload(gpu, "words", &[words.len()], &words)?;
    let mut schedule = Schedule::new(gpu);
    let image = decoder.record(&mut schedule, &codebook, &words)?;
    let bytes = decoder.record_u8(&mut schedule, &codebook, &words)?;
    let plan = schedule.compile()?;
    let start = web_time::Instant::now();
    plan.run(options.watch()).await?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let mut outputs = Outputs::default();
    outputs.read(gpu, "image", &image).await?;
    let bytes = unpack_pixels(&bytes.read::<u32>(gpu).await?, width, channels);
    outputs.bytes("image_u8", &[height, width, channels], &bytes);
    Ok(Done { outputs, variant: decoder.explain().kind.name(), milliseconds })
}
