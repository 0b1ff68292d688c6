//! Host tensors, read from and written to safetensors.

use super::KernelSpec;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::models::named_tensors::NamedTensors;
use crate::tensor::{Dtype, Tensor};
use half::f16;
use safetensors::{Dtype as FileDtype, SafeTensors, tensor::TensorView};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Elements on the host.
#[derive(Clone, Debug, PartialEq)]
pub enum HostData {
    /// F16, F32 or F64 in the file.
    Float(Vec<f64>),
    /// I32, U32 or U8 in the file.
    Integer(Vec<i64>),
}

/// A tensor on the host, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Shape.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: HostData,
}

/// A kernel's inputs by name, finite and of the right kind.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    kernel: &'static str,
    tensors: BTreeMap<String, HostTensor>,
}

impl Inputs {
    /// Reads the tensors that `spec` names, and the file's metadata; others are ignored.
    ///
    /// Errors: `Input` for a broken file, an unsupported dtype or a missing tensor, `NonFinite`.
    pub fn from_safetensors(spec: &KernelSpec, bytes: &[u8]) -> Result<(Self, HashMap<String, String>)> {
        let broken = |error: safetensors::SafeTensorError| {
            Error::Input(format!("the input is not a whole safetensors file: {error}"))
        };
        let file = SafeTensors::deserialize(bytes).map_err(broken)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let mut inputs = Self { kernel: spec.name, tensors: BTreeMap::new() };
        for input in spec.inputs {
            // `model.*` stands for every tensor whose name starts so.
            if let Some(prefix) = input.name.strip_suffix('*') {
                for (name, view) in file.tensors().iter().filter(|(name, _)| name.starts_with(prefix)) {
                    inputs.tensors.insert(name.clone(), read(name, view)?);
                }
                continue;
            }
            match file.tensor(input.name) {
                Ok(view) => {
                    inputs.tensors.insert(input.name.into(), read(input.name, &view)?);
                }
                Err(_) if input.optional => {}
                Err(_) => {
                    let mut names = file.names();
                    names.sort_unstable();
                    return Err(Error::Input(format!(
                        "{}: tensor `{}` {} is missing; the file has {}",
                        spec.name,
                        input.name,
                        input.shape,
                        names.join(", ")
                    )));
                }
            }
        }
        Ok((inputs, header.metadata().clone().unwrap_or_default()))
    }

