//! `run native_sparse`.

use super::attention::host_lse;
use super::{Config, Done, Inputs, KernelSpec, KeySpec, Outputs, RunOptions, Running, optional, required};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::native_sparse::{Gates, NativeSparseAttention, NativeSparseConfig, NativeSparseInputs};
use crate::schedule::Schedule;
use crate::tensor::Tensor;
use crate::variant::VariantKind;

pub(super) const NAME: &str = "native_sparse";

pub(super) const SPEC: KernelSpec = KernelSpec {
    name: NAME,
    about: "native sparse attention: pooled blocks, the blocks that score best, and a window, weighed by gates",
    inputs: &[
        required("q", "[B, Tq, HQ, D]"),
        required("k", "[B, T, HK, D]"),
        required("v", "[B, T, HK, Dv]"),
        optional("gates", "[B, Tq, HQ, 3]: compressed, selected, window"),
        optional("gate_logits", "[B, Tq, HQ, 3], where there are no gates: their sigmoid is taken"),
        optional("idx", "I32 [B, Tq, HK, n], -1 padded: read these blocks"),
    ],
    keys: &[
        KeySpec { name: "cmp_block", default: "32", about: "tokens of a compressed block" },
        KeySpec { name: "cmp_stride", default: "16", about: "tokens from one compressed block to the next" },
        KeySpec { name: "sel_block", default: "64", about: "tokens of a selected block" },
        KeySpec { name: "top_n", default: "16", about: "blocks of a query, forced ones included" },
        KeySpec {
            name: "window",
            default: "512",
            about: "last tokens, self included; 0: no window, -1: all",
        },
        KeySpec { name: "n_init", default: "1", about: "first blocks that every query reads" },
        KeySpec { name: "n_local", default: "2", about: "own and earlier blocks that every query reads" },
        KeySpec { name: "q_offset", default: "T - Tq", about: "position of the first query row" },
        KeySpec { name: "scale", default: "1 / sqrt(D)", about: "factor of q k^T in every branch" },
    ],
    outputs: &[
        required("out", "[B, Tq, HQ, Dv]"),
        required("o_cmp", "[B, Tq, HQ, Dv], before its gate, as the next two"),
        required("o_slc", "[B, Tq, HQ, Dv]"),
        required("o_swa", "[B, Tq, HQ, Dv]"),
        required("idx", "I32 [B, Tq, HK, top_n], ascending, -1 padded"),
        required("lse_cmp", "[B, Tq, HQ], -inf in rows without a complete block"),
    ],
    gpu: |gpu, inputs, config, options| -> Running<'_> { Box::pin(on_gpu(gpu, inputs, config, options)) },
};

/// The configuration, with what `default` has where a key is missing.
pub(super) fn operator_config(
    config: &Config,
    default: NativeSparseConfig,
    variant: Option<VariantKind>,
) -> Result<NativeSparseConfig> {
    Ok(NativeSparseConfig {
        cmp_block: config.count_or_none("cmp_block")?.unwrap_or(default.cmp_block),
        cmp_stride: config.count_or_none("cmp_stride")?.unwrap_or(default.cmp_stride),
        sel_block: config.count_or_none("sel_block")?.unwrap_or(default.sel_block),
        top_n: config.count_or_none("top_n")?.unwrap_or(default.top_n),
        window: config.window_or("window", default.window)?,
        n_init: config.whole("n_init")?.unwrap_or(default.n_init),
        n_local: config.whole("n_local")?.unwrap_or(default.n_local),
        q_offset: config.integer("q_offset")?,
        scale: config.number("scale")?.map(|scale| scale as f32),
        variant,
    })
}

/// Which of `gates` and `gate_logits` counts. Errors: `Input` where neither is there.
pub(super) fn gates_name(inputs: &Inputs) -> Result<&'static str> {
    let names = ["gates", "gate_logits"];
    let missing = || Error::Input(format!("{}: tensor `gates` or `gate_logits` is missing", inputs.kernel()));
    names.into_iter().find(|name| inputs.get(name).is_some()).ok_or_else(missing)
}

