//! `cargo xtask bench`: the main job, from a fresh clone to figures in a file.

use crate::adapters::{self, Wanted};
use crate::command::{batchnorm, cargo, root, run};
use crate::failure::Failure;

/// Random cases of the check before the measurement: enough to notice a driver that computes wrongly.
const CHECKS: &str = "40";

/// The tests' dependencies ask for more of wgpu's and naga's features. With an example, cargo counts those in here
/// too, so that `bench` and `test` share one build of wgpu.
pub const BUILD: [&str; 7] = ["build", "--release", "--features", "cli", "--bin", "batchnorm", "--examples"];

pub fn bench(arguments: &[String]) -> Result<(), Failure> {
    run(&mut cargo(&BUILD))?;
    let setup = adapters::set_up(Wanted::default())?;
    let value_of = |flag: &str| {
        let place = arguments.iter().position(|a| a == flag || a.starts_with(&format!("{flag}=")))?;
        let word = &arguments[place];
        word.split_once('=').map(|(_, v)| v).or_else(|| arguments.get(place + 1).map(String::as_str))
    };
    let best = setup.adapters[0].index.to_string();
    let adapter = value_of("--adapter").unwrap_or(&best);
    run(&mut batchnorm(&["check", "--count", CHECKS, "--adapter", adapter])?)?;

    let mut bench = batchnorm(&["bench"])?;
    if value_of("--adapter").is_none() && value_of("--device").is_none() {
        bench.args(["--adapter", adapter]);
    }
    let file = match value_of("--json") {
        Some(file) => file.to_owned(),
        None => {
            let directory = root().join("out");
            std::fs::create_dir_all(&directory)
                .map_err(|error| Failure::new(format!("{} cannot be made: {error}", directory.display())))?;
            bench.args(["--json", "out/bench.json"]);
            "out/bench.json".to_owned()
        }
    };
    run(bench.args(arguments))?;
    println!("figures: {file}");
    Ok(())
}