    /// The kernel they are for.
    pub(super) fn kernel(&self) -> &'static str {
        self.kernel
    }

    /// The tensor `name`, if the file has it.
    pub fn get(&self, name: &str) -> Option<&HostTensor> {
        self.tensors.get(name)
    }

    /// The shape of a tensor that must have `N` dimensions, which `meaning` names. Errors: `Shape`, `Input` where it is missing.
    pub fn dims<const N: usize>(&self, name: &str, meaning: &str) -> Result<[usize; N]> {
        let shape = &self.tensor(name)?.shape;
        let wrong = |_| Error::shape(self.kernel, name, format!("has shape {shape:?}"), meaning);
        shape.as_slice().try_into().map_err(wrong)
    }

    /// The tensors whose names start with this prefix, which is taken off.
    pub(super) fn with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a HostTensor)> {
        let named =
            move |(name, tensor): (&'a String, &'a HostTensor)| Some((name.strip_prefix(prefix)?, tensor));
        self.tensors.iter().filter_map(named)
    }

    /// The tensors named `model.*`, as a model takes its weights. Errors: `Shape` where one holds integers.
    pub(super) fn model_weights(&self) -> Result<NamedTensors> {
        const PREFIX: &str = "model.";
        let mut weights = NamedTensors::with_prefix(PREFIX);
        for (name, tensor) in self.with_prefix(PREFIX) {
            let HostData::Float(data) = &tensor.data else {
                let name = format!("{PREFIX}{name}");
                return Err(Error::shape(self.kernel, &name, "holds integers", "F16, F32 or F64"));
            };
            weights.insert(name, &tensor.shape, data.iter().map(|&value| value as f32).collect());
        }
        Ok(weights)
    }

    /// The elements of a float tensor. Errors: `Shape` where they are integers, `Input` where it is missing.
    pub fn floats(&self, name: &str) -> Result<&[f64]> {
        match &self.tensor(name)?.data {
            HostData::Float(data) => Ok(data),
            HostData::Integer(_) => Err(Error::shape(self.kernel, name, "holds integers", "F16, F32 or F64")),
        }
    }

    /// The elements of an integer tensor. Errors: `Shape` where they are floats, `Input` where it is missing.
    pub fn integers(&self, name: &str) -> Result<&[i64]> {
        match &self.tensor(name)?.data {
            HostData::Integer(data) => Ok(data),
            HostData::Float(_) => Err(Error::shape(self.kernel, name, "holds floats", "U8, I32 or U32")),
        }
    }

    /// The elements of an integer tensor that has none below 0 or past 2^32 - 1. Errors: `Shape`, `Input` where it is missing.
    pub fn unsigned(&self, name: &str) -> Result<Vec<u32>> {
        let data = self.integers(name)?;
        let convert = |(index, &value): (usize, &i64)| {
            u32::try_from(value).map_err(|_| {
                let found = format!("has {value} at index {index}");
                Error::shape(self.kernel, name, found, "0 to 2^32 - 1")
            })
        };
        data.iter().enumerate().map(convert).collect()
    }

    fn tensor(&self, name: &str) -> Result<&HostTensor> {
        let missing = || Error::Input(format!("{}: tensor `{name}` is missing", self.kernel));
        self.get(name).ok_or_else(missing)
    }

    /// A float tensor on the GPU as f32 or f16, rounded to nearest. Errors: `Shape` for a value past the dtype's range, and those
    /// of [`floats`](Self::floats) and [`Tensor::upload`].
    pub fn upload(&self, gpu: &Gpu, name: &str, dtype: Dtype) -> Result<Tensor> {
        self.upload_floats(gpu, name, &self.tensor(name)?.shape, self.floats(name)?, dtype)
    }

    /// Some columns of a matrix, likewise. Errors: those of [`upload`](Self::upload), `Shape` for another number of dimensions.
    pub(super) fn upload_columns(
        &self,
        gpu: &Gpu,
        name: &str,
        columns: Range<usize>,
        dtype: Dtype,
    ) -> Result<Tensor> {
        let [rows, width] = self.dims(name, "two dimensions")?;
        let part = |row: &[f64]| row[columns.clone()].to_vec();
        let data: Vec<f64> = self.floats(name)?.chunks_exact(width).flat_map(part).collect();
        self.upload_floats(gpu, name, &[rows, columns.len()], &data, dtype)
    }

    fn upload_floats(
        &self,
        gpu: &Gpu,
        name: &str,
        shape: &[usize],
        data: &[f64],
        dtype: Dtype,
    ) -> Result<Tensor> {
        let past_range = |value: &f64, most: f64| value.abs() > most;
        let most = if dtype == Dtype::F16 { f16::MAX.to_f64() } else { f32::MAX as f64 };
        if let Some(index) = data.iter().position(|value| past_range(value, most)) {
            let found = format!("has {} at index {index}", data[index]);
            return Err(Error::shape(
                self.kernel,
                name,
                found,
                format!("at most ±{most:e} for {}", dtype.name()),
            ));
        }
        if dtype == Dtype::F16 {
            let halves: Vec<f16> = data.iter().map(|&value| f16::from_f64(value)).collect();
            return Tensor::upload(gpu, name, shape, &halves);
        }
        let floats: Vec<f32> = data.iter().map(|&value| value as f32).collect();
        Tensor::upload(gpu, name, shape, &floats)
    }

    /// A 0 / 1 mask on the GPU as u32. Errors: those of [`mask`](Self::mask) and [`Tensor::upload`].
    pub fn upload_mask(&self, gpu: &Gpu, name: &str) -> Result<Tensor> {
        let mask: Vec<u32> = self.mask(name)?.iter().map(|&visible| visible as u32).collect();
        Tensor::upload(gpu, name, &self.tensor(name)?.shape, &mask)
    }

    /// A 0 / 1 mask, 1 = visible. Errors: `Shape` for any other value, `Input` where it is missing.
    pub fn mask(&self, name: &str) -> Result<Vec<bool>> {
        let data = self.integers(name)?;
        if let Some(index) = data.iter().position(|value| *value != 0 && *value != 1) {
            let found = format!("has {} at index {index}", data[index]);
            return Err(Error::shape(self.kernel, name, found, "0 or 1"));
        }
        Ok(data.iter().map(|&value| value == 1).collect())
    }
}

