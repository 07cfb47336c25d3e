//! Conformance cases on a device.

use crate::check::cases::{Case, Operation, Outputs};
use crate::error::Error;
use crate::host::{Gpu, Inputs, Placement, execute_placed};
use crate::plan;
use crate::plan::Gradients;

/// Computes a case on a device, with everything that the case may expect.
///
/// # Errors
/// As [`execute`](crate::host::execute).
pub async fn run_on_gpu(gpu: &Gpu, case: &Case) -> Result<Outputs, Error> {
    run_on_gpu_placed(gpu, case, Placement::Separate).await
}

/// [`run_on_gpu`] with the arguments elsewhere.
///
/// # Errors
/// As [`execute`](crate::host::execute).
pub async fn run_on_gpu_placed(gpu: &Gpu, case: &Case, placement: Placement) -> Result<Outputs, Error> {
    let inputs = Inputs {
        x: Some(&case.x),
        dy: case.dy.as_deref(),
        residual: case.residual.as_deref(),
        gamma: case.gamma.as_deref(),
        beta: case.beta.as_deref(),
        running_mean: case.running_mean.as_deref(),
        running_variance: case.running_variance.as_deref(),
        // A count beyond u32 leaves a cumulative average where it is, within rounding.
        batches: u32::try_from(case.num_batches_tracked).unwrap_or(u32::MAX - 1),
        ..Inputs::default()
    };
    let run = async |operation| execute_placed(gpu, operation, &case.shape, &case.config, &inputs, placement).await;
    let computed = match case.operation {
        Operation::Training => run(plan::Operation::Training).await?,
        Operation::Inference => run(plan::Operation::Inference).await?,
        Operation::Backward => run(plan::Operation::Backward(Gradients::ALL)).await?,
        Operation::FrozenBackward => run(plan::Operation::FrozenBackward(Gradients::ALL)).await?,
    };
    let mean = computed.saved.as_ref().map(|s| s.mean().into_iter().map(|m| m as f32).collect());
    Ok(Outputs {
        y: computed.y,
        save_mean: mean,
        save_invstd: computed.saved.map(|s| s.inverse_std),
        running_mean_out: computed.running_mean,
        running_var_out: computed.running_variance,
        dx: computed.dx,
        dweight: computed.dgamma,
        dbias: computed.dbeta,
        dresidual: computed.dresidual,
    })
}
