//! Sparse Query Attention: the variants of the paper at one length. Time follows the query heads.
//!
//!     cargo bench --bench sqa

mod common;

use common::{bench, criterion, gpu, is_cpu};
use gristmill::Dtype;
use gristmill::measure::{AttentionCase, attention};
use gristmill::models::sqa_presets::{PAPER_MODEL, SqaPreset};

fn main() {
    let (mut criterion, gpu) = (criterion(), gpu());
    let tokens = if is_cpu(&gpu) { 256 } else { 4096 };
    let mut group = criterion.benchmark_group("sqa");
    for preset in [SqaPreset::Mha, SqaPreset::Gqa, SqaPreset::Sqa, SqaPreset::Ssqa, SqaPreset::Xsqa] {
        let heads = preset.heads(PAPER_MODEL.heads, PAPER_MODEL.gqa_kv_heads);
        let (query_heads, kv_heads) = heads.expect("the paper has this variant");
        let case = AttentionCase {
            batch: 1,
            query_tokens: tokens,
            tokens,
            query_heads,
            kv_heads,
            head_dim: 64,
            causal: false,
            dtype: Dtype::F32,
        };
        let prepared = attention(&gpu, case, None).expect("a shape that fits");
        bench(&mut group, &gpu, format!("{preset} {query_heads}/{kv_heads}, {tokens} tokens"), &prepared);
    }
    group.finish();
    criterion.final_summary();
}
