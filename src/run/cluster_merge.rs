//! `run cluster_merge` and `run cluster_regenerate`.

use super::{Config, Done, Inputs, KernelSpec, KeySpec, Outputs, RunOptions, Running, optional, required};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::cluster_merge::{
    ClusterMerge, ClusterMergeConfig, ClusterWeights, Gate, MOST_CLUSTERS, Regenerate, RegenerateConfig,
    RegenerateWeights, RowMap,
};
use crate::schedule::Schedule;
use crate::tensor::{Dtype, Tensor};

pub(super) const MERGE: KernelSpec = KernelSpec {
    name: "cluster_merge",
    about: "token merging by learned clusters: ids, their map, the means, and the merged sequences (ClustViT)",
    inputs: &[
        required("x", "[B, 1+N, D], the class token first"),
        required("w1", "[H, D]"),
        required("b1", "[H]"),
        required("w2", "[K+1, H]"),
        required("b2", "[K+1]"),
        optional("ids", "I32 [B, N], used instead of the argmax of the logits"),
    ],
    keys: &[KeySpec { name: "K", default: "required", about: "clusters of an image beside id 0" }, GATE],
    outputs: &[
        required("ids", "I32 [B, N], 0 = kept"),
        required("counts", "I32 [B, K+1], tokens of each id"),
        required("keep_rank", "I32 [B, N], tokens with id 0 before this one"),
        required("row_map", "I32 [B, N], the row that stands for a token, from its image's first"),
        required("means", "[B, K, D]"),
        required("packed", "[rows, D], class token, kept tokens, means of each image"),
        required("cu_seqlens", "I32 [B+1], where each image's rows begin"),
    ],
    gpu: |gpu, inputs, config, options| -> Running<'_> { Box::pin(merge(gpu, inputs, config, options)) },
};

pub(super) const GATE: KeySpec = KeySpec {
    name: "gate",
    default: "image",
    about: "merge where two ids differ in the image or in the batch, or always (none)",
};

pub(super) const REGENERATE: KernelSpec = KernelSpec {
    name: "cluster_regenerate",
    about: "a row for every token out of merged sequences: members of a cluster pass an MLP (ClustViT)",
    inputs: &[
        required("original", "[B, N, D], tokens before the merge"),
        required("processed", "[rows, D], merged sequences"),
        required("ids", "I32 [B, N]"),
        required("row_map", "I32 [B, N]"),
        required("cu_seqlens", "I32 [B+1]"),
        required("w1", "[D, 2D], the original token's columns first"),
        required("b1", "[D]"),
        required("w2", "[D, D]"),
        required("b2", "[D]"),
    ],
    keys: &[KeySpec { name: "K", default: "required", about: "clusters of an image beside id 0" }],
    outputs: &[required("out", "[B, 1+N, D]")],
    gpu: |gpu, inputs, config, options| -> Running<'_> { Box::pin(regenerate(gpu, inputs, config, options)) },
};

/// K of the configuration. Errors: `Config`.
pub(super) fn clusters(kernel: &'static str, config: &Config) -> Result<usize> {
    let clusters = config.count("K")?;
    if clusters <= MOST_CLUSTERS {
        return Ok(clusters);
    }
    Err(Error::config(kernel, "K", clusters, format!("1 to {MOST_CLUSTERS} clusters")))
}

/// The gate of the configuration. Errors: `Config`.
pub(super) fn gate(config: &Config) -> Result<Gate> {
    let place = config.choice("gate", &Gate::ALL.map(Gate::name))?;
    Ok(place.map_or(Gate::default(), |place| Gate::ALL[place]))
}

/// `ids`, none past K. Errors: `Shape`.
fn ids(inputs: &Inputs, shape: [usize; 2], clusters: usize) -> Result<Vec<u32>> {
    let kernel = inputs.kernel();
    expect(inputs, "ids", &shape)?;
    let ids = inputs.unsigned("ids")?;
    if let Some(index) = ids.iter().position(|id| *id as usize > clusters) {
        let found = format!("has {} at index {index}", ids[index]);
        return Err(Error::shape(kernel, "ids", found, format!("0 to K = {clusters}")));
    }
    Ok(ids)
}

fn expect(inputs: &Inputs, name: &str, shape: &[usize]) -> Result<()> {
    let found = inputs.get(name).map(|tensor| tensor.shape.as_slice());
    if found == Some(shape) {
        return Ok(());
    }
    let found = found.map_or("is missing".to_string(), |found| format!("has shape {found:?}"));
    Err(Error::shape(inputs.kernel(), name, found, format!("{shape:?}")))
}

