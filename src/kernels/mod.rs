//! Operators: a validated configuration of one or several kernels, recorded into a [`Schedule`](crate::Schedule).

pub mod attention;
pub mod cache;
pub mod category_sort;
pub mod cluster_merge;
pub mod convert;
pub mod convolution;
pub mod finite;
pub mod flash_lla;
pub mod grouped_attention;
pub mod image;
pub mod linear;
pub mod linear_types;
pub mod lowrank_vq;
pub mod native_sparse;
pub mod norm;
pub mod pure_pass;
pub mod rope;
pub mod token_dictionary;
pub mod tome;

use crate::error::{Error, Result};
use crate::tensor::{Dtype, Tensor};
use linear_types::Activation;

/// Invocations of an element-wise kernel's workgroup: a software adapter is quickest at 64 too (4 times over 8).
pub(crate) const ELEMENTWISE: usize = 64;

/// Constants of a kernel's build by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Constants(Vec<(&'static str, String)>);

impl Constants {
    pub fn new() -> Self {
        Self::default()
    }

    /// The last value of a name counts.
    pub fn set(mut self, name: &'static str, value: impl ToString) -> Self {
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, value.to_string()));
        self
    }

    pub fn flag(self, name: &'static str, value: bool) -> Self {
        self.set(name, value as u32)
    }

    /// The activation of `linear/epilogue.wgsl`.
    pub fn activation(self, activation: Activation) -> Self {
        let (number, slope) = match activation {
            Activation::None => (0, 0.0),
            Activation::Relu => (1, 0.0),
            Activation::Gelu => (2, 0.0),
            Activation::GeluTanh => (3, 0.0),
            Activation::Silu => (4, 0.0),
            Activation::LeakyRelu(slope) => (5, slope),
        };
        // `{:?}` writes a number that WGSL reads back as the same float.
        self.set("ACTIVATION", number).set("SLOPE", format!("{slope:?}"))
    }

    pub fn pairs(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}

/// How `shared/load.wgsl` sees a float tensor whose rows have `row` elements.
pub(crate) fn load_type(dtype: Dtype, row: usize) -> &'static str {
    match (dtype, row.is_multiple_of(4)) {
        (Dtype::F16, true) => "vec2u",
        (Dtype::F16, false) => "u32",
        (_, true) => "vec4f",
        (_, false) => "f32",
    }
}

/// Checks that an activation is a function of finite numbers.
pub(crate) fn check_activation(operator: &'static str, activation: Activation) -> Result<()> {
    match activation {
        Activation::LeakyRelu(slope) if !slope.is_finite() => {
            Err(Error::config(operator, "activation", format!("{activation:?}"), "a finite slope"))
        }
        _ => Ok(()),
    }
}

/// The shape of a tensor with the wanted number of dimensions.
pub(crate) fn dims<const N: usize>(
    operator: &'static str,
    name: &str,
    tensor: &Tensor,
    meaning: &str,
) -> Result<[usize; N]> {
    tensor
        .shape()
        .try_into()
        .map_err(|_| Error::shape(operator, name, format!("has shape {:?}", tensor.shape()), meaning))
}

/// Checks a tensor's whole shape.
pub(crate) fn expect_shape(
    operator: &'static str,
    name: &str,
    tensor: &Tensor,
    expected: &[usize],
) -> Result<()> {
    if tensor.shape() == expected {
        return Ok(());
    }
    Err(Error::shape(operator, name, format!("has shape {:?}", tensor.shape()), format!("{expected:?}")))
}

/// Checks a tensor's dtype.
pub(crate) fn expect_dtype(
    operator: &'static str,
    name: &str,
    tensor: &Tensor,
    allowed: &[Dtype],
) -> Result<()> {
    if allowed.contains(&tensor.dtype()) {
        return Ok(());
    }
    let names: Vec<_> = allowed.iter().map(|d| d.name()).collect();
    Err(Error::shape(operator, name, format!("is {}", tensor.dtype().name()), names.join(" or ")))
}

/// Checks a number of rows that only the GPU knows: `[1]` u32.
pub(crate) fn check_row_count(operator: &'static str, row_count: Option<&Tensor>) -> Result<()> {
    let Some(row_count) = row_count else { return Ok(()) };
    expect_dtype(operator, "row_count", row_count, &[Dtype::U32])?;
    expect_shape(operator, "row_count", row_count, &[1])
}

/// The dtypes that kernels read floats from.
pub(crate) const FLOATS: [Dtype; 2] = [Dtype::F32, Dtype::F16];
