//! Attention of each query to the tokens of its listed blocks.

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::attention::{AttentionInputs, AttentionOutput};
use crate::schedule::Schedule;
use crate::tensor::Tensor;
use crate::variant::{Variant, VariantKind};

/// Configuration of [`SelectedAttention`].
#[derive(Clone, Debug)]
pub struct SelectedConfig {
    /// Tokens of a block.
    pub sel_block: usize,
    /// Position of the first query row; `None`: the last query row stands at the last key.
    pub q_offset: Option<i64>,
    /// Factor of q · k; `None`: 1 / sqrt(head_dim).
    pub scale: Option<f32>,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

/// softmax(scale · q kᵀ) v over the tokens, not after the query, of the blocks listed for it (arXiv 2502.11089, Eq. 12).
#[derive(Clone, Debug)]
pub struct SelectedAttention {
    config: SelectedConfig,
    variant: Variant,
}

impl SelectedAttention {
    /// Checks the configuration. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: SelectedConfig) -> Result<Self> {
        let variant = gpu.variant(config.variant)?;
        Ok(Self { config, variant })
    }

    /// Which build runs here, and why.
    pub fn explain(&self) -> &Variant {
        &self.variant
    }

    /// Records attention over the blocks `[batch, query_tokens, kv_heads, n]` u32; [`EMPTY_SLOT`](super::EMPTY_SLOT) is none.
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(
        &self,
        _schedule: &mut Schedule,
        _inputs: AttentionInputs<'_>,
        _blocks: &Tensor,
    ) -> Result<AttentionOutput> {
        let _ = &self.config;
        Err(Error::Schedule("to come".into()))
    }
}
