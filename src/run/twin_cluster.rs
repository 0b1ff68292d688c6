//! The twins of token merging by name.

use super::cluster_merge::{Merging, Regenerating, merging, regenerating, signed};
use super::{Config, Inputs, Outputs};
use crate::error::Result;
use crate::twins::cluster_merge::{self as twin, MergeMap, MergeShape, TwoLayers};

fn two_layers(inputs: &Inputs) -> Result<TwoLayers<'_>> {
    Ok(TwoLayers {
        w1: inputs.floats("w1")?,
        b1: inputs.floats("b1")?,
        w2: inputs.floats("w2")?,
        b2: inputs.floats("b2")?,
    })
}

pub(super) fn merge(inputs: &Inputs, config: &Config) -> Result<Outputs> {
    let Merging { batch, tokens, width, clusters, gate, ids } = merging(inputs, config)?;
    let shape = MergeShape { batch, tokens, clusters, width };
    let x = inputs.floats("x")?;
    let ids = match ids {
        Some(ids) => ids,
        None => {
            let logits = twin::cluster_logits(x, &two_layers(inputs)?);
            let ids = twin::assign(&logits, clusters + 1);
            ids.chunks_exact(1 + tokens).flat_map(|image| image[1..].to_vec()).collect()
        }
    };
    let map = twin::map_rows(&ids, &shape, gate);
    let means = twin::cluster_means(x, &ids, &shape);
    let packed = twin::merge_rows(x, &means, &map, &shape);
    let mut outputs = Outputs::default();
    outputs.signed("ids", &[batch, tokens], &signed(&ids));
    outputs.signed("counts", &[batch, clusters + 1], &signed(&map.counts));
    outputs.signed("keep_rank", &[batch, tokens], &signed(&map.keep_rank));
    outputs.signed("row_map", &[batch, tokens], &signed(&map.row_map));
    outputs.double("means", &[batch, clusters, width], &means);
    outputs.double("packed", &[packed.len() / width, width], &packed);
    outputs.signed("cu_seqlens", &[batch + 1], &signed(&map.bounds));
    Ok(outputs)
}

pub(super) fn regenerate(inputs: &Inputs, config: &Config) -> Result<Outputs> {
    let Regenerating { batch, tokens, width, clusters, row_map, own_rows, bounds } =
        regenerating(inputs, config)?;
    let shape = MergeShape { batch, tokens, clusters, width };
    let map = MergeMap { row_map, own_rows, bounds, ..MergeMap::default() };
    let (original, processed) = (inputs.floats("original")?, inputs.floats("processed")?);
    let out = twin::regenerate(original, processed, &map, &two_layers(inputs)?, &shape);
    let mut outputs = Outputs::default();
    outputs.double("out", &[batch, 1 + tokens, width], &out);
    Ok(outputs)
}
