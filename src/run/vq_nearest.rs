//! `run vq_nearest`.

use super::{Done, Inputs, KernelSpec, Outputs, RunOptions, Running, required};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::lowrank_vq::{MOST_CODEWORDS, VqNearest, VqNearestConfig};
use crate::schedule::Schedule;
use crate::tensor::Dtype;

pub(super) const NAME: &str = "vq_nearest";

pub(super) const SPEC: KernelSpec = KernelSpec {
    name: NAME,
    about: "vector quantisation: the nearest codeword of every row, of equals the lowest index",
    inputs: &[
        required("z", "[n, P], P = 4, 8, 16 or 32"),
        required("codebook", "[K, P], at most 65536 codewords"),
    ],
    keys: &[],
    outputs: &[required("idx", "U32 [n]")],
    gpu: |gpu, inputs, _, options| -> Running<'_> { Box::pin(on_gpu(gpu, inputs, options)) },
};

/// Sizes up to which squares of 32 elements sum to less than 1e38.
const MOST_SIZE: f64 = 1e18;

/// Elements of a codeword, once all fits. Errors: `Shape`.
pub(super) fn length(inputs: &Inputs) -> Result<usize> {
    let [codewords, length] = inputs.dims("codebook", "[K, P]")?;
    let [_, width] = inputs.dims("z", "[n, P]")?;
    let found = format!("has shape [{codewords}, {length}]");
    if ![4, 8, 16, 32].contains(&length) {
        return Err(Error::shape(NAME, "codebook", found, "[K, P] with P = 4, 8, 16 or 32"));
    }
    if codewords == 0 || codewords > MOST_CODEWORDS {
        return Err(Error::shape(NAME, "codebook", found, format!("1 to {MOST_CODEWORDS} codewords")));
    }
    if width != length {
        let expected = format!("rows of {length} elements, as the codewords have");
        return Err(Error::shape(NAME, "z", format!("has rows of {width}"), expected));
    }
    for name in ["z", "codebook"] {
        let data = inputs.floats(name)?;
        if let Some(index) = data.iter().position(|value| value.abs() > MOST_SIZE) {
            let found = format!("has {:e} at index {index}", data[index]);
            return Err(Error::shape(NAME, name, found, format!("at most ±{MOST_SIZE:e}")));
        }
    }
    Ok(length)
}

async fn on_gpu(gpu: &Gpu, inputs: &Inputs, options: &RunOptions) -> Result<Done> {
    length(inputs)?;
    let nearest = VqNearest::new(gpu, VqNearestConfig { variant: options.variant })?;
    let z = inputs.upload(gpu, "z", Dtype::F32)?;
    let codebook = inputs.upload(gpu, "codebook", options.dtype)?;
    let mut schedule = Schedule::new(gpu);
    let indices = nearest.record(&mut schedule, &z, &codebook)?;
    let plan = schedule.compile()?;
    let start = web_time::Instant::now();
    plan.run(options.watch()).await?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let mut outputs = Outputs::default();
    outputs.read(gpu, "idx", &indices).await?;
    Ok(Done { outputs, variant: nearest.explain().kind.name(), milliseconds })
}
