//! One batch through one layer, on an adapter or on the CPU.

use wgpu_batchnorm::host::{Gpu, Inputs, State, execute};
use wgpu_batchnorm::plan::Operation;
use wgpu_batchnorm::{Config, DType, Error, Shape, cpu, reference};

use super::Mode;
use crate::failure::{Failure, too_few_values};

/// A layer and what goes through it.
pub struct Batch<'a> {
    /// Which statistics normalise.
    pub mode: Mode,
    /// The shape of `x`.
    pub shape: &'a Shape,
    /// The configuration.
    pub config: &'a Config,
    /// The layer.
    pub state: &'a State,
    /// The input, `[elements]`; exact in the storage type.
    pub x: &'a [f32],
}

/// What came out.
pub struct Outcome {
    /// The output, `[elements]`.
    pub y: Vec<f32>,
    /// The layer after the batch.
    pub state: State,
}

impl Batch<'_> {
    /// Runs on an adapter.
    pub async fn on_gpu(&self, gpu: &Gpu) -> Result<Outcome, Failure> {
        let State { gamma, beta, running_mean, running_variance, batches } = self.state;
        let inputs = Inputs {
            x: Some(self.x),
            gamma: gamma.as_deref(),
            beta: beta.as_deref(),
            running_mean: running_mean.as_deref(),
            running_variance: running_variance.as_deref(),
            batches: u32::try_from(batches.unwrap_or(0)).map_err(|_| {
                let limit = u32::MAX;
                Failure::Failed(format!("num_batches_tracked is {batches:?}; a device counts to {limit}"))
            })?,
            ..Inputs::default()
        };
        let operation = match self.mode {
            Mode::Training => Operation::Training,
            Mode::Inference => Operation::Inference,
        };
        let outputs = execute(gpu, operation, self.shape, self.config, &inputs).await.map_err(explained)?;
        let y = outputs.y.ok_or(Error::Missing { argument: "y", reason: "the operation writes it" })?;
        let mut state = self.state.clone();
        if self.config.running_update {
            state.running_mean = outputs.running_mean.or(state.running_mean);
            state.running_variance = outputs.running_variance.or(state.running_variance);
            state.batches = outputs.batches.map(u64::from).or(state.batches);
        }
        Ok(Outcome { y, state })
    }

    /// Runs on the CPU's own implementation, which computes in f32; the output is rounded as a device stores it.
    pub fn on_cpu(&self) -> Result<Outcome, Failure> {
        let (shape, config) = (self.shape, &Config { dtype: DType::F32, ..*self.config });
        let mut state = self.state.clone();
        let (x, gamma, beta) = (self.x, self.state.gamma.as_deref(), self.state.beta.as_deref());
        let mut y = vec![0.0; self.x.len()];
        match (self.mode, &mut state.running_mean, &mut state.running_variance) {
            (Mode::Training, running_mean, running_variance) => {
                let mut saved = vec![cpu::Saved::default(); shape.channels() as usize];
                let arguments = cpu::Training { x, gamma, beta, residual: None, y: &mut y, saved: &mut saved };
                cpu::training(shape, config, arguments)?;
                if let (true, Some(mean), Some(variance)) = (config.running_update, running_mean, running_variance) {
                    let mut batches = state.batches.unwrap_or(0);
                    let update = cpu::RunningUpdate { saved: &saved, mean, variance, batches: &mut batches };
                    cpu::running_update(shape, config, update).map_err(explained)?;
                    state.batches = state.batches.and(Some(batches));
                }
            }
            (Mode::Inference, Some(mean), Some(variance)) => {
                let arguments = cpu::Inference { x, mean, variance, gamma, beta, residual: None, y: &mut y };
                cpu::inference(shape, config, arguments)?;
            }
            (Mode::Inference, ..) => {
                return Err(Error::Missing { argument: "running_mean", reason: "inference normalises with it" }.into());
            }
        }
        let stored = |y: f32| reference::round_to(self.config.dtype, f64::from(y)) as f32;
        Ok(Outcome { y: y.into_iter().map(stored).collect(), state })
    }
}

/// An error in the words of the command line.
fn explained(error: Error) -> Failure {
    match error {
        Error::TooFewValues { .. } => Failure::Failed(too_few_values()),
        other => other.into(),
    }
}
