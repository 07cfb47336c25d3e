//! `batchnorm bench`: GPU against CPU, each beside a plain copy.

mod cpu;
mod data;
mod measure;
pub mod report;
mod shapes;
mod subject;
mod table;

use std::path::PathBuf;

use wgpu_batchnorm::host::timing::{Clock, Timer};
use wgpu_batchnorm::{Config, DType, Shape};

use crate::adapters::kind;
use crate::failure::Failure;
use crate::run::settings::Storage;
use crate::verify::Verdict;
use crate::{device, json, output};
use data::Data;
use measure::{PHASES, Settings};
use report::{Device, Figures, Report, SCHEMA};

/// Measure GPU against CPU, each beside a plain copy of the same bytes
///
/// Each result is held against the reference first, then timed in turn with the best plain copy of the same bytes on the
/// same device: copy, kernel, copy, kernel. Absolute times mean little on a shared machine; the ratio holds.
#[derive(clap::Args)]
#[command(after_help = "\
What the table says:
  ms         median of the kernels alone and its quartiles, on buffers that no cache holds
  × copy     the same in units of the best plain copy of x; `limit` is what the bytes alone cost.
             A `?` stands where rounds disagree by more than a quarter: too noisy to conclude
  hot ×      the same again and again on the same buffers
  + submit × one at a time with its submission, in units of a copy with its own
  transfers  upload, kernels and download
  CPU        the same operation on the CPU, and in units of a copy of x by all its threads
  error      the element nearest to its bound: error / bound

Examples:
  batchnorm bench                                  layers of ResNet-50, a dense one, channels last
  batchnorm bench --quick --json figures.json      three shapes, in seconds
  batchnorm bench --shapes \"32,64,56,56; 8,224,224,3@3\"
        these, the second with its channels on axis 3
  batchnorm bench --full --operations training --adapter gl
        every shape that the project keeps figures of, one operation, on OpenGL")]
pub struct Arguments {
    /// A few small shapes, in seconds
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Every shape that the project keeps figures of, channels first and last
    #[arg(long)]
    full: bool,
    /// Shapes with `;` between them, each with its axis behind an `@` (1 without one)
    #[arg(long, value_name = "SHAPES", conflicts_with_all = ["quick", "full"])]
    shapes: Option<String>,
    /// Operations with commas between them
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Operation::Inference, Operation::Training, Operation::Backward])]
    operations: Vec<Operation>,
    /// What tensors are stored as; the CPU is measured in f32 only
    #[arg(long, value_enum, default_value_t = Storage::F32)]
    dtype: Storage,
    /// Rounds of copy, kernel, copy, kernel
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Leave the CPU's time out
    #[arg(long, conflicts_with = "device")]
    no_cpu: bool,
    /// Seed of the random inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    device: device::Arguments,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print neither table nor progress
    #[arg(long)]
    quiet: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Operation {
    /// Normalisation with given statistics.
    Inference,
    /// Statistics of the batch, and normalisation with them.
    Training,
    /// The gradients of training.
    Backward,
}

impl Operation {
    /// The name that tables and files use.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Inference => "inference",
            Operation::Training => "training",
            Operation::Backward => "backward",
        }
    }
}

/// An operation whose result is out of its bound: it is not timed.
#[derive(Clone, Copy, Debug)]
pub struct Wrong {
    operation: Operation,
    processor: &'static str,
    verdict: Verdict,
}

