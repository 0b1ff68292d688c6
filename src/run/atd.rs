//! `run atd`.

use super::{Config, Done, Inputs, KernelSpec, KeySpec, Outputs, RunOptions, Running, optional, required};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::pure_pass::PurePassConfig;
use crate::models::atd::{Atd, AtdConfig, Compensation, NAME, NamedTensors, PurePass};
use crate::schedule::Schedule;
use crate::tensor::{Dtype, Tensor};

pub(super) const SPEC: KernelSpec = KernelSpec {
    name: NAME,
    about: "super-resolution by a transformer with a dictionary of tokens (ATD-light), with Pure-Pass",
    inputs: &[
        required("img", "[B, 3, H, W] in 0..1, H and W at least half a window"),
        optional("model.*", "the weights, named as in docs/pure_pass.md"),
    ],
    keys: &[
        KeySpec { name: "scale", default: "2", about: "how many times larger along each side" },
        KeySpec { name: "window", default: "16", about: "pixels along a side of a window of attention" },
        KeySpec { name: "group", default: "128", about: "pixels of a group of category attention" },
        KeySpec { name: "heads", default: "4", about: "heads of window and category attention" },
        KeySpec {
            name: "pure_pass",
            default: "null",
            about: "{\"colors\" (16), \"window\" (8), \"comp\" (\"v\", \"proj_v\" or \"zero\")}",
        },
    ],
    outputs: &[
        required("out", "[B, 3, scale H, scale W], not clamped"),
        optional("mask", "U8 [B, H, W] in whole windows, 1 = pure, with pure_pass"),
    ],
    gpu: |gpu, inputs, config, options| -> Running<'_> { Box::pin(on_gpu(gpu, inputs, config, options)) },
};

const PURE_PASS: &[KeySpec] = &[
    KeySpec { name: "colors", default: "16", about: "colour classes" },
    KeySpec { name: "window", default: "8", about: "pixels along a side of a window of one class" },
    KeySpec { name: "comp", default: "v", about: "what pure pixels get" },
];

/// The configuration; what depends on the weights is checked with them. Errors: `Config`.
pub(super) fn model_config(config: &Config) -> Result<AtdConfig> {
    let default = AtdConfig::default();
    let count = |key, default| Ok::<_, Error>(config.count_or_none(key)?.unwrap_or(default));
    let pure_pass = match config.nested("pure_pass", PURE_PASS)? {
        None => None,
        Some(nested) => {
            let default = PurePassConfig::default();
            let names = Compensation::ALL.map(Compensation::name);
            Some(PurePass {
                mask: PurePassConfig {
                    colors: nested.count_or_none("colors")?.unwrap_or(default.colors),
                    window: nested.count_or_none("window")?.unwrap_or(default.window),
                },
                compensation: Compensation::ALL[nested.choice("comp", &names)?.unwrap_or(0)],
            })
        }
    };
    let config = AtdConfig {
        scale: count("scale", default.scale)?,
        window: count("window", default.window)?,
        group: count("group", default.group)?,
        heads: count("heads", default.heads)?,
        pure_pass,
        dtype: Dtype::F32,
        variant: None,
    };
    config.check()?;
    Ok(config)
}

/// Pictures with their channels last, of one size.
pub(super) struct Pictures {
    pub height: usize,
    pub width: usize,
    pub each: Vec<Vec<f64>>,
}

/// Errors: `Shape`.
pub(super) fn pictures(inputs: &Inputs, config: &AtdConfig) -> Result<Pictures> {
    let [batch, channels, height, width] = inputs.dims("img", "[B, 3, H, W]")?;
    if channels != 3 || batch == 0 {
        let found = format!("has shape {:?}", [batch, channels, height, width]);
        return Err(Error::shape(NAME, "img", found, "[B, 3, H, W], B > 0"));
    }
    config.padded(height, width)?;
    let plane = height * width;
    let last = |picture: &[f64]| (0..3 * plane).map(|i| picture[i % 3 * plane + i / 3]).collect();
    let each = inputs.floats("img")?.chunks_exact(3 * plane).map(last).collect();
    Ok(Pictures { height, width, each })
}

/// The channels of a picture `[height · width, 3]` first.
pub(super) fn planes<T: Copy>(picture: &[T]) -> impl Iterator<Item = T> {
    (0..3).flat_map(move |c| picture.iter().skip(c).step_by(3).copied())
}

async fn on_gpu(gpu: &Gpu, inputs: &Inputs, config: &Config, options: &RunOptions) -> Result<Done> {
    let config = AtdConfig { dtype: options.dtype, variant: options.variant, ..model_config(config)? };
    let Pictures { height, width, each } = pictures(inputs, &config)?;
    let scale = config.scale;
    let model = Atd::new(gpu, config, &inputs.model_weights()?)?;
    let picture = Tensor::zeros(gpu, "img", &[height, width, 3], Dtype::F32)?;
    let mut schedule = Schedule::new(gpu);
    let result = model.record(&mut schedule, &picture)?;
    let plan = schedule.compile()?;
    let (mut out, mut mask) = (Vec::new(), Vec::new());
    let mut milliseconds = 0.0;
    for values in &each {
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        picture.write(gpu, &values)?;
        let start = web_time::Instant::now();
        plan.run(options.watch()).await?;
        milliseconds += start.elapsed().as_secs_f64() * 1e3;
        out.extend(planes(&result.out.read::<f32>(gpu).await?));
        if let Some(pure) = &result.pure {
            mask.extend(pure.mask.read::<u32>(gpu).await?.into_iter().map(|pure| pure as u8));
        }
    }
    let mut outputs = Outputs::default();
    outputs.float("out", &[each.len(), 3, scale * height, scale * width], &out);
    if let Some(pure) = &result.pure {
        outputs.bytes("mask", &[&[each.len()], pure.mask.shape()].concat(), &mask);
    }
    Ok(Done { outputs, variant: model.explain().kind.name(), milliseconds })
}

/// A network's configuration and weights from a safetensors file: tensors named `model.*`, and the metadata entry `config`, as `run atd`
/// takes them. Errors: `Input` for a broken file or key, `Config`, `NonFinite`.
pub fn atd_file(bytes: &[u8]) -> Result<(AtdConfig, NamedTensors)> {
    let weights = NamedTensors::from_safetensors(bytes, "model.")?;
    let broken = |error: safetensors::SafeTensorError| Error::Input(format!("the weights' header: {error}"));
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes).map_err(broken)?;
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get("config").cloned());
    let values = serde_json::from_str(text.as_deref().unwrap_or("{}"))
        .map_err(|error| Error::Input(format!("the weights' configuration is not a JSON object: {error}")))?;
    Ok((model_config(&Config::new(NAME, SPEC.keys, values)?)?, weights))
}
