//! One per device: from shape and configuration to an operation.

use std::sync::Arc;

use crate::config::Config;
use crate::error::Error;
use crate::kernel::Kernels;
use crate::operation::{Backward, FrozenBackward, Inference, Kind, Prepared, Training};
use crate::plan::{AdapterKind, DeviceFacts, Gradients, Operation, Tuning};
use crate::shape::Shape;

/// What can be chosen once per device.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Sizes and thresholds; the built-in table for the kind of adapter where absent.
    pub tuning: Option<Tuning>,
    /// The host's pipeline cache.
    pub pipeline_cache: Option<wgpu::PipelineCache>,
    /// Guards the differences against a driver whose fast math would reassociate them; `host::self_check` tells whether a
    /// device needs it, and `host::Gpu::self_checked` gives one that has what it needs.
    pub guard_differences: bool,
}

/// Batch normalisation on one device: its pipelines, built when first needed and kept.
///
/// Owns no queue; never submits, polls or reads back. Cheap to clone; all clones share the pipelines.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    kernels: Arc<Kernels>,
}

impl BatchNorm {
    /// Makes the shared part for a device. Nothing is compiled yet.
    ///
    /// # Errors
    /// [`Error::DeviceLimit`] if the device is below the least that any operation needs: four storage buffers in a
    /// stage and 64 bytes of workgroup memory
    pub fn new(device: &wgpu::Device) -> Result<Self, Error> {
        Self::with_options(device, Options::default())
    }

    /// [`BatchNorm::new`] with a pipeline cache, a tuning or guarded differences.
    ///
    /// # Errors
    /// As [`BatchNorm::new`].
    pub fn with_options(device: &wgpu::Device, options: Options) -> Result<Self, Error> {
        let facts = device_facts(device);
        for (what, needed, limit, name) in [
            ("a compute shader", 4, facts.storage_buffers, "max_storage_buffers_per_shader_stage"),
            ("a workgroup", 64, facts.workgroup_memory, "max_compute_workgroup_storage_size"),
            ("a workgroup", 1, facts.workgroup_size, "max_compute_invocations_per_workgroup"),
        ] {
            if limit < needed {
                return Err(Error::DeviceLimit { what, needed: needed.into(), limit: limit.into(), name });
            }
        }
        let tuning = options.tuning.unwrap_or_else(|| Tuning::for_device(&facts)).fitted(&facts);
        Ok(Self {
            kernels: Arc::new(Kernels::new(device, facts, tuning, options.pipeline_cache, options.guard_differences)),
        })
    }

    /// Normalises with the batch's own statistics, and saves them for backward.
    ///
    /// `y[o, c, i] = gamma[c] · (x[o, c, i] − mean[c]) / √(variance[c] + epsilon) + beta[c]`, mean and variance over
    /// all `o` and `i`; with `config.running_update` the running statistics follow as the last dispatch.
    ///
    /// # Errors
    /// What [`Config::validate`] refuses · [`Error::TooFewValues`] for an unbiased running variance of one value ·
    /// [`Error::DeviceLimit`] · [`Error::Device`]
    ///
    /// Ioffe & Szegedy 2015, algorithm 1.
    pub fn training(&self, shape: &Shape, config: &Config) -> Result<Prepared<Training>, Error> {
        self.prepare(Operation::Training, shape, config)
    }

    /// Normalises with statistics that are given.
    ///
    /// `y[o, c, i] = gamma[c] · (x[o, c, i] − mean[c]) / √(variance[c] + epsilon) + beta[c]`
    ///
    /// # Errors
    /// As [`BatchNorm::training`].
    ///
    /// Ioffe & Szegedy 2015, algorithm 2; the same result as PyTorch's `BatchNorm2d.eval()`.
    pub fn inference(&self, shape: &Shape, config: &Config) -> Result<Prepared<Inference>, Error> {
        self.prepare(Operation::Inference, shape, config)
    }

    /// [`BatchNorm::inference`] that also keeps what [`BatchNorm::frozen_backward`] needs: the mask of a ReLU that
    /// follows a residual.
    ///
    /// # Errors
    /// As [`BatchNorm::training`].
    pub fn frozen_forward(&self, shape: &Shape, config: &Config) -> Result<Prepared<Inference>, Error> {
        self.prepare(Operation::FrozenForward, shape, config)
    }

