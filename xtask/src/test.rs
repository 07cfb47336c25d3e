//! `cargo xtask test`: every test that this machine can run.

use std::path::PathBuf;
use std::process::Command;

use crate::adapters::{self, Setup, Wanted};
use crate::bench::BUILD;
use crate::command::{batchnorm, cargo, quiet_egl, root, run, run_reading};
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::output::Suites;
use crate::shader_check;

const TEST: [&str; 5] = ["test", "--release", "--workspace", "--features", "cli"];
/// Examples that take minutes, and what makes them short.
const SHORTER: [(&str, &[&str]); 2] = [("inner_sizes", &["8"]), ("train_digits", &["--quick"])];
const CONFORMANCE: &str = "tests/conformance";

#[derive(Default)]
struct Options {
    all_adapters: bool,
    full: bool,
}

pub fn test(arguments: &[String]) -> Result<(), Failure> {
    let mut options = Options::default();
    for argument in arguments {
        match argument.as_str() {
            "--all-adapters" => options.all_adapters = true,
            "--full" => options.full = true,
            other => return Err(Failure::new(format!("`test` knows --all-adapters and --full, not `{other}`"))),
        }
    }
    let mut ledger = Ledger::default();
    let mut suites = Suites::new();
    let done = run_all(&options, &mut ledger, &mut suites);
    println!("\n== what the minutes went on\n{}", ledger.table());
    for suite in suites.with_tests() {
        println!("     Running {}\n{}", suite.name, suite.closing);
    }
    done?;
    ledger.close()
}

fn run_all(options: &Options, ledger: &mut Ledger, suites: &mut Suites) -> Result<(), Failure> {
    ledger.step("build", || {
        run(&mut cargo(&BUILD))?;
        run(cargo(&TEST).arg("--no-run"))
    })?;
    let setup =
        ledger.step("set-up", || adapters::set_up(Wanted { for_tests: true, swiftshader: options.all_adapters }))?;

    let mut tests = cargo(&TEST);
    tests.arg("--no-fail-fast");
    // Elsewhere the drivers' own compilers are there.
    let compilers = cfg!(target_os = "linux");
    if compilers {
        ledger.step("set-up of compilers", shader_check::set_up)?;
        tests.env(shader_check::FOLDER, shader_check::folder()?);
    }
    println!("\n== tests");
    if options.full {
        tests.env("BATCHNORM_SLOW", "1");
    }
    let passed = run_reading(prepared(&mut tests, &setup)?, |line| suites.read(line));
    for suite in suites.with_tests() {
        ledger.note(&suite.name, suite.time, suite.passed());
    }
    if let Err(failure) = passed {
        eprintln!("error: {failure}");
        // A program that could not be built or started has no suite of its own.
        if suites.with_tests().all(|s| s.passed()) {
            ledger.note("cargo test", std::time::Duration::ZERO, false);
        }
    }

    if compilers {
        shader_check::check(ledger, options.full);
    }
    for bench in programs("benches") {
        ledger.attempt(&format!("bench {bench}, one iteration"), || {
            let mut command = cargo(&["bench", "--features", "cli", "--bench", &bench, "--", "--test"]);
            run(prepared(&mut command, &setup)?)
        });
    }
    for example in programs("examples") {
        ledger.attempt(&format!("example {example}"), || {
            let mut command = crate::command::example(&example)?;
            command.args(SHORTER.iter().filter(|s| s.0 == example).flat_map(|s| s.1));
            run(prepared(&mut command, &setup)?)
        });
    }
    ledger.attempt("conformance on the CPU", || {
        run(&mut batchnorm(&["check", "--cases", CONFORMANCE, "--device", "cpu"])?)
    });
    for adapter in &setup.adapters {
        let index = adapter.index.to_string();
        let title = format!("{} ({})", adapter.name, adapter.backend);
        let mut check = |step: &str, arguments: &[&str]| {
            ledger.attempt(&format!("{step} on {title}"), || {
                let mut command = batchnorm(&["check", "--adapter", &index])?;
                command.args(arguments);
                run(prepared(&mut command, &setup)?)
            });
        };
        check("conformance", &["--cases", CONFORMANCE]);
        if options.full {
            check("sweep", &["--count", if adapter.index == 0 { "2000" } else { "300" }]);
        }
    }
    Ok(())
}

/// The command with what the set-up found. It tests the built-in tunings, whatever this user has measured.
fn prepared<'a>(command: &'a mut Command, setup: &Setup) -> Result<&'a mut Command, Failure> {
    quiet_egl(command)?;
    command.env("BATCHNORM_TUNING", "none");
    Ok(command.envs(setup.environment.iter().cloned()))
}

/// The programs of a directory, by name: `NAME.rs`, or `NAME/main.rs`.
fn programs(directory: &str) -> Vec<String> {
    let name = |path: PathBuf| {
        let is_program = path.extension().is_some_and(|e| e == "rs") || path.join("main.rs").is_file();
        path.file_stem().filter(|_| is_program)?.to_str().map(str::to_owned)
    };
    let mut names: Vec<String> = std::fs::read_dir(root().join(directory))
        .into_iter()
        .flatten()
        .filter_map(|entry| name(entry.ok()?.path()))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_found_in_files_and_in_directories() {
        let found = programs("examples");
        assert!(found.contains(&"embed".to_owned()), "{found:?}");
        assert!(!found.contains(&"data".to_owned()), "{found:?}");
        for (example, _) in SHORTER {
            assert!(found.contains(&example.to_owned()), "{example}");
        }
    }
}
