//! Random cases on one adapter.

use wgpu_batchnorm::check::{Sweep, check_one};
use wgpu_batchnorm::host::Gpu;

use super::matrix::Matrix;
use super::{Tally, first_wrong};
use crate::failure::Failure;

/// Runs the cases of a sweep; `after` hears of each, and of what failed in it.
pub async fn sweep_on(
    gpu: &Gpu,
    sweep: &Sweep,
    mut after: impl FnMut(Option<&str>) -> Result<(), Failure>,
) -> Result<Tally, Failure> {
    let (mut tally, mut matrix) = (Tally::new(Some(gpu)), Matrix::default());
    for case in sweep.cases() {
        let verdicts = check_one(gpu, &case).await;
        matrix.add(case.operation.name(), &case.shape, case.config.dtype, verdicts.as_deref().ok());
        let failure = match verdicts {
            Ok(verdicts) => first_wrong(&verdicts),
            Err(error) => Some(error.to_string()),
        };
        match failure.map(|what| format!("{case}: {what}")) {
            None => {
                tally.passed += 1;
                after(None)?;
            }
            Some(told) => {
                after(Some(&told))?;
                tally.failures.push(told);
            }
        }
    }
    tally.matrix = matrix.into_cells();
    Ok(tally)
}
