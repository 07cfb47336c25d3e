//! The parts of training and of backward as operations of their own.
//!
//! For statistics over several micro-batches, synchronised batch normalisation over devices, and recomputation. A
//! batch is cut along any dimension but the channels; each holder of a part records
//!
//! 1. `moments`: x → one record per channel, `[channels] × (count: u32, K: f32, d: f32, M2: f32)`, mean = K + d,
//!    M2 = Σ (x − mean)²; a part may be empty;
//! 2. (the records of all parts are brought together as `[parts, channels]`, by any way)
//! 3. `merge` → the saved statistics and the merged record; `running_update`; `scale_shift` → y;
//! 4. `backward_sums`: x, dy → one pair per channel, `[channels] × (Σ dz, Σ dz · (x − mean))`;
//! 5. (the pairs of all parts are brought together as `[parts, channels]`)
//! 6. `backward_merge` → dgamma, dbeta and the coefficients; `backward_input` → dx.

use wgpu::BufferSlice;

use crate::batch_norm::BatchNorm;
use crate::config::Config;
use crate::error::Error;
use crate::operation::{Buffers, Given, Kind, Prepared, RunningStatistics, private};
use crate::plan::{Argument, Count, Gradients, Operation};
use crate::shape::Shape;

/// What [`BatchNorm::moments`] reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct MomentsBuffers<'a> {
    /// Input, `[outer, channels, inner]` in the storage type.
    pub x: BufferSlice<'a>,
    /// Written: one record per channel, 16 bytes each.
    pub merged: BufferSlice<'a>,
    /// Scratch of `scratch_bytes()`, where the caller brings it.
    pub scratch: Option<BufferSlice<'a>>,
}

/// What [`BatchNorm::merge`] reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct MergeBuffers<'a> {
    /// Records, `[parts, channels]`, 16 bytes each.
    pub records: BufferSlice<'a>,
    /// Written: the saved statistics, `[channels] × vec4<f32>`.
    pub saved: BufferSlice<'a>,
    /// Written: one record per channel, which knows the count of the whole batch.
    pub merged: BufferSlice<'a>,
}

/// What [`BatchNorm::running_update`] reads and updates.
#[derive(Clone, Copy, Debug)]
pub struct RunningUpdateBuffers<'a> {
    /// The saved statistics.
    pub saved: BufferSlice<'a>,
    /// The merged records; where the count comes from them.
    pub merged: Option<BufferSlice<'a>>,
    /// Updated.
    pub running: RunningStatistics<'a>,
}

/// What [`BatchNorm::scale_shift`] reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct ScaleShiftBuffers<'a> {
    /// Input, `[outer, channels, inner]` in the storage type.
    pub x: BufferSlice<'a>,
    /// Added before the activation, like `x`; where the configuration has a residual.
    pub residual: Option<BufferSlice<'a>>,
    /// Scale, `[channels]` f32; where the configuration has gamma.
    pub gamma: Option<BufferSlice<'a>>,
    /// Shift, `[channels]` f32; where the configuration has beta.
    pub beta: Option<BufferSlice<'a>>,
    /// The saved statistics.
    pub saved: BufferSlice<'a>,
    /// Output, like `x`; may be exactly `x`, which then is lost to backward.
    pub y: BufferSlice<'a>,
    /// Written where the configuration has a residual and a ReLU; [`mask_bytes`](crate::mask_bytes) bytes.
    pub mask: Option<BufferSlice<'a>>,
}

/// What [`BatchNorm::backward_sums`] reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct BackwardSumsBuffers<'a> {
    /// The input of the forward step, `[outer, channels, inner]` in the storage type.
    pub x: BufferSlice<'a>,
    /// Gradient of the output, like `x`.
    pub dy: BufferSlice<'a>,
    /// The saved statistics.
    pub saved: BufferSlice<'a>,
    /// Scale, `[channels]` f32; read only to find the mask of a ReLU.
    pub gamma: Option<BufferSlice<'a>>,
    /// Shift, `[channels]` f32; read only to find the mask of a ReLU.
    pub beta: Option<BufferSlice<'a>>,
    /// Read where the configuration has a residual and a ReLU.
    pub mask: Option<BufferSlice<'a>>,
    /// Written: one pair of sums per channel, 8 bytes each.
    pub merged_sums: BufferSlice<'a>,
    /// Scratch of `scratch_bytes()`, where the caller brings it.
    pub scratch: Option<BufferSlice<'a>>,
}

/// What [`BatchNorm::backward_merge`] reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct BackwardMergeBuffers<'a> {
    /// Pairs of sums, `[parts, channels]`, 8 bytes each.
    pub sums: BufferSlice<'a>,
    /// The saved statistics.
    pub saved: BufferSlice<'a>,
    /// The merged records; where the count comes from them.
    pub merged: Option<BufferSlice<'a>>,
    /// Written: the coefficients of dx, `[channels]`, 8 bytes each; where the input's gradient is wanted.
    pub coefficients: Option<BufferSlice<'a>>,
    /// Gradient of gamma, `[channels]` f32.
    pub dgamma: Option<BufferSlice<'a>>,
    /// Gradient of beta, `[channels]` f32.
    pub dbeta: Option<BufferSlice<'a>>,
}

