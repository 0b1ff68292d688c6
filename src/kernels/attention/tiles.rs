//! Which kernel serves a shape on an adapter, and how it is tiled. The reasons for the tiles stand in the kernels' files.

use super::inputs::Shape;
use crate::error::Result;
use crate::kernels::{Constants, ELEMENTWISE};
use crate::schedule::{Cost, Schedule};
use crate::tensor::Tensor;
use crate::variant::VariantKind;

/// A kernel with its tile.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tile {
    pub kernel: &'static str,
    /// Rows of one workgroup.
    pub rows: usize,
    constants: Vec<(&'static str, usize)>,
}

impl Tile {
    pub fn apply(&self, constants: Constants) -> Constants {
        self.constants.iter().fold(constants, |all, (name, value)| all.set(name, value))
    }
}

/// How a shape is served.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Route {
    /// One workgroup sees all keys of its rows.
    Prefill(Tile),
    /// Few rows: each workgroup sees a range of keys, `combine` merges.
    Decode { tile: Tile, splits: usize, split_tokens: usize, partials_per_split: usize },
}

/// Rows of a (sequence, kv head) up to which its keys are split.
const DECODE_ROWS: usize = 16;
/// Keys from which splitting pays.
const DECODE_TOKENS: usize = 128;

/// `reach` is how many keys the rows of a sequence can see between them.
pub(super) fn route(kind: VariantKind, shape: &Shape, reach: usize) -> Route {
    if shape.rows() <= DECODE_ROWS && reach >= DECODE_TOKENS {
        return decode(kind, shape, reach);
    }
    Route::Prefill(if kind.is_cpu() { prefill_cpu(kind, shape) } else { prefill_gpu(shape) })
}

fn prefill_gpu(shape: &Shape) -> Tile {
    let (rows, keys) = if shape.value_dim <= 128 { (64, 32) } else { (32, 64) };
    Tile { kernel: "attention/prefill", rows, constants: vec![("ROW_TILE", rows), ("KEY_TILE", keys)] }
}

fn prefill_cpu(kind: VariantKind, shape: &Shape) -> Tile {
    let (most, keys) = match (kind, shape.head_dim.max(shape.value_dim)) {
        (VariantKind::Cpu, ..=16) => (4, 4),
        (VariantKind::Cpu, ..=32) => (4, 2),
        (VariantKind::Cpu, ..=64) => (2, 4),
        (VariantKind::Cpu, ..=128) => (2, 2),
        (VariantKind::Cpu, _) => (1, 2),
        (_, ..=32) => (8, 1),
        (_, ..=64) => (4, 1),
        (_, ..=128) => (2, 1),
        _ => (1, 1),
    };
    // Fewer rows a lane where there are too few to give every lane its share.
    let rows = shape.rows().div_ceil(8).next_power_of_two().min(most);
    Tile { kernel: "attention/prefill_cpu", rows: 8 * rows, constants: vec![("ROWS", rows), ("KEYS", keys)] }
}

/// Of 1 or 2 rows every lane holds all and takes keys of its own (the plain form, also with subgroups: 5.7 against
/// 9.6 ms); of more, lanes hold rows and share keys.
fn decode_cpu(kind: VariantKind, shape: &Shape) -> (Tile, usize) {
    let kernel = "attention/decode_cpu";
    if kind == VariantKind::Cpu && shape.rows() > 2 {
        let rows = shape.rows().div_ceil(8);
        return (Tile { kernel, rows: 8 * rows, constants: vec![("ROWS", rows), ("KEYS", 2)] }, 1);
    }
    let most = match shape.head_dim.max(shape.value_dim) {
        ..=64 => 4,
        65..=128 => 2,
        _ => 1,
    };
    let rows = shape.rows().min(most);
    (Tile { kernel, rows, constants: vec![("ROWS", rows), ("KEYS", 1), ("SUBGROUP", 0)] }, 8)
}

fn decode(kind: VariantKind, shape: &Shape, reach: usize) -> Route {
    let (tile, partials_per_split, wanted_groups) = if kind.is_cpu() {
        let (tile, partials) = decode_cpu(kind, shape);
        (tile, partials, 16)
    } else {
        let rows = decode_rows(shape);
        (Tile { kernel: "attention/decode", rows, constants: vec![("ROW_TILE", rows)] }, 1, 1024)
    };
    // Enough workgroups to fill the adapter, but ranges of at least 128 keys: a partial result costs as much as a few keys.
    let others = shape.rows().div_ceil(tile.rows) * shape.kv_heads * shape.batch;
    let splits = usize::div_ceil(wanted_groups, others).clamp(1, reach.div_ceil(128));
    let split_tokens = reach.div_ceil(splits).next_multiple_of(64);
    Route::Decode { tile, splits: reach.div_ceil(split_tokens), split_tokens, partials_per_split }
}

/// The smallest tile that holds the rows, else the largest whose query fits beside the keys in 16 KiB.
fn decode_rows(shape: &Shape) -> usize {
    let fits = |rows: &usize| rows * (shape.head_dim.next_multiple_of(32) + 64) <= 2048;
    let allowed = [1, 4, 8, 16].into_iter().filter(fits);
    let most = allowed.clone().max().unwrap_or(1);
    allowed.into_iter().find(|rows| *rows >= shape.rows()).unwrap_or(most)
}

#[derive(encase::ShaderType)]
struct CombineParams {
    rows: u32,
    splits: u32,
    value_dim: u32,
}

/// Merges partial results `[partials, rows, value_dim]`.
pub(crate) fn record_combine(
    schedule: &mut Schedule,
    kind: VariantKind,
    partial_out: &Tensor,
    partial_state: &Tensor,
    out: &Tensor,
    lse: &Tensor,
) -> Result<()> {
    let rows = lse.elements();
    let value_dim = out.elements() / rows;
    let workgroup = if kind.is_cpu() { 8 } else { ELEMENTWISE };
    let constants = Constants::new().flag("QUADS", value_dim.is_multiple_of(4)).set("WORKGROUP", workgroup);
    let params = CombineParams {
        rows: rows as u32,
        splits: partial_out.shape()[0] as u32,
        value_dim: value_dim as u32,
    };
    schedule
        .kernel("attention combine", "attention/combine", &constants.pairs())?
        .params(&params)
        .bind("partial_out", partial_out)?
        .bind("partial_state", partial_state)?
        .bind("out", out)?
        .bind("lse", lse)?
        .dispatch(
            (rows * value_dim.div_ceil(4)).div_ceil(workgroup),
            Cost { flops: 0.0, bytes: (partial_out.bytes() + out.bytes()) as f64 },
        )
}
