//! Shape + dtype + a slice of a GPU buffer, ours or the caller's.

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use std::sync::{Arc, OnceLock};

/// Element type in GPU memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// 16-bit float, two packed in a `u32`; needs no GPU feature.
    F16,
    /// 32-bit unsigned integer.
    U32,
    /// 32-bit signed integer.
    I32,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size(self) -> u64 {
        if matches!(self, Dtype::F16) { 2 } else { 4 }
    }

    /// `f32`, `f16`, `u32` or `i32`.
    pub const fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::U32 => "u32",
            Dtype::I32 => "i32",
        }
    }
}

/// A host type that has a [`Dtype`].
pub trait Element: bytemuck::Pod {
    /// Its dtype in GPU memory.
    const DTYPE: Dtype;
}

impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;
}
impl Element for half::f16 {
    const DTYPE: Dtype = Dtype::F16;
}
impl Element for u32 {
    const DTYPE: Dtype = Dtype::U32;
}
impl Element for i32 {
    const DTYPE: Dtype = Dtype::I32;
}

/// Product of a shape; one past all limits stays past them.
fn product(shape: &[usize]) -> usize {
    shape.iter().fold(1, |product, &dim| product.saturating_mul(dim))
}

/// The memory behind a tensor. An intermediate of a [`Schedule`](crate::Schedule) has none until it is compiled.
#[derive(Debug)]
pub(crate) struct Storage {
    pub buffer: OnceLock<wgpu::Buffer>,
    /// [`Gpu::id`] of the device it is on.
    gpu: u64,
}

/// Shape + dtype + a slice of a GPU buffer. Clones share the memory.
///
/// A tensor that a `record` function returned has memory once its schedule is compiled. As long as somebody holds it, its
/// memory is its own; intermediates that nobody holds share theirs. It belongs to the [`Gpu`] it was made with, clones
/// included; with another one it is refused.
#[derive(Clone, Debug)]
pub struct Tensor {
    label: Arc<str>,
    shape: Vec<usize>,
    dtype: Dtype,
    offset: u64,
    pub(crate) storage: Arc<Storage>,
}

impl Tensor {
    /// Copies `data` to the GPU. `shape` is row-major, its product the number of elements.
    ///
    /// Errors: `Shape` where the product differs from `data`, `Limit` past the binding limit, `OutOfMemory`.
    pub fn upload<T: Element>(gpu: &Gpu, label: &str, shape: &[usize], data: &[T]) -> Result<Tensor> {
        let tensor = Tensor::planned(gpu, label, shape, T::DTYPE);
        if tensor.elements() != data.len() {
            return Err(Error::shape(
                "upload",
                label,
                format!("has shape {shape:?}"),
                format!("{} elements", data.len()),
            ));
        }
        tensor.check_limit(gpu)?;
        let buffer = gpu.storage_buffer(label, tensor.padded_bytes())?;
        gpu.write(&buffer, 0, bytemuck::cast_slice(data))?;
        gpu.remember_upload(&tensor);
        Ok(tensor.with_buffer(buffer))
    }

    /// A tensor of zeros in memory of its own, such as a cache. Errors: `Limit`, `OutOfMemory`.
    pub fn zeros(gpu: &Gpu, label: &str, shape: &[usize], dtype: Dtype) -> Result<Tensor> {
        let tensor = Tensor::planned(gpu, label, shape, dtype);
        tensor.check_limit(gpu)?;
        let buffer = gpu.storage_buffer(label, tensor.padded_bytes())?;
        Ok(tensor.with_buffer(buffer))
    }

