//! The suite in a browser, on the adapter that it gives. No adapter is a failure, not a skip.
//!
//! `BATCHNORM_SWEEP=2000` and `BATCHNORM_ONLY=part_of_a_name`, set while the test is built, change the number of random
//! cases and what is run.

use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};
use web_time::Instant;
use wgpu_batchnorm::host::Gpu;
use wgpu_batchnorm::wgpu;

use super::suite::{self, Scope, Test};

wasm_bindgen_test_configure!(run_in_browser);

/// Random cases, unless more are asked for: as many as it takes to reach every kind of shape.
const SWEEP: usize = 200;

/// Two browsers can share the list: compiling takes most of the time, and a browser compiles on one core.
#[wasm_bindgen_test]
async fn first_half() {
    pass(0).await;
}

#[wasm_bindgen_test]
async fn second_half() {
    pass(1).await;
}

/// Runs every other test, on one device.
async fn pass(half: usize) {
    let sweep = option_env!("BATCHNORM_SWEEP").and_then(|count| count.parse().ok()).unwrap_or(SWEEP);
    let only = option_env!("BATCHNORM_ONLY").unwrap_or_default();
    let gpu = Gpu::new().await.expect("a browser with WebGPU");
    console_log!("adapter: {:?}", gpu.device().adapter_info());
    let (mut passed, mut failed) = (0, Vec::new());
    let list = suite::list(&Scope { sweep, slow: false });
    for test in list.iter().skip(half).step_by(2).filter(|test| test.name.contains(only)) {
        // Told before it runs too: a panic does not come back.
        console_log!("test {} ...", test.name);
        let start = Instant::now();
        let outcome = run(&gpu, test).await;
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                passed += 1;
                console_log!("test {} ... ok [{seconds:.1} s]", test.name);
            }
            Err(why) => {
                console_log!("test {} ... FAILED [{seconds:.1} s]\n{why}", test.name);
                failed.push(test.name.clone());
            }
        }
    }
    console_log!("half {half}: {passed} passed, {} failed", failed.len());
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}

/// Runs a test. What the browser itself finds wrong, which it tells only later, fails it too.
async fn run(gpu: &Gpu, test: &Test) -> suite::Outcome {
    let scope = gpu.device().push_error_scope(wgpu::ErrorFilter::Validation);
    let outcome = (test.run)(gpu).await;
    let error = scope.pop().await;
    outcome.and(error.map_or(Ok(()), |error| Err(error.to_string())))
}
