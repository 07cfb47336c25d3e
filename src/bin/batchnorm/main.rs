//! The `batchnorm` program.

mod adapters;
mod bench;
mod check;
mod compare;
mod device;
mod explain;
mod failure;
mod html;
mod json;
mod machine;
mod output;
mod run;
mod shapes;
mod tune;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use failure::Failure;

/// Batch normalisation as a GPU compute backend: run it on files, check it against the reference, measure it.
#[derive(Parser)]
#[command(name = "batchnorm", version, arg_required_else_help = true, after_help = AFTER)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Examples:
  batchnorm adapters                                  what this machine has
  batchnorm explain --shape 32,100,200,30 --axis 3    the formula with these numbers, the plan
  batchnorm run digits.csv.gz --columns 0..64         a file through a layer, checked
  batchnorm check                                     random shapes on every adapter
  batchnorm bench --quick --json figures.json         three shapes, in seconds
  batchnorm compare before.json after.json            what became slower
  batchnorm tune                                      measure what is fastest here, and keep it

`batchnorm COMMAND --help` tells more, with examples. The exit status is 0 only on success, 1 where
something failed or was wrong, 2 where the command line was.";

#[derive(Subcommand)]
enum Command {
    Adapters(adapters::Arguments),
    Explain(explain::Arguments),
    Run(Box<run::Arguments>),
    Check(check::Arguments),
    Bench(Box<bench::Arguments>),
    Compare(compare::Arguments),
    Tune(tune::Arguments),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refused(&error),
    };
    let done = pollster::block_on(async {
        match &arguments.command {
            Command::Adapters(arguments) => adapters::adapters(arguments).await,
            Command::Explain(arguments) => explain::explain(arguments).await,
            Command::Run(arguments) => run::run(arguments).await,
            Command::Check(arguments) => check::check(arguments).await,
            Command::Bench(arguments) => bench::bench(arguments).await,
            Command::Compare(arguments) => compare::compare(arguments),
            Command::Tune(arguments) => tune::tune(arguments).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Help goes out as it is; an error becomes one sentence, with clap's advice if it has any.
fn refused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Where nobody reads it there is nobody to tell.
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
    }
    let text = error.render().to_string();
    let told: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .map(|line| line.trim_start_matches("error: "))
        .collect();
    let told = told.join(" ").replace(" tip: ", "; ");
    // The command that was meant, where there is such a one.
    let word = std::env::args_os().nth(1);
    let command = word.and_then(|word| Arguments::command().find_subcommand(word).map(|found| format!(" {found}")));
    let command = command.unwrap_or_default();
    Failure::Usage(format!("{told}; `batchnorm{command} --help` tells more")).report()
}
