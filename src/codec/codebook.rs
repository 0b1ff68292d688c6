//! Codebooks: the one table that encoder and decoder share.

use super::NAME;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::lowrank_vq::{MOST_CODEWORDS, Preset};
use crate::tensor::{Dtype, Tensor};
use gristmill_gvq::CodebookHash;
use half::f16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype as FileDtype, SafeTensors};
use std::collections::HashMap;

/// The tensor of a codebook file.
const TENSOR: &str = "codebook";

/// Codewords `[codewords, patch]`, f32 or f16, every element finite.
#[derive(Clone, PartialEq, Eq)]
pub struct Codebook {
    patch: usize,
    dtype: Dtype,
    /// Little-endian elements, codeword by codeword.
    bytes: Vec<u8>,
}

impl Codebook {
    /// A codebook of halves, each element rounded to the nearest. Errors: `Shape`, `NonFinite`.
    pub fn from_floats(patch: usize, elements: &[f32]) -> Result<Self> {
        let halves = elements.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes());
        Self::from_bytes(patch, Dtype::F16, halves.collect())
    }

    /// A codebook from little-endian elements of `dtype`. Errors: `Shape` for another dtype than f32 or f16, a side that is
    /// not 4, 8, 16 or 32, no codeword, a part of one or more than 65536; `NonFinite`.
    pub fn from_bytes(patch: usize, dtype: Dtype, bytes: Vec<u8>) -> Result<Self> {
        let wrong = |found: String, expected: &str| Err(Error::shape(NAME, TENSOR, found, expected));
        if !matches!(dtype, Dtype::F32 | Dtype::F16) {
            return wrong(format!("is {}", dtype.name()), "f32 or f16");
        }
        if ![4, 8, 16, 32].contains(&patch) {
            return wrong(format!("has codewords of {patch} elements"), "4, 8, 16 or 32");
        }
        let codeword = patch * dtype.size() as usize;
        let codewords = bytes.len() / codeword;
        if !bytes.len().is_multiple_of(codeword) || codewords == 0 || codewords > MOST_CODEWORDS {
            let found = format!("has {} bytes", bytes.len());
            return wrong(found, &format!("1 to {MOST_CODEWORDS} codewords of {codeword} bytes"));
        }
        let codebook = Self { patch, dtype, bytes };
        let wrong = codebook.elements().position(|value| !value.is_finite());
        match wrong {
            Some(index) => Err(Error::NonFinite { tensor: TENSOR.into(), index: index as u64 }),
            None => Ok(codebook),
        }
    }

    /// The codebook that comes with the library for a preset: f16, trained by `gristmill codebook train` on seven photos.
    /// `None` of [`Preset::D`], and where a preset
    /// was changed to patches of another side.
    pub fn shipped(preset: Preset) -> Option<Self> {
        let file: &[u8] = match preset.name {
            "A" => include_bytes!("codebooks/a.safetensors"),
            "B" => include_bytes!("codebooks/b.safetensors"),
            "C" => include_bytes!("codebooks/c.safetensors"),
            _ => return None,
        };
        let codebook = Self::from_safetensors(file).expect("a codebook of this crate");
        (codebook.patch == preset.patch).then_some(codebook)
    }

    /// The codebook of a safetensors file: its tensor `codebook` `[codewords, patch]`, F16 or F32.
    /// Errors: `Input` where the file or the tensor is broken or missing, those of [`from_bytes`](Self::from_bytes).
    pub fn from_safetensors(file: &[u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(file).map_err(|error| {
            Error::Input(format!("the codebook is not a whole safetensors file: {error}"))
        })?;
        let tensor = file.tensor(TENSOR).map_err(|_| {
            let names = file.names().join(", ");
            Error::Input(format!("no tensor `{TENSOR}` in the file; it has: {names}"))
        })?;
        let dtype = match tensor.dtype() {
            FileDtype::F16 => Dtype::F16,
            FileDtype::F32 => Dtype::F32,
            other => return Err(Error::shape(NAME, TENSOR, format!("is {other:?}"), "F16 or F32")),
        };
        let &[_, patch] = tensor.shape() else {
            let found = format!("has shape {:?}", tensor.shape());
            return Err(Error::shape(NAME, TENSOR, found, "[codewords, patch]"));
        };
        Self::from_bytes(patch, dtype, tensor.data().to_vec())
    }

    /// A safetensors file with this codebook and `metadata` that says where it comes from.
    pub fn to_safetensors(&self, metadata: &[(&str, String)]) -> Result<Vec<u8>> {
        let failed =
            |error: safetensors::SafeTensorError| Error::Input(format!("writing safetensors: {error}"));
        let dtype = if self.dtype == Dtype::F16 { FileDtype::F16 } else { FileDtype::F32 };
        let view = TensorView::new(dtype, vec![self.codewords(), self.patch], &self.bytes).map_err(failed)?;
        let metadata: HashMap<_, _> =
            metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        safetensors::serialize([(TENSOR, view)], Some(metadata)).map_err(failed)
    }

    /// Elements of a codeword.
    pub fn patch(&self) -> usize {
        self.patch
    }

    /// Codewords, 1 to 65536.
    pub fn codewords(&self) -> usize {
        self.bytes.len() / (self.patch * self.dtype.size() as usize)
    }

    /// f16 or f32.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Little-endian elements, codeword by codeword.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What tells codebooks apart in a `.gvq` file.
    pub fn hash(&self) -> CodebookHash {
        CodebookHash::of(&self.bytes)
    }

    /// The elements `[codewords, patch]`.
    pub fn floats(&self) -> Vec<f32> {
        self.elements().collect()
    }

    fn elements(&self) -> impl Iterator<Item = f32> {
        let half = self.dtype == Dtype::F16;
        self.bytes.chunks_exact(self.dtype.size() as usize).map(move |bytes| match half {
            true => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
            false => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        })
    }

    /// The codebook on the GPU, `[codewords, patch]` in its own dtype. Errors: `Limit`, `OutOfMemory`.
    pub fn upload(&self, gpu: &Gpu) -> Result<Tensor> {
        let shape = [self.codewords(), self.patch];
        match self.dtype {
            Dtype::F16 => {
                let halves: Vec<f16> = self.elements().map(f16::from_f32).collect();
                Tensor::upload(gpu, TENSOR, &shape, &halves)
            }
            _ => Tensor::upload(gpu, TENSOR, &shape, &self.floats()),
        }
    }
}

