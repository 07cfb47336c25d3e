//! Moments: count, mean and M2 of the values of a channel, by shifted sums and Chan's formula.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::Saved;
use super::line::{Aligned, chunk};
use super::partition::{ColumnSums, Columns, FEW_COLUMNS, GROUP_PLANES, Planes, TILE_COLUMNS, TILE_VALUES, View};
use super::reduce::Record;

/// Values that are summed side by side: independent sums hide the latency of an addition.
pub(super) const LANES: usize = 32;
/// Lanes of a step at the end of a run: short planes are little else. Each step has lanes of its own, as in a whole turn, and
/// what is left the last ones, so that a lane sums no more than two values for each such run beside its whole turns.
pub(super) const STEP: usize = 8;

/// Count, mean and sum of squared deviations of some values: a monoid under [`Record::merge`].
///
/// In f64, so that merging loses nothing at mean/std of 1e6 and beyond.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moments {
    /// Exact below 2^53.
    pub(super) count: f64,
    pub(super) mean: f64,
    /// `Σ (x − mean)²`
    pub(super) m2: f64,
}

impl Moments {
    /// From sums about an anchor: `mean = anchor + s/n`, `M2 = q − s²/n` with `s = Σ (x − anchor)`,
    /// `q = Σ (x − anchor)²`.
    #[inline(always)]
    fn from_sums(count: f64, anchor: f32, shifted: f64, squared: f64) -> Self {
        let shift = shifted * (1.0 / count);
        let m2 = squared - shifted * shift;
        // The difference can fall below zero by rounding; a NaN stays one.
        Self { count, mean: f64::from(anchor) + shift, m2: if m2 < 0.0 { 0.0 } else { m2 } }
    }

    /// What the later passes need.
    #[inline(always)]
    pub(super) fn saved(self, epsilon: f32) -> Saved {
        let anchor = self.mean as f32;
        let variance = (self.m2 / self.count) as f32;
        Saved {
            anchor,
            offset: (self.mean - f64::from(anchor)) as f32,
            inverse_std: super::inverse_std(variance, epsilon),
            variance,
        }
    }
}

impl Record for Moments {
    /// The moments of both sets of values together (Chan, Golub & LeVeque 1979).
    #[inline(always)]
    fn merge(self, other: Self) -> Self {
        if self.count == 0.0 {
            return other;
        }
        if other.count == 0.0 {
            return self;
        }
        let count = self.count + other.count;
        let share = other.count / count;
        let delta = other.mean - self.mean;
        Self { count, mean: self.mean + delta * share, m2: self.m2 + other.m2 + delta * delta * self.count * share }
    }
}

/// The moments of one part of `x`, in the records of `view` from `first` on.
pub(super) fn of_part(simd: Arch, view: &View, x: &[f32], part: usize, first: usize, into: &mut [Moments]) {
    match view {
        View::Planes(planes) => simd.dispatch(PlanesPart { x, planes, part, first, into }),
        View::Columns(columns) => simd.dispatch(ColumnsPart { x, columns, part, first, into }),
    }
}

/// Two sums per lane: `Σ (x − anchor)` and its square here, `Σ dy` and `Σ dy·(x − mean)` in the backward pass.
#[repr(align(64))]
pub(super) struct PairSums {
    pub(super) first: [f32; LANES],
    pub(super) second: [f32; LANES],
}

impl PairSums {
    #[inline(always)]
    pub(super) const fn zero() -> Self {
        Self { first: [0.0; LANES], second: [0.0; LANES] }
    }

    /// Both sums over all lanes.
    #[inline(always)]
    pub(super) fn total(&self) -> (f64, f64) {
        (total(&self.first), total(&self.second))
    }
}

#[inline(always)]
fn total(lanes: &[f32; LANES]) -> f64 {
    let mut eight = [0.0f32; 8];
    for l in 0..8 {
        eight[l] = (lanes[l] + lanes[l + 8]) + (lanes[l + 16] + lanes[l + 24]);
    }
    let mut four = [0.0f64; 4];
    for l in 0..4 {
        four[l] = f64::from(eight[l]) + f64::from(eight[l + 4]);
    }
    (four[0] + four[2]) + (four[1] + four[3])
}

