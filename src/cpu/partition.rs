//! How the values of each channel lie in memory, and the grid of blocks and parts they are reduced in.
//!
//! The grid depends on the shape alone, never on the number of threads: that makes every result bitwise repeatable.
//!
//! Every pass walks the tensor in the order of memory. Letting a task finish whole channels while they are in its cache
//! reads less memory, but in splinters that no prefetcher follows: training took 1.4 to 1.9 times as long on
//! (32,64,56,56), (32,512,7,7) and (64,256,28,28) (AMD EPYC of 2022, 1 MiB of second-level cache).

use std::ops::Range;

use super::line::Aligned;
use super::moments::LANES;
use crate::shape::Shape;

/// Most values that are summed about one anchor: [`SUM_VALUES`] for each lane.
///
/// A block's anchor is the mean of its first [`TILE_VALUES`] values. Where those mislead by δ they also contribute
/// `TILE_VALUES · δ²` to the block's own M2, so the relative error stays below `BLOCK_VALUES / TILE_VALUES` ULPs,
/// whatever the data.
const BLOCK_VALUES: usize = SUM_VALUES * LANES;
/// Values that a block's anchor is the mean of.
pub(super) const TILE_VALUES: usize = 16;
/// Blocks that one part of a channel is made of: 256 KiB.
const PART_BLOCKS: usize = 16;
/// Values that a group of neighbouring small planes has, if there are planes enough: 32 KiB of contiguous memory keep
/// the prefetcher busy.
const GROUP_VALUES: usize = 8192;
/// Most planes of a group: their sums are 8 KiB.
pub(super) const GROUP_PLANES: usize = 32;
/// Planes from this size on are walked one by one; smaller ones as the columns of a matrix.
const SMALLEST_PLANE: usize = 32;
/// Most columns that are summed side by side: anchors, both sums and their totals in f64 are 14 KiB, half of a
/// first-level cache.
pub(super) const TILE_COLUMNS: usize = 512;
/// Columns whose anchors and both sums of moments are in registers at once, of which AVX2 has sixteen of eight lanes, the first
/// that fits a shape; [`Columns::sum`] has a case for each.
const IN_REGISTERS: [usize; 3] = [32, 24, FEW_COLUMNS];
/// The most of these.
pub(super) const FEW_COLUMNS: usize = 40;
/// Most rows of a part, which are summed about one anchor.
const PART_ROWS: usize = 1024;
/// Most additions to a running sum in f32, as `check::bounds` has it, but for a shorter row at the end; longer sums go on in f64.
pub(super) const SUM_VALUES: usize = 128;
/// Matrices from this width on offer enough columns to share out, and their rows need not be split finely.
const WIDE: usize = 1024;
/// Elements of one task of an elementwise pass: 256 KiB.
pub(super) const TASK_ELEMENTS: usize = 1 << 16;

/// The two ways to walk a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Channels first: each channel is a run of contiguous values per outer index.
    Planes(Planes),
    /// Channels last, dense layers and small planes: neighbouring values belong to different channels.
    Columns(Columns),
}

impl View {
    /// The way that suits elementwise passes over `shape`, which must not be empty.
    pub(super) fn of(shape: &Shape) -> Self {
        Self::with_columns(shape, Columns::elementwise)
    }

    /// The way that suits sums over `shape`, which must not be empty: as [`View::of`], but that rows are so short that their
    /// sums stay in registers, if such rows hold whole outer indices.
    pub(super) fn of_sums(shape: &Shape) -> Self {
        Self::with_columns(shape, Columns::sums)
    }

    fn with_columns(shape: &Shape, columns: impl Fn(usize, usize, usize) -> Columns) -> Self {
        let (outer, channels, inner) = (shape.outer() as usize, shape.channels() as usize, shape.inner() as usize);
        // One channel is one plane, whatever its axis.
        let (outer, inner) = if channels == 1 { (1, outer * inner) } else { (outer, inner) };
        if inner >= SMALLEST_PLANE || channels == 1 {
            Self::Planes(Planes { outer, channels, inner })
        } else {
            Self::Columns(columns(outer, channels, inner))
        }
    }
}

