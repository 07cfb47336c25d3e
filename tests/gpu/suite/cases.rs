//! The conformance cases, their files embedded.

use wgpu_batchnorm::check::cases::{Case, from_bytes};
use wgpu_batchnorm::check::device::run_on_gpu_placed;
use wgpu_batchnorm::host::{Gpu, Placement};

use super::{Outcome, text};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/", $name)))),*]
    };
}

/// Every file of `tests/conformance`; `tests/reference.rs` holds the list against the directory.
pub const FILES: &[(&str, &[u8])] = files![
    "cases.json",
    "infer_2d.safetensors",
    "infer_4d_last_relu.safetensors",
    "infer_4d_n1_hw1.safetensors",
    "infer_5d_no_affine.safetensors",
    "infer_backward_4d.safetensors",
    "infer_backward_relu_last_f16.safetensors",
    "infer_bf16_residual_relu_last.safetensors",
    "infer_f16.safetensors",
    "keras_dense50_infer.safetensors",
    "keras_dense50_train.safetensors",
    "keras_image_hw_c30_infer.safetensors",
    "keras_image_hw_c30_train.safetensors",
    "keras_image_hw_c30_train_backward.safetensors",
    "train_2d_n2_c1000.safetensors",
    "train_2d_n33_c130.safetensors",
    "train_3d_last_n4_l7_c5.safetensors",
    "train_3d_n5_c3_l49.safetensors",
    "train_4d_last_n1_hw49_c1.safetensors",
    "train_4d_last_n2_hw25_c130.safetensors",
    "train_4d_n1_c3_hw1000.safetensors",
    "train_4d_n2_c130_hw3.safetensors",
    "train_4d_n33_c64_hw1.safetensors",
    "train_4d_n3_c5_hw49.safetensors",
    "train_5d_last_n1_c64.safetensors",
    "train_5d_n2_c3.safetensors",
    "train_backward_2d.safetensors",
    "train_backward_4d.safetensors",
    "train_backward_4d_last.safetensors",
    "train_backward_5d_last_c64.safetensors",
    "train_backward_bf16_residual_relu.safetensors",
    "train_backward_constant_channels.safetensors",
    "train_backward_f16.safetensors",
    "train_backward_no_affine.safetensors",
    "train_backward_offset_1e4.safetensors",
    "train_backward_relu.safetensors",
    "train_backward_residual_relu_last.safetensors",
    "train_bf16_last.safetensors",
    "train_constant_channels.safetensors",
    "train_eps_1e-1.safetensors",
    "train_f16.safetensors",
    "train_f16_residual_relu_odd.safetensors",
    "train_inf_in_channel_0.safetensors",
    "train_momentum_0.safetensors",
    "train_momentum_1.safetensors",
    "train_momentum_cumulative_fifth.safetensors",
    "train_momentum_cumulative_first.safetensors",
    "train_nan_in_channel_2.safetensors",
    "train_no_affine.safetensors",
    "train_no_affine_last_untracked.safetensors",
    "train_offset_1e4_std_1e-1.safetensors",
    "train_offset_1e4_std_1e-1_last.safetensors",
    "train_relu.safetensors",
    "train_residual_only.safetensors",
    "train_residual_relu_last.safetensors",
    "train_tiny_variance.safetensors",
    "train_tiny_variance_tiny_eps.safetensors",
];

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