impl std::fmt::Debug for Codebook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (codewords, dtype) = (self.codewords(), self.dtype.name());
        write!(f, "Codebook {} [{codewords}, {}] {dtype}", self.hash(), self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_brings_the_codebook_back() {
        let elements: Vec<f32> = (0..5 * 8).map(|at| at as f32 * 0.125 - 2.0).collect();
        let codebook = Codebook::from_floats(8, &elements).unwrap();
        assert_eq!((codebook.codewords(), codebook.patch(), codebook.floats()), (5, 8, elements.clone()));
        let file = codebook.to_safetensors(&[("seed", "7".into())]).unwrap();
        assert_eq!(Codebook::from_safetensors(&file).unwrap(), codebook);
        let wide = elements.iter().flat_map(|value| value.to_le_bytes()).collect();
        let wide = Codebook::from_bytes(8, Dtype::F32, wide).unwrap();
        assert_eq!(wide.floats(), elements);
        assert_ne!(wide.hash(), codebook.hash());
    }

    #[test]
    fn the_shipped_ones_fit_their_presets() {
        for preset in Preset::ALL {
            let Some(codebook) = Codebook::shipped(preset) else { continue };
            assert_eq!((codebook.patch(), codebook.codewords()), (preset.patch, preset.codewords));
            assert_eq!(codebook.dtype(), Dtype::F16);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let says = |result: Result<Codebook>, part: &str| {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        };
        says(Codebook::from_floats(8, &[]), "0 bytes");
        says(Codebook::from_floats(8, &[0.0; 9]), "18 bytes");
        says(Codebook::from_floats(5, &[0.0; 5]), "codewords of 5 elements");
        says(Codebook::from_floats(4, &[0.0, 1.0, 1e9, 0.0]), "not finite at index 2");
        says(Codebook::from_bytes(4, Dtype::U32, vec![0; 16]), "is u32");
        says(Codebook::from_safetensors(b"no file"), "not a whole safetensors file");
        let file = Codebook::from_floats(4, &[0.5; 8]).unwrap().to_safetensors(&[]).unwrap();
        says(Codebook::from_safetensors(&file[..file.len() - 1]), "not a whole safetensors file");
        let other = TensorView::new(FileDtype::F32, vec![2], &[0; 8]).unwrap();
        let file = safetensors::serialize([("weights", other)], None).unwrap();
        says(Codebook::from_safetensors(&file), "it has: weights");
    }
}