impl View {
    /// Records of one part: one per channel, or one per column.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Planes(planes) => planes.channels,
            Self::Columns(columns) => columns.width,
        }
    }

    /// Parts of each channel, merged in order.
    pub(super) fn parts(&self) -> usize {
        match self {
            Self::Planes(planes) => planes.blocks().div_ceil(PART_BLOCKS),
            Self::Columns(columns) => columns.rows.div_ceil(columns.part_rows),
        }
    }

    /// Records that are summed side by side, in the order of memory.
    pub(super) fn tile(&self) -> usize {
        match self {
            Self::Planes(planes) => GROUP_VALUES.div_ceil(planes.inner).min(GROUP_PLANES).min(planes.channels),
            Self::Columns(_) => TILE_COLUMNS,
        }
    }

    /// Neighbouring records that belong to the same channel.
    pub(super) fn records_per_channel(&self) -> usize {
        match self {
            Self::Planes(_) => 1,
            Self::Columns(columns) => columns.inner,
        }
    }
}

/// `outer · channels` contiguous planes of `inner` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planes {
    pub(super) outer: usize,
    pub(super) channels: usize,
    pub(super) inner: usize,
}

impl Planes {
    /// Blocks of one channel: whole planes while they are small, even pieces of one plane otherwise.
    fn blocks(&self) -> usize {
        if self.inner < BLOCK_VALUES {
            self.outer.div_ceil(self.planes_per_block())
        } else {
            self.outer * self.inner.div_ceil(BLOCK_VALUES)
        }
    }

    /// As many as give no lane more than [`SUM_VALUES`]: one has a value more of each plane that does not fill all lanes.
    fn planes_per_block(&self) -> usize {
        SUM_VALUES / self.inner.div_ceil(LANES)
    }

    /// The blocks of one part: outer indices, and the range of each of those planes.
    pub(super) fn part_blocks(&self, part: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let planes = *self;
        (part * PART_BLOCKS..((part + 1) * PART_BLOCKS).min(planes.blocks())).map(move |block| planes.block(block))
    }

    fn block(&self, block: usize) -> (Range<usize>, Range<usize>) {
        if self.inner < BLOCK_VALUES {
            let planes = self.planes_per_block();
            (block * planes..((block + 1) * planes).min(self.outer), 0..self.inner)
        } else {
            let pieces = self.inner.div_ceil(BLOCK_VALUES);
            let (plane, piece) = (block / pieces, block % pieces);
            // In u64: the product exceeds a 32-bit usize.
            let cut = |at: usize| (at as u64 * self.inner as u64 / pieces as u64) as usize;
            (plane..plane + 1, cut(piece)..cut(piece + 1))
        }
    }

    /// The contiguous runs of one channel among the `length` elements from `start` on.
    #[inline(always)]
    pub(super) fn runs(&self, start: usize, length: usize) -> Runs {
        let first = self.inner - start % self.inner;
        Runs { planes: *self, channel: start / self.inner % self.channels, at: 0, end: first, length }
    }

    /// Where `run` of the plane of `channel` at `outer` lies in the tensor.
    pub(super) fn run(&self, outer: usize, channel: usize, run: &Range<usize>) -> Range<usize> {
        let plane = (outer * self.channels + channel) * self.inner;
        plane + run.start..plane + run.end
    }
}

/// Channels and ranges, counted from where the runs start.
pub(super) struct Runs {
    planes: Planes,
    channel: usize,
    at: usize,
    end: usize,
    length: usize,
}

impl Iterator for Runs {
    type Item = (usize, Range<usize>);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.length {
            return None;
        }
        let run = (self.channel, self.at..self.end.min(self.length));
        self.at = self.end;
        self.end += self.planes.inner;
        self.channel = if self.channel + 1 == self.planes.channels { 0 } else { self.channel + 1 };
        Some(run)
    }
}

/// A matrix whose columns each belong to one channel: `channel = column / inner % channels`.
///
/// A row holds `fold` outer indices, so that a tensor of few channels still fills the SIMD lanes; the outer indices
/// left over make a last, shorter row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) channels: usize,
    pub(super) inner: usize,
    /// Elements of a row, `fold · channels · inner`.
    pub(super) width: usize,
    /// Full rows.
    pub(super) rows: usize,
    /// Elements of the last, shorter row.
    pub(super) tail: usize,
    /// Rows of one part.
    pub(super) part_rows: usize,
}

impl Columns {
    fn elementwise(outer: usize, channels: usize, inner: usize) -> Self {
        let one = channels * inner;
        Self::new(outer, channels, inner, [long_fold(one), register_fold(one)])
    }

    fn sums(outer: usize, channels: usize, inner: usize) -> Self {
        let one = channels * inner;
        Self::new(outer, channels, inner, [register_fold(one), long_fold(one)])
    }

