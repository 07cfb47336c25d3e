//! The tasks of this repository. `cargo xtask` prints the help.

mod adapters;
mod bench;
mod command;
mod failure;
mod ledger;
mod output;
mod packages;
mod portability;
mod shader_check;
mod shader_stats;
mod test;
mod web;

use std::process::ExitCode;

use failure::Failure;

const HELP: &str = "\
Tasks of this repository. Each does its own set-up: where Linux has no graphics adapter, or software GL alone, it installs
the software Vulkan driver through apt-get, dnf or pacman, with sudo where needed, and says so. macOS and Windows need nothing.

cargo xtask bench [ARGUMENTS]   builds, measures GPU against CPU on the best adapter, and checks it briefly; the figures go
                                to out/bench.json, a report to look at to out/bench.html, ARGUMENTS to `batchnorm bench`
cargo xtask test [OPTIONS]      builds and runs all tests: on the host, on every adapter, documentation, benches (one
                                iteration), examples, the conformance cases, and on Linux what shader-check does
    --all-adapters              installs SwiftShader too (inside chromium's package) and includes it
    --full                      adds a sweep of 2000 random shapes on the best adapter and 300 on each other, and the tests
                                that need gigabytes
cargo xtask shader-check        translates every kernel for Metal and Direct3D and gives it to compilers of their languages, on Linux
    --full                      every number of lanes too, and all to Microsoft's compiler: minutes
cargo xtask shader-stats        compiles every kernel with AMD's compiler, which needs no hardware, and writes what it
                                makes of them to benches/shader-stats.md
    --check                     fails where a kernel spills registers or its loop waits for memory; writes nothing
    --dump DIRECTORY            writes the assembly
cargo xtask web                 serves the page, Batch norm in your browser, on this machine
    --port NUMBER               on another port than 8000
    --out DIRECTORY             writes it as static files for any web host instead
cargo xtask web-test            runs the suite of the adapters, and the page's end-to-end test, in headless chromium, which it
                                installs with its driver where they are missing; screenshots go to out/web
    --full                      with every tuning and placement: 9 minutes on two cores instead of 4
    --page                      the page's test alone
cargo xtask msrv                checks with the oldest Rust that Cargo.toml promises
cargo xtask wasm                builds the library for the browser
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        None => help(),
        Some((first, _)) if ["help", "-h", "--help"].contains(&first.as_str()) => help(),
        Some((first, rest)) => match first.as_str() {
            "bench" => bench::bench(rest),
            "test" => test::test(rest),
            "shader-check" => shader_check::shader_check(rest),
            "shader-stats" => shader_stats::shader_stats(rest),
            "msrv" => portability::msrv(rest),
            "wasm" => portability::wasm(rest),
            "web" => web::page::web(rest),
            "web-test" => web::test::web_test(rest),
            other => Err(Failure::new(format!("there is no task `{other}`; `cargo xtask` lists them"))),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> Result<(), Failure> {
    print!("{HELP}");
    Ok(())
}
