//! How outputs reach memory: through the caches or past them.
//!
//! A store into a line that no cache holds fetches the line first. Where a tensor is so large that the next operation would
//! not find it in the caches either, it is written past them instead: where x becomes y, two bytes move for three.

use std::ops::Range;

use super::line::Aligned;

/// Outputs of at least this many bytes go past the caches: with their input they do not fit 32 MiB of cache. (Measured on two
/// cores with as much: 12 MiB are slower past the caches where these are warm, 25 MiB are not.)
pub(super) const STREAMED_BYTES: usize = 16 << 20;

/// Values of a store past the caches.
const QUAD: usize = 4;

/// Quads that are filled before they are written: so few that reading and writing still overlap.
const QUADS: usize = 32;

/// What one store past the caches takes.
#[repr(C, align(16))]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Quad([f32; QUAD]);

/// What the places of an output become.
pub(super) trait Fill {
    /// Writes the values of the places in `range`. Must be `#[inline(always)]`, so that it is compiled for the SIMD level.
    fn fill(&self, range: Range<usize>, out: &mut [f32]);
}

/// How a task writes its outputs. They are in memory, and other threads see them, once it is dropped.
pub(super) struct Store {
    past_caches: bool,
}

impl Store {
    /// For `part` of a tensor of so many elements, written in runs of so many. Runs must begin and end where a store does: one
    /// that writes a part of a line past the caches and the rest through them waits for both.
    pub(super) fn of(part: &[f32], elements: usize, run: usize) -> Self {
        let whole = run.is_multiple_of(QUAD) && part.as_ptr().cast::<Quad>().is_aligned();
        Self { past_caches: cfg!(target_arch = "x86_64") && 4 * elements >= STREAMED_BYTES && whole }
    }

    /// Fills `out`.
    ///
    /// # Safety
    /// Nothing may access `out` before this thread has dropped the store, which orders what was written before what follows.
    #[expect(unsafe_code, reason = "stores past the caches are ordered by hand")]
    #[inline(always)]
    pub(super) unsafe fn write(&self, out: &mut [f32], values: &impl Fill) {
        let n = out.len();
        if !self.past_caches {
            values.fill(0..n, out);
            return;
        }
        let (head, quads, tail) = bytemuck::pod_align_to_mut::<f32, Quad>(out);
        let (mut start, last) = (head.len(), n - tail.len());
        if start > 0 {
            values.fill(0..start, head);
        }
        for to in quads.chunks_mut(QUADS) {
            let mut filled = Aligned([Quad::default(); QUADS]);
            let filled = &mut filled.0[..to.len()];
            let end = start + QUAD * to.len();
            values.fill(start..end, bytemuck::cast_slice_mut(filled));
            for (quad, to) in filled.iter().zip(to) {
                // SAFETY: the caller's promise.
                unsafe { write_past_caches(quad, to) };
            }
            start = end;
        }
        if last < n {
            values.fill(last..n, tail);
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.past_caches {
            fence();
        }
    }
}

/// # Safety
/// Nothing may access `to` before a [`fence`] of this thread.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "no safe function stores past the caches")]
#[inline(always)]
unsafe fn write_past_caches(quad: &Quad, to: &mut Quad) {
    use std::arch::x86_64::{_mm_load_ps, _mm_stream_ps};
    // SAFETY: both are four values at a multiple of 16 bytes, and SSE belongs to every x86-64; the fence is the caller's promise.
    unsafe { _mm_stream_ps(to.0.as_mut_ptr(), _mm_load_ps(quad.0.as_ptr())) };
}

/// # Safety
/// None is needed here.
#[cfg(not(target_arch = "x86_64"))]
#[expect(unsafe_code, reason = "as where it is needed")]
#[inline(always)]
unsafe fn write_past_caches(quad: &Quad, to: &mut Quad) {
    *to = *quad;
}

/// Orders stores past the caches before all that follows.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "an intrinsic")]
fn fence() {
    // SAFETY: SSE belongs to every x86-64.
    unsafe { std::arch::x86_64::_mm_sfence() };
}

#[cfg(not(target_arch = "x86_64"))]
fn fence() {}

#[cfg(test)]
mod tests {
    use super::*;

    struct Squares;

    impl Fill for Squares {
        #[inline(always)]
        fn fill(&self, range: Range<usize>, out: &mut [f32]) {
            for (out, i) in out.iter_mut().zip(range) {
                *out = (i * i) as f32;
            }
        }
    }

    #[test]
    #[expect(unsafe_code, reason = "the store's promise")]
    fn both_ways_write_the_same_and_nothing_else() {
        for past_caches in [false, true] {
            for (first, length) in (0..6).flat_map(|first| (0..2 * QUAD * QUADS + 9).map(move |n| (first, n))) {
                let mut all = Aligned([-1.0f32; 2 * QUAD * QUADS + 20]);
                let store = Store { past_caches };
                // SAFETY: the store is dropped before the values are read.
                unsafe { store.write(&mut all.0[first..first + length], &Squares) };
                drop(store);
                for (i, &value) in all.0.iter().enumerate() {
                    let inside = (first..first + length).contains(&i);
                    let expected = if inside { ((i - first) * (i - first)) as f32 } else { -1.0 };
                    assert_eq!(value, expected, "{past_caches}: place {i} of {length} from {first} on");
                }
            }
        }
    }

    #[test]
    fn only_large_tensors_in_whole_stores_go_past_the_caches() {
        let large = STREAMED_BYTES / 4;
        let here = cfg!(target_arch = "x86_64");
        let part = Aligned([0.0f32; 8]);
        let found = [(0, large, 196), (4, large, 64), (0, large - 1, 64), (0, large, 49), (1, large, 64)]
            .map(|(first, elements, run)| Store::of(&part.0[first..], elements, run).past_caches);
        assert_eq!(found, [here, here, false, false, false]);
    }
}
