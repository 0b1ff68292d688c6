//! What can go wrong, in words that help: field, value found, value expected.

use gristmill_shaders::ShaderError;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every way an operation can fail. Nothing has been written when one is returned.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor's shape or dtype doesn't fit the operator or another tensor.
    #[error("{operator}: tensor `{tensor}` {found}; expected {expected}")]
    Shape {
        /// Operator or kernel.
        operator: &'static str,
        /// Name of the tensor.
        tensor: String,
        /// What it has, starting with a verb: `has head dim 48`.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// A configuration value that can't be used.
    #[error("{operator}: `{key}` = {found}; expected {expected}")]
    Config {
        /// Operator or kernel.
        operator: &'static str,
        /// Field of the configuration.
        key: String,
        /// Its value.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A resource past a limit of the adapter.
    #[error("{what} needs {limit} = {needed}, the adapter allows {allowed}; {advice}")]
    Limit {
        /// Tensor or kernel.
        what: String,
        /// WebGPU's name of the limit.
        limit: &'static str,
        /// What it needs.
        needed: u64,
        /// What the device was made with.
        allowed: u64,
        /// What to do about it.
        advice: &'static str,
    },
    /// No adapter fits the request.
    #[error(
        "no GPU adapter{wanted}; found: {found}. On Linux a software one comes with `apt-get install mesa-vulkan-drivers`"
    )]
    NoAdapter {
        /// ` named "…"`, or nothing.
        wanted: String,
        /// The adapters that are there.
        found: String,
    },
    /// The adapter refused to make a device.
    #[error("the adapter refused the device: {0}")]
    Device(String),
    /// Memory of the GPU ran out.
    #[error("out of GPU memory for {what} ({bytes} bytes)")]
    OutOfMemory {
        /// What was being made.
        what: String,
        /// Bytes asked for.
        bytes: u64,
    },
    /// wgpu found a mistake in a command or shader.
    #[error("GPU validation: {0}")]
    Validation(String),
    /// The device is gone; see [`Gpu::recover`](crate::Gpu::recover).
    #[error("the GPU device was lost: {0}")]
    DeviceLost(String),
    /// A tensor holds a NaN or an infinity.
    #[error("tensor `{tensor}` is not finite at index {index}")]
    NonFinite {
        /// Name of the tensor.
        tensor: String,
        /// Flat index of the first such element.
        index: u64,
    },
    /// The caller's progress function stopped the run; outputs hold a part of the work.
    #[error("cancelled by the caller")]
    Cancelled,
    /// A schedule that makes no sense, such as an output bound over its own input.
    #[error("schedule: {0}")]
    Schedule(String),
    /// Input bytes (a safetensors file, a configuration) that can't be read.
    #[error("{0}")]
    Input(String),
    /// Bytes that are no whole `.gvq` file, or an image that such a file can't hold.
    #[cfg(feature = "codec")]
    #[error("gvq: {0}")]
    Gvq(gristmill_gvq::GvqError),
    /// A `.gvq` file whose codebook is neither in it nor among those that its reader has.
    #[cfg(feature = "codec")]
    #[error("the file's codebook {hash} is not at hand; give the one it was encoded with")]
    UnknownCodebook {
        /// Its hash in hexadecimal.
        hash: String,
    },
    /// A kernel that doesn't exist or constants that don't fit it: a mistake of this crate.
    #[error("shader: {0}")]
    Shader(#[from] ShaderError),
}

impl Error {
    /// A [`Error::Shape`] with its parts formatted.
    pub(crate) fn shape(
        operator: &'static str,
        tensor: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Error::Shape { operator, tensor: tensor.into(), found: found.into(), expected: expected.into() }
    }

    /// A [`Error::Config`] with its parts formatted.
    pub(crate) fn config(
        operator: &'static str,
        key: &str,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Error::Config { operator, key: key.into(), found: found.to_string(), expected: expected.into() }
    }
}
