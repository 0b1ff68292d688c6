//! ATD: its layer against golden vectors branch by branch, its attentions and the refinement against their twins, and the network.

#[path = "atd/attention.rs"]
mod attention;
mod common;
#[path = "atd/golden_layer.rs"]
mod golden_layer;
#[path = "atd/network.rs"]
mod network;
#[path = "atd/tiles.rs"]
mod tiles;

use common::gpu;
use gristmill::{Schedule, Tensor, no_progress};

/// Runs through memory full of NaN.
fn run(schedule: Schedule) {
    let plan = schedule.compile().unwrap();
    plan.poison();
    pollster::block_on(plan.run(no_progress)).unwrap();
}

fn words(tensor: &Tensor) -> Vec<u32> {
    pollster::block_on(tensor.read::<u32>(gpu())).unwrap()
}