/// The tensor of this name as gates.
pub(super) fn gates_of<'a>(name: &str, tensor: &'a Tensor) -> Gates<'a> {
    if name == "gates" { Gates::Values(tensor) } else { Gates::Logits(tensor) }
}

/// The block lists of `idx`, each ascending, -1 at its end, and how long they are. Errors: `Shape` for another shape than q and k
/// ask for, or a number that is no block.
pub(super) fn block_lists(inputs: &Inputs, sel_block: usize) -> Result<Option<(usize, Vec<i32>)>> {
    let Some(tensor) = inputs.get("idx") else { return Ok(None) };
    let [batch, query_tokens, _, _] = inputs.dims("q", "[B, Tq, HQ, D]")?;
    let [_, tokens, kv_heads, _] = inputs.dims("k", "[B, T, HK, D]")?;
    let expected = [batch, query_tokens, kv_heads];
    let count = match tensor.shape.as_slice() {
        [lists @ .., count] if lists == expected && *count > 0 => *count,
        found => {
            let expected = format!("[{batch}, {query_tokens}, {kv_heads}, n], n above 0");
            return Err(Error::shape(NAME, "idx", format!("has shape {found:?}"), expected));
        }
    };
    let (data, blocks) = (inputs.integers("idx")?, tokens.div_ceil(sel_block) as i64);
    if let Some(index) = data.iter().position(|block| !(-1..blocks).contains(block)) {
        let expected = format!("-1 to {}, the last block of {tokens} tokens", blocks - 1);
        return Err(Error::shape(NAME, "idx", format!("has {} at index {index}", data[index]), expected));
    }
    let mut lists: Vec<i32> = data.iter().map(|&block| block as i32).collect();
    // As a number without its sign, -1 is the largest.
    lists.chunks_exact_mut(count).for_each(|list| list.sort_unstable_by_key(|&block| block as u32));
    Ok(Some((count, lists)))
}

async fn on_gpu(gpu: &Gpu, inputs: &Inputs, config: &Config, options: &RunOptions) -> Result<Done> {
    let config = operator_config(config, NativeSparseConfig::default(), options.variant)?;
    let operator = NativeSparseAttention::new(gpu, config.clone())?;
    let gates = gates_name(inputs)?;
    let [q, k, v, weights] = ["q", "k", "v", gates].map(|name| inputs.upload(gpu, name, options.dtype));
    let (q, k, v, weights) = (q?, k?, v?, weights?);
    let blocks = block_lists(inputs, config.sel_block)?.map(|(count, lists)| {
        let words: Vec<u32> = lists.into_iter().map(|block| block as u32).collect();
        let [batch, query_tokens, kv_heads] = [q.shape()[0], q.shape()[1], k.shape()[2]];
        Tensor::upload(gpu, "idx", &[batch, query_tokens, kv_heads, count], &words)
    });
    let blocks = blocks.transpose()?;
    let gates = gates_of(gates, &weights);
    let mut schedule = Schedule::new(gpu);
    let tensors =
        NativeSparseInputs { blocks: blocks.as_ref(), ..NativeSparseInputs::new(&q, &k, &v, gates) };
    let result = operator.record(&mut schedule, &tensors)?;
    let plan = schedule.compile()?;
    let start = web_time::Instant::now();
    plan.run(options.watch()).await?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let mut outputs = Outputs::default();
    for (name, tensor) in
        [("out", &result.out), ("o_cmp", &result.o_cmp), ("o_slc", &result.o_slc), ("o_swa", &result.o_swa)]
    {
        outputs.read(gpu, name, tensor).await?;
    }
    let words = result.blocks.read::<u32>(gpu).await?;
    let lists: Vec<i32> = words.into_iter().map(|block| block as i32).collect();
    outputs.signed("idx", result.blocks.shape(), &lists);
    outputs.float("lse_cmp", result.lse_cmp.shape(), &host_lse(gpu, &result.lse_cmp).await?);
    Ok(Done { outputs, variant: operator.explain().kind.name(), milliseconds })
}
