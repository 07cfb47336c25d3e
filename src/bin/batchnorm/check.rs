//! `batchnorm check`: holds devices against the reference, and anything against conformance cases.

use std::path::{Path, PathBuf};

use serde::Serialize;
use wgpu_batchnorm::check::cases::{self, Case, TensorVerdict};
use wgpu_batchnorm::check::{Comparison, run_on_gpu, sweep};
use wgpu_batchnorm::host::{Gpu, NO_ADAPTER};

use crate::device::Kind;
use crate::failure::Failure;
use crate::{device, json, output};

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
  batchnorm check --cases tests/conformance                 a folder, on the best adapter
  batchnorm check --cases tests/conformance --device cpu    the same on the reference")]
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
    /// Write what was found as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print only what failed, and the last line
    #[arg(long)]
    quiet: bool,
}

/// What was found, as a file has it.
#[derive(Serialize)]
struct Report {
    schema: u32,
    version: &'static str,
    passed: usize,
    failed: usize,
    devices: Vec<Tally>,
}

/// What was found on one device.
#[derive(Serialize)]
struct Tally {
    device: String,
    passed: usize,
    failures: Vec<String>,
}

impl Tally {
    fn new(device: String) -> Self {
        Self { device, passed: 0, failures: Vec::new() }
    }
}

/// Checks.
pub async fn check(arguments: &Arguments) -> Result<(), Failure> {
    json::check_place_of(&arguments.json)?;
    let devices = match &arguments.cases {
        Some(directory) => vec![conformance(arguments, directory).await?],
        None => sweep_all(arguments).await?,
    };
    let passed = devices.iter().map(|device| device.passed).sum();
    let failed = devices.iter().map(|device| device.failures.len()).sum();
    let report = Report { schema: 1, version: env!("CARGO_PKG_VERSION"), passed, failed, devices };
    if let Some(path) = &arguments.json {
        json::write(path, &report)?;
    }
    output::line(format_args!("{passed} passed, {failed} failed"))?;
    if failed == 0 { Ok(()) } else { Err(Failure::Wrong) }
}

/// The cases of a folder, on one adapter or on the reference.
async fn conformance(arguments: &Arguments, directory: &Path) -> Result<Tally, Failure> {
    let cases = cases::from_directory(directory)?;
    let gpu = match arguments.device.device {
        Kind::Cpu => None,
        Kind::Gpu => Some(Gpu::select(arguments.device.adapter.as_deref()).await?),
    };
    let title = gpu.as_ref().map_or_else(|| "the reference".to_owned(), Gpu::title);
    if !arguments.quiet {
        output::line(format_args!("{} cases on {title}", cases.len()))?;
    }
    let mut tally = Tally::new(title);
    for case in &cases {
        let outputs = match &gpu {
            Some(gpu) => run_on_gpu(gpu, case).await,
            None => cases::run_on_reference(case),
        };
        match outputs.map(|outputs| wrong(case, &outputs)) {
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
    Ok(tally)
}

/// The first wrong tensor of a case, with its worst element.
fn wrong(case: &Case, outputs: &cases::Outputs) -> Option<String> {
    let verdicts = case.judge(outputs);
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
    let sweep = sweep::Sweep { seed: arguments.seed, count: arguments.count as usize };
    let bar = output::progress(u64::from(arguments.count) * words.len() as u64, arguments.quiet);
    let mut tallies = Vec::new();
    for word in &words {
        let gpu = Gpu::select(Some(word)).await?;
        let mut tally = Tally::new(gpu.title());
        bar.set_message(gpu.title());
        for case in sweep.cases() {
            let failure = match sweep::check_one(&gpu, &case).await {
                Ok(verdicts) => verdicts.iter().find(|verdict| !verdict.passed()).map(told),
                Err(error) => Some(error.to_string()),
            };
            bar.inc(1);
            match failure {
                None => tally.passed += 1,
                Some(what) => {
                    let told = format!("{case}: {what}");
                    bar.suspend(|| output::line(format_args!("FAILED on {}: {told}", tally.device)))?;
                    tally.failures.push(told);
                }
            }
        }
        if !arguments.quiet {
            let (passed, failed) = (tally.passed, tally.failures.len());
            let seeds = format!("seeds {} to {}", sweep.seed, sweep.seed.wrapping_add(sweep.count as u64 - 1));
            let line = format!("{}: {seeds}: {passed} right, {failed} wrong", tally.device);
            bar.suspend(|| output::line(line))?;
        }
        tallies.push(tally);
    }
    bar.finish_and_clear();
    Ok(tallies)
}
