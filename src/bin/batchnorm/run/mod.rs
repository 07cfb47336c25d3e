//! `batchnorm run`: a real file through a layer.

mod compute;
mod input;
mod notes;
mod report;
pub mod settings;

use std::path::PathBuf;

use wgpu_batchnorm::check::bounds;
use wgpu_batchnorm::host::state::{layer_meant, layers};
use wgpu_batchnorm::host::{State, decode, encode, files};
use wgpu_batchnorm::{Config, Error, Momentum, Shape, reference};

use crate::failure::Failure;
use crate::verify::{self, Problem, Verdict};
use crate::{device, json, output};
use compute::{Batch, Outcome};
use input::{Columns, Source, read_file};
use report::{Compared, Report};

/// Normalise a tensor from a file and hold the result against the reference
///
/// Every channel is normalised with one mean and one variance: those of this very batch in training, the running ones of
/// a state in inference. Shows what became of each channel. Exit status 1 if the result is further from the reference
/// than f32 arithmetic explains; nothing is written then.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  batchnorm run digits.csv.gz --columns 0..64
        a table of 64 features and a label that is left out; each column is a channel
  batchnorm run photos.npy --axis 3 --out normalised.npy
        images (N, H, W, C): the channels are the last axis
  batchnorm run activations.safetensors:conv1_BN.input --mode inference \\
        --state network.safetensors --layer conv1_BN --convention keras
        a layer of a trained network, with its running statistics
  batchnorm run batch.npy --state layer.safetensors --state-out layer.safetensors
        one training step: the running statistics follow")]
pub struct Arguments {
    /// A .npy, .csv or .csv.gz, or a tensor of a .safetensors as FILE.safetensors:TENSOR
    #[arg(value_name = "FILE")]
    input: Source,
    /// Columns of a table to keep, as a range: 0..64
    #[arg(long, value_name = "FROM..TO")]
    columns: Option<Columns>,
    /// The channel axis; negative ones count from the end
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    axis: isize,
    /// Which statistics normalise: the batch's own, or running ones from --state
    #[arg(long, value_enum, default_value_t = Mode::Training)]
    mode: Mode,
    #[command(flatten)]
    settings: settings::Arguments,
    /// Parameters and running statistics, a .safetensors with PyTorch's or Keras' names
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Which layer of the state: conv1_BN for conv1_BN.weight
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// Write the state after the batch, a .safetensors with PyTorch's names and all other tensors of --state
    #[arg(long, value_name = "FILE")]
    state_out: Option<PathBuf>,
    /// Write the output, as f32
    #[arg(long, value_name = "FILE.npy")]
    out: Option<PathBuf>,
    /// Hold the output against this tensor too
    #[arg(long, value_name = "FILE")]
    expected: Option<Source>,
    /// Show every channel, not the first few
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    device: device::Arguments,
    /// Write the figures as JSON; - for stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print nothing but errors
    #[arg(long)]
    quiet: bool,
}

/// Which statistics normalise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// The batch's own.
    #[value(alias = "train")]
    Training,
    /// Running ones.
    #[value(aliases = ["infer", "eval"])]
    Inference,
}

impl Mode {
    /// The name that tables and files use.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Training => "training",
            Mode::Inference => "inference",
        }
    }
}

/// Why `--momentum` is refused.
const FOLLOWS_NOTHING: &str = "--momentum weighs a batch in running statistics, and none follow here: that takes --mode \
                               training, and --state with running statistics or --state-out";

