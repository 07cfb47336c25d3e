//! The backward pass: sums of the gradient per channel, then the gradient of the input.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::apply::{Normalise, NormaliseSlices, Normalises, Spread, pre_activation};
use super::kernel::{Kernel, Variant};
use super::line::{Aligned, chunk};
use super::moments::{LANES, PairSums, STEP};
use super::partition::{ColumnSums, Columns, FEW_COLUMNS, GROUP_PLANES, Planes, TASK_ELEMENTS, TILE_COLUMNS, View};
use super::reduce::Record;
use super::store::{Fill, Store};
use super::{Check, Machine, NormaliseSaved, Parameters, Saved, without_offset};
use crate::config::{Activation, Config};
use crate::error::Error;
use crate::shape::Shape;

/// What [`backward`] reads and writes. Slices may be longer than their shape needs; the rest is left alone.
#[derive(Debug)]
pub struct Backward<'a> {
    /// `[outer, channels, inner]`, the input of the forward pass.
    pub x: &'a [f32],
    /// `[outer, channels, inner]`, the gradient of y.
    pub dy: &'a [f32],
    /// `[channels]`, as [`training`](super::training) left them, or [`Saved::from_running`] where frozen.
    pub saved: &'a [Saved],
    /// `[channels]`; present exactly if the configuration has a scale.
    pub gamma: Option<&'a [f32]>,
    /// `[channels]`; read only under ReLU, and then present exactly if the configuration has a shift.
    pub beta: Option<&'a [f32]>,
    /// `[outer, channels, inner]`; read only under ReLU, and then present exactly if the configuration adds a residual.
    pub residual: Option<&'a [f32]>,
    /// `[outer, channels, inner]`, the gradient of x, written.
    pub dx: Option<&'a mut [f32]>,
    /// `[outer, channels, inner]`, the gradient of the residual, written.
    pub dresidual: Option<&'a mut [f32]>,
    /// `[channels]`, the gradient of gamma, written.
    pub dgamma: Option<&'a mut [f32]>,
    /// `[channels]`, the gradient of beta, written.
    pub dbeta: Option<&'a mut [f32]>,
    /// Whether the statistics were constants: then no gradient flows through them.
    pub frozen: bool,
}

/// The gradients of the input, of the residual and of the parameters, each where it is asked for.
///
/// With `x̂ = (x − mean) · inverse_std` and `g` the gradient before the activation (`dy`, and 0 where ReLU cut; its sign
/// is recomputed from x, so no mask is stored):
///
/// `dbeta = Σ g`, `dgamma = Σ g·x̂`, `dx = gamma · inverse_std · (g − dbeta/m − x̂ · dgamma/m)`, `dresidual = g`;
/// frozen: `dx = gamma · inverse_std · g`.
///
/// # Errors
/// As [`training`](super::training) · [`Error::Unexpected`] for a gradient of something that the configuration lacks
pub fn backward(shape: &Shape, config: &Config, arguments: Backward) -> Result<(), Error> {
    let Backward { x, dy, saved, gamma, beta, residual, dx, dresidual, dgamma, dbeta, frozen } = arguments;
    let check = Check::new(shape, config)?;
    let relu = config.activation == Activation::Relu;
    let x = check.tensor("x", x)?;
    let dy = check.tensor("dy", dy)?;
    let saved = check.channels("saved", saved)?;
    let gamma = check.gamma(gamma)?;
    let parameters = Parameters { gamma, beta: if relu { check.beta(beta)? } else { None } };
    let residual = if relu { check.residual(residual)? } else { None };
    let dx = dx.map(|dx| check.tensor_mut("dx", dx)).transpose()?;
    let lacks = |argument, has: bool| {
        if has { Ok(()) } else { Err(Error::Unexpected { argument, reason: "the configuration does without it" }) }
    };
    let dresidual = match dresidual {
        Some(dresidual) => {
            lacks("dresidual", config.residual).and(check.tensor_mut("dresidual", dresidual).map(Some))?
        }
        None => None,
    };
    let dgamma = match dgamma {
        Some(dgamma) => lacks("dgamma", config.gamma).and(check.channels_mut("dgamma", dgamma).map(Some))?,
        None => None,
    };
    let dbeta = match dbeta {
        Some(dbeta) => lacks("dbeta", config.beta).and(check.channels_mut("dbeta", dbeta).map(Some))?,
        None => None,
    };

    let machine = Machine::of(shape);
    let gradient = Gradient { simd: machine.simd, x, dy, residual, relu, frozen };
    gradient.run(machine, shape, &parameters, saved, Outputs { dx, dresidual, dgamma, dbeta });
    Ok(())
}

