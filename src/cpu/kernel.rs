//! Loops compiled once for each SIMD level and each activation.
//!
//! On x86 the levels are SSE2 and AVX2. AVX-512 (pulp's `x86-v4`) was measured too: between 0.95 and 1.2 of AVX2's time
//! on an AMD EPYC of 2022, so it is left out.

use pulp::{Arch, Simd, WithSimd};

/// A loop that is compiled apart for each SIMD level, with and without ReLU, with and without a residual.
pub(super) trait Kernel {
    /// What the loop finds.
    type Output;

    /// Must be `#[inline(always)]`, with all that it calls in its loops, so that they are compiled for the SIMD level.
    fn run<const RELU: bool, const RESIDUAL: bool>(self) -> Self::Output;
}

/// Which variants of its kernels a call uses.
#[derive(Clone, Copy)]
pub(super) struct Variant {
    pub(super) simd: Arch,
    pub(super) relu: bool,
    pub(super) residual: bool,
}

impl Variant {
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match (self.relu, self.residual) {
            (false, false) => self.simd.dispatch(Compiled::<false, false, K>(kernel)),
            (false, true) => self.simd.dispatch(Compiled::<false, true, K>(kernel)),
            (true, false) => self.simd.dispatch(Compiled::<true, false, K>(kernel)),
            (true, true) => self.simd.dispatch(Compiled::<true, true, K>(kernel)),
        }
    }
}

/// A struct and not a closure: the compiler does not reliably inline a closure into the function that has the SIMD
/// level's instructions, and then compiles it without them.
struct Compiled<const RELU: bool, const RESIDUAL: bool, K>(K);

impl<const RELU: bool, const RESIDUAL: bool, K: Kernel> WithSimd for Compiled<RELU, RESIDUAL, K> {
    type Output = K::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> K::Output {
        self.0.run::<RELU, RESIDUAL>()
    }
}
