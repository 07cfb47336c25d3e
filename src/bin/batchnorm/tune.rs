//! `batchnorm tune`: measures what is fastest on an adapter, and keeps it.

use std::cell::Cell;
use std::path::PathBuf;

use comfy_table::CellAlignment;
use serde::Serialize;
use wgpu_batchnorm::host::timing::Spread;
use wgpu_batchnorm::host::tuning::{Compared, Measurement, NUMBERS, PHASES, Trial, VARIABLE, measure};
use wgpu_batchnorm::host::{Gpu, TuningFile};
use wgpu_batchnorm::plan::{DeviceFacts, Tuning};
use wgpu_batchnorm::{Options, wgpu};

use crate::bench::report::Device;
use crate::failure::Failure;
use crate::{json, output};

/// Measure which sizes and thresholds are fastest on an adapter, and keep them
///
/// Moves one number after the other from the built-in table to its neighbours, over tensors of every layout, and keeps
/// what is faster by more than the noise: 3 % in three rounds of four, and clearly slower nowhere. Every other command,
/// and every program that opens this adapter through this crate's host layer with the feature `tune`, works under what is
/// kept, as long as driver and version stay the same. Results are as right as before; their last bits may differ.
/// Takes under a minute, in which nothing else should run.
#[derive(clap::Args)]
#[command(after_help = "\
What the tables say:
  built-in   the number before, and `measured` what it becomes
  tried      each value that was tried: its time in units of the time before, and its quartiles
  × time     the time under all that is measured, in units of the time under the built-in table

A value that is far behind in its first round is tried no further.

The file is `wgpu-batchnorm/tuning.json` in your configuration folder, or the one
that BATCHNORM_TUNING names; where that is `none`, built-in tables are in force.

Examples:
  batchnorm tune                             the best adapter
  batchnorm tune --adapter gl --dry-run      another, and nothing is kept
  batchnorm tune --file tuning.json          kept elsewhere; BATCHNORM_TUNING=tuning.json uses it
  batchnorm tune --reset                     back to the built-in table")]
pub struct Arguments {
    /// Adapter by index, part of its name, or backend; the best one by default
    #[arg(long, value_name = "WORD")]
    adapter: Option<String>,
    /// The file to keep it in
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Measure and tell, and keep nothing
    #[arg(long)]
    dry_run: bool,
    /// Forget what was measured for this adapter
    #[arg(long, conflicts_with_all = ["dry_run", "json"])]
    reset: bool,
    /// Write what was found as JSON; - for stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print neither tables nor progress
    #[arg(long)]
    quiet: bool,
}

/// What was found, as a file has it.
#[derive(Serialize)]
struct Report {
    schema: u32,
    version: &'static str,
    device: Device,
    built_in: Tuning,
    measured: Tuning,
    /// Both over everything that they plan differently; null where that is nothing.
    overall: Option<Spread>,
    shapes: Vec<Row>,
    trials: Vec<Tried>,
}

/// An operation on a shape.
#[derive(Serialize)]
struct Row {
    shape: Vec<usize>,
    axis: usize,
    operation: &'static str,
    built_in_ms: Spread,
    measured_ms: Spread,
    ratio: Spread,
}

impl From<&Compared> for Row {
    fn from(compared: &Compared) -> Self {
        Self {
            shape: compared.shape.dimensions().to_vec(),
            axis: compared.shape.axis(),
            operation: compared.operation.name(),
            built_in_ms: compared.before_ms,
            measured_ms: compared.after_ms,
            ratio: compared.ratio,
        }
    }
}

/// A value that was tried.
#[derive(Serialize)]
struct Tried {
    number: &'static str,
    from: u32,
    to: u32,
    ratio: Spread,
    taken: bool,
}

impl From<&Trial> for Tried {
    fn from(trial: &Trial) -> Self {
        Self { number: trial.name, from: trial.from, to: trial.to, ratio: trial.ratio, taken: trial.taken }
    }
}

