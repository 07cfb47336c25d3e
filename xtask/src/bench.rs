//! `cargo xtask bench`: the main job, from a fresh clone to figures in a file and a report to look at.

use crate::adapters::{self, Wanted};
use crate::command::{batchnorm, cargo, root, run};
use crate::failure::Failure;

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
    let mut bench = batchnorm(&["bench"])?;
    if value_of("--adapter").is_none() && value_of("--device").is_none() {
        bench.args(["--adapter", &setup.adapters[0].index.to_string()]);
    }
    let mut place = |flag: &str, usual: &str| match value_of(flag) {
        Some(file) => file.to_owned(),
        None => {
            bench.args([flag, usual]);
            usual.to_owned()
        }
    };
    let (figures, report) = (place("--json", "out/bench.json"), place("--html", "out/bench.html"));
    let directory = root().join("out");
    std::fs::create_dir_all(&directory)
        .map_err(|error| Failure::new(format!("{} cannot be made: {error}", directory.display())))?;
    run(bench.args(arguments))?;
    println!("figures: {figures}\nreport:  {report}");
    Ok(())
}