/// Normalises.
pub async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut config = arguments.settings.config()?;
    check_arguments(arguments)?;
    let read = arguments.input.read(arguments.columns.as_ref())?;
    let values = &read.values;
    let shape = Shape::new(values.shape(), arguments.axis).map_err(|error| {
        let rank = values.ndim();
        Failure::Usage(format!("{}: {error}; --axis takes 0 to {}", arguments.input, rank.saturating_sub(1)))
    })?;
    let (mut state, state_file) = read_state(arguments, &shape)?;
    if config.momentum == Momentum::Cumulative && state.running_mean.is_some() {
        // A cumulative average weighs by the count, and a state without one has seen nothing.
        state.batches = state.batches.or(Some(0));
    }
    complete(&mut config, arguments, &state);
    if arguments.settings.momentum.is_some() && !config.running_update {
        return Err(Failure::Usage(FOLLOWS_NOTHING.to_owned()));
    }
    // What the device computes with is the tensor as it stores it.
    let x = decode(&encode(values.iter().copied(), config.dtype), config.dtype);

    let tensor_bytes = config.dtype.tensor_bytes(shape.elements().into());
    // The guards around a tensor that is run once take some room too.
    let gpu = arguments.device.open(tensor_bytes + (1 << 16)).await?;
    let batch = Batch { mode: arguments.mode, shape: &shape, config: &config, state: &state, x: &x };
    let outcome = match &gpu {
        Some(gpu) => batch.on_gpu(gpu).await?,
        None => batch.on_cpu()?,
    };

    let problem = Problem {
        shape: &shape,
        config: &config,
        x: &x,
        gamma: state.gamma.as_deref(),
        beta: state.beta.as_deref(),
        given: match arguments.mode {
            Mode::Training => None,
            Mode::Inference => state.running_mean.as_deref().zip(state.running_variance.as_deref()).map(<[_; 2]>::from),
        },
    };
    let before = verify::moments(&shape, &x)?;
    let after = verify::moments(&shape, &outcome.y)?;
    let mut compared = Vec::new();
    if let Some(verdict) = verify::output(&problem, &outcome.y)? {
        compared.push(Compared { with: "the reference".to_owned(), verdict });
    }
    if let Some(verdict) = running_verdict(&state, &outcome, &before, &config) {
        compared.push(Compared { with: "the reference".to_owned(), verdict });
    }
    if let Some(source) = &arguments.expected
        && let Some(verdict) = compare_with_file(source, &problem, &outcome.y)?
    {
        compared.push(Compared { with: source.to_string(), verdict });
    }
    let report = Report {
        arguments,
        read: &read,
        shape: &shape,
        config: &config,
        gpu: gpu.as_ref(),
        before,
        after,
        state: &outcome.state,
        compared,
    };
    let withheld = withheld(&report);
    // Wrong results never become files; and what was asked for is written before it is told, which a closed pipe can stop.
    if withheld.is_none() {
        write(arguments, &shape, &outcome, state_file.as_deref())?;
    }
    if let Some(path) = &arguments.json {
        json::write(path, &report.figures())?;
    }
    if let Some(sentence) = notes::not_finite(&shape, values, &x, &outcome.y) {
        eprintln!("note: {sentence}");
    }
    if !arguments.quiet {
        report.print()?;
        let written = [&arguments.out, &arguments.state_out].into_iter().flatten().filter(|_| withheld.is_none());
        for path in written.filter(|path| !json::is_stdout(path)) {
            output::line(format_args!("wrote {}", path.display()))?;
        }
    }
    withheld.map_or(Ok(()), |sentence| Err(Failure::Failed(sentence)))
}

/// Why neither output nor state are written, if they are not.
fn withheld(report: &Report) -> Option<String> {
    if let Some(wrong) = report.compared.iter().find(|compared| !compared.verdict.passed()) {
        let reason = match report.arguments.mode {
            Mode::Training => notes::overflow(&report.before).unwrap_or_default(),
            Mode::Inference => String::new(),
        };
        return Some(format!("the result is wrong, so neither output nor state was written: {wrong}{reason}"));
    }
    // A state that is not finite would spoil all that follows.
    report.arguments.state_out.as_ref()?;
    notes::spoiled(report.state).map(|sentence| format!("{sentence}, so neither output nor state was written"))
}

/// Writes the output and the state, as far as they are asked for.
fn write(arguments: &Arguments, shape: &Shape, outcome: &Outcome, file: Option<&[u8]>) -> Result<(), Failure> {
    if let Some(path) = &arguments.out {
        let y = ndarray::ArrayViewD::from_shape(shape.dimensions(), &outcome.y)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        json::write_whole(path, &files::write_npy(y)?)?;
    }
    if let Some(path) = &arguments.state_out {
        // A layer that was read without its name is replaced under it.
        let layer = match file {
            Some(file) => Some(layer_meant(file, arguments.layer.as_deref())?),
            None => arguments.layer.clone(),
        };
        json::write_whole(path, &outcome.state.write(layer.as_deref(), file)?)?;
    }
    Ok(())
}

