//! Values that start where a cache line does.
//!
//! What the loops read and write beside the tensors – sums, coefficients – then never straddles two lines, which would
//! cost each load and store a second turn.

/// Values of a cache line.
pub(super) const LINE: usize = 16;

/// The values of one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Line([f32; LINE]);

/// Values at the start of a cache line.
#[repr(align(64))]
pub(super) struct Aligned<T>(pub(super) T);

/// The first `W` values, in an array that registers can hold.
#[inline(always)]
pub(super) fn chunk<const W: usize>(values: &[f32]) -> [f32; W] {
    let mut chunk = [0.0; W];
    chunk.copy_from_slice(&values[..W]);
    chunk
}
