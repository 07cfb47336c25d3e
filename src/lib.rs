//! Batch normalisation as a GPU compute backend.

pub mod batch_norm;
mod binding;
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
pub use layer::{Layer, LayerBackward, LayerForward, Mode};
pub use operation::{
    BackwardBuffers, Bound, FrozenBackwardBuffers, InferenceBuffers, Prepared, RunningStatistics, TrainingBuffers,
};
pub use plan::{Gradients, ParameterGradients, mask_bytes};
pub use shape::Shape;
pub use wgpu;