/// What [`BatchNorm::backward_input`] reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct BackwardInputBuffers<'a> {
    /// The input of the forward step, `[outer, channels, inner]` in the storage type.
    pub x: BufferSlice<'a>,
    /// Gradient of the output, like `x`.
    pub dy: BufferSlice<'a>,
    /// The saved statistics.
    pub saved: BufferSlice<'a>,
    /// Scale, `[channels]` f32; where the configuration has gamma.
    pub gamma: Option<BufferSlice<'a>>,
    /// Shift, `[channels]` f32; read only to find the mask of a ReLU.
    pub beta: Option<BufferSlice<'a>>,
    /// Read where the configuration has a residual and a ReLU.
    pub mask: Option<BufferSlice<'a>>,
    /// The coefficients of dx.
    pub coefficients: BufferSlice<'a>,
    /// Gradient of the input, like `x`; may be exactly `dy`.
    pub dx: BufferSlice<'a>,
    /// Gradient of the residual, like `x`; where the configuration has a residual.
    pub dresidual: Option<BufferSlice<'a>>,
}

/// Marks the operation of [`BatchNorm::moments`].
#[derive(Clone, Copy, Debug)]
pub enum Moments {}
/// Marks the operation of [`BatchNorm::merge`].
#[derive(Clone, Copy, Debug)]
pub enum Merge {}
/// Marks the operation of [`BatchNorm::running_update`].
#[derive(Clone, Copy, Debug)]
pub enum RunningUpdate {}
/// Marks the operation of [`BatchNorm::scale_shift`].
#[derive(Clone, Copy, Debug)]
pub enum ScaleShift {}
/// Marks the operation of [`BatchNorm::backward_sums`].
#[derive(Clone, Copy, Debug)]
pub enum BackwardSums {}
/// Marks the operation of [`BatchNorm::backward_merge`].
#[derive(Clone, Copy, Debug)]
pub enum BackwardMerge {}
/// Marks the operation of [`BatchNorm::backward_input`].
#[derive(Clone, Copy, Debug)]
pub enum BackwardInput {}

impl BatchNorm {
    /// One moments record per channel of one part of a batch.
    ///
    /// # Errors
    /// As [`BatchNorm::training`].
    pub fn moments(&self, shape: &Shape, config: &Config) -> Result<Prepared<Moments>, Error> {
        self.prepare(Operation::Moments, shape, config)
    }

    /// The records of `parts` parts into saved statistics and one record, by Chan's formula, in the order given.
    ///
    /// Of `shape` only the channels count.
    ///
    /// # Errors
    /// As [`BatchNorm::training`].
    pub fn merge(&self, shape: &Shape, config: &Config, parts: u32) -> Result<Prepared<Merge>, Error> {
        self.prepare(Operation::Merge(parts), shape, config)
    }

    /// The running statistics follow the saved ones, once for each time that it is recorded.
    ///
    /// `running = (1 − w) · running + w · batch`
    ///
    /// # Errors
    /// As [`BatchNorm::training`]; with [`Count::Merged`] the count is known on the device alone, and an unbiased
    /// variance of one value is taken as 0.
    pub fn running_update(
        &self,
        shape: &Shape,
        config: &Config,
        count: Count,
    ) -> Result<Prepared<RunningUpdate>, Error> {
        self.prepare(Operation::RunningUpdate(count), shape, config)
    }

    /// Normalises one part of a batch with saved statistics.
    ///
    /// # Errors
    /// As [`BatchNorm::training`].
    pub fn scale_shift(&self, shape: &Shape, config: &Config) -> Result<Prepared<ScaleShift>, Error> {
        self.prepare(Operation::ScaleShift, shape, config)
    }

    /// `Σ dz` and `Σ dz · (x − mean)` of one part of a batch, per channel.
    ///
    /// # Errors
    /// As [`BatchNorm::training`].
    pub fn backward_sums(&self, shape: &Shape, config: &Config) -> Result<Prepared<BackwardSums>, Error> {
        self.prepare(Operation::BackwardSums, shape, config)
    }

    /// The sums of `parts` parts into dgamma, dbeta and the coefficients of dx.
    ///
    /// Of `shape` only the channels count, and with [`Count::Shape`] the values per channel.
    ///
    /// # Errors
    /// As [`BatchNorm::training`].
    pub fn backward_merge(
        &self,
        shape: &Shape,
        config: &Config,
        parts: u32,
        gradients: Gradients,
        count: Count,
    ) -> Result<Prepared<BackwardMerge>, Error> {
        self.prepare(Operation::BackwardMerge(parts, gradients, count), shape, config)
    }

