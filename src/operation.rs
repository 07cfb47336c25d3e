//! An operation (per shape), a bound operation (per set of buffers), and recording it (per step).

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use wgpu::BufferSlice;

use crate::binding::{self, Bindings};
use crate::buffer;
use crate::config::Config;
use crate::error::Error;
use crate::kernel::{Kernel, Kernels, guarded, guarded_async};
use crate::plan::{Argument, Dispatch, Kernel as KernelName, Operation, Parameters, Plan, Program};
use crate::shape::Shape;

/// An operation: the plan of one computation for one shape on one device, with its parameters and scratch.
///
/// Made by [`BatchNorm`](crate::BatchNorm), kept for as long as the shape comes back, bound to buffers with
/// [`Prepared::bind`].
#[derive(Debug)]
#[must_use = "nothing is computed before it is bound and recorded"]
pub struct Prepared<K> {
    kernels: Arc<Kernels>,
    shape: Shape,
    config: Config,
    plan: Plan,
    /// One slot per dispatch, written once.
    parameters: wgpu::Buffer,
    /// Bytes between two slots.
    slot: u64,
    /// Made at the first bind that brings none.
    scratch: OnceLock<wgpu::Buffer>,
    kind: PhantomData<K>,
}

/// What the device is asked for when buffers are bound.
const BIND_GROUPS: &str = "the bind groups";
/// The label of the scratch that an operation makes.
const SCRATCH: &str = "batchnorm.scratch";

/// The scratch of a bind.
enum Scratch<'a> {
    /// Brought by the caller, made before, or not needed.
    Known(Option<BufferSlice<'a>>),
    /// So many bytes are to be made.
    Wanted(u64),
}

impl<K: Kind> Prepared<K> {
    pub(crate) fn new(
        kernels: &Arc<Kernels>,
        operation: Operation,
        shape: &Shape,
        config: &Config,
    ) -> Result<Self, Error> {
        let plan = Plan::new(operation, shape, config, &kernels.facts, &kernels.tuning)?;
        let device = &kernels.device;
        let slot = (size_of::<Parameters>() as u64).next_multiple_of(u64::from(kernels.uniform_alignment));
        let mut contents = vec![0u8; (slot as usize * plan.dispatches.len()).max(slot as usize)];
        for (chunk, dispatch) in contents.chunks_mut(slot as usize).zip(&plan.dispatches) {
            let bytes = bytemuck::bytes_of(&dispatch.parameters);
            chunk[..bytes.len()].copy_from_slice(bytes);
        }
        let parameters = buffer::filled(device, "batchnorm.parameters", &contents, buffer::PARAMETERS_USAGE)?;
        // Compiled here, so that the first step is not the slow one.
        for dispatch in &plan.dispatches {
            kernels.get(&kernels.variant(&dispatch.program))?;
        }
        Ok(Self {
            kernels: kernels.clone(),
            shape: shape.clone(),
            config: *config,
            plan,
            parameters,
            slot,
            scratch: OnceLock::new(),
            kind: PhantomData,
        })
    }

    /// Checks the buffers and makes the bind groups.
    ///
    /// # Errors
    /// [`Error::TooSmall`] · [`Error::Misaligned`] · [`Error::MissingUsage`] · [`Error::Missing`] ·
    /// [`Error::Unexpected`] for what the configuration has no use for · [`Error::Overlap`] where two arguments share bytes
    /// and one is written · [`Error::Device`] for what only the device can know, such as a buffer of another one; in a
    /// browser [`Prepared::bind_async`] tells that
    pub fn bind(&self, device: &wgpu::Device, buffers: &K::Buffers<'_>) -> Result<Bound, Error> {
        let bindings = self.check(buffers)?;
        let (known, made) = match self.scratch_known(buffers.scratch(), &bindings)? {
            Scratch::Known(slice) => (slice, None),
            Scratch::Wanted(bytes) => (None, Some(buffer::zeros(device, SCRATCH, bytes, buffer::SCRATCH_USAGE)?)),
        };
        let scratch = known.or(made.as_ref().map(|buffer| buffer.slice(..)));
        let bound = guarded(device, BIND_GROUPS, || self.steps(device, &bindings, scratch))??;
        if let Some(scratch) = made {
            self.keep(scratch);
        }
        Ok(bound)
    }

