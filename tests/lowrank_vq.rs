//! Low-rank vector-quantised decoding against its f64 twin, in every build that runs here and in plain steps.

mod common;
#[path = "lowrank_vq/edge_cases.rs"]
mod edge_cases;
#[path = "lowrank_vq/goldens.rs"]
mod goldens;
#[path = "lowrank_vq/properties.rs"]
mod properties;
#[path = "lowrank_vq/speed.rs"]
mod speed;
#[path = "common/textures.rs"]
mod textures;
#[path = "common/vq_case.rs"]
mod vq_case;

use common::budget;
use gristmill::kernels::lowrank_vq::{Combine, LowRankVqConfig, Preset};
use proptest::prelude::*;
use vq_case::Case;

/// Sizes that divide nothing; patch, channels and storage come from few pairs, as each makes builds of its own.
fn cases() -> impl Strategy<Value = Case> {
    let build = prop::sample::select(vec![
        (4usize, 3usize, false),
        (8, 1, false),
        (8, 3, true),
        (16, 3, false),
        (16, 1, true),
        (32, 3, true),
        (32, 1, false),
    ]);
    let size = (1usize..=70, prop_oneof![1usize..=90, (1usize..=20).prop_map(|quads| 4 * quads)]);
    let code = (1usize..=5, 1usize..=4, prop::sample::select(vec![1usize, 2, 3, 17, 256, 300, 4096, 65536]));
    (build, size, code, 0usize..=3, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |(build, size, code, extra_bits, mean, wrong_indices, seed)| {
            let config = LowRankVqConfig {
                height: size.0,
                width: size.1,
                channels: build.1,
                patch: build.0,
                rank: code.0,
                iterations: code.1,
                combine: if mean { Combine::Mean } else { Combine::Sum },
                ..Default::default()
            };
            let bits = config.bits_per_index(code.2).unwrap();
            let config =
                LowRankVqConfig { bits: (extra_bits > 0).then_some(bits + extra_bits - 1), ..config };
            Case { config, codewords: code.2, f16: build.2, wrong_indices, seed }
        },
    )
}

proptest! {
    #![proptest_config(budget(40))]

    #[test]
    fn every_build_equals_the_twin(case in cases()) {
        case.check();
    }
}

#[test]
fn every_preset_equals_the_twin() {
    for preset in Preset::ALL {
        for channels in [1, 3] {
            Case::new(preset.config(75, 132, channels), preset.codewords).check();
        }
    }
}
