//! How the kernels of a decode step are tiled. The reasons for the tiles stand in the kernels' files.

use crate::kernels::attention::Shape;
use crate::variant::VariantKind;

/// Sizes of the padded records of decode_bindings.wgsl, in vectors of four.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Record {
    /// Of a key.
    pub key_quads: usize,
    /// Of a key and its value.
    pub quads: usize,
}

impl Record {
    pub fn new(shape: &Shape) -> Record {
        let key_quads = 4 * shape.head_dim.div_ceil(16);
        Record { key_quads, quads: key_quads + 2 * shape.value_dim.div_ceil(8) }
    }

    pub fn product(self) -> usize {
        4 * self.quads * self.key_quads
    }

    /// Floats of the moments of one row and range.
    pub fn floats(self) -> usize {
        4 * (1 + 2 * self.quads + self.product())
    }

    /// Floats of a row once its ranges are joined.
    pub fn merged_floats(self) -> usize {
        4 * (1 + self.quads + self.product())
    }
}

/// The rows that share a pass over a range of keys, in threads of one workgroup.
pub(super) struct Tile {
    pub rows: usize,
    pub keys: usize,
    pub threads: usize,
    /// Loads of a thread that bring a tile of keys and values.
    pub stages: usize,
}

impl Tile {
    pub fn new(shape: &Shape, record: Record) -> Tile {
        let columns = record.key_quads / 4;
        let blocks = columns * (columns + 1) + shape.value_dim.div_ceil(8) * columns;
        let rows = even(shape.rows(), (256 / blocks).clamp(1, 8));
        let bytes = |keys: usize| {
            let vectors = keys * (record.quads + 1) + rows * (record.key_quads + 2 * record.quads);
            16 * vectors + 4 * rows * (16 + keys) + 64
        };
        let keys = if bytes(16) <= 16 << 10 { 16 } else { 8 };
        let threads = (rows * blocks).max(record.quads).next_multiple_of(32);
        Tile { rows, keys, threads, stages: keys.div_ceil(threads / record.quads) }
    }
}

/// Rows of a tile where tiles have at most `most` and one size: 5 rows are 3 and 2 rather than 4 and 1.
pub(super) fn even(rows: usize, most: usize) -> usize {
    rows.div_ceil(rows.div_ceil(most))
}

/// Tiles of the software builds: blocks of 32 rows of keys or values by columns of the keys, for several rows of queries.
pub(super) struct CpuTile {
    pub rows: usize,
    pub column_quads: usize,
    pub key_blocks: usize,
    pub value_blocks: usize,
}

impl CpuTile {
    /// Each build takes a second to compile; the reasons for the sizes stand in the kernel's file.
    pub fn new(kind: VariantKind, shape: &Shape, record: Record) -> CpuTile {
        let rows = even(shape.rows(), 4);
        let column_quads = match (kind, rows) {
            (VariantKind::Cpu, 1..=2) if record.key_quads.is_multiple_of(8) => 8,
            (VariantKind::Cpu, _) | (_, 1..=2) => 4,
            (_, _) => 2,
        };
        let columns = record.key_quads / column_quads;
        let touching = |block: usize| ((block + 1) * 8 / column_quads).min(columns);
        CpuTile {
            rows,
            column_quads,
            key_blocks: (0..record.key_quads.div_ceil(8)).map(touching).sum(),
            value_blocks: (record.quads - record.key_quads).div_ceil(8) * columns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(head_dim: usize, value_dim: usize, rows: usize) -> Shape {
        Shape {
            batch: 1,
            query_tokens: 1,
            tokens: 4096,
            query_heads: rows,
            kv_heads: 1,
            group: rows,
            head_dim,
            value_dim,
            packed_tokens: None,
        }
    }

    #[test]
    fn tiles_stay_within_the_limits_of_webgpu() {
        for head_dim in 1..=128 {
            for value_dim in [1, 3, 8, 16, 33, 64, 80, 100, 128] {
                for rows in 1..=16 {
                    let shape = shape(head_dim, value_dim, rows);
                    let record = Record::new(&shape);
                    let Tile { rows: tile_rows, keys, threads, stages } = Tile::new(&shape, record);
                    let what = format!("{rows} rows of {head_dim} and {value_dim}");
                    let tiles = [
                        16 * keys * (record.quads + 1),
                        16 * tile_rows * record.key_quads,
                        16 * tile_rows * record.quads,
                        16 * tile_rows * record.quads,
                        4 * tile_rows * 16,
                        4 * tile_rows * keys,
                        4,
                    ];
                    let bytes: usize = tiles.iter().map(|bytes| bytes.next_multiple_of(16)).sum();
                    assert!(bytes <= 16 << 10, "{what}: {bytes} bytes of workgroup memory");
                    assert!(threads <= 256 && stages * (threads / record.quads) >= keys, "{what}");
                    assert!(
                        tile_rows <= rows && rows.div_ceil(tile_rows) <= rows.div_ceil(8).max(rows),
                        "{what}"
                    );
                }
            }
        }
    }

    /// The kernel counts its blocks in the same order.
    #[test]
    fn blocks_of_the_software_builds_cover_the_lower_triangle() {
        for head_dim in 1..=128 {
            for rows in [1, 4] {
                for kind in [VariantKind::Cpu, VariantKind::CpuPlain] {
                    let shape = shape(head_dim, 16, rows);
                    let record = Record::new(&shape);
                    let tile = CpuTile::new(kind, &shape, record);
                    let (mut block, mut count) = ((0, 0), 0);
                    while block.0 * 8 < record.key_quads {
                        assert!(block.1 * tile.column_quads < record.key_quads, "{head_dim}: {block:?}");
                        count += 1;
                        block.1 += 1;
                        let last = ((block.0 + 1) * 8).min(record.key_quads);
                        if block.1 * tile.column_quads >= last {
                            block = (block.0 + 1, 0);
                        }
                    }
                    assert_eq!(count, tile.key_blocks, "{head_dim} by {kind}");
                }
            }
        }
    }
}
