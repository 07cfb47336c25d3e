//! A device and its queue.

#[cfg(all(feature = "tune", not(target_family = "wasm")))]
use std::path::{Path, PathBuf};

#[cfg(all(feature = "tune", not(target_family = "wasm")))]
use super::tuning::TuningFile;
use super::{SelfCheck, self_check};
use crate::batch_norm::{BatchNorm, Options};
use crate::buffer::{self, STAGING_USAGE, STORAGE_USAGE};
use crate::error::Error;

/// What to do where there is no adapter.
pub const NO_ADAPTER: &str = "no graphics adapter was found; a software driver does: on Debian or Ubuntu \
    `apt-get install mesa-vulkan-drivers`, on Fedora `dnf install mesa-vulkan-drivers`, on Arch \
    `pacman -S vulkan-swrast`";

/// A device, its queue, and batch normalisation on it.
///
/// Hardware adapters come first, then software ones. With the feature `tune`, an adapter for which a tuning was measured is
/// opened under it: `TuningFile` tells where it is kept.
#[derive(Clone, Debug)]
pub struct Gpu {
    norms: BatchNorm,
    queue: wgpu::Queue,
    #[cfg(all(feature = "tune", not(target_family = "wasm")))]
    tuning_file: Option<PathBuf>,
}

/// What an adapter is and offers, as far as it matters here.
#[derive(Clone, Debug)]
pub struct AdapterSummary {
    /// The adapter's place in the list of all adapters.
    pub index: usize,
    /// Name, backend, type and driver.
    pub info: wgpu::AdapterInfo,
    /// Its limits.
    pub limits: wgpu::Limits,
    /// Its features.
    pub features: wgpu::Features,
}

impl AdapterSummary {
    /// Name and backend, as tables print them.
    pub fn title(&self) -> String {
        title(&self.info)
    }
}

fn title(info: &wgpu::AdapterInfo) -> String {
    format!("{} ({})", info.name, info.backend)
}

/// All adapters, best first: discrete, integrated, virtual, other, software; Vulkan, Metal and DX12 before GL.
async fn adapters() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    adapters.sort_by_key(|adapter| {
        let info = adapter.get_info();
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        };
        (kind, info.backend == wgpu::Backend::Gl)
    });
    adapters
}

/// Whether an adapter is meant by a word: its backend (`vulkan`, `gl`, `metal`, `dx12`, `webgpu`) or part of its name.
fn is_meant(info: &wgpu::AdapterInfo, word: &str) -> bool {
    let word = word.to_lowercase();
    let backend = info.backend.to_string().to_lowercase();
    let backend_alias = match info.backend {
        wgpu::Backend::Gl => ["gl", "gles", "opengl"].contains(&word.as_str()),
        wgpu::Backend::Vulkan => word == "vk",
        wgpu::Backend::Dx12 => word == "d3d12",
        _ => false,
    };
    backend == word || backend_alias || info.name.to_lowercase().contains(&word)
}

impl Gpu {
    /// What is asked of an adapter that has it, and needed by nothing: timestamps to measure by, and integers of 64 bits, by
    /// which lavapipe moves a tensor in less time ([`Tuning::word_bits`](crate::plan::Tuning::word_bits)).
    pub const FEATURES: wgpu::Features = wgpu::Features::TIMESTAMP_QUERY.union(wgpu::Features::SHADER_INT64);

    /// Every adapter, best first.
    pub async fn adapters() -> Vec<AdapterSummary> {
        let found = adapters().await;
        let summary = |(index, adapter): (usize, &wgpu::Adapter)| AdapterSummary {
            index,
            info: adapter.get_info(),
            limits: adapter.limits(),
            features: adapter.features(),
        };
        found.iter().enumerate().map(summary).collect()
    }

    /// The best adapter, with WebGPU's default limits and what it has of [`Gpu::FEATURES`].
    ///
    /// # Errors
    /// [`Error::NoAdapter`], which says how to get one · [`Error::Device`] if the adapter refuses a device
    pub async fn new() -> Result<Self, Error> {
        Self::select(None).await
    }

    /// The adapter that a word means: its index, its backend, or part of its name; the best one without a word.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], which names those there are · [`Error::Device`] if the adapter refuses a device
    pub async fn select(word: Option<&str>) -> Result<Self, Error> {
        Self::select_with(word, wgpu::Limits::default(), Options::default()).await
    }

