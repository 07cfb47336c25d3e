//! The suite natively: `vulkan::…`, `gl::…` and so on. No adapter is a failure, not a skip.
//!
//! `BATCHNORM_SWEEP=2000` sets the number of random cases, `BATCHNORM_SLOW=1` adds the tests that need gigabytes,
//! `BATCHNORM_ADAPTER=vulkan` keeps to one adapter, `BATCHNORM_TIMES=1` tells how long each test
//! took.

use std::sync::Arc;
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};
use wgpu_batchnorm::host::{Gpu, NO_ADAPTER};

use super::suite::{self, Scope};

/// Runs the tests that the command line asks for.
pub fn run() {
    let mut arguments = Arguments::from_args();
    // A software adapter uses all cores by itself, and a test's time is its own.
    arguments.test_threads = arguments.test_threads.or(Some(1));
    libtest_mimic::run(&arguments, trials()).exit();
}

fn trials() -> Vec<Trial> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<usize>().ok());
    let scope = Scope { sweep: number("BATCHNORM_SWEEP").unwrap_or(100), slow: number("BATCHNORM_SLOW").is_some() };
    let times = number("BATCHNORM_TIMES").is_some();
    let wanted = std::env::var("BATCHNORM_ADAPTER").ok();
    let adapters = pollster::block_on(Gpu::adapters());
    let mut trials = Vec::new();
    for adapter in adapters {
        let backend = adapter.info.backend.to_string();
        if wanted.as_ref().is_some_and(|w| *w != backend && !adapter.info.name.contains(w)) {
            continue;
        }
        // One device serves all tests of an adapter.
        let opened = pollster::block_on(Gpu::select(Some(&adapter.index.to_string())));
        // The built-in table, whatever this user has measured.
        let gpu = match opened.and_then(|gpu| Gpu::from_device(gpu.device(), gpu.queue())) {
            Ok(gpu) => Arc::new(gpu),
            Err(error) => {
                trials.push(Trial::test(format!("{backend}::device"), move || Err(Failed::from(error))));
                continue;
            }
        };
        for test in suite::list(&scope) {
            let gpu = gpu.clone();
            let run = move || {
                let start = Instant::now();
                let outcome = pollster::block_on((test.run)(&gpu)).map_err(Failed::from);
                if times {
                    eprint!("[{:.1} s] ", start.elapsed().as_secs_f64());
                }
                outcome
            };
            trials.push(Trial::test(format!("{backend}::{}", test.name), run).with_kind(gpu_kind(&adapter.info)));
        }
    }
    if trials.is_empty() {
        trials.push(Trial::test("an_adapter_is_there", || Err(Failed::from(NO_ADAPTER))));
    }
    trials
}

fn gpu_kind(info: &wgpu::AdapterInfo) -> String {
    info.name.split(' ').next().unwrap_or("unnamed").to_owned()
}
