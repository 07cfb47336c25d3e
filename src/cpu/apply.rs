//! The elementwise pass: normalise, scale, shift, add the residual, activate.

use std::ops::Range;

use pulp::Arch;

use super::kernel::{Kernel, Variant};
use super::line::{LINE, Line, chunk};
use super::partition::{Columns, Planes, View};
use super::store::{Fill, Store};

/// How the values of one channel become its outputs: `z = (x − anchor) · scale + shift`.
///
/// The anchor is the mean rounded to f32. What the rounding left, at most half a unit in its last place, is in the shift:
/// that changes the shift alone, and by less than a standard deviation where f32 tells the values apart at all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Normalise {
    pub(super) anchor: f32,
    pub(super) scale: f32,
    pub(super) shift: f32,
}

/// [`Normalise`] for each record of a view.
pub(super) struct Normalises {
    pub(super) anchor: Spread,
    pub(super) scale: Spread,
    pub(super) shift: Spread,
}

impl Normalises {
    #[inline(always)]
    pub(super) fn slice(&self, first: usize, width: usize) -> NormaliseSlices<'_> {
        let Self { anchor, scale, shift } = self;
        NormaliseSlices { anchor, scale, shift }.range(first, width)
    }

    #[inline(always)]
    pub(super) fn at(&self, i: usize) -> Normalise {
        Normalise { anchor: self.anchor[i], scale: self.scale[i], shift: self.shift[i] }
    }
}

/// One value for each record of a view. The first lies at the start of a cache line.
pub(super) struct Spread {
    lines: Vec<Line>,
    width: usize,
}

impl Spread {
    /// From one value per channel.
    #[inline(always)]
    pub(super) fn new(view: &View, channels: impl ExactSizeIterator<Item = f32>) -> Self {
        let (n, width) = (view.records_per_channel(), view.width());
        let period = channels.len() * n;
        let mut lines = vec![Line::default(); width.div_ceil(LINE)];
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut lines);
        let (first, again) = values[..width].split_at_mut(period);
        if n == 1 {
            first.iter_mut().zip(channels).for_each(|(value, channel)| *value = channel);
        } else {
            first.chunks_mut(n).zip(channels).for_each(|(values, channel)| values.fill(channel));
        }
        again.chunks_mut(period).for_each(|again| again.copy_from_slice(first));
        Self { lines, width }
    }
}

impl std::ops::Deref for Spread {
    type Target = [f32];

    #[inline(always)]
    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.width]
    }
}

/// A part of [`Normalises`]: three slices of one length.
#[derive(Clone, Copy)]
pub(super) struct NormaliseSlices<'a> {
    anchor: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
}

impl<'a> NormaliseSlices<'a> {
    #[inline(always)]
    pub(super) fn range(self, first: usize, width: usize) -> Self {
        Self {
            anchor: &self.anchor[first..first + width],
            scale: &self.scale[first..first + width],
            shift: &self.shift[first..first + width],
        }
    }

    /// The first `W` places.
    #[inline(always)]
    pub(super) fn chunk<const W: usize>(self) -> NormaliseChunk<W> {
        NormaliseChunk { anchor: chunk(self.anchor), scale: chunk(self.scale), shift: chunk(self.shift) }
    }

    #[inline(always)]
    pub(super) fn at(&self, i: usize) -> Normalise {
        Normalise { anchor: self.anchor[i], scale: self.scale[i], shift: self.shift[i] }
    }
}

/// [`NormaliseSlices`] in arrays of known length.
pub(super) struct NormaliseChunk<const W: usize> {
    anchor: [f32; W],
    scale: [f32; W],
    shift: [f32; W],
}

impl<const W: usize> NormaliseChunk<W> {
    #[inline(always)]
    pub(super) fn at(&self, i: usize) -> Normalise {
        Normalise { anchor: self.anchor[i], scale: self.scale[i], shift: self.shift[i] }
    }
}

/// `(x − anchor) · scale + shift (+ residual)` from `x − anchor`: forward and backward compute it alike, bit for bit.
#[inline(always)]
pub(super) fn pre_activation<const RESIDUAL: bool>(n: &Normalise, from_anchor: f32, residual: f32) -> f32 {
    let z = from_anchor * n.scale + n.shift;
    if RESIDUAL { z + residual } else { z }
}

/// What the elementwise pass reads.
#[derive(Clone, Copy)]
pub(super) struct Apply<'a> {
    pub(super) simd: Arch,
    pub(super) x: &'a [f32],
    pub(super) residual: Option<&'a [f32]>,
    pub(super) relu: bool,
}