    /// [`Prepared::bind`], which waits for what only the device can know where it tells that later: in a browser.
    ///
    /// # Errors
    /// As [`Prepared::bind`].
    pub async fn bind_async(&self, device: &wgpu::Device, buffers: &K::Buffers<'_>) -> Result<Bound, Error> {
        let bindings = self.check(buffers)?;
        let (known, made) = match self.scratch_known(buffers.scratch(), &bindings)? {
            Scratch::Known(slice) => (slice, None),
            Scratch::Wanted(bytes) => {
                (None, Some(buffer::zeros_async(device, SCRATCH, bytes, buffer::SCRATCH_USAGE).await?))
            }
        };
        let scratch = known.or(made.as_ref().map(|buffer| buffer.slice(..)));
        for dispatch in &self.plan.dispatches {
            self.kernels.get_async(&self.variant(&dispatch.program, &bindings, scratch)).await?;
        }
        let bound = guarded_async(device, BIND_GROUPS, || self.steps(device, &bindings, scratch)).await??;
        if let Some(scratch) = made {
            self.keep(scratch);
        }
        Ok(bound)
    }

    fn check<'a>(&self, buffers: &K::Buffers<'a>) -> Result<Bindings<'a>, Error> {
        Bindings::check(&buffers.given(), &self.plan, &self.shape, &self.config, &self.kernels.facts)
    }

    fn steps(
        &self,
        device: &wgpu::Device,
        bindings: &Bindings<'_>,
        scratch: Option<BufferSlice<'_>>,
    ) -> Result<Bound, Error> {
        let dispatches = self.plan.dispatches.iter().enumerate();
        let step = |(index, dispatch)| self.step(device, index, dispatch, bindings, scratch);
        Ok(Bound { steps: dispatches.map(step).collect::<Result<_, Error>>()? })
    }

    /// Bytes of scratch that the operation needs, beside its parameters.
    pub fn scratch_bytes(&self) -> u64 {
        self.plan.scratch_bytes
    }

    /// What will be dispatched, and why.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn scratch_known<'a>(
        &'a self,
        given: Option<BufferSlice<'a>>,
        bindings: &Bindings<'_>,
    ) -> Result<Scratch<'a>, Error> {
        let needed = self.plan.scratch_bytes;
        if needed == 0 {
            return Ok(Scratch::Known(None));
        }
        if let Some(slice) = given {
            binding::check_slice("scratch", slice, needed, &self.kernels.facts)?;
            bindings.check_apart("scratch", slice, needed)?;
            return Ok(Scratch::Known(Some(slice)));
        }
        Ok(match self.scratch.get() {
            Some(buffer) => Scratch::Known(Some(buffer.slice(..))),
            None => Scratch::Wanted(needed),
        })
    }

    /// Keeps a scratch with which a bind came off for every further one, unless there is one by now.
    fn keep(&self, scratch: wgpu::Buffer) {
        self.scratch.get_or_init(|| scratch);
    }

    fn step(
        &self,
        device: &wgpu::Device,
        index: usize,
        dispatch: &Dispatch,
        bindings: &Bindings<'_>,
        scratch: Option<BufferSlice<'_>>,
    ) -> Result<Step, Error> {
        let program = self.variant(&dispatch.program, bindings, scratch);
        let kernel = self.kernels.get(&program)?;
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &self.parameters,
                offset: index as u64 * self.slot,
                size: wgpu::BufferSize::new(size_of::<Parameters>() as u64),
            }),
        }];
        for (index, (argument, _)) in program.arguments().into_iter().enumerate() {
            let missing = Error::Missing { argument: argument.name(), reason: "the plan binds it" };
            let place = self.plan.scratch.iter().find(|s| s.0 == argument);
            let resource = if let Some(&(_, offset, bytes)) = place {
                let slice = scratch.ok_or(missing)?;
                wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: slice.buffer(),
                    offset: slice.offset() + offset,
                    size: wgpu::BufferSize::new(bytes),
                })
            } else {
                let slice = bindings.get(argument).ok_or(missing)?;
                let bytes = self.plan.argument_bytes(argument, &self.shape, self.config.dtype);
                let window = dispatch.window.filter(|_| argument.is_tensor());
                binding::resource(slice, bytes, window, self.config.dtype)
            };
            entries.push(wgpu::BindGroupEntry { binding: index as u32 + 1, resource });
        }
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("batchnorm"),
            layout: &kernel.layout,
            entries: &entries,
        });
        Ok(Step { kernel, bind_group, workgroups: dispatch.workgroups })
    }

    /// The variant of a program that these buffers need.
    fn variant(&self, program: &Program, bindings: &Bindings<'_>, scratch: Option<BufferSlice<'_>>) -> Program {
        let mut program = self.kernels.variant(program);
        program.in_place = match program.kernel {
            KernelName::ScaleShift | KernelName::TrainingResident => bindings.same_place(Argument::X, Argument::Y),
            KernelName::BackwardInput | KernelName::BackwardResident => bindings.same_place(Argument::Dy, Argument::Dx),
            _ => false,
        };
        program.shared = bindings.share_a_buffer(&program.arguments(), scratch);
        program
    }
}

