//! Random tokens with random clusters, and what the twin makes of them.

use crate::common::{Random, doubles, gpu, read, upload, upload_floats, variants};
use gristmill::kernels::cluster_merge::{ClusterMerge, ClusterMergeConfig, ClusterMergeOutput, Gate};
use gristmill::twins::cluster_merge::{self as twin, MergeMap, MergeShape};
use gristmill::{Schedule, Tensor, VariantKind, no_progress};

#[derive(Clone, Debug)]
pub struct Case {
    pub shape: MergeShape,
    pub gate: Gate,
    pub f16: bool,
    pub seed: u64,
}

/// Tokens `[batch, 1 + tokens, width]` and their ids.
#[derive(Clone, Debug)]
pub struct Data {
    pub x: Vec<f32>,
    pub ids: Vec<u32>,
}

/// What the GPU gives, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    pub map: MergeMap,
    pub means: Vec<f32>,
    pub packed: Vec<f32>,
    /// Of the merged rows as they are.
    pub unmerged: Vec<f32>,
}

impl Case {
    pub fn new(batch: usize, tokens: usize, clusters: usize, width: usize) -> Case {
        let shape = MergeShape { batch, tokens, clusters, width };
        Case { shape, gate: Gate::Image, f16: false, seed: 7 }
    }

    /// Images whose kept share differs, some with one id alone, some with clusters left empty.
    pub fn data(&self) -> Data {
        let MergeShape { batch, tokens, clusters, width } = self.shape;
        let mut random = Random::new(self.seed);
        let x = random.normal(batch * (1 + tokens) * width, 1.0);
        let x = if self.f16 { crate::common::round_to_half(&x) } else { x };
        let mut ids = Vec::new();
        for _ in 0..batch {
            let kept = random.pick(&[0.0, 0.1, 0.5, 0.9, 1.0]);
            let used = 1 + random.below(clusters);
            let members = random.mask(tokens, 1.0 - kept);
            ids.extend(members.iter().map(|&member| member * (1 + random.below(used)) as u32));
        }
        Data { x, ids }
    }

    pub fn merge(&self, data: &Data, variant: VariantKind) -> Merged {
        let mut schedule = Schedule::new(gpu());
        let output = self.record(&mut schedule, data, variant);
        let unmerged = output.map.record_unmerge(&mut schedule, &output.packed).unwrap();
        let plan = schedule.compile().unwrap();
        plan.poison();
        pollster::block_on(plan.run(no_progress)).unwrap();
        let bounds = read_unsigned(&output.map.bounds);
        let (bounds, again) = bounds.split_at(self.shape.batch + 1);
        assert_eq!(bounds, again, "bounds of queries and of keys");
        let rows = bounds[self.shape.batch] as usize;
        assert_eq!(read_unsigned(&output.map.row_count), [rows as u32]);
        Merged {
            map: MergeMap {
                counts: read_unsigned(&output.counts),
                keep_rank: read_unsigned(&output.keep_rank),
                row_map: read_unsigned(&output.map.rows),
                own_rows: read_unsigned(&output.map.own_rows),
                bounds: bounds.to_vec(),
            },
            means: read(&output.means),
            packed: read(&output.packed)[..rows * self.shape.width].to_vec(),
            unmerged: read(&unmerged),
        }
    }

    pub fn operator(&self, variant: VariantKind) -> ClusterMerge {
        let config =
            ClusterMergeConfig { clusters: self.shape.clusters, gate: self.gate, variant: Some(variant) };
        ClusterMerge::new(gpu(), config).unwrap()
    }

    pub fn record(&self, schedule: &mut Schedule, data: &Data, variant: VariantKind) -> ClusterMergeOutput {
        let ids = upload("ids", &[self.shape.batch, self.shape.tokens], &data.ids);
        self.operator(variant).record_ids(schedule, &self.upload(data), &ids).unwrap()
    }

    pub fn upload(&self, data: &Data) -> Tensor {
        let MergeShape { batch, tokens, width, .. } = self.shape;
        upload_floats("x", &[batch, 1 + tokens, width], &data.x, self.f16)
    }

    /// Every build against the twin: maps and kept rows exactly, means within 4 units in the last place of the f32 order and
    /// the same in every run.
    pub fn check(&self) {
        let data = self.data();
        let map = twin::map_rows(&data.ids, &self.shape, self.gate);
        let means = twin::cluster_means_chunked(&data.x, &data.ids, &self.shape);
        for variant in variants() {
            let found = self.merge(&data, variant);
            assert_eq!(found.map, map, "{self:?} by {variant}");
            assert_ulp(&format!("{self:?} by {variant}"), &found.means, &means, 4);
            // Beyond the means themselves, rows are copies.
            let packed = twin::merge_rows(&data.x, &found.means, &map, &self.shape);
            assert_eq!(found.packed, packed, "{self:?} by {variant}");
            assert_eq!(found.unmerged, twin::unmerge(&packed, &map, &self.shape), "{self:?} by {variant}");
            assert_eq!(self.merge(&data, variant), found, "{self:?} by {variant}: another run");
        }
        let exact = twin::cluster_means(&doubles(&data.x), &data.ids, &self.shape);
        crate::common::assert_close("chunked means", &means, &exact, 1e-6);
    }
}

pub fn read_unsigned(tensor: &Tensor) -> Vec<u32> {
    pollster::block_on(tensor.read::<u32>(gpu())).unwrap()
}

/// Every element within this many units in the last place.
#[track_caller]
pub fn assert_ulp(what: &str, found: &[f32], expected: &[f32], most: i64) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let ordered = |value: f32| {
        let bits = value.to_bits() as i32 as i64;
        if bits < 0 { i32::MIN as i64 - bits } else { bits }
    };
    for (index, (&a, &b)) in found.iter().zip(expected).enumerate() {
        assert!((ordered(a) - ordered(b)).abs() <= most, "{what}: index {index}: found {a}, expected {b}");
    }
}
