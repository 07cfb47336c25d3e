//! For prototypes, tests and the command line: owns a device and a queue, uploads, submits, waits, downloads.
//!
//! Nothing in the core needs it; a host with its own device and queue can leave it aside, or wrap them with
//! [`Gpu::from_device`].

mod execute;
#[cfg(feature = "state")]
pub mod files;
mod gpu;
#[cfg(feature = "state")]
mod layer;
mod self_check;
#[cfg(feature = "state")]
pub mod state;
mod tensor;
pub mod timing;
pub mod tuning;

pub use execute::{Inputs, Outputs, Placement, Saved, execute, execute_placed};
pub use gpu::{AdapterSummary, Gpu, NO_ADAPTER};
pub use self_check::{SelfCheck, self_check};
#[cfg(feature = "state")]
pub use state::State;
pub use tensor::{Tensor, decode, encode};
#[cfg(all(feature = "tune", not(target_family = "wasm")))]
pub use tuning::TuningFile;
