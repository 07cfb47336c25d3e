//! Batch normalisation as a GPU compute backend.
#[cfg(feature = "check")]
pub mod check;
pub mod config;
pub mod dtype;
pub mod error;
#[cfg(feature = "reference")]
pub mod reference;
pub mod shape;

pub use config::{Activation, Config, Momentum, RunningVariance};
pub use dtype::DType;
pub use error::Error;
pub use shape::Shape;
pub use wgpu;