    /// dx of one part of a batch from the coefficients.
    ///
    /// # Errors
    /// As [`BatchNorm::training`].
    pub fn backward_input(&self, shape: &Shape, config: &Config) -> Result<Prepared<BackwardInput>, Error> {
        self.prepare(Operation::BackwardInput, shape, config)
    }
}

impl private::Sealed for Moments {}
impl private::Sealed for Merge {}
impl private::Sealed for RunningUpdate {}
impl private::Sealed for ScaleShift {}
impl private::Sealed for BackwardSums {}
impl private::Sealed for BackwardMerge {}
impl private::Sealed for BackwardInput {}
impl private::Sealed for MomentsBuffers<'_> {}
impl private::Sealed for MergeBuffers<'_> {}
impl private::Sealed for RunningUpdateBuffers<'_> {}
impl private::Sealed for ScaleShiftBuffers<'_> {}
impl private::Sealed for BackwardSumsBuffers<'_> {}
impl private::Sealed for BackwardMergeBuffers<'_> {}
impl private::Sealed for BackwardInputBuffers<'_> {}

impl Kind for Moments {
    type Buffers<'a> = MomentsBuffers<'a>;
}

impl<'a> Buffers<'a> for MomentsBuffers<'a> {
    fn given(&self) -> Given<'a> {
        vec![(Argument::X, Some(self.x)), (Argument::Merged, Some(self.merged))]
    }

    fn scratch(&self) -> Option<BufferSlice<'a>> {
        self.scratch
    }
}

impl Kind for Merge {
    type Buffers<'a> = MergeBuffers<'a>;
}

impl<'a> Buffers<'a> for MergeBuffers<'a> {
    fn given(&self) -> Given<'a> {
        vec![
            (Argument::Records, Some(self.records)),
            (Argument::Saved, Some(self.saved)),
            (Argument::Merged, Some(self.merged)),
        ]
    }
}

impl Kind for RunningUpdate {
    type Buffers<'a> = RunningUpdateBuffers<'a>;
}

impl<'a> Buffers<'a> for RunningUpdateBuffers<'a> {
    fn given(&self) -> Given<'a> {
        vec![
            (Argument::Saved, Some(self.saved)),
            (Argument::Merged, self.merged),
            (Argument::RunningMean, Some(self.running.mean)),
            (Argument::RunningVariance, Some(self.running.variance)),
            (Argument::Batches, self.running.batches),
        ]
    }
}

impl Kind for ScaleShift {
    type Buffers<'a> = ScaleShiftBuffers<'a>;
}

impl<'a> Buffers<'a> for ScaleShiftBuffers<'a> {
    fn given(&self) -> Given<'a> {
        vec![
            (Argument::X, Some(self.x)),
            (Argument::Residual, self.residual),
            (Argument::Gamma, self.gamma),
            (Argument::Beta, self.beta),
            (Argument::Saved, Some(self.saved)),
            (Argument::Y, Some(self.y)),
            (Argument::Mask, self.mask),
        ]
    }
}

impl Kind for BackwardSums {
    type Buffers<'a> = BackwardSumsBuffers<'a>;
}

impl<'a> Buffers<'a> for BackwardSumsBuffers<'a> {
    fn given(&self) -> Given<'a> {
        vec![
            (Argument::X, Some(self.x)),
            (Argument::Dy, Some(self.dy)),
            (Argument::Saved, Some(self.saved)),
            (Argument::Gamma, self.gamma),
            (Argument::Beta, self.beta),
            (Argument::Mask, self.mask),
            (Argument::MergedSums, Some(self.merged_sums)),
        ]
    }

    fn scratch(&self) -> Option<BufferSlice<'a>> {
        self.scratch
    }
}

impl Kind for BackwardMerge {
    type Buffers<'a> = BackwardMergeBuffers<'a>;
}

impl<'a> Buffers<'a> for BackwardMergeBuffers<'a> {
    fn given(&self) -> Given<'a> {
        vec![
            (Argument::Sums, Some(self.sums)),
            (Argument::Saved, Some(self.saved)),
            (Argument::Merged, self.merged),
            (Argument::Coefficients, self.coefficients),
            (Argument::Dgamma, self.dgamma),
            (Argument::Dbeta, self.dbeta),
        ]
    }
}

impl Kind for BackwardInput {
    type Buffers<'a> = BackwardInputBuffers<'a>;
}

impl<'a> Buffers<'a> for BackwardInputBuffers<'a> {
    fn given(&self) -> Given<'a> {
        vec![
            (Argument::X, Some(self.x)),
            (Argument::Dy, Some(self.dy)),
            (Argument::Saved, Some(self.saved)),
            (Argument::Gamma, self.gamma),
            (Argument::Beta, self.beta),
            (Argument::Mask, self.mask),
            (Argument::Coefficients, Some(self.coefficients)),
            (Argument::Dx, Some(self.dx)),
            (Argument::Dresidual, self.dresidual),
        ]
    }
}
