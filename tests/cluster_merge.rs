//! Merging tokens by clusters and giving them their rows back, against the twins in every build that runs here.

mod common;
#[path = "cluster_merge/edge_cases.rs"]
mod edge_cases;
#[path = "common/merge_case.rs"]
mod merge_case;
#[path = "cluster_merge/properties.rs"]
mod properties;
#[path = "cluster_merge/regenerate.rs"]
mod regenerate;

use common::budget;
use gristmill::kernels::cluster_merge::Gate;
use gristmill::twins::cluster_merge::MergeShape;
use merge_case::Case;
use proptest::prelude::*;

/// Sizes that divide nothing; clusters and storage come from few pairs, as each makes builds of its own.
fn cases() -> impl Strategy<Value = Case> {
    let build = prop::sample::select(vec![(1usize, false), (3, false), (3, true), (8, false), (40, false)]);
    let width = prop_oneof![1usize..=50, (1usize..=20).prop_map(|quads| 4 * quads)];
    let tokens = prop_oneof![1usize..=9, 1usize..=300, 500usize..=700];
    let gate = prop::sample::select(Gate::ALL.to_vec());
    (build, 1usize..=5, tokens, width, gate, any::<u64>()).prop_map(
        |((clusters, f16), batch, tokens, width, gate, seed)| {
            let width = if f16 { width.next_multiple_of(2) } else { width };
            let shape = MergeShape { batch, tokens, clusters, width };
            Case { shape, gate, f16, seed }
        },
    )
}

proptest! {
    #![proptest_config(budget(60))]

    #[test]
    fn every_build_equals_the_twin(case in cases()) {
        case.check();
    }
}
