//! The conformance cases, and random cases against the reference.

use serde::Serialize;
use wasm_bindgen::JsError;
use wgpu_batchnorm::check::cases::{Case, TensorVerdict, from_bytes};
use wgpu_batchnorm::check::{Sweep, check_one, run_on_cpu, run_on_gpu};
use wgpu_batchnorm::host::Gpu;

use crate::Listener;
use files::FILES;

#[path = "../../tests/conformance/files.rs"]
mod files;

/// What came of all cases.
#[derive(Serialize)]
pub struct Report {
    passed: usize,
    failed: usize,
    results: Vec<Outcome>,
}

/// What came of one case.
#[derive(Clone, Serialize)]
pub struct Outcome {
    /// `conformance` or `random`.
    kind: &'static str,
    name: String,
    shape: String,
    dtype: &'static str,
    passed: bool,
    /// The largest error of all tensors as a share of its bound.
    worst: Option<f64>,
    /// What is wrong.
    note: String,
}

/// Runs the cases, and tells of each.
pub async fn check(gpu: Option<&Gpu>, count: usize, listener: &Listener<'_>) -> Result<Report, JsError> {
    let cases = from_bytes(FILES)?;
    // Random cases are made for a device.
    let sweep = Sweep { seed: 0, count: gpu.map_or(0, |_| count) };
    let total = (cases.len() + sweep.count) as f64;
    let mut results: Vec<Outcome> = Vec::new();
    for case in &cases {
        results.push(conformance(gpu, case).await);
        listener.tell(results.len() as f64 / total, &results.last()).await?;
    }
    if let Some(gpu) = gpu {
        for case in sweep.cases() {
            let row = Outcome {
                kind: "random",
                name: format!("seed {}: {}", case.seed, name_of(&format!("{:?}", case.operation))),
                shape: case.shape.to_string(),
                dtype: case.config.dtype.name(),
                passed: false,
                worst: None,
                note: String::new(),
            };
            results.push(match check_one(gpu, &case).await {
                Ok(verdicts) => row.judged(&verdicts),
                Err(error) => row.refused(&error.to_string()),
            });
            listener.tell(results.len() as f64 / total, &results.last()).await?;
        }
    }
    let passed = results.iter().filter(|result| result.passed).count();
    Ok(Report { passed, failed: results.len() - passed, results })
}

async fn conformance(gpu: Option<&Gpu>, case: &Case) -> Outcome {
    let row = Outcome {
        kind: "conformance",
        name: case.name.clone(),
        shape: case.shape.to_string(),
        dtype: case.config.dtype.name(),
        passed: false,
        worst: None,
        note: String::new(),
    };
    let outputs = match gpu {
        Some(gpu) => run_on_gpu(gpu, case).await,
        None => run_on_cpu(case),
    };
    match outputs {
        Ok(outputs) => row.judged(&case.judge(&outputs)),
        Err(error) => row.refused(&error.to_string()),
    }
}

/// `Backward` of `Backward(Gradients { … })`.
fn name_of(operation: &str) -> &str {
    operation.split('(').next().unwrap_or_default()
}

impl Outcome {
    fn judged(self, verdicts: &[TensorVerdict]) -> Self {
        let ratio = |verdict: &TensorVerdict| verdict.comparison.map_or(f64::INFINITY, |c| c.ratio());
        let wrong: Vec<String> = verdicts.iter().filter(|v| !v.passed()).map(|v| v.to_string()).collect();
        let worst = verdicts.iter().map(ratio).fold(0.0, f64::max);
        Self { passed: wrong.is_empty(), worst: Some(worst), note: wrong.join("; "), ..self }
    }

    fn refused(self, why: &str) -> Self {
        Self { note: why.to_owned(), ..self }
    }
}
