//! Operators recorded in order: nothing is allocated or submitted before [`Schedule::compile`].

mod memory;
mod plan;
mod profile;
mod slices;

pub use plan::{Plan, PlanReport};
pub use profile::{Clock, StepTime};
pub use slices::{Progress, no_progress};

use crate::error::{Error, Result};
use crate::gpu::{Gpu, Pipeline};
use crate::tensor::{Dtype, Tensor};
use gristmill_shaders::BindingKind;
use std::sync::Arc;

/// Work of one dispatch, as the cost models count it (a multiply-add is 2 FLOPs).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes read and written, each element once.
    pub bytes: f64,
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), |sum, cost| Cost {
            flops: sum.flops + cost.flops,
            bytes: sum.bytes + cost.bytes,
        })
    }
}

impl Cost {
    /// One number to cut submits by: on the adapters measured a byte costs about as much as 8 FLOPs.
    pub(crate) fn work(self) -> f64 {
        self.flops + 8.0 * self.bytes
    }
}

/// Operators recorded in order.
#[derive(Debug)]
pub struct Schedule {
    gpu: Gpu,
    steps: Vec<Step>,
    planned: Vec<Tensor>,
}

/// One kernel with everything it needs to be dispatched.
#[derive(Debug)]
pub(crate) struct Step {
    pub label: &'static str,
    pub pipeline: Arc<Pipeline>,
    pub params: Vec<u8>,
    pub bindings: Vec<Bound>,
    pub groups: u64,
    pub cost: Cost,
    /// The data may end it before the work of `cost` is done, so its time says nothing of the adapter's rate.
    pub may_end_early: bool,
}

/// What stands at a storage or texture binding.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub index: u32,
    pub resource: Resource,
    pub writes: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Resource {
    Tensor(Tensor),
    Texture(wgpu::TextureView),
}

impl Schedule {
    /// An empty schedule.
    pub fn new(gpu: &Gpu) -> Schedule {
        Schedule { gpu: gpu.clone(), steps: Vec::new(), planned: Vec::new() }
    }

    /// The device it will run on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// A tensor whose memory is planned at [`compile`](Schedule::compile).
    ///
    /// Errors: `Limit` where the adapter can't bind it.
    pub(crate) fn tensor(&mut self, label: &str, shape: &[usize], dtype: Dtype) -> Result<Tensor> {
        let tensor = Tensor::planned(&self.gpu, label, shape, dtype).checked(&self.gpu)?;
        self.planned.push(tensor.clone());
        Ok(tensor)
    }

    /// Starts recording one kernel. `label` is what progress and profile call it.
    pub(crate) fn kernel(
        &mut self,
        label: &'static str,
        kernel: &'static str,
        constants: &[(&str, &str)],
    ) -> Result<Recorder<'_>> {
        let pipeline = self.gpu.pipeline(kernel, constants)?;
        Ok(Recorder {
            schedule: self,
            label,
            pipeline,
            params: Vec::new(),
            bindings: Vec::new(),
            may_end_early: false,
        })
    }

    /// Work of everything recorded so far.
    pub fn cost(&self) -> Cost {
        self.steps.iter().map(|step| step.cost).sum()
    }

    /// Plans memory, allocates it, and fixes every dispatch within the adapter's limits.
    ///
    /// Errors: `Schedule` where a step would write over its own input, `OutOfMemory`, `Limit`.
    pub fn compile(self) -> Result<Plan> {
        Plan::new(self)
    }
}

/// One kernel being recorded: parameters, then bindings by their names in the shader, then `dispatch`.
pub(crate) struct Recorder<'s> {
    schedule: &'s mut Schedule,
    label: &'static str,
    pipeline: Arc<Pipeline>,
    params: Vec<u8>,
    bindings: Vec<Bound>,
    may_end_early: bool,
}

impl Recorder<'_> {
    /// The uniform at binding 1, laid out as WGSL wants it.
    pub fn params<T: encase::ShaderType + encase::internal::WriteInto>(mut self, params: &T) -> Self {
        let mut buffer = encase::UniformBuffer::new(Vec::new());
        buffer.write(params).expect("writing to memory");
        self.params = buffer.into_inner();
        self
    }

    /// The data decides how much of the cost is really done: none of it where an iteration finds everything solved.
    pub fn may_end_early(mut self) -> Self {
        self.may_end_early = true;
        self
    }

    pub fn bind(self, name: &str, tensor: &Tensor) -> Result<Self> {
        tensor.check_gpu(&self.schedule.gpu)?;
        self.bind_resource(name, Resource::Tensor(tensor.clone()))
    }

    pub fn bind_texture(self, name: &str, view: &wgpu::TextureView) -> Result<Self> {
        self.bind_resource(name, Resource::Texture(view.clone()))
    }

    fn bind_resource(mut self, name: &str, resource: Resource) -> Result<Self> {
        let interface = &self.pipeline.interface;
        let binding = interface.bindings.iter().find(|b| b.name == name).ok_or_else(|| {
            Error::Schedule(format!("{} has no binding `{name}` in this build", self.pipeline.name))
        })?;
        let writes = matches!(binding.kind, BindingKind::StorageReadWrite | BindingKind::StorageTexture(_));
        self.bindings.push(Bound { index: binding.index, resource, writes });
        Ok(self)
    }

    /// Records the kernel over `groups` workgroups; none at all records nothing.
    pub fn dispatch(self, groups: usize, cost: Cost) -> Result<()> {
        let wanted = self.pipeline.interface.bindings.iter().filter(|b| b.kind != BindingKind::Uniform);
        for binding in wanted {
            let count = self.bindings.iter().filter(|b| b.index == binding.index).count();
            if count != 1 {
                let name = &binding.name;
                return Err(Error::Schedule(format!(
                    "{}: `{name}` is bound {count} times",
                    self.pipeline.name
                )));
            }
        }
        if u32::try_from(groups).is_err() {
            return Err(Error::Limit {
                what: format!("kernel {}", self.pipeline.name),
                limit: "workgroups (u32)",
                needed: groups as u64,
                allowed: u32::MAX as u64,
                advice: "split the batch",
            });
        }
        if groups > 0 {
            let Recorder { schedule, label, pipeline, params, bindings, may_end_early } = self;
            let groups = groups as u64;
            schedule.steps.push(Step { label, pipeline, params, bindings, groups, cost, may_end_early });
        }
        Ok(())
    }
}
