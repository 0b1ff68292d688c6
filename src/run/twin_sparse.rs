//! Twins of native sparse attention and VideoNSA by name.

use super::twin::attention_shape;
use super::{Config, Inputs, Outputs, native_sparse, video_nsa};
use crate::error::{Error, Result};
use crate::kernels::native_sparse::NativeSparseConfig;
use crate::twins;
use crate::twins::attention::AttentionShape;
use crate::twins::native_sparse::{NativeSparseOptions, NativeSparseSources, gate_values};

/// The shapes of q, k, v and gates, and the gates.
fn inputs_of(operator: &'static str, inputs: &Inputs) -> Result<(AttentionShape, Vec<f64>)> {
    let shape = attention_shape(operator, inputs)?;
    let name = native_sparse::gates_name(inputs)?;
    let expected = [shape.batch, shape.query_tokens, shape.query_heads, 3];
    if inputs.dims::<4>(name, "[B, Tq, HQ, 3]")? != expected {
        let found = format!("has shape {:?}", inputs.dims::<4>(name, "")?);
        return Err(Error::shape(operator, name, found, format!("{expected:?}")));
    }
    let values = inputs.floats(name)?;
    Ok((shape, if name == "gates" { values.to_vec() } else { gate_values(values) }))
}

pub(super) fn native_sparse(inputs: &Inputs, config: &Config) -> Result<Outputs> {
    let operator = native_sparse::operator_config(config, NativeSparseConfig::default(), None)?;
    operator.check()?;
    let (shape, gates) = inputs_of(native_sparse::NAME, inputs)?;
    let scale = config.number("scale")?;
    let options = NativeSparseOptions { scale, ..NativeSparseOptions::from(&operator) };
    let lists = native_sparse::block_lists(inputs, options.sel_block)?;
    let sources = NativeSparseSources {
        blocks: lists.as_ref().map(|(_, lists)| lists.as_slice()),
        ..NativeSparseSources::new(inputs.floats("q")?, inputs.floats("k")?, inputs.floats("v")?, &gates)
    };
    let result = twins::native_sparse::native_sparse(&sources, &shape, &options);
    let rows = [shape.batch, shape.query_tokens];
    let out = [&rows[..], &[shape.query_heads, shape.value_dim]].concat();
    let mut outputs = Outputs::default();
    outputs.double("out", &out, &result.out);
    outputs.double("o_cmp", &out, &result.o_cmp);
    outputs.double("o_slc", &out, &result.o_slc);
    outputs.double("o_swa", &out, &result.o_swa);
    let count = lists.as_ref().map_or(options.top_n, |(count, _)| *count);
    outputs.signed("idx", &[&rows[..], &[shape.kv_heads, count]].concat(), &result.blocks);
    outputs.double("lse_cmp", &[&rows[..], &[shape.query_heads]].concat(), &result.lse_cmp);
    Ok(outputs)
}

pub(super) fn video_nsa(inputs: &Inputs, config: &Config) -> Result<Outputs> {
    let operator = video_nsa::operator_config(config, None)?;
    operator.check()?;
    let (shape, gates) = inputs_of(video_nsa::NAME, inputs)?;
    let AttentionShape { batch, query_tokens, tokens, query_heads, value_dim, .. } = shape;
    if query_tokens != tokens {
        let found = format!("has {query_tokens} tokens");
        return Err(Error::shape(video_nsa::NAME, "q", found, format!("{tokens}, as k")));
    }
    let [marks] = inputs.dims("is_vision", "[T]")?;
    if marks != tokens {
        let found = format!("has shape [{marks}]");
        return Err(Error::shape(video_nsa::NAME, "is_vision", found, format!("[{tokens}]")));
    }
    let scale = config.number("scale")?;
    let options = NativeSparseOptions { scale, ..NativeSparseOptions::from(&operator) };
    let (q, k, v) = (inputs.floats("q")?, inputs.floats("k")?, inputs.floats("v")?);
    let result = twins::video_nsa::video_nsa(q, k, v, &gates, &inputs.mask("is_vision")?, &shape, &options);
    let mut outputs = Outputs::default();
    outputs.double("out", &[batch, tokens, query_heads, value_dim], &result.out);
    Ok(outputs)
}
