//! Dense attention: whole sequences, and one query token against a cache.
//!
//!     cargo bench --bench attention

mod common;

use common::{bench, criterion, gpu, is_cpu};
use gristmill::Dtype;
use gristmill::measure::{AttentionCase, attention};

fn main() {
    let (mut criterion, gpu) = (criterion(), gpu());
    let (tokens, cached) = if is_cpu(&gpu) { (256, 2048) } else { (4096, 65536) };
    let base = AttentionCase {
        batch: 1,
        query_tokens: tokens,
        tokens,
        query_heads: 4,
        kv_heads: 4,
        head_dim: 64,
        causal: false,
        dtype: Dtype::F32,
    };
    let decode = AttentionCase { query_tokens: 1, tokens: cached, query_heads: 16, causal: true, ..base };
    let cases = [
        ("full", base),
        ("causal", AttentionCase { causal: true, ..base }),
        ("full, f16", AttentionCase { dtype: Dtype::F16, ..base }),
        ("decode", decode),
        ("decode, f16", AttentionCase { dtype: Dtype::F16, ..decode }),
    ];
    let mut group = criterion.benchmark_group("attention");
    for (name, case) in cases {
        let prepared = attention(&gpu, case, None).expect("a shape that fits");
        bench(&mut group, &gpu, format!("{name}, {} tokens", case.tokens), &prepared);
    }
    group.finish();
    criterion.final_summary();
}
