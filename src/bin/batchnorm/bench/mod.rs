//! `batchnorm bench`: GPU against CPU, each beside a plain copy.

mod cpu;
mod data;
mod measure;
pub mod report;
mod shapes;
mod side_by_side;
mod subject;
mod table;

use std::path::PathBuf;

use wgpu_batchnorm::check::Sweep;
use wgpu_batchnorm::host::timing::{Clock, Timer};
use wgpu_batchnorm::{Config, DType};

use crate::adapters::kind;
use crate::check::{Cell, sweep_on};
use crate::failure::Failure;
use crate::machine::Machine;
use crate::run::settings::Storage;
use crate::verify::Verdict;
use crate::{device, html, json, output};
use report::{Device, Report, SCHEMA};
use side_by_side::{SideBySide, steps};

/// Measure GPU against CPU, each beside a plain copy of the same bytes
///
/// Each result is held against the reference first, then timed in turn with the best plain copy of the same bytes on the
/// same device: copy, kernel, copy, kernel. Absolute times mean little on a shared machine; the ratio holds.
#[derive(clap::Args)]
#[command(after_help = "\
What the table says:
  ms         median of the kernels alone and its quartiles, on buffers that no cache holds
  × copy     the same in units of the best plain copy of x in its own type; `limit` is what the bytes alone cost,
             at the copy's rate. Where tensors go in words of 64 bits, as on software adapters that have them, the
             best copy in such words stands beside it, and a kernel may come below the limit.
             A `?` stands where rounds disagree by more than a quarter: too noisy to conclude
  hot ×      the same again and again on the same buffers
  + submit × one at a time with its submission, in units of a copy with its own
  transfers  upload, kernels and download
  CPU        the same operation on the CPU, and in units of a copy of x by all its threads
  error      the element nearest to its bound: error / bound

Examples:
  batchnorm bench                                  layers of ResNet-50, a dense one, channels last
  batchnorm bench --quick --json figures.json      three shapes, in seconds
  batchnorm bench --html report.html               with plots over the size of the tensor, a minute more
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
    /// Write the figures as JSON; - for stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report as a page that needs nothing else; adds a series of sizes and a check by random cases
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
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

/// Rounds of a shape of the series at most: a line over many sizes shows its noise by itself.
const SERIES_ROUNDS: u32 = 5;
/// How far the bar goes for a random case, in the units of [`steps`].
const STEPS_PER_CASE: u64 = 1_000_000;

/// Measures.
pub async fn bench(arguments: &Arguments) -> Result<(), Failure> {
    json::check_place_of(&arguments.json)?;
    json::check_place_of(&arguments.html)?;
    let shapes = shapes::chosen(arguments)?;
    let config = Config { dtype: arguments.dtype.into(), ..Config::pytorch() };
    let with_cpu = !arguments.no_cpu && config.dtype == DType::F32;
    let series = if arguments.html.is_some() { shapes::series(arguments.quick) } else { Vec::new() };
    let largest = shapes.iter().map(|shape| config.dtype.tensor_bytes(shape.elements().into())).max().unwrap_or(0);
    let gpu = arguments.device.open(largest.next_multiple_of(16)).await?;
    let timer = gpu.as_ref().map(Timer::new);
    if timer.is_none() && !with_cpu {
        return Err(Failure::Usage("nothing is left to measure: the CPU is measured in f32".to_owned()));
    }
    if !arguments.quiet {
        output::line(title(timer.as_ref(), config.dtype, with_cpu))?;
    }
    let sweep = Sweep { seed: arguments.seed, count: if arguments.quick { 24 } else { 100 } };
    let sweep = (arguments.html.is_some() && timer.is_some()).then_some(sweep);
    let length = shapes.iter().chain(series.iter().map(|(shape, _)| shape)).map(steps).sum::<u64>();
    let bar = output::progress(length + sweep.map_or(0, |sweep| sweep.count as u64 * STEPS_PER_CASE), arguments.quiet);
    let (mut table, mut wrong) = (table::new(gpu.is_some()), Vec::new());
    let with_cpu = !arguments.no_cpu;
    let (operations, seed) = (&arguments.operations[..], arguments.seed);
    let side_by_side = SideBySide { timer: timer.as_ref(), with_cpu, operations, seed, bar: &bar };
    let mut results = Vec::new();
    for shape in &shapes {
        let figures = side_by_side.measure(shape, &config, arguments.rounds as usize, &mut wrong).await?;
        table::add(&mut table, shape, &figures);
        results.extend(figures);
    }
    let mut by_size = Vec::new();
    for (shape, dtype) in series.iter().filter(|(_, dtype)| side_by_side.measures(*dtype)) {
        let (config, rounds) = (Config { dtype: *dtype, ..config }, arguments.rounds.min(SERIES_ROUNDS) as usize);
        by_size.extend(side_by_side.measure(shape, &config, rounds, &mut wrong).await?);
    }
    let mut correctness: Vec<Cell> = Vec::new();
    if let (Some(sweep), Some(gpu)) = (&sweep, &gpu) {
        bar.set_message("checking random cases");
        let after = |_: Option<&str>| {
            bar.inc(STEPS_PER_CASE);
            Ok(())
        };
        let tally = sweep_on(gpu, sweep, after).await?;
        wrong.extend(tally.failures);
        correctness = tally.matrix;
    }
    bar.finish_and_clear();
    let report = Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").into(),
        machine: Some(Machine::here()),
        device: Device::new(gpu.as_ref()),
        timing: timer.as_ref().map_or("wall", |timer| timer.clock().name()).into(),
        threads: rayon::current_num_threads(),
        results,
        by_size,
        correctness,
        correctness_of: sweep.map(|sweep| sweep.to_string()),
    };
    if let Some(path) = &arguments.json {
        json::write(path, &report)?;
    }
    if let Some(path) = &arguments.html {
        json::write_whole(path, html::bench::page_of(&report, &json::text(&report)?)?.as_bytes())?;
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
    let (gpu, kind) = (device::title(timer.gpu()), kind(timer.gpu().device().adapter_info().device_type));
    let clock = match timer.clock() {
        Clock::Timestamps => "the device's timestamps",
        Clock::Wall => "the host's clock over repeated dispatches",
    };
    let gpu = format!("{gpu}, {kind}: {dtype}, timed by {clock}");
    if with_cpu { format!("{gpu}\n{cpu}") } else { gpu }
}
