//! Compares anything with the reference: one comparer, derived error bounds, conformance cases.

pub mod bounds;
pub mod cases;
pub mod compare;

pub use cases::{Case, Operation, Outputs};
pub use compare::{Comparison, compare};
