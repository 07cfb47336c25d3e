//! What became of each channel, and how right it is.

use serde::Serialize;
use wgpu_batchnorm::host::files::{FileTensor, tensor_names};
use wgpu_batchnorm::host::{Gpu, State};
use wgpu_batchnorm::{Config, Momentum, Shape, reference};

use super::settings::{momentum_in_words, running_variance_in_words};
use super::{Arguments, Mode, Source, read_file};
use crate::failure::Failure;
use crate::verify::Verdict;
use crate::{device, output};

/// Channels shown one by one.
const SHOWN: usize = 8;

/// A verdict, and with what it was found.
pub struct Compared {
    /// The reference, or a file.
    pub with: String,
    /// The worst element.
    pub verdict: Verdict,
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Verdict { tensor, worst, largest_error } = &self.verdict;
        let (error, got) = (self.verdict.error(), worst.got as f32);
        let verdict = if self.verdict.passed() { "within" } else { "OUTSIDE" };
        write!(
            f,
            "worst difference from {}: {largest_error:.1e}; {verdict} the bounds: nearest is {tensor}[{}], {got:e} for \
             {:e}, off by {error:.1e} of {:.1e} allowed",
            self.with, worst.index, worst.expected, worst.bound
        )
    }
}

/// All that is told of a run.
pub struct Report<'a> {
    /// The command line.
    pub arguments: &'a Arguments,
    /// What was read.
    pub read: &'a FileTensor,
    /// The shape of what went through.
    pub shape: &'a Shape,
    /// The configuration.
    pub config: &'a Config,
    /// What computed; none: the CPU.
    pub gpu: Option<&'a Gpu>,
    /// Moments of the input.
    pub before: reference::Moments,
    /// Moments of the output.
    pub after: reference::Moments,
    /// The layer after the batch.
    pub state: &'a State,
    /// How right it is.
    pub compared: Vec<Compared>,
}

/// The figures as a file has them.
#[derive(Serialize)]
pub struct Figures<'a> {
    schema: u32,
    version: &'static str,
    input: String,
    stored: &'static str,
    conversions: &'a [String],
    device: String,
    shape: &'a [usize],
    axis: usize,
    mode: &'static str,
    convention: &'static str,
    epsilon: f32,
    /// None: cumulative.
    momentum_of_the_new_value: Option<f32>,
    momentum_of_the_old_value: Option<f32>,
    dtype: &'static str,
    values_per_channel: usize,
    channels: Vec<Channel>,
    worst: Vec<Worst<'a>>,
}

#[derive(Serialize)]
struct Channel {
    mean: f64,
    variance: f64,
    mean_after: f64,
    std_after: f64,
    running_mean: Option<f32>,
    running_variance: Option<f32>,
}

#[derive(Serialize)]
struct Worst<'a> {
    with: &'a str,
    tensor: &'static str,
    index: usize,
    got: f64,
    expected: f64,
    error: f64,
    bound: f64,
    largest_error: f64,
    passed: bool,
}