/// Tokens to merge, checked.
pub(super) struct Merging {
    pub batch: usize,
    pub tokens: usize,
    pub width: usize,
    pub clusters: usize,
    pub gate: Gate,
    pub ids: Option<Vec<u32>>,
}

/// Everything that the host can check before tokens are merged. Errors: `Shape`, `Config`, `Input`.
pub(super) fn merging(inputs: &Inputs, config: &Config) -> Result<Merging> {
    let kernel = inputs.kernel();
    let clusters = clusters(kernel, config)?;
    let [batch, rows, width] = inputs.dims("x", "[B, 1+N, D]")?;
    if batch == 0 || rows < 2 || width == 0 {
        let found = format!("has shape {:?}", [batch, rows, width]);
        return Err(Error::shape(kernel, "x", found, "a class token and at least one more, nothing empty"));
    }
    let [hidden, _] = inputs.dims("w1", "[H, D]")?;
    for (name, shape) in [
        ("w1", vec![hidden.max(1), width]),
        ("b1", vec![hidden]),
        ("w2", vec![clusters + 1, hidden]),
        ("b2", vec![clusters + 1]),
    ] {
        expect(inputs, name, &shape)?;
    }
    let ids = inputs.get("ids").map(|_| ids(inputs, [batch, rows - 1], clusters)).transpose()?;
    Ok(Merging { batch, tokens: rows - 1, width, clusters, gate: gate(config)?, ids })
}

async fn merge(gpu: &Gpu, inputs: &Inputs, config: &Config, options: &RunOptions) -> Result<Done> {
    let Merging { batch, tokens, width, clusters, gate, ids } = merging(inputs, config)?;
    let operator = ClusterMerge::new(gpu, ClusterMergeConfig { clusters, gate, variant: options.variant })?;
    let [x, w1, w2] = ["x", "w1", "w2"].map(|name| inputs.upload(gpu, name, options.dtype));
    let [b1, b2] = ["b1", "b2"].map(|name| inputs.upload(gpu, name, Dtype::F32));
    let (x, w1, b1, w2, b2) = (x?, w1?, b1?, w2?, b2?);
    let mut schedule = Schedule::new(gpu);
    let result = match ids {
        Some(ids) => {
            let ids = Tensor::upload(gpu, "ids", &[batch, tokens], &ids)?;
            operator.record_ids(&mut schedule, &x, &ids)?
        }
        None => {
            let weights = ClusterWeights { w1: &w1, b1: &b1, w2: &w2, b2: &b2 };
            operator.record(&mut schedule, &x, weights)?
        }
    };
    let plan = schedule.compile()?;
    let start = web_time::Instant::now();
    plan.run(options.watch()).await?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let mut outputs = Outputs::default();
    for (name, tensor) in [
        ("ids", &result.ids),
        ("counts", &result.counts),
        ("keep_rank", &result.keep_rank),
        ("row_map", &result.map.rows),
    ] {
        outputs.read_signed(gpu, name, tensor).await?;
    }
    outputs.read(gpu, "means", &result.means).await?;
    let bounds = signed(&result.map.bounds.read::<u32>(gpu).await?[..=batch]);
    let rows = *bounds.last().expect("one more than images") as usize;
    outputs.float("packed", &[rows, width], &result.packed.read::<f32>(gpu).await?[..rows * width]);
    outputs.signed("cu_seqlens", &[batch + 1], &bounds);
    Ok(Done { outputs, variant: operator.explain().kind.name(), milliseconds })
}

/// Indices as files have them.
pub(super) fn signed(values: &[u32]) -> Vec<i32> {
    values.iter().map(|&value| value as i32).collect()
}

/// Merged sequences, checked.
pub(super) struct Regenerating {
    pub batch: usize,
    pub tokens: usize,
    pub width: usize,
    pub clusters: usize,
    pub row_map: Vec<u32>,
    /// Rows of each image before its representatives.
    pub own_rows: Vec<u32>,
    /// `[B + 1]`.
    pub bounds: Vec<u32>,
}

