//! The figures as a file has them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use wgpu_batchnorm::host::Gpu;
use wgpu_batchnorm::host::timing::{Measured, Spread};

use crate::adapters::kind;
use crate::check::Cell;
use crate::device;
use crate::machine::Machine;
use crate::verify::Verdict;

/// The version of this format: fields are added under the same number and never change their meaning.
pub const SCHEMA: u32 = 1;
/// A ratio whose quartiles lie further apart than this share of it concludes nothing.
const CONCLUSIVE_WIDTH: f64 = 0.25;

/// All figures of one run. Times are in ms; `low` and `high` are the quartiles around the median.
#[derive(Deserialize, Serialize)]
pub struct Report {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// Version of the crate.
    pub version: Cow<'static, str>,
    /// Where; an older file lacks it.
    pub machine: Option<Machine>,
    /// What computed.
    pub device: Device,
    /// `timestamps` or `wall`: how `gpu_ms` and `copy_ms` were read.
    pub timing: Cow<'static, str>,
    /// Threads of this machine.
    pub threads: usize,
    /// One per shape and operation.
    pub results: Vec<Figures>,
    /// The same over a series of sizes, where a report was asked for.
    #[serde(default)]
    pub by_size: Vec<Figures>,
    /// The worst errors of random cases on this device, where a report was asked for.
    #[serde(default)]
    pub correctness: Vec<Cell>,
    /// Which cases those were.
    pub correctness_of: Option<String>,
}

/// An adapter, or the CPU.
#[derive(Deserialize, Serialize)]
pub struct Device {
    /// What the driver calls it.
    pub name: String,
    /// wgpu's backend.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub r#type: Cow<'static, str>,
    /// The driver and its version.
    pub driver: String,
    /// Whether a tuning was in force that was measured there; an older file lacks it.
    #[serde(default)]
    pub measured_tuning: bool,
}

impl Device {
    /// An adapter, or the CPU where there is none.
    pub fn new(gpu: Option<&Gpu>) -> Self {
        match gpu.map(|gpu| gpu.device().adapter_info()) {
            Some(info) => Self {
                name: info.name.clone(),
                backend: info.backend.to_string(),
                r#type: kind(info.device_type).into(),
                driver: device::driver(&info),
                measured_tuning: gpu.is_some_and(|gpu| gpu.tuning_file().is_some()),
            },
            None => Self {
                name: "CPU".to_owned(),
                backend: "none".to_owned(),
                r#type: "software".into(),
                driver: String::new(),
                measured_tuning: false,
            },
        }
    }
}

/// The figures of one operation on one shape; what was not measured is null.
#[derive(Deserialize, Serialize)]
pub struct Figures {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Channel axis.
    pub axis: usize,
    /// `inference`, `training` or `backward`.
    pub operation: Cow<'static, str>,
    /// Storage type.
    pub dtype: Cow<'static, str>,
    /// How the tensor is walked.
    pub strategy: Option<Cow<'static, str>>,
    /// Bytes that the plan must move.
    pub bytes_moved: Option<u64>,
    /// The kernels, on buffers that no cache holds.
    pub gpu_ms: Option<Spread>,
    /// The best plain copy of x beside it.
    pub copy_ms: Option<Spread>,
    /// The medians of the two, divided.
    pub ratio_to_copy: Option<f64>,
    /// Upload, kernels and download, by the host's clock.
    pub end_to_end_ms: Option<Spread>,
    /// The same operation on the CPU.
    pub cpu_ms: Option<Spread>,
    /// What computed it there.
    pub cpu_implementation: Option<Cow<'static, str>>,
    /// A copy of x by all threads of the CPU.
    pub cpu_copy_ms: Option<Spread>,
    /// The tensor whose element comes nearest to its bound: the GPU's, or the CPU's where it is alone.
    pub worst_tensor: Cow<'static, str>,
    /// That element's error.
    pub worst_error: f64,
    /// How large it may be.
    pub bound: f64,
    /// What more there is to tell of a GPU.
    #[serde(flatten)]
    pub details: Option<Details>,
}

/// What more there is to tell of a GPU.
#[derive(Deserialize, Serialize)]
pub struct Details {
    /// The ratio where nothing but the traffic counts: bytes moved, in copies of x. A ratio may be below it where tensors go in
    /// words of 64 bits: the copy is in the tensor's own type.
    pub ratio_limit: f64,
    /// Median and quartiles of the ratio round by round.
    pub ratio_by_round: Spread,
    /// The fastest round of the operation over the fastest of the copy: what noise disturbs least.
    pub ratio_of_fastest: f64,
    /// Whether the rounds agree well enough to conclude from the ratio.
    pub conclusive: bool,
    /// Bytes moved in a second.
    pub bytes_per_second: f64,
    /// The form of the best copy: invocations × 16-byte words of each.
    pub copy_form: String,
    /// The best plain copy in words of 64 bits beside it, where tensors go in such words.
    #[serde(default)]
    pub wide_copy: Option<Beside>,
    /// The driver's own copy of x, by the host's clock.
    pub driver_copy_ms: Spread,
    /// The same on one set of buffers, again and again.
    pub hot: Beside,
    /// The same one at a time by the host's clock, submission included.
    pub submission: Beside,
    /// Sets of buffers that the kernels rotated over.
    pub sets: usize,
    /// Bringing the inputs to the device, by the host's clock.
    pub upload_ms: Option<Spread>,
    /// Bringing y or dx back, likewise.
    pub download_ms: Option<Spread>,
    /// Why the tensor is walked as it is.
    #[serde(default)]
    pub reason: Cow<'static, str>,
    /// What the plan dispatches, in order: kernel and grid.
    #[serde(default)]
    pub dispatches: Vec<String>,
}

/// What a GPU has figures of.
pub struct GpuFigures {
    /// How the tensor is walked.
    pub strategy: &'static str,
    /// Bytes that the plan must move.
    pub bytes_moved: u64,
    /// The kernels beside the copy, cold.
    pub cold: Beside,
    /// Upload, kernels and download.
    pub end_to_end_ms: Spread,
    /// The element nearest to its bound.
    pub verdict: Verdict,
    /// The rest.
    pub details: Details,
}

/// An operation, or another copy, beside the copy.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub struct Beside {
    /// What is measured.
    pub ms: Spread,
    /// The copy.
    pub copy_ms: Spread,
    /// The medians of the two, divided.
    pub ratio_to_copy: f64,
}

impl From<&Measured> for Beside {
    fn from(measured: &Measured) -> Self {
        let (ms, copy_ms) = (measured.work(), measured.yardstick());
        Self { ms, copy_ms, ratio_to_copy: ms.median / copy_ms.median }
    }
}

/// Whether rounds agree well enough to conclude from their ratio.
pub fn is_conclusive(by_round: &Spread) -> bool {
    by_round.width() <= CONCLUSIVE_WIDTH
}
