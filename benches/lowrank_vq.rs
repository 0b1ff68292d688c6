//! Low-rank VQ into an rgba8 texture: one kernel, and four.
//!
//!     cargo bench --bench lowrank_vq

mod common;

use common::{bench, criterion, gpu, is_cpu};
use gristmill::Dtype;
use gristmill::kernels::lowrank_vq::Preset;
use gristmill::measure::{lowrank_vq, lowrank_vq_steps};

fn main() {
    let (mut criterion, gpu) = (criterion(), gpu());
    let side = if is_cpu(&gpu) { 1024 } else { 4096 };
    let mut group = criterion.benchmark_group("lowrank_vq");
    for preset in [Preset::A, Preset::B, Preset::C] {
        let config = preset.config(side, side, 3);
        let one = lowrank_vq(&gpu, &config, preset.codewords, Dtype::F32);
        let four = lowrank_vq_steps(&gpu, &config, preset.codewords, Dtype::F32);
        for (form, prepared) in [("one kernel", one), ("four kernels", four)] {
            let prepared = prepared.expect("a shape that fits");
            bench(&mut group, &gpu, format!("preset {} {side} x {side}, {form}", preset.name), &prepared);
        }
    }
    group.finish();
    criterion.final_summary();
}
