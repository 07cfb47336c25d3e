//! `batchnorm check`: holds devices against the reference, and anything against conformance cases.

mod matrix;
mod sweep;

use std::path::{Path, PathBuf};

use serde::Serialize;
use wgpu_batchnorm::check::cases::{self, TensorVerdict};
use wgpu_batchnorm::check::{Comparison, Sweep, run_on_cpu, run_on_gpu};
use wgpu_batchnorm::host::{Gpu, NO_ADAPTER};

pub use matrix::Cell;
pub use sweep::sweep_on;

use crate::device::Kind;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::{device, html, json, output};
use matrix::Matrix;

/// Hold adapters against the reference with random shapes, or run the conformance cases of a folder
///
/// Random shapes, axes, operations, configurations and magnitudes, from a seed, on every adapter; each output is held
/// against the reference under bounds derived from f32 arithmetic. With --cases, a folder of cases is run instead, whose
/// expected values come from other frameworks.
#[derive(clap::Args)]
#[command(after_help = "\
Each case of a folder is `ok`, `FAILED` with the tensor, the index, what was computed and what is
expected, or `UNSUPPORTED` with the reason, which counts as failed. The last line is
`N passed, M failed`.

Examples:
  batchnorm check                                           random cases on every adapter
  batchnorm check --adapter vulkan --count 2000 --seed 7    more of them, others, on one adapter
  batchnorm check --html matrix.html                        and the worst error of each kind as a page
  batchnorm check --cases tests/conformance                 a folder, on the best adapter
  batchnorm check --cases tests/conformance --device cpu    the same on the CPU")]
#[command(mut_arg("adapter", |adapter| adapter.help(
    "Adapter by index, part of its name, or backend (vulkan, gl, metal, dx12); for random cases every adapter by default, \
     for --cases the best one"
)))]
pub struct Arguments {
    /// A folder with cases.json and the files it names
    #[arg(long, value_name = "DIR", conflicts_with_all = ["seed", "count"])]
    cases: Option<PathBuf>,
    /// Seed of the first random case; the others count on from it
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many random cases on each adapter
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    #[command(flatten)]
    device: device::Arguments,
    /// Write what was found as JSON; - for stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the worst error by adapter, operation, type and layout as a page that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print only what failed, and the last line
    #[arg(long)]
    quiet: bool,
}

/// What was found, as a file has it.
#[derive(Serialize)]
pub struct Report {
    schema: u32,
    /// Version of the crate.
    pub version: &'static str,
    /// Where it was found.
    pub machine: Machine,
    /// What was run, in words.
    pub source: String,
    /// Cases that passed, on all devices together.
    pub passed: usize,
    /// Cases that did not.
    pub failed: usize,
    /// Device by device.
    pub devices: Vec<Tally>,
}

/// What was found on one device.
#[derive(Serialize)]
pub struct Tally {
    /// Name and backend.
    pub device: String,
    /// The driver and its version.
    pub driver: String,
    /// Cases that passed.
    pub passed: usize,
    /// What failed, a sentence each.
    pub failures: Vec<String>,
    /// The worst errors by operation, type and layout.
    pub matrix: Vec<Cell>,
}

impl Tally {
    /// Of a device, or of the CPU.
    fn new(gpu: Option<&Gpu>) -> Self {
        let device = gpu.map_or_else(|| "CPU (f32, SIMD)".to_owned(), device::title);
        let driver = gpu.map(|gpu| device::driver(&gpu.device().adapter_info())).unwrap_or_default();
        Self { device, driver, passed: 0, failures: Vec::new(), matrix: Vec::new() }
    }
}

/// Checks.
pub async fn check(arguments: &Arguments) -> Result<(), Failure> {
    json::check_place_of(&arguments.json)?;
    json::check_place_of(&arguments.html)?;
    let (source, devices) = match &arguments.cases {
        Some(directory) => {
            (format!("the cases of {}", directory.display()), vec![conformance(arguments, directory).await?])
        }
        None => (arguments.sweep().to_string(), sweep_all(arguments).await?),
    };
    let passed = devices.iter().map(|device| device.passed).sum();
    let failed = devices.iter().map(|device| device.failures.len()).sum();
    let (version, machine) = (env!("CARGO_PKG_VERSION"), Machine::here());
    let report = Report { schema: 1, version, machine, source, passed, failed, devices };
    if let Some(path) = &arguments.json {
        json::write(path, &report)?;
    }
    if let Some(path) = &arguments.html {
        json::write_whole(path, html::check::page_of(&report, &json::text(&report)?).as_bytes())?;
    }
    output::line(format_args!("{passed} passed, {failed} failed"))?;
    if failed == 0 { Ok(()) } else { Err(Failure::Wrong) }
}