/// What is asked for, cut to size.
pub(super) struct Outputs<'a> {
    pub(super) dx: Option<&'a mut [f32]>,
    pub(super) dresidual: Option<&'a mut [f32]>,
    pub(super) dgamma: Option<&'a mut [f32]>,
    pub(super) dbeta: Option<&'a mut [f32]>,
}

/// `Σ g` and `Σ g·(x − anchor)` of some values, in the end `Σ g·(x − mean)`: a monoid under addition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GradientSums {
    gradient: f64,
    centred: f64,
}

impl Record for GradientSums {
    #[inline(always)]
    fn merge(self, other: Self) -> Self {
        Self { gradient: self.gradient + other.gradient, centred: self.centred + other.centred }
    }
}

/// Makes of the sums about the anchor those about the mean, in place, and of these the gradients of gamma and beta.
struct WriteParameters<'a> {
    sums: &'a mut [GradientSums],
    saved: &'a [Saved],
    dgamma: Option<&'a mut [f32]>,
    dbeta: Option<&'a mut [f32]>,
}

impl WithSimd for WriteParameters<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (sums, saved) in self.sums.iter_mut().zip(self.saved) {
            sums.centred = without_offset(sums.centred, saved.offset, sums.gradient);
        }
        if let Some(dgamma) = self.dgamma {
            for ((dgamma, sums), saved) in dgamma.iter_mut().zip(&*self.sums).zip(self.saved) {
                *dgamma = (sums.centred * f64::from(saved.inverse_std)) as f32;
            }
        }
        if let Some(dbeta) = self.dbeta {
            for (dbeta, sums) in dbeta.iter_mut().zip(&*self.sums) {
                *dbeta = sums.gradient as f32;
            }
        }
    }
}

/// The intercept and the slope of [`InputGradient`] for each record of a view.
struct Lines<'a> {
    view: &'a View,
    sums: &'a [GradientSums],
    saved: &'a [Saved],
    /// `1/m`
    share: f64,
}

impl WithSimd for Lines<'_> {
    type Output = (Spread, Spread);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (Spread, Spread) {
        let Self { view, sums, saved, share } = self;
        let of = sums.iter().zip(saved).map(|(sums, saved)| {
            let inverse_std = f64::from(saved.inverse_std);
            let slope = sums.centred * inverse_std * inverse_std * share;
            (without_offset(sums.gradient * share, saved.offset, slope) as f32, slope as f32)
        });
        let intercept = Spread::new(view, of.clone().map(|(intercept, _)| intercept));
        (intercept, Spread::new(view, of.map(|(_, slope)| slope)))
    }
}

/// How the gradients of one channel become those of its inputs:
/// `dx = (g − intercept − (x − anchor) · slope) · gain`, where the intercept is the mean gradient less `offset · slope`.
#[derive(Clone, Copy, Debug, Default)]
struct InputGradient {
    normalise: Normalise,
    intercept: f32,
    slope: f32,
    gain: f32,
}

/// [`InputGradient`] for each record of a view.
struct InputGradients<'a> {
    normalise: &'a Normalises,
    intercept: Spread,
    slope: Spread,
    gain: &'a Spread,
}

impl InputGradients<'_> {
    #[inline(always)]
    fn at(&self, i: usize) -> InputGradient {
        let (intercept, slope, gain) = (self.intercept[i], self.slope[i], self.gain[i]);
        InputGradient { normalise: self.normalise.at(i), intercept, slope, gain }
    }
}

/// What the backward pass reads.
#[derive(Clone, Copy)]
pub(super) struct Gradient<'a> {
    pub(super) simd: Arch,
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) residual: Option<&'a [f32]>,
    pub(super) relu: bool,
    pub(super) frozen: bool,
}