/// Measures.
pub async fn bench(arguments: &Arguments) -> Result<(), Failure> {
    json::check_place_of(&arguments.json)?;
    let shapes = shapes::chosen(arguments)?;
    let config = Config { dtype: arguments.dtype.into(), ..Config::pytorch() };
    let with_cpu = !arguments.no_cpu && config.dtype == DType::F32;
    let largest = shapes.iter().map(|shape| config.dtype.tensor_bytes(shape.elements().into())).max().unwrap_or(0);
    let gpu = arguments.device.open(largest.next_multiple_of(16)).await?;
    let timer = gpu.as_ref().map(Timer::new);
    if timer.is_none() && !with_cpu {
        return Err(Failure::Usage("nothing is left to measure: the CPU is measured in f32".to_owned()));
    }
    if !arguments.quiet {
        output::line(title(timer.as_ref(), config.dtype, with_cpu))?;
    }
    // Small shapes take their time too: for the rounds, not for the bytes.
    let weight = |shape: &Shape| u64::from(shape.elements()) + 1_000_000;
    let bar = output::progress(shapes.iter().map(|shape| weight(shape) * (PHASES + 1)).sum(), arguments.quiet);
    let (mut results, mut table, mut wrong) = (Vec::new(), table::new(gpu.is_some()), Vec::new());
    for shape in &shapes {
        let phase = |what: &str| {
            bar.set_message(format!("{shape}: {what}"));
            bar.inc(weight(shape));
        };
        let data = Data::new(shape, config.dtype, arguments.seed);
        let rounds = arguments.rounds as usize;
        let settings = Settings { operations: &arguments.operations, rounds, phase: &phase };
        let measured = match &timer {
            Some(timer) => measure::measure(timer, shape, &config, &data, &settings).await?,
            None => Vec::new(),
        };
        phase("timing the CPU");
        let on_cpu = match with_cpu {
            true => cpu::measure(&arguments.operations, shape, &config, &data, rounds)?,
            false => Vec::new(),
        };
        let (mut measured, mut on_cpu) = (measured.into_iter(), on_cpu.into_iter());
        let first = results.len();
        for operation in &arguments.operations {
            let mut right = |error: Wrong| wrong.push(format!("{shape}: {error}"));
            let gpu = measured.next().transpose().map_err(&mut right);
            let cpu = on_cpu.next().transpose().map_err(&mut right);
            let (Ok(gpu), Ok(cpu)) = (gpu, cpu) else { continue };
            let Some(verdict) = gpu.as_ref().map(|gpu| gpu.verdict).or(cpu.as_ref().map(|cpu| cpu.verdict)) else {
                continue;
            };
            results.push(Figures {
                shape: shape.dimensions().to_vec(),
                axis: shape.axis(),
                operation: operation.name().into(),
                dtype: config.dtype.name().into(),
                strategy: gpu.as_ref().map(|gpu| gpu.strategy.into()),
                bytes_moved: gpu.as_ref().map(|gpu| gpu.bytes_moved),
                gpu_ms: gpu.as_ref().map(|gpu| gpu.cold.ms),
                copy_ms: gpu.as_ref().map(|gpu| gpu.cold.copy_ms),
                ratio_to_copy: gpu.as_ref().map(|gpu| gpu.cold.ratio_to_copy),
                end_to_end_ms: gpu.as_ref().map(|gpu| gpu.end_to_end_ms),
                cpu_ms: cpu.as_ref().map(|cpu| cpu.ms),
                cpu_implementation: cpu.is_some().then_some(cpu::IMPLEMENTATION.into()),
                cpu_copy_ms: cpu.as_ref().map(|cpu| cpu.copy_ms),
                worst_tensor: verdict.tensor.into(),
                worst_error: verdict.error(),
                bound: verdict.worst.bound,
                details: gpu.map(|gpu| gpu.details),
            });
        }
        table::add(&mut table, shape, &results[first..]);
    }
    bar.finish_and_clear();
    let report = Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").into(),
        device: Device::new(gpu.as_ref()),
        timing: timer.as_ref().map_or("wall", |timer| timer.clock().name()).into(),
        threads: rayon::current_num_threads(),
        results,
    };
    if let Some(path) = &arguments.json {
        json::write(path, &report)?;
    }
    if !arguments.quiet {
        // What can go first: the rate, what is hot, the limit, with submission, the strategy, transfers, the error.
        output::fit(&mut table, if gpu.is_some() { &[6, 7, 5, 8, 2, 9, 11] } else { &[] });
        output::line(&table)?;
        for sentence in table::summary(&report.results) {
            output::line(sentence)?;
        }
    }
    for sentence in &wrong {
        eprintln!("error: {sentence}");
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Wrong) }
}

/// What computes, and how it is timed.
fn title(timer: Option<&Timer>, dtype: DType, with_cpu: bool) -> String {
    let threads = rayon::current_num_threads();
    let cpu = format!("CPU: {}, {threads} threads", cpu::IMPLEMENTATION);
    let Some(timer) = timer else { return cpu };
    let (gpu, kind) = (timer.gpu().title(), kind(timer.gpu().device().adapter_info().device_type));
    let clock = match timer.clock() {
        Clock::Timestamps => "the device's timestamps",
        Clock::Wall => "the host's clock over repeated dispatches",
    };
    let gpu = format!("{gpu}, {kind}: {dtype}, timed by {clock}");
    if with_cpu { format!("{gpu}\n{cpu}") } else { gpu }
}