/// The moments of one part of some neighbouring channels: `into[i]` is that of channel `first + i`, and there are at
/// most [`GROUP_PLANES`] of them.
struct PlanesPart<'a> {
    x: &'a [f32],
    planes: &'a Planes,
    part: usize,
    first: usize,
    into: &'a mut [Moments],
}

impl WithSimd for PlanesPart<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, planes, part, first, into } = self;
        let group = into.len();
        // Made once: 8 KiB of zeros for each block of one plane took as long as half of its sums.
        let mut anchors = [0.0; GROUP_PLANES];
        let mut sums = [const { PairSums::zero() }; GROUP_PLANES];
        let (anchors, sums) = (&mut anchors[..group], &mut sums[..group]);
        for (outer, run) in planes.part_blocks(part) {
            let count = (outer.len() * run.len()) as f64;
            for (i, (k, sums)) in anchors.iter_mut().zip(&mut *sums).enumerate() {
                *k = anchor(&x[planes.run(outer.start, first + i, &run)]);
                *sums = PairSums::zero();
            }
            for o in outer {
                for (i, (k, sums)) in anchors.iter().zip(&mut *sums).enumerate() {
                    add_run(sums, &x[planes.run(o, first + i, &run)], *k);
                }
            }
            for (into, (k, sums)) in into.iter_mut().zip(anchors.iter().zip(&*sums)) {
                let (shifted, squared) = sums.total();
                *into = into.merge(Moments::from_sums(count, *k, shifted, squared));
            }
        }
    }
}

/// `x₀ + mean(first tile − x₀)`: exactly `x₀` where the tile is constant, however the division rounds.
#[inline(always)]
fn anchor(run: &[f32]) -> f32 {
    let tile = &run[..run.len().min(TILE_VALUES)];
    let x0 = tile[0];
    let shifted: f32 = tile.iter().map(|x| x - x0).sum();
    x0 + shifted / tile.len() as f32
}

#[inline(always)]
fn add_run(sums: &mut PairSums, run: &[f32], anchor: f32) {
    let (chunks, rest) = run.as_chunks::<LANES>();
    for chunk in chunks {
        for (l, x) in chunk.iter().enumerate() {
            let d = x - anchor;
            sums.first[l] += d;
            sums.second[l] += d * d;
        }
    }
    let (steps, rest) = rest.as_chunks::<STEP>();
    for (k, step) in steps.iter().enumerate() {
        for (l, x) in step.iter().enumerate() {
            let d = x - anchor;
            sums.first[STEP * k + l] += d;
            sums.second[STEP * k + l] += d * d;
        }
    }
    if rest.is_empty() {
        return;
    }
    match run.last_chunk::<STEP>() {
        // The last lanes again, without those that are counted already: no scalar loop.
        Some(last) => {
            let counted = STEP - rest.len();
            for (l, x) in last.iter().enumerate() {
                let d = if l >= counted { x - anchor } else { 0.0 };
                sums.first[LANES - STEP + l] += d;
                sums.second[LANES - STEP + l] += d * d;
            }
        }
        None => {
            for (l, x) in rest.iter().enumerate() {
                let d = x - anchor;
                sums.first[LANES - STEP + l] += d;
                sums.second[LANES - STEP + l] += d * d;
            }
        }
    }
}

/// The moments of some columns over one part of the rows: `into[i]` is that of column `first + i`, and there are at
/// most [`TILE_COLUMNS`] of them.
struct ColumnsPart<'a> {
    x: &'a [f32],
    columns: &'a Columns,
    part: usize,
    first: usize,
    into: &'a mut [Moments],
}