    /// The gradients of training.
    ///
    /// `dbeta = Σ dy`, `dgamma = Σ dy · x̂`, `dx = gamma · inverse_std · (dy − dbeta / m − x̂ · dgamma / m)`
    ///
    /// # Errors
    /// As [`BatchNorm::training`].
    ///
    /// Ioffe & Szegedy 2015, section 3.
    pub fn backward(&self, shape: &Shape, config: &Config, gradients: Gradients) -> Result<Prepared<Backward>, Error> {
        self.prepare(Operation::Backward(gradients), shape, config)
    }

    /// The gradients of inference: the statistics do not depend on x.
    ///
    /// `dbeta = Σ dy`, `dgamma = Σ dy · x̂`, `dx = gamma · inverse_std · dy`
    ///
    /// # Errors
    /// As [`BatchNorm::training`].
    pub fn frozen_backward(
        &self,
        shape: &Shape,
        config: &Config,
        gradients: Gradients,
    ) -> Result<Prepared<FrozenBackward>, Error> {
        self.prepare(Operation::FrozenBackward(gradients), shape, config)
    }

    /// The same, with no tensor bound longer than this many bytes: longer ones are cut into windows, as they are at the
    /// device's own limit. The results are the same bits at any two limits that are at least WebGPU's default of 128 MiB,
    /// and at any two below it, where nothing stays resident. The pipelines are shared.
    pub fn with_binding_limit(&self, bytes: u64) -> Self {
        let mut kernels = Kernels::clone(&self.kernels);
        kernels.facts.binding_bytes = kernels.facts.binding_bytes.min(bytes);
        Self { kernels: Arc::new(kernels) }
    }

    /// The same under another tuning, brought into the device's limits; the pipelines are shared.
    pub fn with_tuning(&self, tuning: &Tuning) -> Self {
        let mut kernels = Kernels::clone(&self.kernels);
        kernels.tuning = tuning.fitted(&kernels.facts);
        Self { kernels: Arc::new(kernels) }
    }

    /// The same with the differences guarded or not: [`Options::guard_differences`]. The pipelines are shared.
    pub fn with_guarded_differences(&self, guard: bool) -> Self {
        let mut kernels = Kernels::clone(&self.kernels);
        kernels.guard_differences = guard;
        Self { kernels: Arc::new(kernels) }
    }

    /// Whether the differences are guarded.
    pub fn guards_differences(&self) -> bool {
        self.kernels.guard_differences
    }

    pub(crate) fn prepare<K: Kind>(
        &self,
        operation: Operation,
        shape: &Shape,
        config: &Config,
    ) -> Result<Prepared<K>, Error> {
        Prepared::new(&self.kernels, operation, shape, config)
    }

    /// The device that the operations run on.
    pub fn device(&self) -> &wgpu::Device {
        &self.kernels.device
    }

    /// What plans know of this device.
    pub fn facts(&self) -> &DeviceFacts {
        &self.kernels.facts
    }

    /// The tuning in force.
    pub fn tuning(&self) -> &Tuning {
        &self.kernels.tuning
    }

    /// How many pipelines have been compiled so far.
    pub fn pipelines(&self) -> usize {
        self.kernels.count()
    }
}

/// Reads a device's limits, features and kind.
pub fn device_facts(device: &wgpu::Device) -> DeviceFacts {
    let limits = device.limits();
    let info = device.adapter_info();
    let software = info.device_type == wgpu::DeviceType::Cpu
        || ["llvmpipe", "swiftshader"].iter().any(|name| info.name.to_lowercase().contains(name));
    DeviceFacts {
        kind: if software { AdapterKind::Cpu } else { AdapterKind::Gpu },
        subgroup_size: info.subgroup_min_size,
        workgroup_size: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
        workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        binding_bytes: limits.max_storage_buffer_binding_size,
        buffer_bytes: limits.max_buffer_size,
        offset_alignment: u64::from(limits.min_storage_buffer_offset_alignment),
        shader_int64: device.features().contains(wgpu::Features::SHADER_INT64),
    }
}
