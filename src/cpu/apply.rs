//! The elementwise pass: normalise, scale, shift, add the residual, activate.

use pulp::Arch;

use super::partition::{Columns, Planes};

/// Elements that one step of an elementwise loop works on.
pub(super) const LANES: usize = 16;

/// How the values of one channel become its outputs: `z = ((x − anchor) − offset) · scale + shift`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Normalise {
    pub(super) anchor: f32,
    pub(super) offset: f32,
    pub(super) scale: f32,
    pub(super) shift: f32,
}

/// [`Normalise`] for each of some neighbouring columns.
pub(super) struct NormaliseColumns {
    pub(super) anchor: Vec<f32>,
    pub(super) offset: Vec<f32>,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

impl NormaliseColumns {
    pub(super) fn new(columns: impl Iterator<Item = Normalise> + Clone) -> Self {
        Self {
            anchor: columns.clone().map(|n| n.anchor).collect(),
            offset: columns.clone().map(|n| n.offset).collect(),
            scale: columns.clone().map(|n| n.scale).collect(),
            shift: columns.map(|n| n.shift).collect(),
        }
    }
}

/// `x − mean`.
#[inline(always)]
pub(super) fn centre(x: f32, anchor: f32, offset: f32) -> f32 {
    (x - anchor) - offset
}

/// `centred · scale + shift (+ residual)`: forward and backward compute it alike, bit for bit.
#[inline(always)]
pub(super) fn pre_activation<const RESIDUAL: bool>(centred: f32, scale: f32, shift: f32, residual: f32) -> f32 {
    let z = centred * scale + shift;
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
    /// Writes `y`, which starts at element `start` of the tensor; `normalise[0]` is that of channel `first`.
    pub(super) fn planes(&self, planes: &Planes, normalise: &[Normalise], first: usize, start: usize, y: &mut [f32]) {
        let range = start..start + y.len();
        let x = &self.x[range.clone()];
        // Without a residual anything readable of the right length will do.
        let residual = self.residual.map_or(x, |residual| &residual[range]);
        let task = PlanesTask { planes, normalise, first, start };
        match (self.residual.is_some(), self.relu) {
            (false, false) => self.simd.dispatch(
                #[inline(always)]
                || task.run::<false, false>(x, residual, y),
            ),
            (false, true) => self.simd.dispatch(
                #[inline(always)]
                || task.run::<false, true>(x, residual, y),
            ),
            (true, false) => self.simd.dispatch(
                #[inline(always)]
                || task.run::<true, false>(x, residual, y),
            ),
            (true, true) => self.simd.dispatch(
                #[inline(always)]
                || task.run::<true, true>(x, residual, y),
            ),
        }
    }

    /// Writes `rows`, which are pieces of the matrix's rows from row `row` and column `first` on.
    pub(super) fn columns<'y>(
        &self,
        columns: &Columns,
        normalise: &NormaliseColumns,
        first: usize,
        row: usize,
        rows: impl Iterator<Item = &'y mut [f32]>,
    ) {
        let start = row * columns.width + first;
        let x = &self.x[start..];
        let residual = self.residual.map_or(x, |residual| &residual[start..]);
        let width = columns.width;
        match (self.residual.is_some(), self.relu) {
            (false, false) => {
                self.simd.dispatch(
                    #[inline(always)]
                    || run_rows::<false, false>(normalise, width, x, residual, rows),
                );
            }
            (false, true) => {
                self.simd.dispatch(
                    #[inline(always)]
                    || run_rows::<false, true>(normalise, width, x, residual, rows),
                );
            }
            (true, false) => {
                self.simd.dispatch(
                    #[inline(always)]
                    || run_rows::<true, false>(normalise, width, x, residual, rows),
                );
            }
            (true, true) => {
                self.simd.dispatch(
                    #[inline(always)]
                    || run_rows::<true, true>(normalise, width, x, residual, rows),
                );
            }
        }
    }
}

struct PlanesTask<'a> {
    planes: &'a Planes,
    normalise: &'a [Normalise],
    first: usize,
    start: usize,
}

