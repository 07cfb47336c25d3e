//! `batchnorm adapters`: what this machine has.

use std::path::PathBuf;

use serde::Serialize;
use wgpu_batchnorm::host::{AdapterSummary, Gpu, NO_ADAPTER, TuningFile};
use wgpu_batchnorm::wgpu;

use crate::failure::Failure;
use crate::{json, output};

/// List every adapter: backend, type, driver, and the limits and features that matter here
///
/// The best comes first: hardware before software, and the others before GL. What `--adapter` of the other commands names
/// is one of these.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  batchnorm adapters
  batchnorm bench --adapter 0           the first of the list
  batchnorm bench --adapter gl          the first with this backend
  batchnorm bench --adapter llvmpipe    the first with this in its name")]
pub struct Arguments {
    /// Write the list as JSON; - for stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print no table
    #[arg(long)]
    quiet: bool,
}

/// An adapter as a file has it.
#[derive(Serialize)]
struct Entry {
    index: usize,
    name: String,
    backend: String,
    r#type: String,
    driver: String,
    driver_info: String,
    subgroup_sizes: [u32; 2],
    timestamps: bool,
    subgroups: bool,
    shader_f16: bool,
    shader_int64: bool,
    storage_buffers: u32,
    binding_bytes: u64,
    buffer_bytes: u64,
    workgroup_size: u32,
    workgroup_memory_bytes: u32,
    offset_alignment: u32,
    /// The file that holds a tuning measured for this adapter and driver.
    measured_tuning: Option<PathBuf>,
    /// What it holds was measured with another version.
    stale_tuning: bool,
}

impl From<&AdapterSummary> for Entry {
    fn from(adapter: &AdapterSummary) -> Self {
        let AdapterSummary { index, info, limits, features } = adapter;
        Self {
            index: *index,
            name: info.name.clone(),
            backend: info.backend.to_string(),
            r#type: kind(info.device_type).to_owned(),
            driver: info.driver.clone(),
            driver_info: info.driver_info.clone(),
            subgroup_sizes: [info.subgroup_min_size, info.subgroup_max_size],
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            shader_f16: features.contains(wgpu::Features::SHADER_F16),
            shader_int64: features.contains(wgpu::Features::SHADER_INT64),
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            binding_bytes: limits.max_storage_buffer_binding_size,
            buffer_bytes: limits.max_buffer_size,
            workgroup_size: limits.max_compute_invocations_per_workgroup,
            workgroup_memory_bytes: limits.max_compute_workgroup_storage_size,
            offset_alignment: limits.min_storage_buffer_offset_alignment,
            measured_tuning: None,
            stale_tuning: false,
        }
    }
}

impl Entry {
    /// With what the tuning file in force has for it.
    fn new(adapter: &AdapterSummary) -> Result<Self, Failure> {
        let Some(file) = TuningFile::chosen() else { return Ok(adapter.into()) };
        let measured = file.load(&adapter.info)?.is_some();
        let stale_tuning = file.is_stale(&adapter.info)?;
        let measured_tuning = measured.then(|| file.path().to_owned());
        Ok(Self { measured_tuning, stale_tuning, ..adapter.into() })
    }

    /// What tuning it runs under, where that is not the built-in table or no longer another.
    fn tuning(&self) -> Option<String> {
        let index = self.index;
        match &self.measured_tuning {
            Some(file) => Some(format!("Adapter {index} runs under a measured tuning: {}", file.display())),
            None if self.stale_tuning => Some(format!(
                "Adapter {index} was tuned with another version of its driver or of batchnorm: `batchnorm tune` measures anew."
            )),
            None => None,
        }
    }
}

/// The name of a type of device.
pub fn kind(device_type: wgpu::DeviceType) -> &'static str {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    }
}

/// Bytes as people read them: `128 MiB`.
pub fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.4} KiB", Short(count as f64 / 1024.0)),
        1_048_576..1_073_741_824 => format!("{:.4} MiB", Short(count as f64 / 1_048_576.0)),
        _ => format!("{:.4} GiB", Short(count as f64 / 1_073_741_824.0)),
    }
}

/// A number without needless decimals.
struct Short(f64);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let decimals = if self.0.fract() == 0.0 || self.0 >= 100.0 { 0 } else { 1 };
        write!(f, "{:.decimals$}", self.0)
    }
}

/// Lists the adapters.
pub async fn adapters(arguments: &Arguments) -> Result<(), Failure> {
    json::check_place_of(&arguments.json)?;
    let entries = Gpu::adapters().await.iter().map(Entry::new).collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = &arguments.json {
        json::write(path, &entries)?;
    }
    if entries.is_empty() {
        return Err(Failure::Failed(NO_ADAPTER.to_owned()));
    }
    if arguments.quiet {
        return Ok(());
    }
    let mut table = output::table(&["", "adapter", "backend", "type", "driver", "limits", "features"], 7);
    for entry in &entries {
        let has = |present: bool, name: &str| format!("{}{name}", if present { "" } else { "no " });
        let [least, most] = entry.subgroup_sizes;
        let sizes = if least == most { least.to_string() } else { format!("{least} to {most}") };
        let subgroups = if most == 0 { String::new() } else { format!("\nsubgroup size {sizes}") };
        table.add_row([
            entry.index.to_string(),
            entry.name.clone(),
            entry.backend.clone(),
            entry.r#type.clone(),
            format!("{}\n{}", entry.driver, entry.driver_info).trim().to_owned(),
            format!(
                "{} a binding, {} a buffer\n{} storage buffers, offsets of {} B\n{} invocations, {} a workgroup",
                bytes(entry.binding_bytes),
                bytes(entry.buffer_bytes),
                entry.storage_buffers,
                entry.offset_alignment,
                entry.workgroup_size,
                bytes(entry.workgroup_memory_bytes.into()),
            ),
            format!(
                "{}\n{}\n{}\n{}{subgroups}",
                has(entry.timestamps, "timestamps"),
                has(entry.subgroups, "subgroups"),
                has(entry.shader_f16, "shader f16"),
                has(entry.shader_int64, "shader int64")
            ),
        ]);
    }
    output::fit(&mut table, &[]);
    output::line(table)?;
    for sentence in entries.iter().filter_map(Entry::tuning) {
        output::line(sentence)?;
    }
    output::line(
        "Operations ask for WebGPU's default limits and no feature; `bench` uses timestamps, software adapters 64-bit integers.",
    )
}