fn check_arguments(arguments: &Arguments) -> Result<(), Failure> {
    for path in [&arguments.out, &arguments.state_out, &arguments.json].into_iter().flatten() {
        json::check_place(path)?;
    }
    let usage = |sentence: &str| Err(Failure::Usage(sentence.to_owned()));
    if arguments.mode == Mode::Inference && arguments.state.is_none() {
        return usage(
            "--mode inference normalises with running statistics; give them with --state FILE.safetensors (and --layer \
             NAME)",
        );
    }
    if arguments.mode == Mode::Inference && arguments.state_out.is_some() {
        return usage("--state-out writes what training changes; inference changes nothing");
    }
    if arguments.layer.is_some() && arguments.state.is_none() && arguments.state_out.is_none() {
        return usage("--layer names a layer of --state FILE.safetensors, which is not given");
    }
    if arguments.settings.momentum.is_some()
        && (arguments.mode == Mode::Inference || (arguments.state.is_none() && arguments.state_out.is_none()))
    {
        return usage(FOLLOWS_NOTHING);
    }
    for (option, path, ending) in
        [("--out", &arguments.out, "npy"), ("--state-out", &arguments.state_out, "safetensors")]
    {
        let named = |path: &PathBuf| path.extension().is_some_and(|has| has.eq_ignore_ascii_case(ending));
        match path {
            Some(path) if !json::is_no_file(path) && !named(path) => {
                return usage(&format!("{option} writes .{ending}; {} is named otherwise", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The layer, and the file that it came from.
fn read_state(arguments: &Arguments, shape: &Shape) -> Result<(State, Option<Vec<u8>>), Failure> {
    let channels = shape.channels() as usize;
    let Some(path) = &arguments.state else {
        // Without a file there is a layer only where one is to be written.
        let state = if arguments.state_out.is_some() { State::new(channels) } else { State::default() };
        return Ok((state, None));
    };
    let within = |error: Error| Failure::Failed(format!("{}: {error}", path.display()));
    let file = read_file(path)?;
    let layers = layers(&file).map_err(within)?;
    if arguments.layer.is_none() && layers.len() > 1 {
        let (path, names) = (path.display(), layers.join(", "));
        return Err(Failure::Usage(format!("{path} holds several layers; --layer chooses one of {names}")));
    }
    let state = State::read(&file, arguments.layer.as_deref()).map_err(within)?;
    match state.channels() {
        Some(count) if count != channels => Err(Failure::Failed(format!(
            "{} has {count} channels and {} has {channels} on axis {}",
            path.display(),
            arguments.input,
            shape.axis()
        ))),
        _ if arguments.mode == Mode::Inference && state.running_mean.is_none() => Err(Failure::Failed(format!(
            "{} has no running_mean and running_var, which --mode inference normalises with",
            path.display()
        ))),
        _ if arguments.state_out.is_some() && state.running_mean.is_none() => Err(Failure::Failed(format!(
            "{} has no running_mean and running_var, which --state-out would write after the batch",
            path.display()
        ))),
        _ => match notes::negative(&state) {
            Some(sentence) => Err(Failure::Failed(format!("{}: {sentence}", path.display()))),
            None => Ok((state, Some(file))),
        },
    }
}

/// Enters what the state has into the configuration.
fn complete(config: &mut Config, arguments: &Arguments, state: &State) {
    config.gamma = state.gamma.is_some();
    config.beta = state.beta.is_some();
    config.running_update = arguments.mode == Mode::Training && state.running_mean.is_some();
    config.count_batches = config.running_update && state.batches.is_some();
}

/// Holds the running statistics against the reference.
fn running_verdict(before: &State, outcome: &Outcome, batch: &reference::Moments, config: &Config) -> Option<Verdict> {
    if !config.running_update {
        return None;
    }
    let wide = |values: &Option<Vec<f32>>| -> Option<ndarray::Array1<f64>> {
        values.as_ref().map(|values| values.iter().map(|&v| f64::from(v)).collect())
    };
    let (mean, variance) = wide(&before.running_mean).zip(wide(&before.running_variance))?;
    let batches_before = before.batches.unwrap_or(0);
    let running = reference::Running { mean: mean.view(), variance: variance.view(), batches_before };
    let (exact_mean, exact_variance) = reference::running_update(&running, batch, config);
    let (mean_bound, variance_bound) = bounds::running_update(&running, batch, config);
    let hold = |tensor, got: &Option<Vec<f32>>, exact: &ndarray::Array1<f64>, bound: &ndarray::Array1<f64>| {
        let got: Vec<f64> = got.as_ref()?.iter().map(|&v| f64::from(v)).collect();
        Verdict::new(tensor, &got, &exact.to_vec(), |index| bound[index])
    };
    let mean = hold("running_mean", &outcome.state.running_mean, &exact_mean, &mean_bound)?;
    let variance = hold("running_var", &outcome.state.running_variance, &exact_variance, &variance_bound)?;
    Some(mean.worse(variance))
}

/// Holds the output against a file, under the reference's bounds and half an ulp of what the file stores.
fn compare_with_file(source: &Source, problem: &Problem, y: &[f32]) -> Result<Option<Verdict>, Failure> {
    let file = source.read(None)?;
    if file.values.shape() != problem.shape.dimensions() {
        let (has, needed) = (file.values.shape(), problem.shape.dimensions());
        return Err(Failure::Failed(format!("{source} has dimensions {has:?}; the output has {needed:?}")));
    }
    let rounding = match file.stored {
        "f16" => 2f64.powi(-11),
        "bf16" => 2f64.powi(-8),
        // f64 was rounded to f32 as it was read.
        _ => bounds::U,
    };
    let values: Vec<f32> = file.values.iter().copied().collect();
    Ok(verify::expected(problem, y, &values, rounding)?)
}