impl PlanesTask<'_> {
    #[inline(always)]
    fn run<const RESIDUAL: bool, const RELU: bool>(&self, x: &[f32], residual: &[f32], y: &mut [f32]) {
        for_each_run(
            self.planes,
            self.start,
            y.len(),
            #[inline(always)]
            |channel, run| {
                let (x, residual, y) = (&x[run.clone()], &residual[run.clone()], &mut y[run]);
                let n = self.normalise[channel - self.first];
                let (k, d, a, b) = ([n.anchor; LANES], [n.offset; LANES], [n.scale; LANES], [n.shift; LANES]);
                let (chunks, rest) = y.as_chunks_mut::<LANES>();
                let (xs, x_rest) = x.as_chunks::<LANES>();
                let (rs, r_rest) = residual.as_chunks::<LANES>();
                for ((y, x), r) in chunks.iter_mut().zip(xs).zip(rs) {
                    lanes::<RESIDUAL, RELU>(x, r, y, &k, &d, &a, &b);
                }
                if rest.is_empty() {
                    return;
                }
                // The last lanes again, partly for the second time, rather than a scalar loop.
                if let (Some(x), Some(r), Some(y)) =
                    (x.last_chunk(), residual.last_chunk(), y.last_chunk_mut::<LANES>())
                {
                    lanes::<RESIDUAL, RELU>(x, r, y, &k, &d, &a, &b);
                    return;
                }
                for ((y, x), r) in y.iter_mut().zip(x_rest).zip(r_rest) {
                    *y = one::<RESIDUAL, RELU>(*x, *r, n.anchor, n.offset, n.scale, n.shift);
                }
            },
        );
    }
}

/// Calls `each(channel, range)` for each contiguous run of one channel among the `length` elements from `start` on;
/// ranges count from `start`.
#[inline(always)]
pub(super) fn for_each_run(
    planes: &Planes,
    start: usize,
    length: usize,
    mut each: impl FnMut(usize, std::ops::Range<usize>),
) {
    let mut channel = start / planes.inner % planes.channels;
    let mut end = planes.inner - start % planes.inner;
    let mut at = 0;
    while at < length {
        each(channel, at..end.min(length));
        at = end;
        end += planes.inner;
        channel = if channel + 1 == planes.channels { 0 } else { channel + 1 };
    }
}

#[inline(always)]
fn run_rows<'y, const RESIDUAL: bool, const RELU: bool>(
    n: &NormaliseColumns,
    width: usize,
    x: &[f32],
    residual: &[f32],
    rows: impl Iterator<Item = &'y mut [f32]>,
) {
    for (row, y) in rows.enumerate() {
        let range = row * width..row * width + y.len();
        let (x, residual) = (&x[range.clone()], &residual[range]);
        let (chunks, rest) = y.as_chunks_mut::<LANES>();
        let count = chunks.len();
        let (xs, rs) = (&x.as_chunks::<LANES>().0[..count], &residual.as_chunks::<LANES>().0[..count]);
        let (k, d) = (&n.anchor.as_chunks::<LANES>().0[..count], &n.offset.as_chunks::<LANES>().0[..count]);
        let (a, b) = (&n.scale.as_chunks::<LANES>().0[..count], &n.shift.as_chunks::<LANES>().0[..count]);
        for i in 0..count {
            lanes::<RESIDUAL, RELU>(&xs[i], &rs[i], &mut chunks[i], &k[i], &d[i], &a[i], &b[i]);
        }
        for (l, y) in rest.iter_mut().enumerate() {
            let i = count * LANES + l;
            *y = one::<RESIDUAL, RELU>(x[i], residual[i], n.anchor[i], n.offset[i], n.scale[i], n.shift[i]);
        }
    }
}

type Lanes = [f32; LANES];

#[inline(always)]
fn lanes<const RESIDUAL: bool, const RELU: bool>(
    x: &Lanes,
    residual: &Lanes,
    y: &mut Lanes,
    anchor: &Lanes,
    offset: &Lanes,
    scale: &Lanes,
    shift: &Lanes,
) {
    let mut out = [0.0; LANES];
    for l in 0..LANES {
        out[l] = one::<RESIDUAL, RELU>(x[l], residual[l], anchor[l], offset[l], scale[l], shift[l]);
    }
    *y = out;
}

#[inline(always)]
fn one<const RESIDUAL: bool, const RELU: bool>(
    x: f32,
    residual: f32,
    anchor: f32,
    offset: f32,
    scale: f32,
    shift: f32,
) -> f32 {
    let z = pre_activation::<RESIDUAL>(centre(x, anchor, offset), scale, shift, residual);
    // Written so that a NaN stays one.
    if RELU && z <= 0.0 { 0.0 } else { z }
}
