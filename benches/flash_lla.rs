//! Local linear attention beside dense attention of the same shape. Its time follows 3 + 1.5 T, T the iterations that the
//! data needs. The rates count the most iterations allowed, so compare times.
//!
//!     cargo bench --bench flash_lla

mod common;

use common::{bench, criterion, gpu, is_cpu};
use gristmill::Dtype;
use gristmill::kernels::flash_lla::FlashLlaConfig;
use gristmill::measure::{AttentionCase, attention, flash_lla};

fn main() {
    let (mut criterion, gpu) = (criterion(), gpu());
    let tokens = if is_cpu(&gpu) { 256 } else { 4096 };
    let mut group = criterion.benchmark_group("flash_lla");
    for causal in [false, true] {
        let case = AttentionCase {
            batch: 1,
            query_tokens: tokens,
            tokens,
            query_heads: 4,
            kv_heads: 4,
            head_dim: 64,
            causal,
            dtype: Dtype::F32,
        };
        let shape = format!("{tokens} tokens{}", if causal { ", causal" } else { "" });
        let dense = attention(&gpu, case, None).expect("a shape that fits");
        bench(&mut group, &gpu, format!("dense, {shape}"), &dense);
        for rtol in [1e-3, 1e-5] {
            let config = FlashLlaConfig { causal, rtol, ..Default::default() };
            let (prepared, _) = flash_lla(&gpu, case, config).expect("a shape that fits");
            bench(&mut group, &gpu, format!("rtol {rtol:e}, {shape}"), &prepared);
        }
    }
    group.finish();
    criterion.final_summary();
}
