//! What is computed: conventions, and what differs from them.

use wgpu_batchnorm::{Config, DType, Momentum, RunningVariance};

use crate::explain::digits;
use crate::failure::Failure;

/// A framework whose epsilon, momentum and running variance are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Convention {
    /// epsilon 1e-5, momentum 0.1 of the new value, unbiased running variance.
    Pytorch,
    /// epsilon 1e-3, momentum 0.99 of the old value, population variance.
    Keras,
    /// epsilon 1e-5, momentum 0.99 of the old value, population variance.
    Flax,
    /// epsilon 1e-5, momentum 0.9 of the old value, population variance.
    Onnx,
}

impl Convention {
    /// The name of the framework.
    pub fn name(self) -> &'static str {
        match self {
            Convention::Pytorch => "PyTorch",
            Convention::Keras => "Keras",
            Convention::Flax => "Flax",
            Convention::Onnx => "ONNX",
        }
    }

    fn config(self) -> Config {
        match self {
            Convention::Pytorch => Config::pytorch(),
            Convention::Keras => Config::keras(),
            Convention::Flax => Config::flax(),
            Convention::Onnx => Config::onnx(),
        }
    }
}

/// What a tensor is stored as on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Storage {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
}

impl From<Storage> for DType {
    fn from(storage: Storage) -> Self {
        match storage {
            Storage::F32 => DType::F32,
            Storage::F16 => DType::F16,
            Storage::Bf16 => DType::Bf16,
        }
    }
}

/// How the command line says it.
#[derive(clap::Args)]
pub struct Arguments {
    /// Whose epsilon, momentum and running variance are meant
    #[arg(long, value_enum, default_value_t = Convention::Pytorch)]
    pub convention: Convention,
    /// Added to the variance; the convention's by default
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub epsilon: Option<f32>,
    /// Weight of the new value with pytorch, of the old one with keras, flax and onnx; `cumulative` averages all batches
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub momentum: Option<String>,
    /// What the tensor is stored as on the device
    #[arg(long, value_enum, default_value_t = Storage::F32)]
    pub dtype: Storage,
}

impl Arguments {
    /// The configuration, with neither gamma nor beta nor a running update yet.
    pub fn config(&self) -> Result<Config, Failure> {
        let mut config = self.convention.config();
        config.dtype = self.dtype.into();
        config.epsilon = self.epsilon.unwrap_or(config.epsilon);
        if let Some(momentum) = &self.momentum {
            config.momentum = match (momentum.to_lowercase().as_str(), self.convention) {
                ("cumulative" | "none", _) => Momentum::Cumulative,
                (number, convention) => {
                    let wrong = || Failure::Usage(format!("--momentum {number} is neither a number nor `cumulative`"));
                    let weight: f64 = number.parse().map_err(|_| wrong())?;
                    match convention {
                        Convention::Pytorch => Momentum::NewValue(weight as f32),
                        Convention::Keras | Convention::Flax | Convention::Onnx => Momentum::old_value(weight),
                    }
                }
            };
        }
        config.validate().map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(config)
    }
}

/// Momentum in both meanings.
pub fn momentum_in_words(config: &Config) -> String {
    match config.momentum {
        Momentum::Cumulative => "cumulative: the average over all batches".to_owned(),
        Momentum::NewValue(new) => {
            let old = 1.0 - new;
            format!("{} of the new value (PyTorch), {} of the old (Keras, Flax, ONNX)", digits(new), digits(old))
        }
    }
}

/// Which variance is kept, in words.
pub fn running_variance_in_words(config: &Config) -> &'static str {
    match config.running_variance {
        RunningVariance::Unbiased => "unbiased running variance (m − 1)",
        RunningVariance::Population => "population running variance (m)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(convention: Convention, momentum: &str) -> Result<Config, Failure> {
        let momentum = Some(momentum.to_owned());
        Arguments { convention, epsilon: None, momentum, dtype: Storage::F32 }.config()
    }

    #[test]
    fn momentum_means_what_the_convention_says() {
        let words = |convention, momentum| momentum_in_words(&with(convention, momentum).unwrap());
        let both = "0.1 of the new value (PyTorch), 0.9 of the old (Keras, Flax, ONNX)";
        assert_eq!(words(Convention::Pytorch, "0.1"), both);
        assert_eq!(words(Convention::Onnx, "0.9"), both);
        assert_eq!(
            words(Convention::Keras, "0.99"),
            "0.01 of the new value (PyTorch), 0.99 of the old (Keras, Flax, ONNX)"
        );
        assert_eq!(words(Convention::Pytorch, "cumulative"), "cumulative: the average over all batches");
        for wrong in ["nan", "much", "inf"] {
            assert!(matches!(with(Convention::Flax, wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
