//! One batch through one layer, on an adapter or on the reference.

use ndarray::{Array1, ArrayView3};
use wgpu_batchnorm::host::{Gpu, Inputs, State, execute};
use wgpu_batchnorm::plan::Operation;
use wgpu_batchnorm::{Config, Error, Shape, reference};

use super::Mode;
use crate::failure::Failure;

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

    /// Runs on the reference, its results rounded as a device stores them.
    pub fn on_reference(&self) -> Result<Outcome, Failure> {
        let (config, shape) = (self.config, self.shape);
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let per_channel = |values: &Option<Vec<f32>>| values.as_deref().map(|values| Array1::from(wide(values)));
        let x = wide(self.x);
        let needed = reference::view(shape);
        let x = ArrayView3::from_shape(needed, &x).map_err(|_| Error::WrongDimensions {
            argument: "x",
            dimensions: vec![x.len()],
            needed: needed.to_vec(),
        })?;
        let (gamma, beta) = (per_channel(&self.state.gamma), per_channel(&self.state.beta));
        let running = per_channel(&self.state.running_mean).zip(per_channel(&self.state.running_variance));
        let batch = match (self.mode, &running) {
            (Mode::Training, _) => reference::moments(x),
            (Mode::Inference, Some((mean, variance))) => {
                let count = shape.values_per_channel() as usize;
                reference::Moments { count, mean: mean.clone(), variance: variance.clone() }
            }
            (Mode::Inference, None) => {
                return Err(Error::Missing { argument: "running_mean", reason: "inference normalises with it" }.into());
            }
        };
        let (mean, variance) = (batch.mean.view(), batch.variance.view());
        let (gamma, beta) = (gamma.as_ref().map(|v| v.view()), beta.as_ref().map(|v| v.view()));
        let y = reference::apply(&reference::Apply { x, mean, variance, gamma, beta, residual: None }, config);
        let mut state = self.state.clone();
        if let (true, Some((mean, variance))) = (config.running_update, &running) {
            if config.running_variance == wgpu_batchnorm::RunningVariance::Unbiased && batch.count == 1 {
                return Err(explained(Error::TooFewValues { values: 1 }));
            }
            let before = self.state.batches.unwrap_or(0);
            let running = reference::Running { mean: mean.view(), variance: variance.view(), batches_before: before };
            let (mean, variance) = reference::running_update(&running, &batch, config);
            let narrow = |values: Array1<f64>| Some(values.iter().map(|&v| v as f32).collect());
            (state.running_mean, state.running_variance) = (narrow(mean), narrow(variance));
            let counted = u64::from(config.count_batches && batch.count > 0);
            state.batches = state.batches.map(|batches| batches + counted);
        }
        Ok(Outcome { y: y.iter().map(|&v| reference::round_to(config.dtype, v) as f32).collect(), state })
    }
}

/// An error in the words of the command line.
fn explained(error: Error) -> Failure {
    match error {
        Error::TooFewValues { values } => Failure::Failed(format!(
            "each channel has {values} value, and an unbiased running variance needs 2; --convention keras, flax or \
             onnx keeps the population variance"
        )),
        other => other.into(),
    }
}