impl Gradient<'_> {
    pub(super) fn run(
        self,
        machine: Machine,
        shape: &Shape,
        parameters: &Parameters,
        saved: &[Saved],
        outputs: Outputs,
    ) {
        let Outputs { dx, dresidual, dgamma, dbeta } = outputs;
        let m = f64::from(shape.values_per_channel());
        if m == 0.0 {
            for empty in [dgamma, dbeta].into_iter().flatten() {
                empty.fill(0.0);
            }
            return;
        }
        let (view, channels) = (View::of(shape), saved.len());
        let normalise = self.simd.dispatch(NormaliseSaved { parameters, view: &view, saved });
        let mut sums = if dgamma.is_some() || dbeta.is_some() || !self.frozen {
            let view = View::of_sums(shape);
            machine.reduce(&view, channels, |part, first, into: &mut [_]| {
                self.of_part(&view, &normalise, part, first, into)
            })
        } else {
            vec![GradientSums::default(); channels]
        };
        self.simd.dispatch(WriteParameters { sums: &mut sums, saved, dgamma, dbeta });
        if let Some(dx) = dx {
            let (intercept, slope) = self.simd.dispatch(Lines { view: &view, sums: &sums, saved, share: 1.0 / m });
            let of = InputGradients { normalise: &normalise, intercept, slope, gain: &normalise.scale };
            self.input(machine, &view, &of, dx);
        }
        if let Some(dresidual) = dresidual {
            // The frozen gradient with a gain of 1.
            let all = |value| Spread::new(&view, std::iter::repeat_n(value, channels));
            let (intercept, slope, gain) = (all(0.0), all(0.0), &all(1.0));
            let of = InputGradients { normalise: &normalise, intercept, slope, gain };
            Gradient { frozen: true, ..self }.input(machine, &view, &of, dresidual);
        }
    }

    /// Writes the gradient of the whole tensor.
    fn input(&self, machine: Machine, view: &View, of: &InputGradients, dx: &mut [f32]) {
        match view {
            View::Planes(planes) => {
                machine.each(dx.chunks_mut(TASK_ELEMENTS).enumerate().collect(), |(task, dx)| {
                    self.input_planes(planes, of, task * TASK_ELEMENTS, dx);
                });
            }
            View::Columns(columns) => {
                let rows = TASK_ELEMENTS.div_ceil(columns.width);
                machine.each(dx.chunks_mut(rows * columns.width).enumerate().collect(), |(task, dx)| {
                    self.input_columns(columns, of, task * rows, dx);
                });
            }
        }
    }

    fn variant(&self) -> Variant {
        Variant { simd: self.simd, relu: self.relu, residual: self.residual.is_some() }
    }

    /// The sums of one part, in the records of `view` from `first` on.
    fn of_part(&self, view: &View, normalise: &Normalises, part: usize, first: usize, into: &mut [GradientSums]) {
        let Self { x, dy, .. } = *self;
        let residual = self.residual.unwrap_or(x);
        let normalise = normalise.slice(first, into.len());
        match view {
            View::Planes(planes) => {
                self.variant().run(PlanesPart { planes, normalise, part, first, x, dy, residual, into });
            }
            View::Columns(columns) => {
                self.variant().run(ColumnsPart { columns, normalise, part, first, x, dy, residual, into });
            }
        }
    }

    /// Writes `dx`, which starts at element `start` of the tensor.
    fn input_planes(&self, planes: &Planes, of: &InputGradients, start: usize, dx: &mut [f32]) {
        let range = start..start + dx.len();
        let (x, dy) = (&self.x[range.clone()], &self.dy[range.clone()]);
        let residual = self.residual.map_or(x, |residual| &residual[range]);
        let store = &Store::of(dx, self.x.len(), planes.inner);
        if self.frozen {
            self.variant().run(InputPlanes::<true> { planes, of, start, x, dy, residual, dx, store });
        } else {
            self.variant().run(InputPlanes::<false> { planes, of, start, x, dy, residual, dx, store });
        }
    }

    /// Writes `dx`, which starts at row `row` of the matrix.
    fn input_columns(&self, columns: &Columns, of: &InputGradients, row: usize, dx: &mut [f32]) {
        let (start, width) = (row * columns.width, columns.width);
        let range = start..start + dx.len();
        let (x, dy) = (&self.x[range.clone()], &self.dy[range.clone()]);
        let residual = self.residual.map_or(x, |residual| &residual[range]);
        let store = &Store::of(dx, self.x.len(), columns.width);
        if self.frozen {
            self.variant().run(InputColumns::<true> { width, of, x, dy, residual, dx, store });
        } else {
            self.variant().run(InputColumns::<false> { width, of, x, dy, residual, dx, store });
        }
    }
}

