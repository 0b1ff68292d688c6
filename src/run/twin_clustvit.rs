//! The twin of ClustViT by name.

use super::cluster_merge::signed;
use super::clustvit::model_config;
use super::{Config, Inputs, Outputs};
use crate::error::{Error, Result};
use crate::models::clustvit::{ClustVitConfig, NAME, NamedTensors, block_shapes};
use crate::twins::cluster_merge::TwoLayers;
use crate::twins::clustvit::{BlockWeights, ClustVitShape, ClustVitWeights, clustvit as twin};
use std::collections::BTreeMap;

/// The weights in f64, checked by shape.
struct Doubles(BTreeMap<String, Vec<f64>>);

impl Doubles {
    fn read(tensors: &NamedTensors, shapes: &[(String, Vec<usize>)]) -> Result<Self> {
        let each = |(name, shape): &(String, Vec<usize>)| {
            let data = tensors.floats(name, shape)?;
            Ok((name.clone(), data.iter().map(|&value| value as f64).collect()))
        };
        Ok(Self(shapes.iter().map(each).collect::<Result<_>>()?))
    }

    fn get(&self, name: &str) -> &[f64] {
        &self.0[name]
    }

    fn pair(&self, prefix: &str, names: [&str; 2]) -> [&[f64]; 2] {
        names.map(|name| self.get(&format!("{prefix}{name}")))
    }

    fn layers(&self, prefix: &str) -> TwoLayers<'_> {
        let [w1, b1] = self.pair(prefix, ["w1", "b1"]);
        let [w2, b2] = self.pair(prefix, ["w2", "b2"]);
        TwoLayers { w1, b1, w2, b2 }
    }

    fn block(&self, prefix: &str) -> BlockWeights<'_> {
        BlockWeights {
            norms: [self.pair(prefix, ["ln1_g", "ln1_b"]), self.pair(prefix, ["ln2_g", "ln2_b"])],
            qkv: self.pair(prefix, ["wqkv", "bqkv"]),
            out: self.pair(prefix, ["wo", "bo"]),
            mlp: self.layers(prefix),
        }
    }
}

pub(super) fn clustvit(inputs: &Inputs, config: &Config) -> Result<Outputs> {
    let config = model_config(config)?;
    let tensors = inputs.model_weights()?;
    let [width] = tensors.dims("cls", "[D]")?;
    let depth = config.check_weights(&tensors, width)?;
    let [batch, channels, height, wide] = inputs.dims("img", "[B, 3, H, W]")?;
    let ClustVitConfig { patch, heads, full_blocks, clusters, gate, .. } = config;
    if [batch, channels, height, wide].contains(&0) || height % patch + wide % patch != 0 {
        let found = format!("has shape {:?}", [batch, channels, height, wide]);
        let expected = format!("sides that are multiples of patch = {patch}, none 0");
        return Err(Error::shape(NAME, "img", found, expected));
    }
    let tokens = height / patch * (wide / patch);
    let doubles = Doubles::read(&tensors, &shapes(&config, &tensors, [width, depth, channels, tokens])?)?;
    let model = ClustVitWeights {
        embedding: doubles.get("pe_w"),
        class_token: doubles.get("cls"),
        positions: doubles.get("pos"),
        blocks: (0..depth).map(|i| doubles.block(&format!("blocks.{i}."))).collect(),
        norm: doubles.pair("", ["norm_g", "norm_b"]),
        merging: config.merge.then(|| [doubles.layers("clusterer."), doubles.layers("regen.")]),
    };
    let shape = ClustVitShape {
        batch,
        channels,
        size: [height, wide],
        patch,
        width,
        heads,
        full_blocks,
        clusters,
        gate,
        epsilon: config.epsilon as f64,
        outputs: config.outputs.unwrap_or_else(|| vec![depth - 1]),
    };
    let (features, ids) = twin(inputs.floats("img")?, &model, &shape);
    let mut outputs = Outputs::default();
    for (index, feature) in features.iter().enumerate() {
        outputs.double(&format!("features.{index}"), &[batch, tokens, width], feature);
    }
    outputs.double("out", &[batch, tokens, width], features.last().expect("at least one output"));
    if let Some(ids) = ids {
        outputs.signed("ids", &[batch, tokens], &signed(&ids));
    }
    Ok(outputs)
}

/// Every weight with its shape.
fn shapes(
    config: &ClustVitConfig,
    tensors: &NamedTensors,
    [width, depth, channels, tokens]: [usize; 4],
) -> Result<Vec<(String, Vec<usize>)>> {
    let patch = config.patch;
    let mut shapes = Vec::new();
    let mut add = |prefix: &str, parts: &[(&str, &[usize])]| {
        shapes.extend(parts.iter().map(|(name, shape)| (format!("{prefix}{name}"), shape.to_vec())));
    };
    add(
        "",
        &[
            ("cls", &[width]),
            ("pos", &[1 + tokens, width]),
            ("pe_w", &[width, channels, patch, patch]),
            ("norm_g", &[width]),
            ("norm_b", &[width]),
        ],
    );
    for prefix in (0..depth).map(|i| format!("blocks.{i}.")) {
        let [hidden, _] = tensors.dims(&format!("{prefix}w1"), "[hidden, D]")?;
        let shapes = block_shapes(width, hidden);
        add(&prefix, &shapes.each_ref().map(|(name, shape)| (*name, shape.as_slice())));
    }
    if config.merge {
        let [hidden, _] = tensors.dims("clusterer.w1", "[hidden, D]")?;
        let choices = config.clusters + 1;
        add(
            "clusterer.",
            &[("w1", &[hidden, width]), ("b1", &[hidden]), ("w2", &[choices, hidden]), ("b2", &[choices])],
        );
        add(
            "regen.",
            &[("w1", &[width, 2 * width]), ("b1", &[width]), ("w2", &[width, width]), ("b2", &[width])],
        );
    }
    Ok(shapes)
}