/// Everything that the host can check before tokens get their rows back. Errors: `Shape`, `Config`, `Input`.
pub(super) fn regenerating(inputs: &Inputs, config: &Config) -> Result<Regenerating> {
    let kernel = inputs.kernel();
    let clusters = clusters(kernel, config)?;
    let [batch, tokens, width] = inputs.dims("original", "[B, N, D]")?;
    if batch == 0 || tokens == 0 || width == 0 {
        let found = format!("has shape {:?}", [batch, tokens, width]);
        return Err(Error::shape(kernel, "original", found, "no empty dimension"));
    }
    for (name, shape) in [
        ("w1", vec![width, 2 * width]),
        ("b1", vec![width]),
        ("w2", vec![width, width]),
        ("b2", vec![width]),
        ("row_map", vec![batch, tokens]),
        ("cu_seqlens", vec![batch + 1]),
    ] {
        expect(inputs, name, &shape)?;
    }
    let ids = ids(inputs, [batch, tokens], clusters)?;
    let (row_map, bounds) = (inputs.unsigned("row_map")?, inputs.unsigned("cu_seqlens")?);
    if bounds[0] != 0 || bounds.windows(2).any(|pair| pair[1] < pair[0]) {
        let found = format!("has {bounds:?}");
        return Err(Error::shape(kernel, "cu_seqlens", found, "entries that start at 0 and do not fall"));
    }
    expect(inputs, "processed", &[bounds[batch] as usize, width])?;
    let own_rows = (0..batch)
        .map(|image| {
            let of = image * tokens..(image + 1) * tokens;
            let length = (bounds[image + 1] - bounds[image]) as usize;
            own_rows(&ids[of.clone()], &row_map[of], length, clusters).ok_or_else(|| {
                let expected = "the map of `ids` and its number of rows in `cu_seqlens`, or 1 + n of all";
                Error::shape(kernel, "row_map", format!("does not fit image {image}"), expected)
            })
        })
        .collect::<Result<_>>()?;
    Ok(Regenerating { batch, tokens, width, clusters, row_map, own_rows, bounds })
}

/// Rows before the representatives of an image with these ids, of which `length` rows exist: it is merged, or left alone.
fn own_rows(ids: &[u32], row_map: &[u32], length: usize, clusters: usize) -> Option<u32> {
    let kept = ids.iter().filter(|id| **id == 0).count();
    let mut rank = 0;
    let merged = ids.iter().map(|&id| {
        rank += (id == 0) as u32;
        if id == 0 { rank } else { kept as u32 + id }
    });
    if length == 1 + kept + clusters && merged.eq(row_map.iter().copied()) {
        return Some(1 + kept as u32);
    }
    let tokens = ids.len();
    (length == 1 + tokens && row_map.iter().copied().eq(1..=tokens as u32)).then_some(1 + tokens as u32)
}

async fn regenerate(gpu: &Gpu, inputs: &Inputs, config: &Config, options: &RunOptions) -> Result<Done> {
    let Regenerating { batch, tokens, width, clusters, row_map, own_rows, bounds } =
        regenerating(inputs, config)?;
    let operator = Regenerate::new(gpu, RegenerateConfig { clusters, variant: options.variant })?;
    let [original, processed, w2] =
        ["original", "processed", "w2"].map(|name| inputs.upload(gpu, name, options.dtype));
    let [b1, b2] = ["b1", "b2"].map(|name| inputs.upload(gpu, name, Dtype::F32));
    let [w1_original, w1_representative] =
        [0, 1].map(|half| inputs.upload_columns(gpu, "w1", half * width..(half + 1) * width, options.dtype));
    let (original, processed, w2, b1, b2) = (original?, processed?, w2?, b1?, b2?);
    let weights = RegenerateWeights {
        w1_original: &w1_original?,
        w1_representative: &w1_representative?,
        b1: &b1,
        w2: &w2,
        b2: &b2,
    };
    let map = RowMap::new(
        &Tensor::upload(gpu, "row_map", &[batch, tokens], &row_map)?,
        &Tensor::upload(gpu, "own_rows", &[batch], &own_rows)?,
        &Tensor::upload(gpu, "cu_seqlens", &[2 * (batch + 1)], &[bounds.clone(), bounds.clone()].concat())?,
        &Tensor::upload(gpu, "row_count", &[1], &bounds[batch..])?,
        true,
        1 + tokens + clusters,
    )?;
    let mut schedule = Schedule::new(gpu);
    let part = operator.record_original(&mut schedule, &original, weights)?;
    let out = operator.record(&mut schedule, &part, &processed, &map, weights)?;
    drop(part);
    let plan = schedule.compile()?;
    let start = web_time::Instant::now();
    plan.run(options.watch()).await?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let mut outputs = Outputs::default();
    outputs.read(gpu, "out", &out).await?;
    Ok(Done { outputs, variant: operator.explain().kind.name(), milliseconds })
}