/// The gradient before the activation: its derivative is 1 where `z > 0` and 0 elsewhere.
#[inline(always)]
fn gate<const RELU: bool, const RESIDUAL: bool>(n: &Normalise, dy: f32, from_anchor: f32, residual: f32) -> f32 {
    if !RELU || pre_activation::<RESIDUAL>(n, from_anchor, residual) > 0.0 { dy } else { 0.0 }
}

/// The sums of one part of some neighbouring channels, at most [`GROUP_PLANES`] of them.
struct PlanesPart<'a> {
    planes: &'a Planes,
    normalise: NormaliseSlices<'a>,
    part: usize,
    first: usize,
    x: &'a [f32],
    dy: &'a [f32],
    residual: &'a [f32],
    into: &'a mut [GradientSums],
}

impl Kernel for PlanesPart<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const RELU: bool, const RESIDUAL: bool>(self) {
        let Self { planes, normalise, part, first, x, dy, residual, into } = self;
        let mut sums = [const { PairSums::zero() }; GROUP_PLANES];
        let sums = &mut sums[..into.len()];
        for (outer, run) in planes.part_blocks(part) {
            sums.iter_mut().for_each(|sums| *sums = PairSums::zero());
            for o in outer {
                for (i, sums) in sums.iter_mut().enumerate() {
                    let range = planes.run(o, first + i, &run);
                    let (x, dy, residual) = (&x[range.clone()], &dy[range.clone()], &residual[range]);
                    add_run::<RELU, RESIDUAL>(sums, &normalise.at(i), x, dy, residual);
                }
            }
            for (into, sums) in into.iter_mut().zip(&*sums) {
                let (gradient, centred) = sums.total();
                *into = into.merge(GradientSums { gradient, centred });
            }
        }
    }
}

#[inline(always)]
fn add_run<const RELU: bool, const RESIDUAL: bool>(
    sums: &mut PairSums,
    n: &Normalise,
    x: &[f32],
    dy: &[f32],
    residual: &[f32],
) {
    let (xs, x_rest) = x.as_chunks::<LANES>();
    let (gs, g_rest) = dy.as_chunks::<LANES>();
    let (rs, r_rest) = residual.as_chunks::<LANES>();
    for ((x, dy), r) in xs.iter().zip(gs).zip(rs) {
        for l in 0..LANES {
            add::<RELU, RESIDUAL>(sums, n, l, true, x[l], dy[l], r[l]);
        }
    }
    let ((xs, x_rest), (gs, g_rest)) = (x_rest.as_chunks::<STEP>(), g_rest.as_chunks::<STEP>());
    let (rs, r_rest) = r_rest.as_chunks::<STEP>();
    for (k, ((x, dy), r)) in xs.iter().zip(gs).zip(rs).enumerate() {
        for l in 0..STEP {
            add::<RELU, RESIDUAL>(sums, n, STEP * k + l, true, x[l], dy[l], r[l]);
        }
    }
    if x_rest.is_empty() {
        return;
    }
    if let (Some(x), Some(dy), Some(r)) =
        (x.last_chunk::<STEP>(), dy.last_chunk::<STEP>(), residual.last_chunk::<STEP>())
    {
        // The last lanes again, without those that are counted already: no scalar loop.
        let counted = STEP - x_rest.len();
        for l in 0..STEP {
            add::<RELU, RESIDUAL>(sums, n, LANES - STEP + l, l >= counted, x[l], dy[l], r[l]);
        }
        return;
    }
    for (l, ((x, dy), r)) in x_rest.iter().zip(g_rest).zip(r_rest).enumerate() {
        add::<RELU, RESIDUAL>(sums, n, LANES - STEP + l, true, *x, *dy, *r);
    }
}

#[inline(always)]
fn add<const RELU: bool, const RESIDUAL: bool>(
    sums: &mut PairSums,
    n: &Normalise,
    lane: usize,
    counts: bool,
    x: f32,
    dy: f32,
    residual: f32,
) {
    let from_anchor = x - n.anchor;
    let g = gate::<RELU, RESIDUAL>(n, dy, from_anchor, residual);
    sums.first[lane] += if counts { g } else { 0.0 };
    sums.second[lane] += if counts { g * from_anchor } else { 0.0 };
}

struct ColumnsPart<'a> {
    columns: &'a Columns,
    normalise: NormaliseSlices<'a>,
    part: usize,
    first: usize,
    x: &'a [f32],
    dy: &'a [f32],
    residual: &'a [f32],
    into: &'a mut [GradientSums],
}

