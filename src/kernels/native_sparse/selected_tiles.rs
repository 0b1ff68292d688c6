//! How attention to listed blocks is tiled. The reasons for the tiles stand in the kernels' files.

use crate::kernels::Constants;
use crate::kernels::attention::Shape;
use crate::variant::VariantKind;

/// A kernel with its tile.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tile {
    pub kernel: &'static str,
    /// Heads of one kv head in a unit.
    pub heads: usize,
    /// Units of one workgroup.
    pub units: usize,
    /// Ranges of a list, one unit each; of more than one, `combine` merges the results.
    pub splits: usize,
    /// Tokens of a range.
    pub split_keys: usize,
    constants: Vec<(&'static str, usize)>,
}

impl Tile {
    fn new(kernel: &'static str, heads: usize, units: usize, constants: Vec<(&'static str, usize)>) -> Self {
        Self { kernel, heads, units, splits: 1, split_keys: 0, constants }
    }

    pub fn apply(&self, constants: Constants) -> Constants {
        let partial = self.splits > 1;
        let constants =
            constants.flag("PARTIAL", partial).set("OUT", if partial { "partial_out" } else { "out" });
        self.constants.iter().fold(constants, |all, (name, value)| all.set(name, value))
    }

    pub fn head_tiles(&self, shape: &Shape) -> usize {
        shape.group.div_ceil(self.heads)
    }

    pub fn workgroups(&self, shape: &Shape) -> usize {
        let tokens = shape.query_tokens * shape.kv_heads * shape.batch;
        (self.splits * self.head_tiles(shape) * tokens).div_ceil(self.units)
    }

    /// Enough workgroups to fill the adapter, but ranges of at least 128 keys: a partial result costs as much as a few keys.
    fn split(mut self, shape: &Shape, listed: usize, wanted: usize) -> Tile {
        let splits = wanted.div_ceil(self.workgroups(shape).max(1)).clamp(1, listed.div_ceil(128));
        self.split_keys = listed.div_ceil(splits).next_multiple_of(64);
        self.splits = listed.div_ceil(self.split_keys);
        self
    }
}

/// `listed`: tokens that a list can hold.
pub(super) fn tile(kind: VariantKind, shape: &Shape, listed: usize) -> Tile {
    if kind.is_cpu() {
        return tile_cpu(kind, shape).split(shape, listed, 16);
    }
    let heads = match shape.group {
        ..=4 => 4,
        5..=8 => 8,
        _ => 16,
    };
    // Beside a chunk of the keys and their rows, 16 KiB have room for this much of the query.
    let resident = heads * shape.head_dim.next_multiple_of(32) <= 16 * 96;
    let constants = vec![("ROW_TILE", heads), ("RESIDENT", resident as usize)];
    Tile::new("native_sparse/selected", heads, 1, constants).split(shape, listed, 1024)
}

/// Groups of up to 4 do best with a lane each, larger ones share their keys.
fn tile_cpu(kind: VariantKind, shape: &Shape) -> Tile {
    let kernel = "native_sparse/selected_cpu";
    let dim = shape.head_dim.max(shape.value_dim);
    if kind == VariantKind::Cpu && shape.group > 4 {
        let (most, keys) = match dim {
            ..=64 => (3, 4),
            65..=128 => (2, 2),
            _ => (1, 2),
        };
        let tiles = shape.group.div_ceil(8 * most);
        let rows = shape.group.div_ceil(tiles).div_ceil(8);
        return Tile::new(kernel, 8 * rows, 1, vec![("ROWS", rows), ("KEYS", keys)]);
    }
    let most = match dim {
        ..=64 => 4,
        65..=128 => 2,
        _ => 1,
    };
    let rows = shape.group.min(most);
    Tile::new(kernel, rows, 8, vec![("ROWS", rows), ("KEYS", 1), ("SUBGROUP", 0)])
}
