//! Conformance cases on the CPU implementation.

use crate::check::cases::{Case, Operation, Outputs};
use crate::config::Config;
use crate::cpu;
use crate::dtype::DType;
use crate::error::Error;
use crate::reference;

/// Computes a case on the CPU implementation, with everything that the case may expect.
///
/// Of a case in f16 or bf16 the tensors are f32 that such a type holds; what is computed of them in f32 is rounded to it.
///
/// # Errors
/// [`Error::Missing`] if a case that was put together by hand lacks a tensor · what [`mod@cpu`] refuses
pub fn run_on_cpu(case: &Case) -> Result<Outputs, Error> {
    let (shape, config) = (&case.shape, &Config { dtype: DType::F32, ..case.config });
    let (elements, channels) = (shape.elements() as usize, shape.channels() as usize);
    let (x, residual) = (&case.x[..], case.residual.as_deref());
    let (gamma, beta) = (case.gamma.as_deref(), case.beta.as_deref());
    let running = case.running_mean.clone().zip(case.running_variance.clone());
    let absent = |argument| Error::Missing { argument, reason: "the case needs it" };
    let mut outputs = Outputs::default();
    let mut y = vec![f32::NAN; elements];
    let mut saved = vec![cpu::Saved::default(); channels];
    if case.operation.uses_batch_statistics() {
        let arguments = cpu::Training { x, gamma, beta, residual, y: &mut y, saved: &mut saved };
        cpu::training(shape, config, arguments)?;
        outputs.save_mean = Some(saved.iter().map(cpu::Saved::mean).collect());
        outputs.save_invstd = Some(saved.iter().map(|saved| saved.inverse_std).collect());
    } else {
        let (mean, variance) = running.as_ref().ok_or_else(|| absent("running_mean"))?;
        let y = &mut y[..];
        cpu::inference(shape, config, cpu::Inference { x, mean, variance, gamma, beta, residual, y })?;
        let given = mean.iter().zip(variance);
        saved = given.map(|(&mean, &variance)| cpu::Saved::from_running(mean, variance, config.epsilon)).collect();
    }
    outputs.y = Some(y);
    if let (Operation::Training, Some((mut mean, mut variance))) = (case.operation, running) {
        let mut batches = case.num_batches_tracked;
        let saved = &saved[..];
        let update = cpu::RunningUpdate { saved, mean: &mut mean, variance: &mut variance, batches: &mut batches };
        cpu::running_update(shape, config, update)?;
        (outputs.running_mean_out, outputs.running_var_out) = (Some(mean), Some(variance));
    }
    if case.operation.is_backward() {
        let dy = case.dy.as_deref().ok_or_else(|| absent("dy"))?;
        let there = |asked: bool, count: usize| asked.then(|| vec![f32::NAN; count]);
        let Config { gamma: scales, beta: shifts, residual: adds, .. } = *config;
        let mut dx = vec![f32::NAN; elements];
        let mut dresidual = there(adds, elements);
        let (mut dgamma, mut dbeta) = (there(scales, channels), there(shifts, channels));
        let arguments = cpu::Backward {
            x,
            dy,
            saved: &saved,
            gamma,
            beta,
            residual,
            dx: Some(&mut dx),
            dresidual: dresidual.as_deref_mut(),
            dgamma: dgamma.as_deref_mut(),
            dbeta: dbeta.as_deref_mut(),
            frozen: case.operation == Operation::FrozenBackward,
        };
        cpu::backward(shape, config, arguments)?;
        outputs.dx = Some(dx);
        (outputs.dresidual, outputs.dweight, outputs.dbias) = (dresidual, dgamma, dbeta);
    }
    for tensor in [&mut outputs.y, &mut outputs.dx, &mut outputs.dresidual].into_iter().flatten() {
        tensor.iter_mut().for_each(|v| *v = reference::round_to(case.config.dtype, f64::from(*v)) as f32);
    }
    Ok(outputs)
}
