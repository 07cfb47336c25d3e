//! From program to pipeline; the only place that creates pipelines.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::Error;
use crate::plan::{DeviceFacts, Program, Tuning};
use crate::shader;

/// A compiled program.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

/// The pipelines of one device, built when first needed and kept, and what is known of the device.
/// Clones share the pipelines.
#[derive(Clone, Debug)]
pub(crate) struct Kernels {
    pub(crate) device: wgpu::Device,
    pub(crate) facts: DeviceFacts,
    pub(crate) tuning: Tuning,
    pub(crate) uniform_alignment: u32,
    pub(crate) guard_differences: bool,
    cache: Option<wgpu::PipelineCache>,
    built: Arc<Mutex<HashMap<Program, Arc<Kernel>>>>,
}

impl Kernels {
    pub(crate) fn new(
        device: &wgpu::Device,
        facts: DeviceFacts,
        tuning: Tuning,
        cache: Option<wgpu::PipelineCache>,
        guard_differences: bool,
    ) -> Self {
        Self {
            device: device.clone(),
            facts,
            tuning,
            uniform_alignment: device.limits().min_uniform_buffer_offset_alignment,
            guard_differences,
            cache,
            built: Arc::default(),
        }
    }

    /// The variant of a program that this device needs.
    pub(crate) fn variant(&self, program: &Program) -> Program {
        Program { guarded: self.guard_differences, ..program.clone() }
    }

    /// How many pipelines have been compiled.
    pub(crate) fn count(&self) -> usize {
        self.built.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn get(&self, program: &Program) -> Result<Arc<Kernel>, Error> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = built.get(program) {
            return Ok(kernel.clone());
        }
        let kernel = Arc::new(guarded(&self.device, &label(program), || self.build(program))?);
        built.insert(program.clone(), kernel.clone());
        Ok(kernel)
    }

    /// [`Kernels::get`], which waits until the device has told whether it takes a program that is new.
    pub(crate) async fn get_async(&self, program: &Program) -> Result<Arc<Kernel>, Error> {
        let built = || self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = built().get(program) {
            return Ok(kernel.clone());
        }
        let kernel = Arc::new(guarded_async(&self.device, &label(program), || self.build(program)).await?);
        Ok(built().entry(program.clone()).or_insert(kernel).clone())
    }

    fn build(&self, program: &Program) -> Kernel {
        let (name, label, device) = (program.kernel.name(), label(program), &self.device);
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(&label),
            source: wgpu::ShaderSource::Wgsl(shader::text(program).into()),
        });
        let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let storage = program.arguments().into_iter().enumerate().map(|(index, (argument, written))| {
            let read_only = !shader::is_read_write(program, argument, written);
            entry(index as u32 + 1, wgpu::BufferBindingType::Storage { read_only })
        });
        let entries: Vec<_> = std::iter::once(entry(0, wgpu::BufferBindingType::Uniform)).chain(storage).collect();
        let layout = device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(name),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &shader::overrides(program),
                // Every lane writes its slot before any lane reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: self.cache.as_ref(),
        });
        Kernel { pipeline, layout }
    }
}

fn label(program: &Program) -> String {
    format!("batchnorm.{}", program.kernel.name())
}

/// Creates something inside error scopes, so that a refusal comes back as a value and the host's handlers stay silent.
///
/// In a browser a scope answers later, so there the scopes only keep the host's handlers silent: see [`guarded_async`].
pub(crate) fn guarded<T>(device: &wgpu::Device, what: &str, create: impl FnOnce() -> T) -> Result<T, Error> {
    let (created, [validation, memory]) = scoped(device, create);
    unless_refused(created, what, [ready(validation), ready(memory)].map(Option::flatten))
}

/// [`guarded`], which waits until the scopes answer.
pub(crate) async fn guarded_async<T>(
    device: &wgpu::Device,
    what: &str,
    create: impl FnOnce() -> T,
) -> Result<T, Error> {
    let (created, [validation, memory]) = scoped(device, create);
    unless_refused(created, what, [validation.await, memory.await])
}

/// What was created, and the answers of the scopes around it.
fn scoped<T, F: FnOnce() -> T>(
    device: &wgpu::Device,
    create: F,
) -> (T, [impl Future<Output = Option<wgpu::Error>> + use<T, F>; 2]) {
    let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let created = create();
    // The inner one first.
    let validation = validation.pop();
    (created, [validation, memory.pop()])
}

fn unless_refused<T>(created: T, what: &str, errors: [Option<wgpu::Error>; 2]) -> Result<T, Error> {
    match errors.into_iter().flatten().next() {
        Some(error) => Err(Error::Device { what: what.to_owned(), message: error.to_string() }),
        None => Ok(created),
    }
}

/// The value of a future that is ready at once, which natively an error scope's is.
fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
