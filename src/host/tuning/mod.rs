//! Tunings measured on an adapter, and the file that keeps them.
//!
//! The built-in table knows two kinds of adapter. [`Tuning::measure`] tries neighbours of its numbers on this one, over
//! tensors of every layout, and keeps those that win clearly. Under any tuning results are right and repeatable bit for
//! bit; between two tunings the last bits may differ, since sums are cut elsewhere.
//!
//! With the feature `tune`, `TuningFile` keeps what was measured by adapter and driver, and a
//! [`Gpu`] that opens such an adapter takes it from there.

mod course;
#[cfg(all(feature = "tune", not(target_family = "wasm")))]
mod file;
mod measure;
mod numbers;

pub use course::Compared;
#[cfg(all(feature = "tune", not(target_family = "wasm")))]
pub use file::{TuningFile, VARIABLE};
pub use measure::{Measurement, PHASES, Trial, measure};
pub use numbers::{NUMBERS, Number};

use super::Gpu;
use crate::error::Error;
use crate::plan::Tuning;

impl Tuning {
    /// The tuning that is fastest on this device, found by measuring a handful of candidates.
    ///
    /// Starting from the built-in table, each number in turn is moved to its neighbours, and moves where that is faster
    /// by more than the noise: at least 3 % in three rounds of four over everything whose plan it changes, and nothing
    /// among that slower by as much. In the end all of it is measured once more against the built-in table, which stands
    /// where the sum of the moves is not faster by the same rule. Training, inference and backward of f32 tensors with
    /// channels first and last are measured, beyond the cache; a graphics processor needs a third of a GiB of memory for it.
    ///
    /// Takes under a minute (on lavapipe with two cores, 15 to 25 seconds), in which nothing else should run. [`measure`]
    /// also tells what was tried.
    ///
    /// # Errors
    /// As [`BatchNorm::new`](crate::BatchNorm::new) · [`Error::Device`] if the device is lost or out of memory
    pub async fn measure(device: &wgpu::Device, queue: &wgpu::Queue) -> Result<Self, Error> {
        let gpu = Gpu::from_device(device, queue)?;
        Ok(measure(&gpu, &|_| {}).await?.tuning)
    }
}
