//! What will be dispatched, as data: computed by integers alone, without a device.

mod facts;
mod geometry;
mod operation;
mod program;
mod tuning;

pub use facts::{AdapterKind, DeviceFacts};
pub(crate) use geometry::grid;
pub use geometry::{ADDITIONS_PER_FOLD, STEPS_PER_FOLD, Window};
pub use operation::{Count, Gradients, Operation, ParameterGradients, Plan, mask_bytes};
pub(crate) use program::written_with;
pub use program::{Access, Argument, Kernel, Program, Statistics, Walk};
pub use tuning::Tuning;

use crate::shape::Shape;

/// The uniform that a dispatch reads; the same struct as in `parameters.wgsl`, which a test holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
#[allow(missing_docs, reason = "documented once, in parameters.wgsl")]
pub struct Parameters {
    pub outer: u32,
    pub channels: u32,
    pub inner: u32,
    pub elements: u32,
    pub window: u32,
    pub grid_width: u32,
    pub workgroups: u32,
    pub first_part: u32,
    pub first_column: u32,
    pub column_count: u32,
    pub slots: u32,
    pub planes_per_part: u32,
    pub phases: u32,
    pub chunk: u32,
    pub chunks: u32,
    pub columns: u32,
    pub rows: u32,
    pub rows_per_part: u32,
    pub values: u32,
    pub epsilon: f32,
    pub momentum: f32,
    pub zero: u32,
}

impl Parameters {
    fn of(shape: &Shape) -> Self {
        Self {
            outer: shape.outer(),
            channels: shape.channels(),
            inner: shape.inner(),
            elements: shape.elements(),
            values: shape.values_per_channel(),
            phases: 1,
            chunks: 1,
            column_count: 1,
            ..Self::default()
        }
    }
}

/// One dispatch of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// What runs.
    pub program: Program,
    /// The grid, in workgroups.
    pub workgroups: [u32; 3],
    /// What it is told.
    pub parameters: Parameters,
    /// The stretch of the tensors that is bound.
    pub window: Option<Window>,
}
