//! Batch normalisation as a GPU compute backend: WGSL kernels recorded into the caller's compute pass.
//!
//! Every tensor is seen as `x[outer, channel, inner]`. There is one mean, one variance, one gamma and one beta per
//! channel, and each statistic is taken over all `m = outer · inner` values of its channel:
//!
//! ```text
//! mean[c] = 1/m · Σ x[o, c, i]      var[c] = 1/m · Σ (x[o, c, i] − mean[c])²      over all o, i
//! y[o, c, i] = gamma[c] · (x[o, c, i] − mean[c]) / √(var[c] + epsilon) + beta[c]
//! ```
//!
//! Four lifetimes, each paid once: a [`BatchNorm`] per device, a [`Prepared`] operation per [`Shape`] and [`Config`],
//! a [`Bound`] operation per set of buffers, and [`Bound::record`] per step.
//!
//! ```no_run
//! use wgpu_batchnorm::{BatchNorm, Config, Error, Shape, TrainingBuffers, wgpu};
//!
//! fn normalise(
//!     device: &wgpu::Device,
//!     pass: &mut wgpu::ComputePass<'_>,
//!     [x, y, saved, gamma, beta]: [&wgpu::Buffer; 5],
//! ) -> Result<(), Error> {
//!     let norms = BatchNorm::new(device)?;
//!     let training = norms.training(&Shape::nchw(32, 64, 56, 56)?, &Config::pytorch())?;
//!     let buffers = TrainingBuffers {
//!         gamma: Some(gamma.slice(..)),
//!         beta: Some(beta.slice(..)),
//!         ..TrainingBuffers::new(x.slice(..), saved.slice(..), y.slice(..))
//!     };
//!     training.bind(device, &buffers)?.record(pass);
//!     Ok(())
//! }
//! ```
//!
//! The core takes a device to build and a compute pass to record; it owns no queue, never submits, polls or reads
//! back. `host` (a feature) does that for prototypes, tests and the command line.

pub mod batch_norm;
mod binding;
mod buffer;
#[cfg(feature = "check")]
pub mod check;
pub mod config;
#[cfg(feature = "cpu")]
pub mod cpu;
pub mod dtype;
pub mod error;
pub mod fold;
#[cfg(feature = "host")]
pub mod host;
mod kernel;
pub mod layer;
pub mod operation;
pub mod parts;
pub mod plan;
#[cfg(feature = "reference")]
pub mod reference;
pub mod shader;
pub mod shape;

pub use batch_norm::{BatchNorm, Options};
pub use config::{Activation, Config, Momentum, RunningVariance};
pub use dtype::DType;
pub use error::Error;
pub use fold::fold;
pub use layer::{Layer, LayerBackward, LayerForward, Mode, Parameter};
pub use operation::{
    BackwardBuffers, Bound, FrozenBackwardBuffers, InferenceBuffers, Prepared, RunningStatistics, TrainingBuffers,
};
pub use plan::{Gradients, ParameterGradients, mask_bytes};
pub use shape::Shape;
pub use wgpu;