impl Kernel for ColumnsPart<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const RELU: bool, const RESIDUAL: bool>(self) {
        // Few columns are spared most of the zeros.
        match self.into.len() {
            ..=FEW_COLUMNS => self.sum::<FEW_COLUMNS, RELU, RESIDUAL>(),
            _ => self.sum::<TILE_COLUMNS, RELU, RESIDUAL>(),
        }
    }
}

impl ColumnsPart<'_> {
    /// Of at most `N` columns.
    #[inline(always)]
    fn sum<const N: usize, const RELU: bool, const RESIDUAL: bool>(self) {
        let Self { columns, normalise, part, first, x, dy, residual, into } = self;
        let (mut gradient, mut from_anchor) = (Aligned([0.0f64; N]), Aligned([0.0f64; N]));
        let (gradient, from_anchor) = (&mut gradient.0[..into.len()], &mut from_anchor.0[..into.len()]);
        let of = Gated::<RELU, RESIDUAL> { columns, normalise, first, x, dy, residual };
        columns.sum::<N>(part, first, [&mut *gradient, &mut *from_anchor], of);
        for ((sums, gradient), centred) in into.iter_mut().zip(&*gradient).zip(&*from_anchor) {
            *sums = GradientSums { gradient: *gradient, centred: *centred };
        }
    }
}

/// Sums of the gradients of each column, and of these times `x − anchor`.
#[derive(Clone, Copy)]
struct Gated<'a, const RELU: bool, const RESIDUAL: bool> {
    columns: &'a Columns,
    normalise: NormaliseSlices<'a>,
    /// Of a row, the place of the first column.
    first: usize,
    x: &'a [f32],
    dy: &'a [f32],
    residual: &'a [f32],
}

impl<'a, const RELU: bool, const RESIDUAL: bool> Gated<'a, RELU, RESIDUAL> {
    /// `width` values of a row: of x, dy and the residual.
    #[inline(always)]
    fn pieces(&self, row: usize, width: usize) -> [&'a [f32]; 3] {
        // No `map`, whose closure would be compiled apart, without the SIMD level.
        let (columns, first) = (self.columns, self.first);
        [
            columns.piece(self.x, row, first, width),
            columns.piece(self.dy, row, first, width),
            columns.piece(self.residual, row, first, width),
        ]
    }
}

impl<const RELU: bool, const RESIDUAL: bool> ColumnSums for Gated<'_, RELU, RESIDUAL> {
    #[inline(always)]
    fn add_rows<const W: usize>(self, rows: Range<usize>, gradient: &mut [f32], from_anchor: &mut [f32]) {
        let n = self.normalise.chunk::<W>();
        let (mut in_gradient, mut in_from_anchor): ([f32; W], [f32; W]) = (chunk(gradient), chunk(from_anchor));
        for row in rows {
            let [x, dy, residual] = self.pieces(row, W);
            for i in 0..W {
                let n = n.at(i);
                let d = x[i] - n.anchor;
                let g = gate::<RELU, RESIDUAL>(&n, dy[i], d, residual[i]);
                in_gradient[i] += g;
                in_from_anchor[i] += g * d;
            }
        }
        gradient.copy_from_slice(&in_gradient);
        from_anchor.copy_from_slice(&in_from_anchor);
    }

    /// One row at a time, as for the moments.
    #[inline(always)]
    fn add_row(self, row: usize, gradient: &mut [f32], from_anchor: &mut [f32]) {
        let width = gradient.len();
        let [x, dy, residual] = self.pieces(row, width);
        let n = self.normalise.range(0, width);
        let from_anchor = &mut from_anchor[..width];
        for i in 0..width {
            let n = n.at(i);
            let d = x[i] - n.anchor;
            let g = gate::<RELU, RESIDUAL>(&n, dy[i], d, residual[i]);
            gradient[i] += g;
            from_anchor[i] += g * d;
        }
    }
}

struct InputPlanes<'a, const FROZEN: bool> {
    planes: &'a Planes,
    of: &'a InputGradients<'a>,
    start: usize,
    x: &'a [f32],
    dy: &'a [f32],
    residual: &'a [f32],
    dx: &'a mut [f32],
    store: &'a Store,
}