impl Apply<'_> {
    fn variant(&self) -> Variant {
        Variant { simd: self.simd, relu: self.relu, residual: self.residual.is_some() }
    }

    /// Writes `y`, which starts at element `start` of the tensor.
    pub(super) fn planes(&self, planes: &Planes, normalise: &Normalises, start: usize, y: &mut [f32]) {
        let range = start..start + y.len();
        let x = &self.x[range.clone()];
        // Without a residual anything readable of the right length will do.
        let residual = self.residual.map_or(x, |residual| &residual[range]);
        let store = &Store::of(y, self.x.len(), planes.inner);
        self.variant().run(ApplyPlanes { planes, normalise, start, x, residual, y, store });
    }

    /// Writes `y`, which starts at row `row` of the matrix.
    pub(super) fn columns(&self, columns: &Columns, normalise: &Normalises, row: usize, y: &mut [f32]) {
        let start = row * columns.width;
        let range = start..start + y.len();
        let x = &self.x[range.clone()];
        let residual = self.residual.map_or(x, |residual| &residual[range]);
        let store = &Store::of(y, self.x.len(), columns.width);
        self.variant().run(ApplyColumns { normalise, width: columns.width, x, residual, y, store });
    }
}

struct ApplyPlanes<'a> {
    planes: &'a Planes,
    normalise: &'a Normalises,
    start: usize,
    x: &'a [f32],
    residual: &'a [f32],
    y: &'a mut [f32],
    store: &'a Store,
}

impl Kernel for ApplyPlanes<'_> {
    type Output = ();

    #[expect(unsafe_code, reason = "the store's promise")]
    #[inline(always)]
    fn run<const RELU: bool, const RESIDUAL: bool>(self) {
        for (channel, run) in self.planes.runs(self.start, self.y.len()) {
            let (x, residual, y) = (&self.x[run.clone()], &self.residual[run.clone()], &mut self.y[run]);
            // SAFETY: the task that made the store drops it before it ends, and reads nothing of its output.
            unsafe { self.store.write(y, &ApplyRun::<RELU, RESIDUAL> { n: self.normalise.at(channel), x, residual }) };
        }
    }
}

/// A run of one channel.
struct ApplyRun<'a, const RELU: bool, const RESIDUAL: bool> {
    n: Normalise,
    x: &'a [f32],
    residual: &'a [f32],
}

impl<const RELU: bool, const RESIDUAL: bool> Fill for ApplyRun<'_, RELU, RESIDUAL> {
    #[inline(always)]
    fn fill(&self, range: Range<usize>, y: &mut [f32]) {
        for ((y, x), r) in y.iter_mut().zip(&self.x[range.clone()]).zip(&self.residual[range]) {
            *y = one::<RELU, RESIDUAL>(&self.n, *x, *r);
        }
    }
}

struct ApplyColumns<'a> {
    normalise: &'a Normalises,
    width: usize,
    x: &'a [f32],
    residual: &'a [f32],
    y: &'a mut [f32],
    store: &'a Store,
}

impl Kernel for ApplyColumns<'_> {
    type Output = ();

    #[expect(unsafe_code, reason = "the store's promise")]
    #[inline(always)]
    fn run<const RELU: bool, const RESIDUAL: bool>(self) {
        let rows = self.x.chunks(self.width).zip(self.residual.chunks(self.width));
        for (y, (x, residual)) in self.y.chunks_mut(self.width).zip(rows) {
            let n = self.normalise.slice(0, y.len());
            // SAFETY: the task that made the store drops it before it ends, and reads nothing of its output.
            unsafe { self.store.write(y, &ApplyRow::<RELU, RESIDUAL> { n, x, residual }) };
        }
    }
}

/// A row, each place of which is of its own record.
struct ApplyRow<'a, const RELU: bool, const RESIDUAL: bool> {
    n: NormaliseSlices<'a>,
    x: &'a [f32],
    residual: &'a [f32],
}

impl<const RELU: bool, const RESIDUAL: bool> Fill for ApplyRow<'_, RELU, RESIDUAL> {
    #[inline(always)]
    fn fill(&self, range: Range<usize>, y: &mut [f32]) {
        let (first, width) = (range.start, y.len());
        let (x, residual) = (&self.x[first..][..width], &self.residual[first..][..width]);
        let n = self.n.range(first, width);
        for i in 0..width {
            y[i] = one::<RELU, RESIDUAL>(&n.at(i), x[i], residual[i]);
        }
    }
}

#[inline(always)]
fn one<const RELU: bool, const RESIDUAL: bool>(n: &Normalise, x: f32, residual: f32) -> f32 {
    let z = pre_activation::<RESIDUAL>(n, x - n.anchor, residual);
    // Written so that a NaN stays one.
    if RELU && z <= 0.0 { 0.0 } else { z }
}