/// Tunes.
pub async fn tune(arguments: &Arguments) -> Result<(), Failure> {
    json::check_place_of(&arguments.json)?;
    if let Some(file) = &arguments.file {
        if json::is_no_file(file) {
            return Err(Failure::Usage(format!("{} is no file; a tuning is kept in one", file.display())));
        }
        json::check_place(file)?;
    }
    let file = arguments.file.clone().map(TuningFile::at).or_else(TuningFile::chosen);
    let nowhere = format!(
        "there is no file to keep it in: {VARIABLE} is `none`, or there is no configuration folder; name one with --file"
    );
    let file = if arguments.dry_run { None } else { Some(file.ok_or(Failure::Usage(nowhere))?) };
    let gpu = open(arguments.adapter.as_deref()).await?;
    let adapter = gpu.device().adapter_info();
    if let Some(file) = &file {
        if arguments.reset {
            return reset(arguments, file, &gpu, &adapter);
        }
        // A file that cannot be kept in is told before a minute is spent.
        file.load(&adapter)?;
    }
    if !arguments.quiet {
        output::line(format_args!("{}: inference, training and backward of f32 tensors", gpu.title()))?;
    }
    let bar = output::progress(PHASES as u64, arguments.quiet);
    let begun = Cell::new(0);
    let found = measure(&gpu, &|what| {
        bar.set_position(begun.replace(begun.get() + 1));
        bar.set_message(what.to_owned());
    })
    .await?;
    bar.finish_and_clear();
    let faster = found.tuning != found.built_in;
    if let Some(path) = &arguments.json {
        json::write(path, &Report::new(&gpu, &found))?;
    }
    if let Some(file) = &file {
        if faster {
            file.save(&adapter, &found.tuning)?;
        } else {
            // What was kept before is not what was found now.
            file.forget(&adapter)?;
        }
    }
    if arguments.quiet {
        return Ok(());
    }
    print(&found)?;
    match (&found.overall, faster, &file) {
        (None, ..) => {
            output::line("No value is faster than the built-in one by more than the noise: the built-in table stands.")
        }
        (Some(all), false, _) => output::line(format_args!(
            "All together {} × the time: not faster by more than the noise, so the built-in table stands.",
            spread(all)
        )),
        (Some(all), true, Some(file)) => output::line(format_args!(
            "All together {} × the time where a plan changed; kept in {}",
            spread(all),
            file.path().display()
        )),
        (Some(all), true, None) => {
            output::line(format_args!("All together {} × the time where a plan changed; not kept", spread(all)))
        }
    }
}

/// The adapter that is meant. No file is read for it, since a tuning is given; measuring begins at the built-in table.
async fn open(word: Option<&str>) -> Result<Gpu, Failure> {
    let options = Options { tuning: Some(Tuning::for_device(&DeviceFacts::FLOOR)), ..Options::default() };
    Ok(Gpu::select_with(word, wgpu::Limits::default(), options).await?.self_checked().await?)
}

fn reset(arguments: &Arguments, file: &TuningFile, gpu: &Gpu, adapter: &wgpu::AdapterInfo) -> Result<(), Failure> {
    let (title, path) = (gpu.title(), file.path().display());
    let told = match file.forget(adapter)? {
        true => format!("{title}: forgotten; the built-in table is in force again"),
        false => format!("{title}: nothing was kept for it in {path}"),
    };
    if arguments.quiet { Ok(()) } else { output::line(told) }
}

impl Report {
    fn new(gpu: &Gpu, found: &Measurement) -> Self {
        Self {
            schema: 1,
            version: env!("CARGO_PKG_VERSION"),
            device: Device::new(Some(gpu)),
            built_in: found.built_in.clone(),
            measured: found.tuning.clone(),
            overall: found.overall,
            shapes: found.each.iter().map(Row::from).collect(),
            trials: found.trials.iter().map(Tried::from).collect(),
        }
    }
}

fn spread(ratio: &Spread) -> String {
    format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.low, ratio.high)
}

/// The tables: numbers, then shapes.
fn print(found: &Measurement) -> Result<(), Failure> {
    let mut numbers = output::table(&["number", "built-in", "measured", "tried"], 1);
    if let Some(tried) = numbers.column_mut(3) {
        tried.set_cell_alignment(CellAlignment::Left);
    }
    for number in NUMBERS {
        let tried: Vec<String> = found
            .trials
            .iter()
            .filter(|trial| trial.name == number.name)
            .map(|trial| format!("{}: {}", trial.to, spread(&trial.ratio)))
            .collect();
        let [built_in, measured] = [&found.built_in, &found.tuning].map(|tuning| number.of(tuning).to_string());
        let measured = if measured == built_in { String::new() } else { measured };
        numbers.add_row([number.name.to_owned(), built_in, measured, tried.join(", ")]);
    }
    output::fit(&mut numbers, &[]);
    output::line(numbers)?;
    if found.each.is_empty() {
        return Ok(());
    }
    output::line("")?;
    let mut shapes = output::table(&["shape", "", "built-in ms", "measured ms", "× time"], 2);
    for compared in &found.each {
        shapes.add_row([
            compared.shape.to_string(),
            compared.operation.name().to_owned(),
            output::figure(compared.before_ms.median),
            output::figure(compared.after_ms.median),
            spread(&compared.ratio),
        ]);
    }
    output::fit(&mut shapes, &[]);
    output::line(shapes)
}
