//! The `batchnorm` program.

mod adapters;
mod bench;
mod check;
mod device;
mod failure;
mod json;
mod output;
mod run;
mod shapes;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Batch normalisation as a GPU compute backend: run it on files, check it against the reference, measure it.
#[derive(Parser)]
#[command(name = "batchnorm", version, arg_required_else_help = true, after_help = AFTER)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Examples:
  batchnorm adapters                                what this machine has
  batchnorm run digits.csv.gz --columns 0..64       a file through a layer, checked
  batchnorm check                                   random shapes on every adapter, against the reference
  batchnorm bench --quick --json figures.json       three shapes, in seconds

`batchnorm COMMAND --help` tells more, with examples. The exit status is 0 only on success, 1 where something failed or
was wrong, 2 where the command line was.";

#[derive(Subcommand)]
enum Command {
    /// List every adapter: backend, type, driver, and the limits and features that matter here
    Adapters(adapters::Arguments),
    /// Normalise a tensor from a file and hold the result against the reference
    Run(Box<run::Arguments>),
    /// Hold adapters against the reference, or run the conformance cases of a folder
    Check(check::Arguments),
    /// Measure GPU against CPU, each beside a plain copy of the same bytes
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = pollster::block_on(async {
        match &arguments.command {
            Command::Adapters(arguments) => adapters::adapters(arguments).await,
            Command::Run(arguments) => run::run(arguments).await,
            Command::Check(arguments) => check::check(arguments).await,
            Command::Bench(arguments) => bench::bench(arguments).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