fn read(name: &str, view: &TensorView<'_>) -> Result<HostTensor> {
    let bytes = view.data();
    fn each<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.chunks_exact(N).map(|chunk| convert(chunk.try_into().expect("N bytes"))).collect()
    }
    let data = match view.dtype() {
        FileDtype::F16 => HostData::Float(each(bytes, |b| f16::from_le_bytes(b).to_f64())),
        FileDtype::F32 => HostData::Float(each(bytes, |b| f32::from_le_bytes(b) as f64)),
        FileDtype::F64 => HostData::Float(each(bytes, f64::from_le_bytes)),
        FileDtype::I32 => HostData::Integer(each(bytes, |b| i32::from_le_bytes(b) as i64)),
        FileDtype::U32 => HostData::Integer(each(bytes, |b| u32::from_le_bytes(b) as i64)),
        FileDtype::U8 => HostData::Integer(each(bytes, |[b]: [u8; 1]| b as i64)),
        other => {
            return Err(Error::Input(format!(
                "tensor `{name}` has dtype {other:?}; expected F16, F32, F64, I32, U32 or U8"
            )));
        }
    };
    if let HostData::Float(values) = &data
        && let Some(index) = values.iter().position(|value| !value.is_finite())
    {
        return Err(Error::NonFinite { tensor: name.into(), index: index as u64 });
    }
    Ok(HostTensor { shape: view.shape().to_vec(), data })
}

/// A kernel's outputs by name.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    tensors: Vec<(String, FileDtype, Vec<usize>, Vec<u8>)>,
}

impl Outputs {
    /// Adds a tensor of F32.
    pub fn float(&mut self, name: &str, shape: &[usize], data: &[f32]) {
        let bytes = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.push((name.into(), FileDtype::F32, shape.to_vec(), bytes));
    }

    /// Adds a tensor of F32 from the twin's f64.
    pub fn double(&mut self, name: &str, shape: &[usize], data: &[f64]) {
        let floats: Vec<f32> = data.iter().map(|&value| value as f32).collect();
        self.float(name, shape, &floats);
    }

    /// Adds a tensor of U32.
    pub fn unsigned(&mut self, name: &str, shape: &[usize], data: &[u32]) {
        let bytes = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.push((name.into(), FileDtype::U32, shape.to_vec(), bytes));
    }

    /// Adds a tensor of I32.
    pub fn signed(&mut self, name: &str, shape: &[usize], data: &[i32]) {
        let bytes = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.push((name.into(), FileDtype::I32, shape.to_vec(), bytes));
    }

    /// Adds a tensor of U8.
    pub fn bytes(&mut self, name: &str, shape: &[usize], data: &[u8]) {
        self.tensors.push((name.into(), FileDtype::U8, shape.to_vec(), data.to_vec()));
    }

    /// Reads a tensor of F32 or U32 back from the GPU and adds it.
    pub(super) async fn read(&mut self, gpu: &Gpu, name: &str, tensor: &Tensor) -> Result<()> {
        match tensor.dtype() {
            Dtype::U32 => self.unsigned(name, tensor.shape(), &tensor.read::<u32>(gpu).await?),
            _ => self.float(name, tensor.shape(), &tensor.read::<f32>(gpu).await?),
        }
        Ok(())
    }

    /// Reads a tensor of indices back from the GPU and adds it as I32.
    pub(super) async fn read_signed(&mut self, gpu: &Gpu, name: &str, tensor: &Tensor) -> Result<()> {
        let data: Vec<i32> = tensor.read::<u32>(gpu).await?.iter().map(|&value| value as i32).collect();
        self.signed(name, tensor.shape(), &data);
        Ok(())
    }

    /// The file, with this metadata. Errors: `Input`.
    pub fn to_safetensors<const N: usize>(&self, metadata: [(&str, String); N]) -> Result<Vec<u8>> {
        let failed =
            |error: safetensors::SafeTensorError| Error::Input(format!("writing safetensors: {error}"));
        let views = self
            .tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(failed)?))
            })
            .collect::<Result<Vec<_>>>()?;
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
        safetensors::serialize(views, Some(metadata)).map_err(failed)
    }
}