    /// A tensor over the caller's buffer, which needs the usage `STORAGE` (and `COPY_SRC` to be read, `COPY_DST` to be
    /// written).
    ///
    /// Errors: `Schedule` where the usage is missing or `offset` is not a multiple of the device's
    /// `min_storage_buffer_offset_alignment`, `Shape` where the buffer is too short, `Limit`.
    pub fn from_buffer(
        gpu: &Gpu,
        label: &str,
        buffer: &wgpu::Buffer,
        offset: u64,
        shape: &[usize],
        dtype: Dtype,
    ) -> Result<Tensor> {
        let tensor = Tensor { offset, ..Tensor::planned(gpu, label, shape, dtype) };
        let alignment = gpu.limits().min_storage_buffer_offset_alignment as u64;
        if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return Err(Error::Schedule(format!("the buffer of `{label}` lacks the usage STORAGE")));
        }
        if !offset.is_multiple_of(alignment) {
            return Err(Error::Schedule(format!(
                "`{label}` starts at byte {offset}; expected a multiple of {alignment}"
            )));
        }
        if offset.saturating_add(tensor.padded_bytes()) > buffer.size() {
            let bytes = tensor.padded_bytes();
            let found = format!("has shape {shape:?}: {bytes} bytes (a multiple of 16) at byte {offset}");
            let expected = format!("at most {} bytes, the buffer's size", buffer.size());
            return Err(Error::shape("from_buffer", label, found, expected));
        }
        tensor.check_limit(gpu)?;
        Ok(tensor.with_buffer(buffer.clone()))
    }

    /// A tensor whose memory a schedule will plan.
    pub(crate) fn planned(gpu: &Gpu, label: &str, shape: &[usize], dtype: Dtype) -> Tensor {
        let storage = Arc::new(Storage { buffer: OnceLock::new(), gpu: gpu.id() });
        Tensor { label: label.into(), shape: shape.to_vec(), dtype, offset: 0, storage }
    }

    fn with_buffer(self, buffer: wgpu::Buffer) -> Tensor {
        let _ = self.storage.buffer.set(buffer);
        self
    }

    /// Name, used in errors and debuggers.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Row-major shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Product of the shape.
    pub fn elements(&self) -> usize {
        product(&self.shape)
    }

    /// Bytes of the elements.
    pub fn bytes(&self) -> u64 {
        (self.elements() as u64).saturating_mul(self.dtype.size())
    }

    /// Bytes of the binding: whole `vec4<f32>`s, and never none (WebGPU has no empty bindings).
    pub(crate) fn padded_bytes(&self) -> u64 {
        self.bytes().div_ceil(16).saturating_mul(16).max(16)
    }

    /// The same memory with another shape of as many elements. Errors: `Shape`.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor> {
        if product(shape) != self.elements() {
            let found = format!("has shape {:?}", self.shape);
            return Err(Error::shape(
                "reshape",
                &self.label,
                found,
                format!("as many elements as {shape:?}"),
            ));
        }
        Ok(Tensor { shape: shape.to_vec(), ..self.clone() })
    }

    /// The GPU buffer and the tensor's first byte in it; `None` until its schedule is compiled.
    pub fn buffer(&self) -> Option<(&wgpu::Buffer, u64)> {
        Some((self.storage.buffer.get()?, self.offset))
    }

    /// Whether both lie in one buffer, be it made already or planned.
    pub(crate) fn shares_memory(&self, other: &Tensor) -> bool {
        let buffers = self.storage.buffer.get().zip(other.storage.buffer.get());
        Arc::ptr_eq(&self.storage, &other.storage) || buffers.is_some_and(|(one, two)| one == two)
    }

    /// What a bind group takes.
    pub(crate) fn binding(&self) -> Result<wgpu::BufferBinding<'_>> {
        let (buffer, offset) = self.buffer_or_error()?;
        Ok(wgpu::BufferBinding { buffer, offset, size: wgpu::BufferSize::new(self.padded_bytes()) })
    }

    fn buffer_or_error(&self) -> Result<(&wgpu::Buffer, u64)> {
        self.buffer().ok_or_else(|| {
            Error::Schedule(format!("`{}` has no memory yet: its schedule is not compiled", self.label))
        })
    }

    /// [`Error::Schedule`] where the tensor is of another device.
    pub(crate) fn check_gpu(&self, gpu: &Gpu) -> Result<()> {
        if self.storage.gpu == gpu.id() {
            return Ok(());
        }
        Err(Error::Schedule(format!("`{}` was made on another `Gpu`; upload it to this one", self.label)))
    }

    /// Our own buffers have every usage that a tensor needs; a caller's may not.
    fn buffer_with(&self, gpu: &Gpu, usage: wgpu::BufferUsages) -> Result<(&wgpu::Buffer, u64)> {
        self.check_gpu(gpu)?;
        let (buffer, offset) = self.buffer_or_error()?;
        if !buffer.usage().contains(usage) {
            return Err(Error::Schedule(format!("the buffer of `{}` lacks the usage {usage:?}", self.label)));
        }
        Ok((buffer, offset))
    }

    /// Replaces the elements; takes effect before the next submit.
    ///
    /// Errors: `Shape` for another dtype or number of elements, `Schedule` where the tensor has no memory yet, is of another
    /// [`Gpu`], or its buffer lacks `COPY_DST`, `DeviceLost`.
    pub fn write<T: Element>(&self, gpu: &Gpu, data: &[T]) -> Result<()> {
        self.check_type::<T>("write")?;
        if data.len() != self.elements() {
            let found = format!("has {} elements", self.elements());
            return Err(Error::shape("write", &self.label, found, data.len().to_string()));
        }
        let (buffer, offset) = self.buffer_with(gpu, wgpu::BufferUsages::COPY_DST)?;
        gpu.write(buffer, offset, bytemuck::cast_slice(data))
    }

    /// Copies the elements to the host; waits for the work submitted so far. Never blocks in a browser.
    ///
    /// Errors: `Shape` for another dtype, `Schedule` where the tensor has no memory yet, is of another [`Gpu`], or its buffer
    /// lacks `COPY_SRC`, `DeviceLost`.
    pub async fn read<T: Element>(&self, gpu: &Gpu) -> Result<Vec<T>> {
        self.check_type::<T>("read")?;
        let (buffer, offset) = self.buffer_with(gpu, wgpu::BufferUsages::COPY_SRC)?;
        let bytes = gpu.read(buffer, offset, self.bytes().next_multiple_of(4)).await?;
        let mut data = bytemuck::pod_collect_to_vec::<u8, T>(&bytes);
        data.truncate(self.elements());
        Ok(data)
    }

    fn check_type<T: Element>(&self, operator: &'static str) -> Result<()> {
        if T::DTYPE == self.dtype {
            return Ok(());
        }
        Err(Error::shape(operator, &self.label, format!("is {}", self.dtype.name()), T::DTYPE.name()))
    }

    fn check_limit(&self, gpu: &Gpu) -> Result<()> {
        self.check_limit_or(
            gpu,
            if self.dtype == Dtype::F32 { "use dtype f16, or split the batch" } else { "split the batch" },
        )
    }

    fn check_limit_or(&self, gpu: &Gpu, advice: &'static str) -> Result<()> {
        let allowed = gpu.limits().max_storage_buffer_binding_size.min(gpu.limits().max_buffer_size);
        if self.padded_bytes() <= allowed {
            return Ok(());
        }
        Err(Error::Limit {
            what: format!("tensor `{}` {:?}", self.label, self.shape),
            limit: "maxStorageBufferBindingSize",
            needed: self.padded_bytes(),
            allowed,
            advice,
        })
    }

    /// [`Error::Limit`] where the adapter can't bind a planned tensor of this size. Operators plan f32, whatever their inputs
    /// are stored in, so another dtype would not help.
    pub(crate) fn checked(self, gpu: &Gpu) -> Result<Tensor> {
        self.check_limit_or(gpu, "split the batch or the tokens")?;
        Ok(self)
    }
}
