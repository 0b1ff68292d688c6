//! The words of a linear layer, shared by its kernel and its twin.

/// The order of a weight matrix in memory, row-major.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightLayout {
    /// `[in, out]`: y = x W, the form of the SQA paper.
    #[default]
    InOut,
    /// `[out, in]`: y = x Wᵀ, the form of PyTorch's `Linear` (ClustViT and ATD weights).
    OutIn,
}

/// What a linear layer or a convolution applies to every element of x W + b.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// The identity.
    #[default]
    None,
    /// max(x, 0).
    Relu,
    /// x Φ(x) with the normal distribution function Φ: the exact form, through erf.
    Gelu,
    /// x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2.
    GeluTanh,
    /// x / (1 + e⁻ˣ), also called swish.
    Silu,
    /// max(x, 0) + slope · min(x, 0); the slope is finite.
    LeakyRelu(f32),
}
