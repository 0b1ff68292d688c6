//! One device and queue, requested by us or adopted from the caller, with its limits and pipelines.

mod pipelines;
mod recover;
mod request;
mod transfer;

pub(crate) use pipelines::Pipeline;
pub use recover::{Recovered, TensorInfo};
pub use request::{GpuOptions, adapters};

use crate::error::{Error, Result};
use crate::variant::{Traits, Variant, VariantKind};
use pipelines::Pipelines;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// One device and queue with what they can do. Clones share them.
#[derive(Clone, Debug)]
pub struct Gpu {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    /// Tells the tensors of one `Gpu` from those of another; handles of wgpu don't, across instances.
    id: u64,
    info: wgpu::AdapterInfo,
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// `None` for an adopted device, whose loss its owner handles.
    options: Option<GpuOptions>,
    lost: Arc<Loss>,
    pipelines: Pipelines,
    uploads: Mutex<Vec<recover::Upload>>,
    /// Work units per second seen by the last runs, as f64 bits; see `schedule::slices`.
    work_rate: AtomicU64,
    buffers_created: AtomicU64,
    submits: AtomicU64,
}

/// Whether the device is gone, and a channel that closes when it goes.
#[derive(Debug)]
struct Loss {
    state: Mutex<(Option<String>, Option<flume::Sender<()>>)>,
    happened: flume::Receiver<()>,
}

impl Loss {
    fn new() -> Self {
        let (sender, happened) = flume::bounded(0);
        Self { state: Mutex::new((None, Some(sender))), happened }
    }

    fn tell(&self, reason: String) {
        *self.state.lock().unwrap_or_else(|e| e.into_inner()) = (Some(reason), None);
    }

    fn reason(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(|e| e.into_inner()).0.clone()
    }
}

impl Gpu {
    /// The best adapter that fits `options`, with every feature and limit it has that a kernel can use.
    ///
    /// Errors: `NoAdapter` (it lists those that are there), `Device`, `Config` where `options.variant` can't run there.
    pub async fn request(options: GpuOptions) -> Result<Gpu> {
        request::request(options).await
    }

    /// Takes over a device that the caller owns. The caller keeps submitting on it; features and limits are the device's.
    ///
    /// `info` is the adapter's (`adapter.get_info()`), from which the variant is chosen. The device's callback for a loss stays
    /// the caller's: it calls [`mark_lost`](Self::mark_lost), and afterwards every operation here is refused.
    pub fn adopt(info: wgpu::AdapterInfo, device: wgpu::Device, queue: wgpu::Queue) -> Gpu {
        Gpu::new(info, device, queue, None)
    }

    fn new(
        info: wgpu::AdapterInfo,
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: Option<GpuOptions>,
    ) -> Gpu {
        // A first guess, corrected by every run: slow enough that no first submit runs long.
        let work_rate: f64 = match info.device_type {
            wgpu::DeviceType::Cpu => 2e9,
            wgpu::DeviceType::DiscreteGpu => 1e12,
            _ => 1e11,
        };
        let lost = Arc::new(Loss::new());
        if options.is_some() {
            let lost = lost.clone();
            device.set_device_lost_callback(move |reason, message| {
                lost.tell(format!("{reason:?}: {message}"));
            });
        }
        let pipelines = Pipelines::new(&info, &device, options.as_ref());
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let inner = Inner {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            info,
            device,
            queue,
            options,
            lost,
            pipelines,
            uploads: Mutex::default(),
            work_rate: AtomicU64::new(work_rate.to_bits()),
            buffers_created: AtomicU64::new(0),
            submits: AtomicU64::new(0),
        };
        Gpu { inner: Arc::new(inner) }
    }

    pub(crate) fn id(&self) -> u64 {
        self.inner.id
    }