#[derive(Debug)]
struct Step {
    kernel: Arc<Kernel>,
    bind_group: wgpu::BindGroup,
    workgroups: [u32; 3],
}

/// An operation with its buffers: ready to be recorded any number of times.
#[derive(Debug)]
#[must_use = "nothing is computed before it is recorded"]
pub struct Bound {
    steps: Vec<Step>,
}

impl Bound {
    /// Records the dispatches into the caller's pass. Cannot fail and allocates nothing of ours.
    ///
    /// Sets pipelines and bind group 0 of the pass and nothing else.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        for step in &self.steps {
            pass.set_pipeline(&step.kernel.pipeline);
            pass.set_bind_group(0, &step.bind_group, &[]);
            let [x, y, z] = step.workgroups;
            pass.dispatch_workgroups(x, y, z);
        }
    }

    /// How many dispatches [`Bound::record`] issues.
    pub fn dispatches(&self) -> usize {
        self.steps.len()
    }
}

/// The running statistics that a training operation updates, or that inference reads.
#[derive(Clone, Copy, Debug)]
pub struct RunningStatistics<'a> {
    /// Running mean, `[channels]` f32.
    pub mean: BufferSlice<'a>,
    /// Running variance, `[channels]` f32.
    pub variance: BufferSlice<'a>,
    /// Batches seen, one `u32`: needed where the configuration counts batches or averages cumulatively.
    pub batches: Option<BufferSlice<'a>>,
}

/// What a training operation reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct TrainingBuffers<'a> {
    /// Input, `[outer, channels, inner]` in the storage type.
    pub x: BufferSlice<'a>,
    /// Added before the activation, like `x`; where the configuration has a residual.
    pub residual: Option<BufferSlice<'a>>,
    /// Scale, `[channels]` f32; where the configuration has gamma.
    pub gamma: Option<BufferSlice<'a>>,
    /// Shift, `[channels]` f32; where the configuration has beta.
    pub beta: Option<BufferSlice<'a>>,
    /// Updated; where the configuration has a running update.
    pub running: Option<RunningStatistics<'a>>,
    /// Written: `[channels] × vec4<f32>`: K, d, inverse_std, variance; the mean is K + d. Backward reads it.
    pub saved: BufferSlice<'a>,
    /// Output, like `x`; may be exactly `x`, which then is lost to backward.
    pub y: BufferSlice<'a>,
    /// One bit per element where z is positive, [`mask_bytes`](crate::mask_bytes) bytes of `u32` words; written where the configuration has a
    /// residual and a ReLU.
    pub mask: Option<BufferSlice<'a>>,
    /// Scratch of `scratch_bytes()`, where the caller brings it.
    pub scratch: Option<BufferSlice<'a>>,
}

