//! `cargo xtask shader-stats`: what AMD's compiler makes of every program, without a graphics processor.

use crate::command::{cargo, command, program, run};
use crate::failure::Failure;
use crate::packages::{self, Need};

/// The page that is kept.
const PAGE: &str = "benches/shader-stats.md";

/// With an example, as [`crate::bench::BUILD`], so that the dependencies are those of the other tasks.
const BUILD: &str =
    "build --release --features cli --package wgpu-batchnorm --package shader-stats --bin shader-stats --example embed";

pub fn shader_stats(arguments: &[String]) -> Result<(), Failure> {
    if cfg!(target_os = "linux") && packages::radeon().is_none() {
        packages::install(&[Need::Radeon])?;
    }
    run(&mut cargo(&BUILD.split(' ').collect::<Vec<_>>()))?;
    let mut stats = command(program("shader-stats")?, &[]);
    if arguments.is_empty() {
        stats.arg(PAGE);
    }
    run(stats.args(arguments))
}
