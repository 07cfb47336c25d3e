//! What goes to stdout, or to stderr where stdout is taken by a file, and the progress bar on stderr.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::Failure;

/// Whether stdout is a file's, asked for as `-`.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Leaves stdout to a file; returns whether it had been left to another before.
pub fn leave_stdout() -> bool {
    TAKEN.swap(true, Ordering::Relaxed)
}

/// Writes a line to stdout, or to stderr where stdout is a file's.
pub fn line(text: impl Display) -> Result<(), Failure> {
    if TAKEN.load(Ordering::Relaxed) {
        eprintln!("{text}");
        return Ok(());
    }
    match writeln!(std::io::stdout().lock(), "{text}") {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::Closed),
        Err(error) => Err(Failure::Failed(format!("stdout cannot be written: {error}"))),
    }
}

/// Three significant digits, and three decimals at most.
pub fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// A number of things, in words.
pub fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

const LINE: LineStyle = LineStyle::none().fill('─').junction('─');
const STYLE: TableStyle = TableStyle::new().header_separator(LINE);

/// An empty table with these headings, its columns right-aligned but for the first `left`.
pub fn table(headings: &[&str], left: usize) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(headings.iter().copied()).set_content_arrangement(ContentArrangement::Disabled);
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Hides columns, in this order, until the table fits the terminal; a table that is piped keeps them all. Where even
/// that is not enough, the rest is wrapped.
pub fn fit(table: &mut Table, dispensable: &[usize]) {
    // Without a terminal, or on one that does not know its width, there is nothing to fit.
    let Some(width) = table.width().filter(|&width| width > 0 && std::io::stdout().is_terminal()) else { return };
    let fits = |table: &Table| table.lines().all(|line| line.chars().count() <= usize::from(width));
    for &index in dispensable {
        if fits(table) {
            return;
        }
        if let Some(column) = table.column_mut(index) {
            column.set_constraint(ColumnConstraint::Hidden);
        }
    }
    if !fits(table) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
}

/// A progress bar with an estimate, on a terminal; hidden where stderr is piped or quiet is asked for.
pub fn progress(length: u64, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  about {eta} left  {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
