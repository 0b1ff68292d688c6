//! Networks that make the gates of Native Sparse Attention from a layer's input.

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::linear::{Linear, LinearConfig};
use crate::kernels::linear_types::{Activation, WeightLayout};
use crate::kernels::native_sparse::Gates;
use crate::schedule::Schedule;
use crate::tensor::Tensor;
use crate::variant::VariantKind;

const NAME: &str = "branch_gates";

/// Configuration of [`BranchGates`].
#[derive(Clone, Debug)]
pub struct BranchGatesConfig {
    /// Query heads: each has three gates.
    pub query_heads: usize,
    /// What logits are divided by before the sigmoid, above 0.
    pub temperature: f32,
    /// Order of the weights in memory.
    pub layout: WeightLayout,
    /// The build, instead of the one that fits the adapter.
    pub variant: Option<VariantKind>,
}

impl BranchGatesConfig {
    /// Temperature 1 and weights `[in, out]`, as for a single linear layer.
    pub fn new(query_heads: usize) -> Self {
        Self { query_heads, temperature: 1.0, layout: WeightLayout::InOut, variant: None }
    }

    /// VideoNSA's: temperature 0.3; its network has a hidden layer.
    pub fn video(query_heads: usize) -> Self {
        Self { temperature: 0.3, ..Self::new(query_heads) }
    }
}

/// Weights of a gate network.
///
/// The public models differ: one linear layer without bias (flash-linear-attention) or with one (lucidrains; zero weights and a bias of
/// (-2, -2, 2) to start from), or two layers with GELU between them (VideoNSA).
#[derive(Clone, Debug)]
pub struct BranchGatesWeights {
    /// Weight `[model_dim, hidden]` and bias `[hidden]` of a first layer with GELU behind it.
    pub hidden: Option<(Tensor, Tensor)>,
    /// Weight of the last layer `[model_dim or hidden, 3 · query_heads]`; column 3 h + i is gate i of head h.
    pub weight: Tensor,
    /// Its bias `[3 · query_heads]`.
    pub bias: Option<Tensor>,
}

/// sigmoid(logits / temperature) of a small network: the gates of each token and head.
///
/// x `[batch, tokens, model_dim]`, f32 or f16. Error bound: 2e-6 absolute for inputs and weights of the usual size. Errors: `Shape`,
/// `Config`, `Limit`.
#[derive(Clone, Debug)]
pub struct BranchGates {
    config: BranchGatesConfig,
    hidden: Linear,
    last: Linear,
}

impl BranchGates {
    /// Checks the configuration. Errors: `Config`.
    pub fn new(gpu: &Gpu, config: BranchGatesConfig) -> Result<Self> {
        if config.query_heads == 0 {
            return Err(Error::config(NAME, "query_heads", 0, "at least 1"));
        }
        if !(config.temperature > 0.0 && config.temperature.is_finite()) {
            return Err(Error::config(NAME, "temperature", config.temperature, "a finite number above 0"));
        }
        let &BranchGatesConfig { layout, variant, .. } = &config;
        let linear =
            |activation| Linear::new(gpu, LinearConfig { layout, activation, variant, ..Default::default() });
        let (hidden, last) = (linear(Activation::Gelu)?, linear(Activation::None)?);
        Ok(Self { config, hidden, last })
    }

    /// Records the network: logits `[batch, tokens, query_heads, 3]` f32, for [`gates`](Self::gates).
    ///
    /// Errors: `Shape`, `Limit`, `Schedule` for a tensor of another [`Gpu`].
    pub fn record(
        &self,
        schedule: &mut Schedule,
        x: &Tensor,
        weights: &BranchGatesWeights,
    ) -> Result<Tensor> {
        let hidden = match &weights.hidden {
            Some((weight, bias)) => Some(self.hidden.record(schedule, x, weight, Some(bias), None)?),
            None => None,
        };
        let input = hidden.as_ref().unwrap_or(x);
        let logits = self.last.record(schedule, input, &weights.weight, weights.bias.as_ref(), None)?;
        let heads = self.config.query_heads;
        let (tokens, width) = (&x.shape()[..x.shape().len() - 1], logits.shape()[x.shape().len() - 1]);
        if width != 3 * heads {
            let found = format!("makes {width} logits");
            return Err(Error::shape(NAME, "weight", found, format!("{}, 3 per query head", 3 * heads)));
        }
        logits.reshape(&[tokens, &[heads, 3]].concat())
    }

    /// What [`NativeSparseAttention`](crate::kernels::native_sparse::NativeSparseAttention) takes: these logits with the network's
    /// temperature.
    pub fn gates<'a>(&self, logits: &'a Tensor) -> Gates<'a> {
        Gates::Tempered { logits, temperature: self.config.temperature }
    }
}
