//! Compares anything with the reference: one comparer, derived error bounds, conformance cases.
//!
//! ```
//! use ndarray::ArrayView3;
//! use wgpu_batchnorm::check::{bounds, compare};
//! use wgpu_batchnorm::{Config, Shape, reference};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (shape, config) = (Shape::nc(4, 1)?, Config::pytorch());
//! let x = ArrayView3::from_shape(reference::view(&shape), &[1.0, 3.0, 5.0, 7.0])?;
//! let batch = reference::moments(x);
//! let (mean, variance) = (batch.mean.view(), batch.variance.view());
//! let a = reference::Apply { x, mean, variance, gamma: None, beta: None, residual: None };
//! let expected: Vec<f64> = reference::apply(&a, &config).into_iter().collect();
//! let bound: Vec<f64> = bounds::apply(&a, bounds::Statistics::Batch, &config).into_iter().collect();
//!
//! let from_a_kernel = [-1.3416394f32, -0.4472131, 0.4472131, 1.3416394];
//! let comparison = compare(from_a_kernel, &expected, |i| bound[i]);
//! assert!(comparison.passed(), "{shape}: {comparison}");
//! # Ok(())
//! # }
//! ```

pub mod bounds;
pub mod cases;
pub mod compare;
pub mod device;
pub mod processor;
pub mod sweep;

pub use cases::{Case, Operation, Outputs};
pub use compare::{Comparison, compare};
pub use device::run_on_gpu;
pub use processor::run_on_cpu;
pub use sweep::{Sweep, SweepCase, check_one};
