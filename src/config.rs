//! What a layer computes, apart from its shape.

use crate::dtype::DType;
use crate::error::Error;

/// How a running statistic follows the batches.
///
/// `running = (1 − w) · running + w · batch`
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Momentum {
    /// `w` is this number: PyTorch's `momentum`. Negative weights are taken as PyTorch takes them.
    NewValue(f32),
    /// `w = 1 / (batches seen before + 1)`, read from the batch counter on the device: the plain average over all
    /// batches, PyTorch's `momentum=None`.
    Cumulative,
}

impl Momentum {
    /// The momentum of Keras, Flax and ONNX, which is the weight of the OLD value: `w = 1 − weight`.
    pub fn old_value(weight: f64) -> Self {
        // In f64, so that 0.99 becomes the f32 nearest to 0.01.
        Momentum::NewValue((1.0 - weight) as f32)
    }
}

/// Which variance the running variance follows; the output always uses the population variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunningVariance {
    /// Divided by `m − 1` (PyTorch): needs at least two values per channel.
    Unbiased,
    /// Divided by `m` (Keras, Flax, ONNX).
    Population,
}

/// What follows the normalisation, in the same dispatch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `y = z`.
    #[default]
    None,
    /// `y = max(z, 0)`; its derivative is 1 where `z > 0` and 0 elsewhere, at `z = 0` too.
    Relu,
}

/// What a batch normalisation computes, apart from its shape.
///
/// `z = gamma · (x − mean) / √(variance + epsilon) + beta (+ residual)`, `y = activation(z)`
///
/// Start from a convention and change what differs:
/// ```
/// use wgpu_batchnorm::Config;
/// let config = Config { beta: false, ..Config::keras() };
/// assert_eq!(config.epsilon, 1e-3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Added to the variance; finite and not negative.
    pub epsilon: f32,
    /// How the running statistics follow the batches.
    pub momentum: Momentum,
    /// Which variance the running variance follows.
    pub running_variance: RunningVariance,
    /// Whether there is a scale; without it gamma is 1 and has no gradient.
    pub gamma: bool,
    /// Whether there is a shift; without it beta is 0 and has no gradient.
    pub beta: bool,
    /// Whether a training operation ends with `running_update`.
    pub running_update: bool,
    /// Whether the running update counts the batch; a cumulative average always does.
    pub count_batches: bool,
    /// How `x`, `y`, `dy`, `dx` and the residual are stored.
    pub dtype: DType,
    /// What follows the normalisation.
    pub activation: Activation,
    /// Whether a residual is added before the activation.
    pub residual: bool,
}

impl Config {
    /// PyTorch's `BatchNorm`: epsilon 1e-5, weight of the new value 0.1, unbiased running variance.
    pub fn pytorch() -> Self {
        Self {
            epsilon: 1e-5,
            momentum: Momentum::NewValue(0.1),
            running_variance: RunningVariance::Unbiased,
            gamma: true,
            beta: true,
            running_update: false,
            count_batches: false,
            dtype: DType::F32,
            activation: Activation::None,
            residual: false,
        }
    }

    /// Keras' `BatchNormalization`: epsilon 1e-3, weight of the old value 0.99, population variance.
    pub fn keras() -> Self {
        Self {
            epsilon: 1e-3,
            momentum: Momentum::NewValue(0.01),
            running_variance: RunningVariance::Population,
            ..Self::pytorch()
        }
    }

    /// Flax's `BatchNorm`: epsilon 1e-5, weight of the old value 0.99, population variance.
    pub fn flax() -> Self {
        Self { epsilon: 1e-5, ..Self::keras() }
    }

    /// ONNX's `BatchNormalization` 15: epsilon 1e-5, weight of the old value 0.9, population variance.
    pub fn onnx() -> Self {
        Self { momentum: Momentum::NewValue(0.1), ..Self::flax() }
    }

    /// Whether a running update counts the batch.
    pub(crate) fn counts(&self) -> bool {
        self.count_batches || self.momentum == Momentum::Cumulative
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for epsilon or momentum · [`Error::Negative`] for epsilon
    pub fn validate(&self) -> Result<(), Error> {
        if !self.epsilon.is_finite() {
            return Err(Error::NotFinite { argument: "epsilon", value: self.epsilon });
        }
        if self.epsilon < 0.0 {
            return Err(Error::Negative { argument: "epsilon", value: self.epsilon });
        }
        match self.momentum {
            Momentum::NewValue(w) if !w.is_finite() => Err(Error::NotFinite { argument: "momentum", value: w }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_of_the_old_value_becomes_one_of_the_new() {
        assert_eq!(Momentum::old_value(0.99), Config::keras().momentum);
        assert_eq!(Momentum::old_value(0.99), Config::flax().momentum);
        assert_eq!(Momentum::old_value(0.9), Config::onnx().momentum);
    }

    #[test]
    fn numbers_that_are_not_numbers_are_refused() {
        let with =
            |epsilon, weight| Config { epsilon, momentum: Momentum::NewValue(weight), ..Config::pytorch() }.validate();
        assert!(with(0.0, -0.5).is_ok());
        assert_eq!(with(-1.0, 0.1), Err(Error::Negative { argument: "epsilon", value: -1.0 }));
        assert!(matches!(with(f32::NAN, 0.1), Err(Error::NotFinite { argument: "epsilon", .. })));
        assert!(matches!(with(1e-5, f32::INFINITY), Err(Error::NotFinite { argument: "momentum", .. })));
    }
}
