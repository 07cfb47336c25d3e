//! `batchnorm compare`: figures of several runs side by side.

use std::path::{Path, PathBuf};

use serde::Serialize;
use wgpu_batchnorm::Shape;
use wgpu_batchnorm::host::timing::Spread;

use crate::bench::report::{Figures, Report, SCHEMA};
use crate::failure::Failure;
use crate::{json, output};

/// Put the figures of several runs of `bench` side by side: machines, adapters or versions
///
/// The first file is what the others are held against. A ratio stands with what its ends can be: the lower quartile of
/// one run over the upper quartile of the other, and the reverse.
#[derive(clap::Args)]
#[command(after_help = "\
What the marks say, with a limit of 1.10 unless --fail-above sets another:
  slower    more than the limit, and the quartiles lie apart
  slower?   more than the limit, but the quartiles overlap: measure again with more rounds
  faster    less than one over the limit, and the quartiles lie apart

Examples:
  batchnorm compare before.json after.json
  batchnorm compare before.json after.json --by copies --fail-above 1.10
        in units of the plain copy, which a busy machine disturbs least; status 1 if anything is 10 % slower
  batchnorm compare laptop.json desktop.json server.json --by transfers")]
pub struct Arguments {
    /// Files that `bench --json` wrote, the one to compare with first
    #[arg(value_name = "FILE", num_args = 2.., required = true)]
    files: Vec<PathBuf>,
    /// What is compared; the kernels where all files have them, or else the CPU
    #[arg(long, value_enum)]
    by: Option<Measure>,
    /// Exit with status 1 where a ratio is above this, or where a file lacks what the first one has
    #[arg(long, value_name = "RATIO", value_parser = limit)]
    fail_above: Option<f64>,
    /// Write the ratios as JSON; - for stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print only what is slower
    #[arg(long)]
    quiet: bool,
}

/// Where no limit is given, a change is marked from this ratio on.
const MARKED_ABOVE: f64 = 1.10;

fn limit(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(limit) if limit >= 1.0 && limit.is_finite() => Ok(limit),
        _ => Err("a ratio of at least 1 is expected, such as 1.10".to_owned()),
    }
}

/// Which of the figures are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Measure {
    /// The kernels alone, in ms.
    Kernels,
    /// The kernels in units of the plain copy.
    Copies,
    /// Upload, kernels and download, in ms.
    Transfers,
    /// The CPU, in ms.
    Cpu,
}

impl Measure {
    /// What a result has of it.
    fn of(self, figures: &Figures) -> Option<Spread> {
        match self {
            Measure::Kernels => figures.gpu_ms,
            Measure::Copies => match &figures.details {
                Some(details) => Some(details.ratio_by_round),
                None => figures.ratio_to_copy.map(|ratio| Spread { median: ratio, low: ratio, high: ratio }),
            },
            Measure::Transfers => figures.end_to_end_ms,
            Measure::Cpu => figures.cpu_ms,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Measure::Kernels => "kernels, ms",
            Measure::Copies => "kernels, copies of x",
            Measure::Transfers => "upload, kernels and download, ms",
            Measure::Cpu => "CPU, ms",
        }
    }
}

/// What a ratio says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mark {
    Same,
    Slower,
    #[serde(rename = "slower?")]
    PerhapsSlower,
    Faster,
}

impl Mark {
    fn of(ratio: &Spread, limit: f64) -> Self {
        match ratio {
            Spread { median, low, .. } if *median > limit && *low > 1.0 => Mark::Slower,
            Spread { median, .. } if *median > limit => Mark::PerhapsSlower,
            Spread { median, high, .. } if *median < 1.0 / limit && *high < 1.0 => Mark::Faster,
            _ => Mark::Same,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Mark::Same => "",
            Mark::Slower => "slower",
            Mark::PerhapsSlower => "slower?",
            Mark::Faster => "faster",
        }
    }
}