impl<'a> TrainingBuffers<'a> {
    /// What is always needed; the rest is absent until it is set.
    pub fn new(x: BufferSlice<'a>, saved: BufferSlice<'a>, y: BufferSlice<'a>) -> Self {
        Self { x, saved, y, residual: None, gamma: None, beta: None, running: None, mask: None, scratch: None }
    }
}

/// What an inference operation reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct InferenceBuffers<'a> {
    /// Input, `[outer, channels, inner]` in the storage type.
    pub x: BufferSlice<'a>,
    /// Added before the activation, like `x`; where the configuration has a residual.
    pub residual: Option<BufferSlice<'a>>,
    /// Scale, `[channels]` f32; where the configuration has gamma.
    pub gamma: Option<BufferSlice<'a>>,
    /// Shift, `[channels]` f32; where the configuration has beta.
    pub beta: Option<BufferSlice<'a>>,
    /// Mean, `[channels]` f32.
    pub running_mean: BufferSlice<'a>,
    /// Variance, `[channels]` f32.
    pub running_variance: BufferSlice<'a>,
    /// Output, like `x`; may be exactly `x`, which then is lost to a frozen backward.
    pub y: BufferSlice<'a>,
    /// One bit per element where z is positive, [`mask_bytes`](crate::mask_bytes) bytes of `u32` words; written by a frozen forward where the configuration has a
    /// residual and a ReLU.
    pub mask: Option<BufferSlice<'a>>,
}

impl<'a> InferenceBuffers<'a> {
    /// What is always needed; the rest is absent until it is set.
    pub fn new(
        x: BufferSlice<'a>,
        running_mean: BufferSlice<'a>,
        running_variance: BufferSlice<'a>,
        y: BufferSlice<'a>,
    ) -> Self {
        Self { x, running_mean, running_variance, y, residual: None, gamma: None, beta: None, mask: None }
    }
}

/// What a backward operation reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct BackwardBuffers<'a> {
    /// The input of the forward step, `[outer, channels, inner]` in the storage type.
    pub x: BufferSlice<'a>,
    /// Gradient of the output, like `x`.
    pub dy: BufferSlice<'a>,
    /// What the training step saved, `[channels] × vec4<f32>`.
    pub saved: BufferSlice<'a>,
    /// Scale, `[channels]` f32; where the configuration has gamma.
    pub gamma: Option<BufferSlice<'a>>,
    /// Shift, `[channels]` f32; read only to find the mask of a ReLU.
    pub beta: Option<BufferSlice<'a>>,
    /// One bit per element where z is positive, [`mask_bytes`](crate::mask_bytes) bytes of `u32` words; read where the configuration has a
    /// residual and a ReLU.
    pub mask: Option<BufferSlice<'a>>,
    /// Gradient of the input, like `x`; may be exactly `dy`.
    pub dx: Option<BufferSlice<'a>>,
    /// Gradient of gamma, `[channels]` f32.
    pub dgamma: Option<BufferSlice<'a>>,
    /// Gradient of beta, `[channels]` f32.
    pub dbeta: Option<BufferSlice<'a>>,
    /// Gradient of the residual, like `x`; where the configuration has a residual.
    pub dresidual: Option<BufferSlice<'a>>,
    /// Scratch of `scratch_bytes()`, where the caller brings it.
    pub scratch: Option<BufferSlice<'a>>,
}