    /// With the first of `folds` that leaves rows enough.
    fn new(outer: usize, channels: usize, inner: usize, folds: [usize; 2]) -> Self {
        let one = channels * inner;
        let fold = folds.into_iter().find(|fold| outer / fold >= 16).unwrap_or(1);
        let (width, rows, tail) = (fold * one, outer / fold, outer % fold * one);
        let part_rows =
            if width >= WIDE { PART_ROWS } else { rows.div_ceil(256).max(TASK_ELEMENTS / width).min(PART_ROWS) };
        Self { channels, inner, width, rows, tail, part_rows }
    }

    /// The full rows of `part`; the shorter row belongs to the last part.
    pub(super) fn part(&self, part: usize) -> Range<usize> {
        part * self.part_rows..((part + 1) * self.part_rows).min(self.rows)
    }

    /// Both sums over `part` of each of some columns, from `first` on, of which there are at most `N`: in registers where they
    /// are so few, and else a row at a time. Added to the totals; returns how many of the columns have a value more, in the
    /// shorter row.
    ///
    /// (Strips of 32 of many columns, by eight rows, were faster in bare loops while caches hold the tensor, and not here; beyond
    /// the caches, where no prefetcher follows from row to row, they took twice as long.)
    #[inline(always)]
    pub(super) fn sum<const N: usize>(
        &self,
        part: usize,
        first: usize,
        totals: [&mut [f64]; 2],
        of: impl ColumnSums,
    ) -> usize {
        let rows = self.part(part);
        let [totals_a, totals_b] = totals;
        let width = totals_a.len();
        let longer = if rows.end == self.rows { self.tail.saturating_sub(first).min(width) } else { 0 };
        let (mut a, mut b) = (Aligned([0.0f32; N]), Aligned([0.0f32; N]));
        let (a, b) = (&mut a.0[..width], &mut b.0[..width]);
        let mut start = rows.start;
        loop {
            let block = start..rows.end.min(start + SUM_VALUES);
            start = block.end;
            match width {
                24 => of.add_rows::<24>(block, a, b),
                32 => of.add_rows::<32>(block, a, b),
                40 => of.add_rows::<40>(block, a, b),
                _ => {
                    // A loop and not a closure, which would be compiled apart, without the SIMD level.
                    for row in block {
                        of.add_row(row, a, b);
                    }
                }
            }
            if start == rows.end && longer > 0 {
                of.add_row(rows.end, &mut a[..longer], &mut b[..longer]);
            }
            for (totals, sums) in [(&mut *totals_a, &mut *a), (&mut *totals_b, &mut *b)] {
                for (total, sum) in totals.iter_mut().zip(&*sums) {
                    *total += f64::from(*sum);
                }
                sums.fill(0.0);
            }
            if start == rows.end {
                return longer;
            }
        }
    }

    /// `width` elements of row `row` of `tensor`, from column `first` on.
    #[inline(always)]
    pub(super) fn piece<'a>(&self, tensor: &'a [f32], row: usize, first: usize, width: usize) -> &'a [f32] {
        &tensor[row * self.width + first..][..width]
    }
}

/// Two sums over rows of each of some columns that lie side by side.
pub(super) trait ColumnSums: Copy {
    /// Adds `rows` of `W` columns with their sums in registers.
    fn add_rows<const W: usize>(self, rows: Range<usize>, first: &mut [f32], second: &mut [f32]);

    /// Adds as many columns of a row as there are sums.
    fn add_row(self, row: usize, first: &mut [f32], second: &mut [f32]);
}

/// The fewest outer indices that fill whole groups of 16 lanes, and 256 columns.
fn long_fold(one: usize) -> usize {
    let period = 16 >> one.trailing_zeros().min(4);
    if one < WIDE { period * 256usize.div_ceil(period * one) } else { 1 }
}

