//! Batch normalisation as a GPU compute backend.
pub mod config;
#[cfg(feature = "cpu")]
pub mod cpu;
pub mod dtype;
pub mod error;
pub mod shape;

pub use config::{Activation, Config, Momentum, RunningVariance};
pub use dtype::DType;
pub use error::Error;
pub use shape::Shape;
pub use wgpu;
