//! Category attention of an ATD-light layer by the share of pure pixels, the mask, and the network.
//!
//!     cargo bench --bench pure_pass

mod common;

use common::{bench, criterion, gpu, is_cpu};
use gristmill::measure::{PurePassCase, atd_category_attention, atd_network, pure_pass_mask};
use gristmill::models::atd::Compensation;

fn main() {
    let (mut criterion, gpu) = (criterion(), gpu());
    let side = 256;
    let plain = PurePassCase { side, scale: 2, pure: None, compensation: Compensation::Value };
    let shares = [None, Some(25), Some(50), Some(75)];
    let mut group = criterion.benchmark_group("pure_pass");
    for pure in shares {
        let name = pure.map_or("without".to_string(), |percent| format!("{percent} % pure"));
        let case = PurePassCase { pure, ..plain };
        let prepared = atd_category_attention(&gpu, &case, None).expect("a shape that fits");
        bench(&mut group, &gpu, format!("category attention {side} x {side}, {name}"), &prepared);
    }
    let half = PurePassCase { pure: Some(50), ..plain };
    let prepared = pure_pass_mask(&gpu, &half, None).expect("a shape that fits");
    bench(&mut group, &gpu, format!("mask {side} x {side}"), &prepared);
    let side = if is_cpu(&gpu) { 64 } else { 256 };
    for pure in [None, Some(50)] {
        let name = pure.map_or("without".to_string(), |percent| format!("{percent} % pure"));
        let prepared =
            atd_network(&gpu, &PurePassCase { side, pure, ..plain }, None).expect("a shape that fits");
        bench(&mut group, &gpu, format!("ATD-light {side} x {side}, {name}"), &prepared);
    }
    group.finish();
    criterion.final_summary();
}