impl<const FROZEN: bool> Kernel for InputPlanes<'_, FROZEN> {
    type Output = ();

    #[expect(unsafe_code, reason = "the store's promise")]
    #[inline(always)]
    fn run<const RELU: bool, const RESIDUAL: bool>(self) {
        for (channel, run) in self.planes.runs(self.start, self.dx.len()) {
            let (x, dy) = (&self.x[run.clone()], &self.dy[run.clone()]);
            let (residual, dx) = (&self.residual[run.clone()], &mut self.dx[run]);
            let of = self.of.at(channel);
            // SAFETY: the task that made the store drops it before it ends, and reads nothing of its output.
            unsafe { self.store.write(dx, &InputRun::<FROZEN, RELU, RESIDUAL> { of, x, dy, residual }) };
        }
    }
}

/// A run of one channel.
struct InputRun<'a, const FROZEN: bool, const RELU: bool, const RESIDUAL: bool> {
    of: InputGradient,
    x: &'a [f32],
    dy: &'a [f32],
    residual: &'a [f32],
}

impl<const FROZEN: bool, const RELU: bool, const RESIDUAL: bool> Fill for InputRun<'_, FROZEN, RELU, RESIDUAL> {
    #[inline(always)]
    fn fill(&self, range: Range<usize>, dx: &mut [f32]) {
        let (x, dy, residual) = (&self.x[range.clone()], &self.dy[range.clone()], &self.residual[range]);
        for (((dx, x), dy), r) in dx.iter_mut().zip(x).zip(dy).zip(residual) {
            *dx = input_one::<FROZEN, RELU, RESIDUAL>(&self.of, *x, *dy, *r);
        }
    }
}

#[inline(always)]
fn input_one<const FROZEN: bool, const RELU: bool, const RESIDUAL: bool>(
    of: &InputGradient,
    x: f32,
    dy: f32,
    residual: f32,
) -> f32 {
    let n = &of.normalise;
    let from_anchor = x - n.anchor;
    let g = gate::<RELU, RESIDUAL>(n, dy, from_anchor, residual);
    // A frozen gradient does not touch x: an infinite x must not reach it.
    if FROZEN { g * of.gain } else { ((g - of.intercept) - from_anchor * of.slope) * of.gain }
}

struct InputColumns<'a, const FROZEN: bool> {
    width: usize,
    of: &'a InputGradients<'a>,
    x: &'a [f32],
    dy: &'a [f32],
    residual: &'a [f32],
    dx: &'a mut [f32],
    store: &'a Store,
}

impl<const FROZEN: bool> Kernel for InputColumns<'_, FROZEN> {
    type Output = ();

    #[expect(unsafe_code, reason = "the store's promise")]
    #[inline(always)]
    fn run<const RELU: bool, const RESIDUAL: bool>(self) {
        let rows = self.x.chunks(self.width).zip(self.dy.chunks(self.width)).zip(self.residual.chunks(self.width));
        for (dx, ((x, dy), residual)) in self.dx.chunks_mut(self.width).zip(rows) {
            // SAFETY: the task that made the store drops it before it ends, and reads nothing of its output.
            unsafe { self.store.write(dx, &InputRow::<FROZEN, RELU, RESIDUAL> { of: self.of, x, dy, residual }) };
        }
    }
}

/// A row, each place of which is of its own record.
struct InputRow<'a, const FROZEN: bool, const RELU: bool, const RESIDUAL: bool> {
    of: &'a InputGradients<'a>,
    x: &'a [f32],
    dy: &'a [f32],
    residual: &'a [f32],
}

impl<const FROZEN: bool, const RELU: bool, const RESIDUAL: bool> Fill for InputRow<'_, FROZEN, RELU, RESIDUAL> {
    #[inline(always)]
    fn fill(&self, range: Range<usize>, dx: &mut [f32]) {
        let (first, width) = (range.start, dx.len());
        let (x, dy, residual) =
            (&self.x[first..][..width], &self.dy[first..][..width], &self.residual[first..][..width]);
        let n = self.of.normalise.slice(first, width);
        let (intercept, slope) = (&self.of.intercept[first..][..width], &self.of.slope[first..][..width]);
        let gain = &self.of.gain[first..][..width];
        for i in 0..width {
            let (intercept, slope, gain) = (intercept[i], slope[i], gain[i]);
            let of = InputGradient { normalise: n.at(i), intercept, slope, gain };
            dx[i] = input_one::<FROZEN, RELU, RESIDUAL>(&of, x[i], dy[i], residual[i]);
        }
    }
}