impl WithSimd for ColumnsPart<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // Few columns are spared most of the zeros.
        match self.into.len() {
            ..=FEW_COLUMNS => self.run::<FEW_COLUMNS>(),
            _ => self.run::<TILE_COLUMNS>(),
        }
    }
}

impl ColumnsPart<'_> {
    /// Of at most `N` columns.
    #[inline(always)]
    fn run<const N: usize>(self) {
        let Self { x, columns, part, first, into } = self;
        let rows = columns.part(part);
        let width = into.len();

        let mut anchors = Aligned([0.0f32; N]);
        let anchor = &mut anchors.0[..width];
        let tile = rows.len().min(TILE_VALUES);
        let x0 = columns.piece(x, rows.start, first, width);
        for r in rows.start + 1..rows.start + tile {
            let x = columns.piece(x, r, first, width);
            for i in 0..width {
                anchor[i] += x[i] - x0[i];
            }
        }
        for (k, x0) in anchor.iter_mut().zip(x0) {
            *k = x0 + *k / tile as f32;
        }

        let (mut shifted, mut squared) = (Aligned([0.0f64; N]), Aligned([0.0f64; N]));
        let (shifted, squared) = (&mut shifted.0[..width], &mut squared.0[..width]);
        let of = Shifted { x, columns, first, anchor };
        let longer = columns.sum::<N>(part, first, [&mut *shifted, &mut *squared], of);
        let count = rows.len() as f64;
        for (i, moments) in into.iter_mut().enumerate() {
            let count = if i < longer { count + 1.0 } else { count };
            *moments = Moments::from_sums(count, anchor[i], shifted[i], squared[i]);
        }
    }
}

/// Sums about an anchor for each column.
#[derive(Clone, Copy)]
struct Shifted<'a> {
    x: &'a [f32],
    columns: &'a Columns,
    /// Of a row, the place of the first column.
    first: usize,
    anchor: &'a [f32],
}

impl ColumnSums for Shifted<'_> {
    #[inline(always)]
    fn add_rows<const W: usize>(self, rows: Range<usize>, shifted: &mut [f32], squared: &mut [f32]) {
        let anchor: [f32; W] = chunk(self.anchor);
        let (mut in_shifted, mut in_squared): ([f32; W], [f32; W]) = (chunk(shifted), chunk(squared));
        for row in rows {
            let x = self.columns.piece(self.x, row, self.first, W);
            for i in 0..W {
                let d = x[i] - anchor[i];
                in_shifted[i] += d;
                in_squared[i] += d * d;
            }
        }
        shifted.copy_from_slice(&in_shifted);
        squared.copy_from_slice(&in_squared);
    }

    /// One row at a time: several at once need fewer loads and stores of the sums, but the prefetcher of the memory does not
    /// follow: training on 25 MiB took half as long again.
    #[inline(always)]
    fn add_row(self, row: usize, shifted: &mut [f32], squared: &mut [f32]) {
        let width = shifted.len();
        let x = self.columns.piece(self.x, row, self.first, width);
        let (anchor, squared) = (&self.anchor[..width], &mut squared[..width]);
        for i in 0..width {
            let d = x[i] - anchor[i];
            shifted[i] += d;
            squared[i] += d * d;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_unequal_parts_equals_the_unsplit_moments() {
        let values: Vec<f64> = (0..100).map(|i| 1e6 + f64::from(i * i % 37)).collect();
        let one = |x: &f64| Moments { count: 1.0, mean: *x, m2: 0.0 };
        let whole = |v: &[f64]| v.iter().map(one).fold(Moments::default(), Moments::merge);
        let all = whole(&values);
        let mean = values.iter().sum::<f64>() / 100.0;
        let m2: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
        for cut in [0, 1, 37, 100] {
            let merged = whole(&values[..cut]).merge(whole(&values[cut..]));
            assert!((merged.mean - mean).abs() < 1e-8 && (merged.m2 / m2 - 1.0).abs() < 1e-9, "{cut}: {merged:?}");
            assert_eq!(merged.count, all.count);
        }
    }
}