/// One operation on one shape in all files.
#[derive(Serialize)]
struct Row {
    shape: Vec<usize>,
    axis: usize,
    operation: String,
    dtype: String,
    /// The first file's figure.
    base: Spread,
    /// One per further file; null where it lacks this shape.
    others: Vec<Option<Beside>>,
}

/// A figure beside the first file's.
#[derive(Serialize)]
struct Beside {
    figure: Spread,
    ratio: Spread,
    mark: Mark,
}

/// All of it, as a file has it.
#[derive(Serialize)]
struct Comparison {
    schema: u32,
    version: &'static str,
    files: Vec<String>,
    by: &'static str,
    limit: f64,
    rows: Vec<Row>,
}

/// One over the other: the medians, and what the quartiles allow.
fn ratio(figure: &Spread, base: &Spread) -> Spread {
    Spread { median: figure.median / base.median, low: figure.low / base.high, high: figure.high / base.low }
}

fn read(path: &Path) -> Result<Report, Failure> {
    let named = |what: String| Failure::Failed(format!("{}: {what}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| named(error.to_string()))?;
    let report: Report = serde_json::from_slice(&bytes)
        .map_err(|error| named(format!("not figures that `batchnorm bench --json` wrote: {error}")))?;
    match report.schema {
        SCHEMA => Ok(report),
        other => Err(named(format!("figures of format {other}; this program reads format {SCHEMA}"))),
    }
}

/// Whether two figures are of the same operation on the same shape.
fn is_of_same(a: &Figures, b: &Figures) -> bool {
    a.shape == b.shape && a.axis == b.axis && a.operation == b.operation && a.dtype == b.dtype
}

/// How many results of one report another has not.
fn only_in(report: &Report, other: &Report) -> usize {
    let known = |figures: &Figures| other.results.iter().any(|base| is_of_same(base, figures));
    report.results.iter().filter(|figures| !known(figures)).count()
}

fn rows(reports: &[Report], measure: Measure, limit: f64) -> Vec<Row> {
    let Some((base, others)) = reports.split_first() else { return Vec::new() };
    let row = |first: &Figures| {
        let base = measure.of(first)?;
        let beside = |other: &Report| {
            let figure = measure.of(other.results.iter().find(|figures| is_of_same(figures, first))?)?;
            let ratio = ratio(&figure, &base);
            Some(Beside { figure, ratio, mark: Mark::of(&ratio, limit) })
        };
        Some(Row {
            shape: first.shape.clone(),
            axis: first.axis,
            operation: first.operation.to_string(),
            dtype: first.dtype.to_string(),
            base,
            others: others.iter().map(beside).collect(),
        })
    };
    base.results.iter().filter_map(row).collect()
}

fn title(report: &Report) -> String {
    let (device, version) = (&report.device, &report.version);
    let tuning = if device.measured_tuning { ", measured tuning" } else { "" };
    format!("{} ({}){tuning}, version {version}, timed by {}", device.name, device.backend, report.timing)
}

/// Compares.
pub fn compare(arguments: &Arguments) -> Result<(), Failure> {
    json::check_place_of(&arguments.json)?;
    let reports = arguments.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let kernels = |report: &Report| report.results.iter().any(|figures| figures.gpu_ms.is_some());
    let usual = if reports.iter().all(kernels) { Measure::Kernels } else { Measure::Cpu };
    let measure = arguments.by.unwrap_or(usual);
    let limit = arguments.fail_above.unwrap_or(MARKED_ABOVE);
    let rows = rows(&reports, measure, limit);
    let compared: Vec<&Beside> = rows.iter().flat_map(|row| row.others.iter().flatten()).collect();
    if compared.is_empty() {
        return Err(Failure::Failed(format!("the files have no shape in common with figures of {}", measure.name())));
    }
    let slower = compared.iter().filter(|beside| beside.ratio.median > limit).count();
    let worst = compared.iter().map(|beside| beside.ratio.median).fold(0.0, f64::max);
    let logarithms: f64 = compared.iter().map(|beside| beside.ratio.median.ln()).sum();
    let mean = (logarithms / compared.len() as f64).exp();
    let count = compared.len();
    let absent = rows.iter().flat_map(|row| &row.others).filter(|beside| beside.is_none()).count();
    let new: usize = reports.iter().skip(1).map(|report| only_in(report, &reports[0])).sum();
    if !arguments.quiet {
        for (index, report) in reports.iter().enumerate() {
            output::line(format_args!("{}  {}", letter(index), title(report)))?;
        }
        output::line(format_args!("by {}\n", measure.name()))?;
    }
    print(&rows, reports.len(), arguments.quiet)?;
    let mut told = format!(
        "{count} compared: {mean:.2} × on average (geometric mean), {worst:.2} × at worst; {slower} above {limit:.2}"
    );
    if absent > 0 {
        told += &format!("; {absent} absent that A has");
    }
    if new > 0 {
        told += &format!("; {new} that A has not");
    }
    output::line(told)?;
    if let Some(path) = &arguments.json {
        let files = arguments.files.iter().map(|file| file.display().to_string()).collect();
        let (schema, version) = (1, env!("CARGO_PKG_VERSION"));
        json::write(path, &Comparison { schema, version, files, by: measure.name(), limit, rows })?;
    }
    if (slower > 0 || absent > 0) && arguments.fail_above.is_some() { Err(Failure::Wrong) } else { Ok(()) }
}

/// The name of the file at a place: A, B, C …
fn letter(index: usize) -> String {
    char::from_digit(index as u32 + 10, 36).map_or_else(|| index.to_string(), |c| c.to_uppercase().to_string())
}

fn print(rows: &[Row], files: usize, only_slower: bool) -> Result<(), Failure> {
    let mut headings = vec!["shape".to_owned(), String::new(), "type".to_owned(), letter(0)];
    for index in 1..files {
        headings.extend([letter(index), format!("{} / A", letter(index)), String::new()]);
    }
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = output::table(&headings, 3);
    let mut before = String::new();
    for row in rows {
        let slow = |beside: &Beside| matches!(beside.mark, Mark::Slower | Mark::PerhapsSlower);
        if only_slower && !row.others.iter().flatten().any(slow) {
            continue;
        }
        let title = match Shape::new(&row.shape, row.axis as isize) {
            Ok(shape) => shape.to_string(),
            Err(_) => format!("{:?}", row.shape),
        };
        let shown = if title == before { String::new() } else { title.clone() };
        before = title;
        let mut cells = vec![shown, row.operation.clone(), row.dtype.clone(), output::figure(row.base.median)];
        for beside in &row.others {
            cells.extend(match beside {
                Some(Beside { figure, ratio: Spread { median, low, high }, mark }) => {
                    [output::figure(figure.median), format!("{median:.2} ({low:.2}–{high:.2})"), mark.word().to_owned()]
                }
                None => ["absent".to_owned(), String::new(), String::new()],
            });
        }
        table.add_row(cells);
    }
    if table.row_count() > 0 {
        output::fit(&mut table, &[]);
        output::line(&table)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(low: f64, median: f64, high: f64) -> Spread {
        Spread { median, low, high }
    }

    #[test]
    fn a_ratio_has_the_widest_ends_that_the_quartiles_allow() {
        let ratio = ratio(&spread(2.0, 3.0, 4.0), &spread(1.0, 1.5, 2.0));
        assert_eq!(ratio, spread(1.0, 2.0, 4.0));
    }

    #[test]
    fn a_change_is_marked_where_it_is_more_than_the_limit() {
        for (ratio, mark) in [
            (spread(1.15, 1.2, 1.25), Mark::Slower),
            (spread(0.95, 1.2, 1.5), Mark::PerhapsSlower),
            (spread(1.04, 1.05, 1.06), Mark::Same),
            (spread(0.7, 0.8, 0.9), Mark::Faster),
            (spread(0.7, 0.8, 1.2), Mark::Same),
        ] {
            assert_eq!(Mark::of(&ratio, 1.10), mark, "{ratio:?}");
        }
    }
}
