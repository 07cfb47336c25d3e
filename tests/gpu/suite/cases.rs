//! The conformance cases, their files embedded.

use wgpu_batchnorm::check::cases::{Case, from_bytes};
use wgpu_batchnorm::check::device::run_on_gpu_placed;
use wgpu_batchnorm::host::{Gpu, Placement};

use super::{Outcome, text};
use files::FILES;

#[path = "../../conformance/files.rs"]
mod files;

pub async fn every_conformance_case_passes(gpu: &Gpu) -> Outcome {
    run(gpu, &[Placement::Separate]).await
}

pub async fn every_conformance_case_passes_in_one_buffer_and_in_place(gpu: &Gpu) -> Outcome {
    run(gpu, &[Placement::Arena, Placement::InPlace]).await
}

async fn run(gpu: &Gpu, placements: &[Placement]) -> Outcome {
    let cases = from_bytes(FILES).map_err(text)?;
    let mut failures = Vec::new();
    for case in &cases {
        for &placement in placements {
            failures.extend(one(gpu, case, placement).await.err());
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

async fn one(gpu: &Gpu, case: &Case, placement: Placement) -> Outcome {
    let what = format!("{} {} {placement:?}", case.name, case.shape);
    let outputs = run_on_gpu_placed(gpu, case, placement).await.map_err(|e| format!("{what}: {e}"))?;
    let failed: Vec<String> = case.judge(&outputs).iter().filter(|v| !v.passed()).map(|v| v.to_string()).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("{what}: {}", failed.join("; "))) }
}
