//! y = x W: square, and one row (where reading W is all the work).
//!
//!     cargo bench --bench linear

mod common;

use common::{bench, criterion, gpu, is_cpu};
use gristmill::Dtype;
use gristmill::measure::linear;

fn main() {
    let (mut criterion, gpu) = (criterion(), gpu());
    let size = if is_cpu(&gpu) { 256 } else { 2048 };
    let mut group = criterion.benchmark_group("linear");
    for dtype in [Dtype::F32, Dtype::F16] {
        for rows in [size, 1] {
            let prepared = linear(&gpu, [rows, size, size], dtype, None).expect("a shape that fits");
            bench(&mut group, &gpu, format!("{} {rows} x {size} x {size}", dtype.name()), &prepared);
        }
    }
    group.finish();
    criterion.final_summary();
}
