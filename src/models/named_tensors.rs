//! Weights by name, from a file or from anywhere else.

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::tensor::{Dtype, Tensor};
use half::f16;
use safetensors::{Dtype as FileDtype, SafeTensors};
use std::collections::BTreeMap;

/// What stands before an error.
const NAME: &str = "weights";

/// Float tensors by name, on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamedTensors {
    /// What errors put before a name.
    prefix: String,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl NamedTensors {
    /// The float tensors of a safetensors file (F16, F32 or F64) whose names start with `prefix`, which is taken off.
    ///
    /// Errors: `Input` for a broken file, `NonFinite`.
    pub fn from_safetensors(bytes: &[u8], prefix: &str) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| {
            Error::Input(format!("the weights are not a whole safetensors file: {error}"))
        })?;
        let mut tensors = Self::with_prefix(prefix);
        for (full, view) in file.tensors() {
            let Some(name) = full.strip_prefix(prefix) else { continue };
            let bytes = view.data();
            let data: Vec<f32> = match view.dtype() {
                FileDtype::F16 => bytes
                    .chunks_exact(2)
                    .map(|b| f16::from_le_bytes(b.try_into().expect("2 bytes")).to_f32())
                    .collect(),
                FileDtype::F32 => bytes
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes")))
                    .collect(),
                FileDtype::F64 => bytes
                    .chunks_exact(8)
                    .map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes")) as f32)
                    .collect(),
                _ => continue,
            };
            if let Some(index) = data.iter().position(|value| !value.is_finite()) {
                return Err(Error::NonFinite { tensor: full, index: index as u64 });
            }
            tensors.insert(name, view.shape(), data);
        }
        Ok(tensors)
    }

    /// No tensors yet, of a file in which their names start so.
    pub fn with_prefix(prefix: &str) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }

    /// Adds a tensor, or replaces one. `data` is row-major.
    pub fn insert(&mut self, name: &str, shape: &[usize], data: Vec<f32>) {
        self.tensors.insert(name.into(), (shape.to_vec(), data));
    }

    /// A tensor's shape and elements.
    pub fn get(&self, name: &str) -> Option<(&[usize], &[f32])> {
        self.tensors.get(name).map(|(shape, data)| (shape.as_slice(), data.as_slice()))
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor with `N` dimensions, which `meaning` names. Errors: `Shape`.
    pub(crate) fn dims<const N: usize>(&self, name: &str, meaning: &str) -> Result<[usize; N]> {
        let (shape, _) = self.get(name).ok_or_else(|| self.wrong(name, "is missing", meaning))?;
        let wrong = |_| self.wrong(name, &format!("has shape {shape:?}"), meaning);
        shape.try_into().map_err(wrong)
    }

    /// The elements of a tensor of this shape. Errors: `Shape` with both shapes.
    pub(crate) fn floats(&self, name: &str, shape: &[usize]) -> Result<&[f32]> {
        let expected = || format!("{shape:?}");
        let (found, data) = self.get(name).ok_or_else(|| self.wrong(name, "is missing", &expected()))?;
        if found != shape || data.len() != shape.iter().product::<usize>() {
            return Err(self.wrong(name, &format!("has shape {found:?}"), &expected()));
        }
        Ok(data)
    }

    /// A vector or anything else that kernels read in f32. Errors: `Shape`, `Limit`, `OutOfMemory`.
    pub(super) fn upload(&self, gpu: &Gpu, name: &str, shape: &[usize]) -> Result<Tensor> {
        Tensor::upload(gpu, name, shape, self.floats(name, shape)?)
    }

    /// A matrix of shape `[rows, columns]`, stored as f32 or f16. Errors: `Shape` also for a value past the range of f16.
    pub(super) fn upload_matrix(
        &self,
        gpu: &Gpu,
        name: &str,
        shape: [usize; 2],
        dtype: Dtype,
    ) -> Result<Tensor> {
        upload_part(gpu, name, shape, self.floats(name, &shape)?, dtype)
    }

    pub(super) fn wrong(&self, name: &str, found: &str, expected: &str) -> Error {
        Error::shape(NAME, &format!("{}{name}", self.prefix), found, expected)
    }
}

/// A matrix on the GPU, stored as f32 or f16. Errors: `Shape` for a value past the range of f16, `Limit`, `OutOfMemory`.
pub(super) fn upload_part(
    gpu: &Gpu,
    name: &str,
    shape: [usize; 2],
    data: &[f32],
    dtype: Dtype,
) -> Result<Tensor> {
    if dtype != Dtype::F16 {
        return Tensor::upload(gpu, name, &shape, data);
    }
    Tensor::upload(gpu, name, &shape, &halves(name, data)?)
}

/// Each value rounded to a half. Errors: `Shape` for one past the range of f16.
pub(super) fn halves(name: &str, data: &[f32]) -> Result<Vec<f16>> {
    if let Some(index) = data.iter().position(|value| value.abs() > f16::MAX.to_f32()) {
        let found = format!("has {} at index {index}", data[index]);
        return Err(Error::shape(NAME, name, found, "at most ±65504 for f16"));
    }
    Ok(data.iter().map(|&value| f16::from_f32(value)).collect())
}