impl Arguments {
    fn sweep(&self) -> Sweep {
        Sweep { seed: self.seed, count: self.count as usize }
    }
}

/// An adapter as other commands would use it; of one that computes wrong anyway, the cases tell more.
async fn open(word: Option<&str>) -> Result<Gpu, Failure> {
    let gpu = Gpu::select(word).await?;
    Ok(gpu.self_checked().await.unwrap_or_else(|error| {
        eprintln!("note: {error}");
        gpu
    }))
}

/// The cases of a folder, on one adapter or on the CPU.
async fn conformance(arguments: &Arguments, directory: &Path) -> Result<Tally, Failure> {
    let cases = cases::from_directory(directory)?;
    let gpu = match arguments.device.device {
        Kind::Cpu => None,
        Kind::Gpu => Some(open(arguments.device.adapter.as_deref()).await?),
    };
    let (mut tally, mut matrix) = (Tally::new(gpu.as_ref()), Matrix::default());
    if !arguments.quiet {
        output::line(format_args!("{} cases on {}", cases.len(), tally.device))?;
    }
    for case in &cases {
        let outputs = match &gpu {
            Some(gpu) => run_on_gpu(gpu, case).await,
            None => run_on_cpu(case),
        };
        let verdicts = outputs.map(|outputs| case.judge(&outputs));
        matrix.add(case.operation.name(), &case.shape, case.config.dtype, verdicts.as_deref().ok());
        match verdicts.map(|verdicts| first_wrong(&verdicts)) {
            Ok(None) => {
                tally.passed += 1;
                if !arguments.quiet {
                    output::line(format_args!("ok          {}", case.name))?;
                }
            }
            Ok(Some(wrong)) => {
                output::line(format_args!("FAILED      {}: {wrong}", case.name))?;
                tally.failures.push(format!("{}: {wrong}", case.name));
            }
            Err(reason) => {
                output::line(format_args!("UNSUPPORTED {}: {reason}", case.name))?;
                tally.failures.push(format!("{}: unsupported: {reason}", case.name));
            }
        }
    }
    tally.matrix = matrix.into_cells();
    Ok(tally)
}

/// The first wrong tensor of a case, with its worst element.
fn first_wrong(verdicts: &[TensorVerdict]) -> Option<String> {
    verdicts.iter().find(|verdict| !verdict.passed()).map(told)
}

fn told(verdict: &TensorVerdict) -> String {
    match &verdict.comparison {
        None => format!("{} is absent", verdict.name),
        Some(Comparison { elements, got_elements, .. }) if elements != got_elements => {
            format!("{} has {got_elements} elements, {elements} are expected", verdict.name)
        }
        Some(Comparison { worst: Some(worst), .. }) => format!(
            "{}[{}]: got {:e}, expected {:e} ± {:e}",
            verdict.name, worst.index, worst.got, worst.expected, worst.bound
        ),
        Some(_) => format!("{} is empty", verdict.name),
    }
}

/// Random cases, on one adapter or on all.
async fn sweep_all(arguments: &Arguments) -> Result<Vec<Tally>, Failure> {
    if arguments.device.device == Kind::Cpu {
        return Err(Failure::Usage(
            "the random cases compare an adapter with the reference on the CPU; --device cpu goes with --cases DIR"
                .to_owned(),
        ));
    }
    let words = match &arguments.device.adapter {
        Some(word) => vec![word.clone()],
        None => Gpu::adapters().await.iter().map(|adapter| adapter.index.to_string()).collect(),
    };
    if words.is_empty() {
        return Err(Failure::Failed(NO_ADAPTER.to_owned()));
    }
    let sweep = arguments.sweep();
    let bar = output::progress(u64::from(arguments.count) * words.len() as u64, arguments.quiet);
    let mut tallies = Vec::new();
    for word in &words {
        let gpu = open(Some(word)).await?;
        let title = device::title(&gpu);
        bar.set_message(title.clone());
        let tally = sweep_on(&gpu, &sweep, |failure| {
            bar.inc(1);
            failure.map_or(Ok(()), |told| bar.suspend(|| output::line(format_args!("FAILED on {title}: {told}"))))
        })
        .await?;
        if !arguments.quiet {
            let (passed, failed) = (tally.passed, tally.failures.len());
            bar.suspend(|| output::line(format_args!("{title}: {sweep}: {passed} right, {failed} wrong")))?;
        }
        tallies.push(tally);
    }
    bar.finish_and_clear();
    Ok(tallies)
}
