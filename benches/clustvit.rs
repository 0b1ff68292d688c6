//! ClustViT-t on 512 x 512 pixels at several shares of kept tokens, and the plain transformer.
//!
//!     cargo bench --bench clustvit

mod common;

use common::{bench, criterion, gpu, is_cpu};
use gristmill::Dtype;
use gristmill::measure::{ClustVitCase, clustvit, clustvit_merging};
use gristmill::models::clustvit::ClustVitSize;

fn main() {
    let (mut criterion, gpu) = (criterion(), gpu());
    let side = if is_cpu(&gpu) { 256 } else { 512 };
    let plain = ClustVitCase {
        size: ClustVitSize::TINY,
        side,
        full_blocks: 3,
        clusters: 3,
        kept: None,
        dtype: Dtype::F32,
    };
    let mut group = criterion.benchmark_group("clustvit");
    let prepared = clustvit(&gpu, &plain, None).expect("a shape that fits");
    bench(&mut group, &gpu, format!("ViT-t {side} x {side}"), &prepared);
    for percent in [75, 25, 10] {
        let case = ClustVitCase { kept: Some(plain.tokens() * percent / 100), ..plain };
        let prepared = clustvit(&gpu, &case, None).expect("a shape that fits");
        bench(&mut group, &gpu, format!("ClustViT-t {side} x {side}, {percent} % kept"), &prepared);
        let prepared = clustvit_merging(&gpu, &case, None).expect("a shape that fits");
        bench(&mut group, &gpu, format!("merge and regenerate, {percent} % kept"), &prepared);
    }
    group.finish();
    criterion.final_summary();
}