    /// [`Gpu::select`] with other limits (cut to what the adapter has) and options.
    ///
    /// With the feature `tune` and no tuning among the options, the one that was measured for this adapter and driver is
    /// in force, where a `TuningFile` has it.
    ///
    /// # Errors
    /// As [`Gpu::select`] · [`Error::State`] if there is a tuning file that cannot be read
    pub async fn select_with(word: Option<&str>, limits: wgpu::Limits, options: Options) -> Result<Self, Error> {
        let found = adapters().await;
        let index = word.and_then(|w| w.parse::<usize>().ok());
        let position = found.iter().enumerate().position(|(i, adapter)| match (word, index) {
            (None, _) => true,
            (_, Some(wanted)) => i == wanted,
            (Some(word), None) => is_meant(&adapter.get_info(), word),
        });
        let Some(adapter) = position.map(|i| &found[i]) else {
            let name = |(index, adapter): (usize, &wgpu::Adapter)| format!("{index}: {}", title(&adapter.get_info()));
            let names: Vec<_> = found.iter().enumerate().map(name).collect();
            return Err(Error::NoAdapter(match (word, names.is_empty()) {
                (Some(word), false) => format!("no adapter is meant by \"{word}\"; there are: {}", names.join(", ")),
                _ => NO_ADAPTER.to_owned(),
            }));
        };
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("batchnorm"),
                required_features: adapter.features() & Self::FEATURES,
                required_limits: limits.or_worse_values_from(&adapter.limits()),
                ..Default::default()
            })
            .await
            .map_err(|error| Error::Device {
                what: format!("a device on {}", title(&adapter.get_info())),
                message: error.to_string(),
            })?;
        #[cfg(all(feature = "tune", not(target_family = "wasm")))]
        if options.tuning.is_none()
            && let Some(file) = TuningFile::chosen()
            && let Some(tuning) = file.load(&adapter.get_info())?
        {
            let gpu = Self::from_device_with(&device, &queue, Options { tuning: Some(tuning), ..options })?;
            return Ok(Self { tuning_file: Some(file.path().to_owned()), ..gpu });
        }
        Self::from_device_with(&device, &queue, options)
    }

    /// Wraps a device and a queue that exist.
    ///
    /// # Errors
    /// As [`BatchNorm::new`].
    pub fn from_device(device: &wgpu::Device, queue: &wgpu::Queue) -> Result<Self, Error> {
        Self::from_device_with(device, queue, Options::default())
    }

    /// [`Gpu::from_device`] with options.
    ///
    /// # Errors
    /// As [`BatchNorm::new`].
    pub fn from_device_with(device: &wgpu::Device, queue: &wgpu::Queue, options: Options) -> Result<Self, Error> {
        Ok(Self {
            norms: BatchNorm::with_options(device, options)?,
            queue: queue.clone(),
            #[cfg(all(feature = "tune", not(target_family = "wasm")))]
            tuning_file: None,
        })
    }

    /// The same device with no tensor bound longer than this many bytes: [`BatchNorm::with_binding_limit`].
    pub fn with_binding_limit(&self, bytes: u64) -> Self {
        Self { norms: self.norms.with_binding_limit(bytes), ..self.clone() }
    }

    /// The same device with its differences guarded, or not: [`BatchNorm::with_guarded_differences`].
    pub fn with_guarded_differences(&self, guard: bool) -> Self {
        Self { norms: self.norms.with_guarded_differences(guard), ..self.clone() }
    }

    /// The same device as [`self_check`](super::self_check) wants it: with guarded differences, where it needs them.
    ///
    /// # Errors
    /// [`Error::Device`] if it computes wrong with them, too · as [`execute`](super::execute)
    pub async fn self_checked(&self) -> Result<Self, Error> {
        match self_check(self).await? {
            SelfCheck::Passed => Ok(self.clone()),
            SelfCheck::NeedsGuard => Ok(self.with_guarded_differences(true)),
            SelfCheck::Failed => Err(Error::Device {
                what: "to compute right".to_owned(),
                message: format!("{} normalises a known tensor wrong, guarded or not", self.title()),
            }),
        }
    }

    /// Batch normalisation on this device.
    pub fn norms(&self) -> &BatchNorm {
        &self.norms
    }

    /// The device.
    pub fn device(&self) -> &wgpu::Device {
        self.norms.device()
    }

    /// The file that the tuning in force was taken from; none where it is the built-in table or was given.
    #[cfg(all(feature = "tune", not(target_family = "wasm")))]
    pub fn tuning_file(&self) -> Option<&Path> {
        self.tuning_file.as_deref()
    }

    /// The queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// Name and backend, as tables print them.
    pub fn title(&self) -> String {
        title(&self.device().adapter_info())
    }

    /// A storage buffer with these bytes, padded with zeros to a multiple of 16; it can be copied from and to.
    ///
    /// # Errors
    /// [`Error::DeviceLimit`] above the device's largest buffer · [`Error::Device`] where memory is out, which a browser
    /// tells later
    pub fn buffer(&self, label: &str, contents: &[u8]) -> Result<wgpu::Buffer, Error> {
        if contents.is_empty() || !contents.len().is_multiple_of(16) {
            let mut padded = contents.to_vec();
            padded.resize(contents.len().next_multiple_of(16).max(16), 0);
            return buffer::filled(self.device(), label, &padded, STORAGE_USAGE);
        }
        buffer::filled(self.device(), label, contents, STORAGE_USAGE)
    }

    /// A storage buffer of at least `bytes` bytes of zeros.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn empty(&self, label: &str, bytes: u64) -> Result<wgpu::Buffer, Error> {
        buffer::zeros(
            self.device(),
            label,
            bytes.checked_next_multiple_of(16).unwrap_or(u64::MAX).max(16),
            STORAGE_USAGE,
        )
    }

    /// Submits one compute pass that `record` fills.
    pub fn submit(&self, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) {
        let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        self.queue.submit([encoder.finish()]);
    }

    /// Reads the first `bytes` bytes of a buffer, waiting for all that was submitted before.
    ///
    /// # Errors
    /// [`Error::TooSmall`] and [`Error::MissingUsage`] if the buffer has not so many bytes, or is not for copying ·
    /// [`Error::Device`] if it cannot be mapped
    pub async fn read(&self, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u8>, Error> {
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let size = bytes.checked_next_multiple_of(4).unwrap_or(u64::MAX);
        let argument = "the buffer to read";
        if buffer.size() < size {
            return Err(Error::TooSmall { argument, bytes: buffer.size(), needed: size });
        }
        if !buffer.usage().contains(wgpu::BufferUsages::COPY_SRC) {
            return Err(Error::MissingUsage { argument, usage: "COPY_SRC", has: format!("{:?}", buffer.usage()) });
        }
        let staging = buffer::zeros(self.device(), "batchnorm.read", size, STAGING_USAGE)?;
        let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, size);
        self.queue.submit([encoder.finish()]);
        let refused = |message: String| Error::Device { what: "a readback".to_owned(), message };
        let (sender, receiver) = futures_channel::oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // A receiver that is gone no longer wants the answer.
            let _ = sender.send(result);
        });
        #[cfg(not(target_family = "wasm"))]
        self.wait()?;
        match receiver.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(refused(error.to_string())),
            Err(_) => return Err(refused("the device was lost".to_owned())),
        }
        let mapped = staging.get_mapped_range(..).map_err(|error| refused(error.to_string()))?;
        Ok(mapped[..bytes as usize].to_vec())
    }

    /// Reads the first `count` f32 of a buffer.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn read_f32(&self, buffer: &wgpu::Buffer, count: usize) -> Result<Vec<f32>, Error> {
        let bytes = self.read(buffer, 4 * count as u64).await?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    /// Resolves when all that was submitted is done; natively it blocks instead.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost
    pub async fn done(&self) -> Result<(), Error> {
        #[cfg(not(target_family = "wasm"))]
        self.wait()?;
        #[cfg(target_family = "wasm")]
        {
            let (sender, receiver) = futures_channel::oneshot::channel();
            self.queue.on_submitted_work_done(move || {
                // A receiver that is gone no longer wants the answer.
                let _ = sender.send(());
            });
            let lost = |_| Error::Device { what: "to wait".to_owned(), message: "the device was lost".to_owned() };
            receiver.await.map_err(lost)?;
        }
        Ok(())
    }

    /// Blocks until all that was submitted is done. A browser allows no such thing: see [`Gpu::done`].
    ///
    /// # Errors
    /// [`Error::Device`] if the device is lost
    #[cfg(not(target_family = "wasm"))]
    pub fn wait(&self) -> Result<(), Error> {
        self.device()
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(|error| Error::Device { what: "to wait".to_owned(), message: error.to_string() })?;
        Ok(())
    }
}
