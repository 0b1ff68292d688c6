//! Native Sparse Attention beside dense causal attention of the same shape, prefill with every branch and the selection. The rates count
//! the work that each does.
//!
//!     cargo bench --bench native_sparse

mod common;

use common::{bench, criterion, gpu, is_cpu};
use gristmill::Dtype;
use gristmill::kernels::native_sparse::NativeSparseConfig;
use gristmill::measure::{AttentionCase, attention, native_sparse};

fn main() {
    let (mut criterion, gpu) = (criterion(), gpu());
    let lengths = if is_cpu(&gpu) { [1024, 4096] } else { [4096, 16384] };
    let mut group = criterion.benchmark_group("native_sparse");
    for tokens in lengths {
        let case = AttentionCase {
            batch: 1,
            query_tokens: tokens,
            tokens,
            query_heads: 16,
            kv_heads: 1,
            head_dim: 64,
            causal: true,
            dtype: Dtype::F32,
        };
        let dense = attention(&gpu, case, None).expect("a shape that fits");
        bench(&mut group, &gpu, format!("dense, {tokens} tokens"), &dense);
        let config = NativeSparseConfig { top_n: 8, window: 128, ..Default::default() };
        let sparse = native_sparse(&gpu, case, config).expect("a shape that fits");
        bench(&mut group, &gpu, format!("8 blocks and a window of 128, {tokens} tokens"), &sparse);
    }
    group.finish();
    criterion.final_summary();
}