/// The outer indices that make one of [`IN_REGISTERS`], or else those of [`long_fold`].
fn register_fold(one: usize) -> usize {
    let width = IN_REGISTERS.into_iter().find(|width| width.is_multiple_of(one));
    width.map_or(long_fold(one), |width| width / one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_value_of_a_channel_once() {
        for (outer, channels, inner) in
            [(1, 1, 1), (5, 3, 49), (500, 2, 33), (3, 2, 4095), (2, 2, 4096), (2, 3, 70_001), (1, 1, 1 << 22)]
        {
            let planes = Planes { outer, channels, inner };
            let mut next = 0;
            for part in 0..View::Planes(planes).parts() {
                for (rows, run) in planes.part_blocks(part) {
                    assert!(rows.len() * run.len().div_ceil(LANES) <= SUM_VALUES, "{planes:?}");
                    for row in rows {
                        assert_eq!(row * inner + run.start, next, "{planes:?}");
                        next = row * inner + run.end;
                    }
                }
            }
            assert_eq!(next, outer * inner, "{planes:?}");
        }
    }

    #[test]
    fn columns_cover_every_element_once() {
        for (outer, channels, inner) in
            [(1, 2, 1), (1000, 3, 1), (7, 5, 31), (100, 27, 3), (3, 70_000, 1), (401_408, 3, 1)]
        {
            for columns in [Columns::elementwise(outer, channels, inner), Columns::sums(outer, channels, inner)] {
                assert_eq!(columns.rows * columns.width + columns.tail, outer * channels * inner, "{columns:?}");
                assert!(columns.rows > 0 && columns.part_rows > 0 && columns.part_rows <= PART_ROWS, "{columns:?}");
                let rows: usize = (0..View::Columns(columns).parts()).map(|part| columns.part(part).len()).sum();
                assert_eq!(rows, columns.rows, "{columns:?}");
                assert_eq!(columns.width % (channels * inner), 0, "{columns:?}");
            }
        }
    }

    /// Ones and twos; how many columns were summed in registers.
    #[derive(Clone, Copy)]
    struct Ones<'a>(&'a std::cell::Cell<usize>);

    impl ColumnSums for Ones<'_> {
        fn add_rows<const W: usize>(self, rows: Range<usize>, a: &mut [f32], b: &mut [f32]) {
            assert_eq!(W, a.len());
            self.0.set(W);
            rows.for_each(|row| self.add_row(row, a, b));
        }

        fn add_row(self, _: usize, a: &mut [f32], b: &mut [f32]) {
            a.iter_mut().for_each(|a| *a += 1.0);
            b.iter_mut().for_each(|b| *b += 2.0);
            assert!(a.iter().all(|&a| a <= SUM_VALUES as f32 + 1.0), "a running sum is too long");
        }
    }

    #[test]
    fn sums_take_every_row_once_and_few_columns_in_registers() {
        for (outer, channels) in
            [(1000, 24), (1000, 32), (5003, 40), (100_003, 3), (1000, 7), (300_001, 5), (3000, 1500), (2111, 65)]
        {
            let columns = Columns::sums(outer, channels, 1);
            let (mut totals, mut longer) = (Vec::new(), 0);
            for first in (0..columns.width).step_by(TILE_COLUMNS) {
                let width = (columns.width - first).min(TILE_COLUMNS);
                let (mut a, mut b, found) = (vec![0.0; width], vec![0.0; width], std::cell::Cell::new(0));
                for part in 0..View::Columns(columns).parts() {
                    let totals = [&mut a[..], &mut b[..]];
                    longer += match width {
                        ..=FEW_COLUMNS => columns.sum::<FEW_COLUMNS>(part, first, totals, Ones(&found)),
                        _ => columns.sum::<TILE_COLUMNS>(part, first, totals, Ones(&found)),
                    };
                }
                totals.extend(a.into_iter().zip(b));
                assert_eq!(found.get(), if IN_REGISTERS.contains(&width) { width } else { 0 }, "{columns:?}");
            }
            assert_eq!(longer, columns.tail);
            for (i, total) in totals.into_iter().enumerate() {
                let rows = (columns.rows + usize::from(i < columns.tail)) as f64;
                assert_eq!(total, (rows, 2.0 * rows), "{columns:?}");
            }
        }
        assert_eq!(IN_REGISTERS.into_iter().max(), Some(FEW_COLUMNS));
    }

    /// Backward's sums take the coefficients of their columns from the first ones of an elementwise row.
    #[test]
    fn rows_of_sums_are_within_elementwise_rows() {
        for one in 1..=300 {
            for outer in [1, 15, 16, 100, 127, 128, 1000, 5000, 100_000] {
                let (sums, rows) = (Columns::sums(outer, one, 1), Columns::elementwise(outer, one, 1));
                assert!(sums.width <= rows.width && sums.width.is_multiple_of(one), "{sums:?} {rows:?}");
                if IN_REGISTERS.iter().any(|width| width.is_multiple_of(one)) && outer >= 16 * 40 {
                    assert!(IN_REGISTERS.contains(&sums.width), "{sums:?}");
                }
            }
        }
    }
}