impl<'a> BackwardBuffers<'a> {
    /// What is always needed; the rest is absent until it is set.
    pub fn new(x: BufferSlice<'a>, dy: BufferSlice<'a>, saved: BufferSlice<'a>) -> Self {
        Self {
            x,
            dy,
            saved,
            gamma: None,
            beta: None,
            mask: None,
            dx: None,
            dgamma: None,
            dbeta: None,
            dresidual: None,
            scratch: None,
        }
    }
}

/// What a backward operation with frozen statistics reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct FrozenBackwardBuffers<'a> {
    /// The input of the forward step, `[outer, channels, inner]` in the storage type.
    pub x: BufferSlice<'a>,
    /// Gradient of the output, like `x`.
    pub dy: BufferSlice<'a>,
    /// Mean that inference used, `[channels]` f32.
    pub running_mean: BufferSlice<'a>,
    /// Variance that inference used, `[channels]` f32.
    pub running_variance: BufferSlice<'a>,
    /// Scale, `[channels]` f32; where the configuration has gamma.
    pub gamma: Option<BufferSlice<'a>>,
    /// Shift, `[channels]` f32; read only to find the mask of a ReLU.
    pub beta: Option<BufferSlice<'a>>,
    /// One bit per element where z is positive, [`mask_bytes`](crate::mask_bytes) bytes of `u32` words; read where the configuration has a
    /// residual and a ReLU.
    pub mask: Option<BufferSlice<'a>>,
    /// Gradient of the input, like `x`; may be exactly `dy`.
    pub dx: Option<BufferSlice<'a>>,
    /// Gradient of gamma, `[channels]` f32.
    pub dgamma: Option<BufferSlice<'a>>,
    /// Gradient of beta, `[channels]` f32.
    pub dbeta: Option<BufferSlice<'a>>,
    /// Gradient of the residual, like `x`; where the configuration has a residual.
    pub dresidual: Option<BufferSlice<'a>>,
    /// Scratch of `scratch_bytes()`, where the caller brings it.
    pub scratch: Option<BufferSlice<'a>>,
}

impl<'a> FrozenBackwardBuffers<'a> {
    /// What is always needed; the rest is absent until it is set.
    pub fn new(
        x: BufferSlice<'a>,
        dy: BufferSlice<'a>,
        running_mean: BufferSlice<'a>,
        running_variance: BufferSlice<'a>,
    ) -> Self {
        Self {
            x,
            dy,
            running_mean,
            running_variance,
            gamma: None,
            beta: None,
            mask: None,
            dx: None,
            dgamma: None,
            dbeta: None,
            dresidual: None,
            scratch: None,
        }
    }
}

pub(crate) type Given<'a> = Vec<(Argument, Option<BufferSlice<'a>>)>;

/// Which buffers an operation takes; implemented by [`Training`], [`Inference`], [`Backward`] and [`FrozenBackward`], and
/// by the [parts](crate::parts).
pub trait Kind: private::Sealed {
    /// The buffers.
    type Buffers<'a>: Buffers<'a>;
}

/// The buffers of an operation, as a list of arguments.
pub trait Buffers<'a>: private::Sealed {
    #[doc(hidden)]
    fn given(&self) -> Given<'a>;
    #[doc(hidden)]
    fn scratch(&self) -> Option<BufferSlice<'a>> {
        None
    }
}

pub(crate) mod private {
    pub trait Sealed {}
    impl Sealed for super::Training {}
    impl Sealed for super::TrainingBuffers<'_> {}
    impl Sealed for super::Inference {}
    impl Sealed for super::InferenceBuffers<'_> {}
    impl Sealed for super::Backward {}
    impl Sealed for super::BackwardBuffers<'_> {}
    impl Sealed for super::FrozenBackward {}
    impl Sealed for super::FrozenBackwardBuffers<'_> {}
}

