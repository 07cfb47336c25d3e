//! Where to compute.

use wgpu_batchnorm::host::{Gpu, NO_ADAPTER};
use wgpu_batchnorm::{Error, Options, wgpu};

use crate::failure::Failure;

/// Where to compute, as the command line says it.
#[derive(clap::Args)]
pub struct Arguments {
    /// Adapter by index, part of its name, or backend (vulkan, gl, metal, dx12); the best one by default
    #[arg(long, value_name = "WORD")]
    pub adapter: Option<String>,
    /// What computes: an adapter, or the CPU, which needs none
    #[arg(long, value_enum, default_value_t = Kind::Gpu, conflicts_with = "adapter")]
    pub device: Kind,
}

/// What kind of processor computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// An adapter that wgpu finds.
    Gpu,
    /// The CPU.
    Cpu,
}

impl Arguments {
    /// The adapter asked for, with limits that hold a tensor of so many bytes; none where the CPU computes.
    ///
    /// Where there is no adapter at all and none was named, the CPU computes and stderr says so.
    pub async fn open(&self, tensor_bytes: u64) -> Result<Option<Gpu>, Failure> {
        if self.device == Kind::Cpu {
            return Ok(None);
        }
        let default = wgpu::Limits::default();
        let limits = wgpu::Limits { max_buffer_size: default.max_buffer_size.max(tensor_bytes), ..default };
        match Gpu::select_with(self.adapter.as_deref(), limits, Options::default()).await {
            Ok(gpu) => self_checked(gpu).await.map(Some),
            Err(Error::NoAdapter(_)) if self.adapter.is_none() => {
                eprintln!("note: working on the CPU: {NO_ADAPTER}");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// An adapter that computes right, guarded if it needs that; where it does not, the failure says what else there is.
pub async fn self_checked(gpu: Gpu) -> Result<Gpu, Failure> {
    gpu.self_checked().await.map_err(|error| {
        Failure::Failed(format!(
            "{error}; --device cpu does without it, and `batchnorm adapters` lists what else is here"
        ))
    })
}

/// Name and backend, and whether a measured tuning and guarded differences are in force.
pub fn title(gpu: &Gpu) -> String {
    let tuning = if gpu.tuning_file().is_some() { ", measured tuning" } else { "" };
    let guard = if gpu.norms().guards_differences() { ", guarded differences" } else { "" };
    format!("{}{tuning}{guard}", gpu.title())
}

/// A driver and its version.
pub fn driver(info: &wgpu::AdapterInfo) -> String {
    format!("{} {}", info.driver, info.driver_info).trim().to_owned()
}