    /// The wgpu device.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The wgpu queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// The adapter's name, type, driver and backend.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.inner.info
    }

    /// The limits the device was made with, or those that [`GpuOptions::at_most`] allows.
    pub fn limits(&self) -> wgpu::Limits {
        let limits = self.inner.device.limits();
        match self.inner.options.as_ref().and_then(|options| options.at_most.as_ref()) {
            Some(most) => limits.or_worse_values_from(most),
            None => limits,
        }
    }

    /// The features the device was made with.
    pub fn features(&self) -> wgpu::Features {
        self.inner.device.features()
    }

    /// Which build of the kernels runs here, and why; `wanted` asks for one by name.
    ///
    /// Errors: `Config` where the wanted build can't run on this device.
    pub fn variant(&self, wanted: Option<VariantKind>) -> Result<Variant> {
        let info = self.info();
        let traits = Traits {
            is_cpu: info.device_type == wgpu::DeviceType::Cpu,
            has_subgroups: self.features().contains(wgpu::Features::SUBGROUP),
            subgroup_sizes: (info.subgroup_min_size, info.subgroup_max_size),
        };
        let wanted = wanted.or(self.inner.options.as_ref().and_then(|options| options.variant));
        Variant::choose(traits, wanted).map_err(|expected| {
            let found = wanted.map_or("none", VariantKind::name);
            Error::config("gpu", "variant", found, expected)
        })
    }

    /// Buffers that this `Gpu` has made so far; recording into a caller's encoder makes none.
    pub fn buffers_created(&self) -> u64 {
        self.inner.buffers_created.load(Ordering::Relaxed)
    }

    /// Submits that this `Gpu` has made so far; recording into a caller's encoder makes none.
    pub fn submits(&self) -> u64 {
        self.inner.submits.load(Ordering::Relaxed)
    }

    /// Errors: `DeviceLost` once the device is gone.
    pub fn check_lost(&self) -> Result<()> {
        self.inner.lost.reason().map_or(Ok(()), |reason| Err(Error::DeviceLost(reason)))
    }

    /// Waits until the device is gone and says why. A native device tells of its loss only while something waits for it.
    pub async fn lost(&self) -> String {
        let lost = self.inner.lost.clone();
        let _ = lost.happened.recv_async().await;
        lost.reason().unwrap_or_default()
    }

    /// Tells an adopted `Gpu` that its owner has lost the device.
    pub fn mark_lost(&self, reason: &str) {
        self.inner.lost.tell(reason.into());
    }

    pub(crate) fn work_rate(&self) -> f64 {
        f64::from_bits(self.inner.work_rate.load(Ordering::Relaxed))
    }

    pub(crate) fn set_work_rate(&self, rate: f64) {
        self.inner.work_rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    /// A buffer for tensors. `OutOfMemory` where there is no room (found at the next await in a browser).
    pub(crate) fn storage_buffer(&self, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
        use wgpu::BufferUsages as Usage;
        self.buffer(label, bytes, Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST)
    }

    pub(crate) fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        self.check_lost()?;
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let descriptor =
            wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false };
        let buffer = self.device().create_buffer(&descriptor);
        self.inner.buffers_created.fetch_add(1, Ordering::Relaxed);
        // Natively the answer is there at once; in a browser it comes with the first submit that uses the buffer.
        match now(scope.pop()) {
            Some(Some(_)) => Err(Error::OutOfMemory { what: format!("`{label}`"), bytes }),
            _ => Ok(buffer),
        }
    }

    pub(crate) fn submit(&self, commands: wgpu::CommandBuffer) {
        self.inner.submits.fetch_add(1, Ordering::Relaxed);
        self.queue().submit([commands]);
    }

    /// What `commands` gives, or the first mistake that wgpu finds in them. On a lost device nearly everything is one, so
    /// a loss comes first. A browser answers later: there nothing is caught, so that mistakes reach its console.
    pub(crate) fn caught<T>(&self, what: impl std::fmt::Display, commands: impl FnOnce() -> T) -> Result<T> {
        self.check_lost()?;
        if cfg!(target_arch = "wasm32") {
            return Ok(commands());
        }
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        let value = commands();
        if let Some(Some(error)) = now(scope.pop()) {
            self.poll()?;
            self.check_lost()?;
            return Err(Error::Validation(format!("{what}: {error}")));
        }
        Ok(value)
    }

    /// Returns when all submitted work is done. Blocks natively, never in a browser. Errors: `DeviceLost`.
    pub async fn wait(&self) -> Result<()> {
        let (sender, receiver) = flume::bounded(1);
        self.queue().on_submitted_work_done(move || {
            let _ = sender.send(());
        });
        self.poll()?;
        let _ = receiver.recv_async().await;
        self.check_lost()
    }

    /// Lets native callbacks run; a browser runs them by itself.
    pub(crate) fn poll(&self) -> Result<()> {
        #[cfg(not(target_arch = "wasm32"))]
        self.device()
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(|error| Error::DeviceLost(error.to_string()))?;
        Ok(())
    }
}

/// The value of a future that is ready at once.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