/// Marks an operation that normalises with the batch's own statistics: takes [`TrainingBuffers`].
#[derive(Clone, Copy, Debug)]
pub enum Training {}
/// Marks an operation that normalises with given statistics: takes [`InferenceBuffers`].
#[derive(Clone, Copy, Debug)]
pub enum Inference {}
/// Marks an operation that computes the gradients of training: takes [`BackwardBuffers`].
#[derive(Clone, Copy, Debug)]
pub enum Backward {}
/// Marks an operation that computes the gradients of inference: takes [`FrozenBackwardBuffers`].
#[derive(Clone, Copy, Debug)]
pub enum FrozenBackward {}

impl Kind for Training {
    type Buffers<'a> = TrainingBuffers<'a>;
}

impl<'a> Buffers<'a> for TrainingBuffers<'a> {
    fn given(&self) -> Given<'a> {
        vec![
            (Argument::X, Some(self.x)),
            (Argument::Residual, self.residual),
            (Argument::Gamma, self.gamma),
            (Argument::Beta, self.beta),
            (Argument::RunningMean, self.running.map(|r| r.mean)),
            (Argument::RunningVariance, self.running.map(|r| r.variance)),
            (Argument::Batches, self.running.and_then(|r| r.batches)),
            (Argument::Saved, Some(self.saved)),
            (Argument::Y, Some(self.y)),
            (Argument::Mask, self.mask),
        ]
    }

    fn scratch(&self) -> Option<BufferSlice<'a>> {
        self.scratch
    }
}

impl Kind for Inference {
    type Buffers<'a> = InferenceBuffers<'a>;
}

impl<'a> Buffers<'a> for InferenceBuffers<'a> {
    fn given(&self) -> Given<'a> {
        vec![
            (Argument::X, Some(self.x)),
            (Argument::Residual, self.residual),
            (Argument::Gamma, self.gamma),
            (Argument::Beta, self.beta),
            (Argument::RunningMean, Some(self.running_mean)),
            (Argument::RunningVariance, Some(self.running_variance)),
            (Argument::Y, Some(self.y)),
            (Argument::Mask, self.mask),
        ]
    }
}

impl Kind for Backward {
    type Buffers<'a> = BackwardBuffers<'a>;
}

impl<'a> Buffers<'a> for BackwardBuffers<'a> {
    fn given(&self) -> Given<'a> {
        vec![
            (Argument::X, Some(self.x)),
            (Argument::Dy, Some(self.dy)),
            (Argument::Saved, Some(self.saved)),
            (Argument::Gamma, self.gamma),
            (Argument::Beta, self.beta),
            (Argument::Mask, self.mask),
            (Argument::Dx, self.dx),
            (Argument::Dgamma, self.dgamma),
            (Argument::Dbeta, self.dbeta),
            (Argument::Dresidual, self.dresidual),
        ]
    }

    fn scratch(&self) -> Option<BufferSlice<'a>> {
        self.scratch
    }
}

impl Kind for FrozenBackward {
    type Buffers<'a> = FrozenBackwardBuffers<'a>;
}

impl<'a> Buffers<'a> for FrozenBackwardBuffers<'a> {
    fn given(&self) -> Given<'a> {
        vec![
            (Argument::X, Some(self.x)),
            (Argument::Dy, Some(self.dy)),
            (Argument::RunningMean, Some(self.running_mean)),
            (Argument::RunningVariance, Some(self.running_variance)),
            (Argument::Gamma, self.gamma),
            (Argument::Beta, self.beta),
            (Argument::Mask, self.mask),
            (Argument::Dx, self.dx),
            (Argument::Dgamma, self.dgamma),
            (Argument::Dbeta, self.dbeta),
            (Argument::Dresidual, self.dresidual),
        ]
    }

    fn scratch(&self) -> Option<BufferSlice<'a>> {
        self.scratch
    }
}
