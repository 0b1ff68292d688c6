#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

#[cfg(feature = "codec")]
pub mod codec;
pub mod error;
mod gpu;
pub mod kernels;
#[cfg(feature = "diagnostics")]
pub mod measure;
pub mod models;
pub mod run;
mod schedule;
#[cfg(feature = "diagnostics")]
pub mod self_check;
mod tensor;
pub mod twins;
mod variant;

pub use error::{Error, Result};
pub use gpu::{Gpu, GpuOptions, Recovered, TensorInfo, adapters};
pub use schedule::{Clock, Cost, Plan, PlanReport, Progress, Schedule, StepTime, no_progress};
pub use tensor::{Dtype, Element, Tensor};
pub use variant::{Variant, VariantKind};

pub use wgpu;
