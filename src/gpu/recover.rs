//! After a device loss: a new device, its pipelines, and the list of tensors to upload again.

use super::Gpu;
use crate::error::{Error, Result};
use crate::tensor::{Dtype, Storage, Tensor};
use std::sync::Weak;

/// What is known of a tensor whose memory went with the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Label given at upload.
    pub label: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: Dtype,
}

/// A new device after a loss.
#[derive(Debug)]
pub struct Recovered {
    /// The new device, with every pipeline of the old one.
    pub gpu: Gpu,
    /// Tensors that were uploaded to the old device and are still held: upload them again.
    pub uploads: Vec<TensorInfo>,
}

#[derive(Debug)]
pub(crate) struct Upload {
    storage: Weak<Storage>,
    info: TensorInfo,
}

impl Gpu {
    pub(crate) fn remember_upload(&self, tensor: &Tensor) {
        let info = TensorInfo {
            label: tensor.label().into(),
            shape: tensor.shape().to_vec(),
            dtype: tensor.dtype(),
        };
        let mut uploads = self.inner.uploads.lock().unwrap_or_else(|e| e.into_inner());
        uploads.retain(|upload| upload.storage.strong_count() > 0);
        uploads.push(Upload { storage: std::sync::Arc::downgrade(&tensor.storage), info });
    }

    /// Makes a new device with the options of this one and rebuilds its pipelines. One attempt: the caller bounds how many.
    ///
    /// Tensors, operators with tables of their own and plans belong to the old device: make them again. Errors: `Schedule` for
    /// an adopted device (its owner makes the new one and adopts it), `NoAdapter`, `Device`.
    pub async fn recover(&self) -> Result<Recovered> {
        let options = self.inner.options.clone().ok_or_else(|| {
            Error::Schedule("an adopted device is recovered by its owner: make a new one and adopt it".into())
        })?;
        let gpu = Gpu::request(options).await?;
        for (kernel, constants) in self.inner.pipelines.keys() {
            let constants: Vec<_> = constants.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            gpu.pipeline(kernel, &constants)?;
        }
        let uploads = self.inner.uploads.lock().unwrap_or_else(|e| e.into_inner());
        let held = uploads.iter().filter(|upload| upload.storage.strong_count() > 0);
        Ok(Recovered { gpu, uploads: held.map(|upload| upload.info.clone()).collect() })
    }
}