impl Report<'_> {
    fn device(&self) -> String {
        self.gpu.map_or_else(|| "CPU (f32, SIMD)".to_owned(), device::title)
    }

    /// The figures as a file has them.
    pub fn figures(&self) -> Figures<'_> {
        let new = match self.config.momentum {
            Momentum::NewValue(new) => Some(new),
            Momentum::Cumulative => None,
        };
        Figures {
            schema: 1,
            version: env!("CARGO_PKG_VERSION"),
            input: self.arguments.input.to_string(),
            stored: self.read.stored,
            conversions: &self.read.conversions,
            device: self.device(),
            shape: self.shape.dimensions(),
            axis: self.shape.axis(),
            mode: self.arguments.mode.name(),
            convention: self.arguments.settings.convention.name(),
            epsilon: self.config.epsilon,
            momentum_of_the_new_value: new,
            momentum_of_the_old_value: new.map(|new| 1.0 - new),
            dtype: self.config.dtype.name(),
            values_per_channel: self.before.count,
            channels: (0..self.shape.channels() as usize).map(|channel| self.channel(channel)).collect(),
            worst: self
                .compared
                .iter()
                .map(|compared| Worst {
                    with: &compared.with,
                    tensor: compared.verdict.tensor,
                    index: compared.verdict.worst.index,
                    got: compared.verdict.worst.got,
                    expected: compared.verdict.worst.expected,
                    error: compared.verdict.error(),
                    bound: compared.verdict.worst.bound,
                    largest_error: compared.verdict.largest_error,
                    passed: compared.verdict.passed(),
                })
                .collect(),
        }
    }

    fn channel(&self, channel: usize) -> Channel {
        let of = |values: &Option<Vec<f32>>| values.as_ref().and_then(|values| values.get(channel).copied());
        Channel {
            mean: self.before.mean[channel],
            variance: self.before.variance[channel],
            mean_after: self.after.mean[channel],
            std_after: self.after.variance[channel].sqrt(),
            running_mean: of(&self.state.running_mean),
            running_variance: of(&self.state.running_variance),
        }
    }

    /// Tells it on stdout.
    pub fn print(&self) -> Result<(), Failure> {
        let Self { arguments, shape, config, .. } = self;
        let (channels, count) = (shape.channels() as usize, self.before.count);
        let columns = if arguments.columns.is_some() { ", the columns asked for" } else { "" };
        output::line(format_args!(
            "input    {}: {shape}{columns}: {} of {}",
            arguments.input,
            output::counted(channels as u64, "channel", "channels"),
            output::counted(count as u64, "value", "values")
        ))?;
        for conversion in &self.read.conversions {
            output::line(format_args!("         {conversion}"))?;
        }
        if config.dtype != wgpu_batchnorm::DType::F32 {
            output::line(format_args!("         stored as {} on the device", config.dtype))?;
        }
        output::line(format_args!("device   {}", self.device()))?;
        let statistics = match arguments.mode {
            Mode::Training => "with the mean and variance of this batch",
            Mode::Inference => "with the running mean and variance of the state",
        };
        output::line(format_args!("mode     {}: {statistics}", arguments.mode.name()))?;
        let convention = arguments.settings.convention.name();
        output::line(format_args!("epsilon  {:e}, the convention is {convention}'s", config.epsilon))?;
        if config.running_update {
            let variance = running_variance_in_words(config);
            output::line(format_args!("momentum {}; {variance}", momentum_in_words(config)))?;
        }
        output::line(format_args!("layer    {}", self.layer()))?;
        output::line("")?;
        let mut table = self.table();
        output::fit(&mut table, &[]);
        output::line(table)?;
        output::line("")?;
        for compared in &self.compared {
            output::line(compared)?;
        }
        match self.expected_beside_input() {
            Some(name) => output::line(format_args!("{name} is beside the input: --expected compares with it too")),
            None => Ok(()),
        }
    }

    fn layer(&self) -> String {
        let (state, config) = (self.state, self.config);
        let place = match (&self.arguments.state, &self.arguments.layer) {
            (Some(path), Some(layer)) => format!("{layer} of {}", path.display()),
            (Some(path), None) => path.display().to_string(),
            (None, _) => "new".to_owned(),
        };
        let gamma = if config.gamma { "gamma" } else { "gamma 1" };
        let beta = if config.beta { "beta" } else { "beta 0" };
        let running = match (config.running_update, state.batches) {
            (true, Some(batches)) => {
                format!("; running statistics after {}", output::counted(batches, "batch", "batches"))
            }
            (true, None) => "; running statistics follow".to_owned(),
            (false, _) => String::new(),
        };
        format!("{place}: {gamma}, {beta}{running}")
    }

    /// The first channels one by one, the rest as a range.
    fn table(&self) -> comfy_table::Table {
        let tracked = self.config.running_update || self.arguments.mode == Mode::Inference;
        let mut headings = vec!["channel", "mean", "variance", "mean after", "std after"];
        if tracked {
            headings.extend(["running mean", "running variance"]);
        }
        let mut table = output::table(&headings, 0);
        let channels = self.shape.channels() as usize;
        let shown = if self.arguments.all || channels <= SHOWN + 1 { channels } else { SHOWN };
        let numbers = |channel: usize| {
            let c = self.channel(channel);
            let running = [c.running_mean, c.running_variance].map(|value| value.map_or(f64::NAN, f64::from));
            let mut all = vec![c.mean, c.variance, c.mean_after, c.std_after];
            if tracked {
                all.extend(running);
            }
            all
        };
        for channel in 0..shown {
            table.add_row(std::iter::once(channel.to_string()).chain(numbers(channel).into_iter().map(number)));
        }
        if shown < channels {
            let rest: Vec<Vec<f64>> = (shown..channels).map(numbers).collect();
            let range = |column: usize| {
                let values = || rest.iter().map(|row| row[column]);
                let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
                format!("{} … {}", number(low), number(high))
            };
            let title = format!("{shown} to {}", channels - 1);
            table.add_row(std::iter::once(title).chain((0..headings.len() - 1).map(range)));
        }
        table
    }

    /// The tensor that the input's file may hold of what must come out: `LAYER.expected` beside `LAYER.input`.
    fn expected_beside_input(&self) -> Option<Source> {
        let Source { path, tensor } = &self.arguments.input;
        if self.arguments.expected.is_some() {
            return None;
        }
        let name = format!("{}.expected", tensor.as_ref()?.strip_suffix(".input")?);
        let names = tensor_names(&read_file(path).ok()?).ok()?;
        names.contains(&name).then(|| Source { path: path.clone(), tensor: Some(name) })
    }
}

/// Five significant digits, and what rounding leaves of a 0 as a small number.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if (1e-3..1e5).contains(&size) => {
            let decimals = (4 - size.log10().floor() as i32).clamp(0, 7) as usize;
            format!("{value:.decimals$}")
        }
        _ => format!("{value:.2e}"),
    }
}
