//! Native Sparse Attention to measure, and the time of its parts.

use super::{AttentionCase, Prepared, noise};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::native_sparse::{Gates, NativeSparseAttention, NativeSparseConfig, NativeSparseInputs};
use crate::schedule::{Schedule, StepTime};

/// Native Sparse Attention on random inputs, ready to be timed.
pub fn native_sparse(gpu: &Gpu, case: AttentionCase, config: NativeSparseConfig) -> Result<Prepared> {
    let AttentionCase { batch, query_tokens, tokens, query_heads, kv_heads, head_dim, dtype, .. } = case;
    let operator = NativeSparseAttention::new(gpu, config)?;
    let q = noise(gpu, "q", &[batch, query_tokens, query_heads, head_dim], dtype)?;
    let k = noise(gpu, "k", &[batch, tokens, kv_heads, head_dim], dtype)?;
    let v = noise(gpu, "v", &[batch, tokens, kv_heads, head_dim], dtype)?;
    let gates = noise(gpu, "gates", &[batch, query_tokens, query_heads, 3], dtype)?;
    let mut schedule = Schedule::new(gpu);
    let inputs = NativeSparseInputs::new(&q, &k, &v, Gates::Values(&gates));
    let out = operator.record(&mut schedule, &inputs)?.out;
    let plan = schedule.compile()?;
    let extra_bytes = plan.report().bytes - out.padded_bytes();
    Ok(Prepared { plan, variant: operator.explain().kind, extra_bytes })
}

/// Milliseconds of the parts of Native Sparse Attention.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BranchTimes {
    /// Blocks of tokens become single keys and values.
    pub compress: f64,
    /// Attention to the compressed blocks.
    pub compressed: f64,
    /// Scores of the blocks and the best of them.
    pub select: f64,
    /// Attention to the selected blocks.
    pub selected: f64,
    /// Attention to the window.
    pub window: f64,
    /// The gated sum.
    pub gates: f64,
}

impl BranchTimes {
    /// Sorts the steps of a plan that does nothing else by the parts to which they belong: the operator records dense attention
    /// twice, to the compressed blocks before the selected ones and to the window behind them.
    pub fn new(steps: &[StepTime]) -> Self {
        const COMPRESS: usize = 0;
        const COMPRESSED: usize = 1;
        const SELECT: usize = 2;
        const SELECTED: usize = 3;
        const WINDOW: usize = 4;
        const GATES: usize = 5;
        let (mut ms, mut part) = ([0.0; 6], COMPRESS);
        for step in steps {
            part = match step.label {
                "attention combine" => part,
                label if label.starts_with("attention") && part < SELECTED => COMPRESSED,
                label if label.starts_with("attention") => WINDOW,
                label if label.starts_with("selected") => SELECTED,
                label if label.starts_with("gated") => GATES,
                _ if part == COMPRESSED => SELECT,
                _ => part,
            };
            ms[part] += step.ms;
        }
        let [compress, compressed, select, selected, window, gates] = ms;
        Self { compress, compressed, select, selected, window, gates }
    }

    /// All of them.
    pub fn total(&self) -> f64 {
        self.compress + self.compressed + self.select + self.selected + self.window + self.gates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Clock, Cost};

    #[test]
    fn steps_belong_to_their_parts() {
        let labels = [
            ("compress", 1.0),
            ("compress", 2.0),
            ("attention decode", 4.0),
            ("attention combine", 8.0),
            ("score blocks", 16.0),
            ("pick blocks", 32.0),
            ("selected attention", 64.0),
            ("attention combine", 128.0),
            ("attention prefill", 256.0),
            ("gated sum", 512.0),
        ];
        let steps =
            labels.map(|(label, ms)| StepTime { label, ms, cost: Cost::default(), clock: Clock::Host });
        let expected = BranchTimes {
            compress: 3.0,
            compressed: 12.0,
            select: 48.0,
            selected: 192.0,
            window: 256.0,
            gates: 512.0,
        };
        assert_eq!(BranchTimes::new(&steps), expected);
        assert_eq!(expected.total(), 1023.0);
    }
}
