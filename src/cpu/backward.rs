//! The backward pass: sums of the gradient per channel, then the gradient of the input.

use pulp::Arch;

use super::apply::{LANES, Normalise, NormaliseColumns, centre, for_each_run, pre_activation};
use super::moments::{LANES as SUM_LANES, PairSums};
use super::partition::{Columns, Planes, TASK_ELEMENTS, TILE_COLUMNS, View};
use super::{Check, Machine, Owned, Parameters, Saved};
use crate::config::{Activation, Config};
use crate::error::Error;
use crate::shape::Shape;

/// Elements of x and of dy that a task which owns whole channels reads twice: 2 · 192 KiB, and as much of dx.
const OWNED_ELEMENTS: usize = 3 << 14;

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

/// `Σ g` and `Σ g·(x − mean)` of some values: a monoid under addition.
#[derive(Clone, Copy, Debug, Default)]
struct GradientSums {
    gradient: f64,
    centred: f64,
}

impl GradientSums {
    #[inline(always)]
    fn merge(self, other: Self) -> Self {
        Self { gradient: self.gradient + other.gradient, centred: self.centred + other.centred }
    }
}

/// How the gradients of one channel become those of its inputs:
/// `dx = (g − mean_gradient − (x − mean) · slope) · gain`.
#[derive(Clone, Copy, Debug, Default)]
struct InputGradient {
    normalise: Normalise,
    mean_gradient: f32,
    slope: f32,
    gain: f32,
}

impl InputGradient {
    /// `m` is the number of values per channel.
    fn new(normalise: Normalise, saved: &Saved, sums: GradientSums, m: f64) -> Self {
        let inverse_std = f64::from(saved.inverse_std);
        Self {
            normalise,
            mean_gradient: (sums.gradient / m) as f32,
            slope: (sums.centred * inverse_std * inverse_std / m) as f32,
            gain: normalise.scale,
        }
    }
}

/// [`InputGradient`] for each of some neighbouring columns.
struct InputGradientColumns {
    normalise: NormaliseColumns,
    mean_gradient: Vec<f32>,
    slope: Vec<f32>,
    gain: Vec<f32>,
}

impl InputGradientColumns {
    fn new(columns: impl Iterator<Item = InputGradient> + Clone) -> Self {
        Self {
            normalise: NormaliseColumns::new(columns.clone().map(|g| g.normalise)),
            mean_gradient: columns.clone().map(|g| g.mean_gradient).collect(),
            slope: columns.clone().map(|g| g.slope).collect(),
            gain: columns.map(|g| g.gain).collect(),
        }
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
        let view = View::of(shape);
        let sums_needed = dgamma.is_some() || dbeta.is_some() || !self.frozen;
        let mut sums = vec![GradientSums::default(); saved.len()];
        let input_gradient = |channel: usize, sums: &GradientSums| {
            let saved = &saved[channel];
            InputGradient::new(parameters.normalise(channel, saved), saved, *sums, m)
        };
        match (Owned::of(&view, OWNED_ELEMENTS, machine.threads), dx) {
            (Some(owned), Some(dx)) if sums_needed => {
                let tasks = owned.tasks(dx, &mut sums);
                machine.each(tasks, |task| {
                    self.owned_sums(&view, task.first, saved, parameters, task.per_channel);
                    let sums = &*task.per_channel;
                    let local = |channel: usize| input_gradient(channel, &sums[channel - task.first]);
                    self.owned_input(&view, task.first, sums.len(), local, task.pieces);
                });
            }
            (_, dx) => {
                if sums_needed {
                    self.sums(machine, &view, saved, parameters, &mut sums);
                }
                if let Some(dx) = dx {
                    self.input(machine, &view, |channel| input_gradient(channel, &sums[channel]), dx);
                }
            }
        }
        if let Some(dgamma) = dgamma {
            for ((dgamma, sums), saved) in dgamma.iter_mut().zip(&sums).zip(saved) {
                *dgamma = (sums.centred * f64::from(saved.inverse_std)) as f32;
            }
        }
        if let Some(dbeta) = dbeta {
            for (dbeta, sums) in dbeta.iter_mut().zip(&sums) {
                *dbeta = sums.gradient as f32;
            }
        }
        if let Some(dresidual) = dresidual {
            // The frozen gradient with a gain of 1.
            let ungained = |channel| InputGradient {
                normalise: parameters.normalise(channel, &saved[channel]),
                gain: 1.0,
                ..Default::default()
            };
            Gradient { frozen: true, ..self }.input(machine, &view, ungained, dresidual);
        }
    }

    /// The sums of every channel.
    fn sums(&self, machine: Machine, view: &View, saved: &[Saved], parameters: &Parameters, sums: &mut [GradientSums]) {
        match view {
            View::Planes(planes) => {
                let parts = planes.parts();
                let mut records = vec![GradientSums::default(); planes.channels * parts];
                machine.each(records.iter_mut().enumerate().collect(), |(i, record): (usize, &mut GradientSums)| {
                    let normalise = parameters.normalise(i / parts, &saved[i / parts]);
                    *record = self.plane_part(planes, normalise, i / parts, i % parts);
                });
                for (sums, records) in sums.iter_mut().zip(records.chunks(parts)) {
                    *sums = records.iter().copied().fold(GradientSums::default(), GradientSums::merge);
                }
            }
            View::Columns(columns) => {
                let mut records = vec![GradientSums::default(); columns.width * columns.parts()];
                let normalise = NormaliseColumns::new((0..columns.width).map(|column| {
                    let channel = columns.channel(column);
                    parameters.normalise(channel, &saved[channel])
                }));
                let tiles = records.chunks_mut(columns.width).enumerate().flat_map(|(part, records)| {
                    records.chunks_mut(TILE_COLUMNS).enumerate().map(move |(tile, records)| (part, tile, records))
                });
                machine.each(tiles.collect(), |(part, tile, into): (usize, usize, &mut [GradientSums])| {
                    let first = tile * TILE_COLUMNS;
                    self.columns_part(columns, &normalise, 0, part, first, into);
                });
                for (channel, sums) in sums.iter_mut().enumerate() {
                    let of_column = |column: usize| {
                        let parts = records[column..].iter().step_by(columns.width);
                        parts.copied().fold(GradientSums::default(), GradientSums::merge)
                    };
                    *sums =
                        columns.columns_of(channel).map(of_column).fold(GradientSums::default(), GradientSums::merge);
                }
            }
        }
    }

    /// The sums of the whole channels from `first` on.
    fn owned_sums(
        &self,
        view: &View,
        first: usize,
        saved: &[Saved],
        parameters: &Parameters,
        sums: &mut [GradientSums],
    ) {
        match view {
            View::Planes(planes) => {
                for (i, sums) in sums.iter_mut().enumerate() {
                    let channel = first + i;
                    let normalise = parameters.normalise(channel, &saved[channel]);
                    *sums = (0..planes.parts())
                        .map(|part| self.plane_part(planes, normalise, channel, part))
                        .fold(GradientSums::default(), GradientSums::merge);
                }
            }
            View::Columns(columns) => {
                let (column, width) = (first * columns.inner, sums.len() * columns.inner);
                let normalise = NormaliseColumns::new((0..width).map(|i| {
                    let channel = first + i / columns.inner;
                    parameters.normalise(channel, &saved[channel])
                }));
                let mut records = [GradientSums::default(); TILE_COLUMNS];
                let mut totals = [GradientSums::default(); TILE_COLUMNS];
                for part in 0..columns.parts() {
                    self.columns_part(columns, &normalise, column, part, column, &mut records[..width]);
                    for (total, record) in totals.iter_mut().zip(&records[..width]) {
                        *total = total.merge(*record);
                    }
                }
                for (sums, totals) in sums.iter_mut().zip(totals.chunks(columns.inner)) {
                    *sums = totals.iter().copied().fold(GradientSums::default(), GradientSums::merge);
                }
            }
        }
    }

    /// Writes the gradient of the whole tensor.
    fn input(&self, machine: Machine, view: &View, of: impl Fn(usize) -> InputGradient + Clone, dx: &mut [f32]) {
        match view {
            View::Planes(planes) => {
                let per_channel: Vec<_> = (0..planes.channels).map(of).collect();
                machine.each(dx.chunks_mut(TASK_ELEMENTS).enumerate().collect(), |(task, dx)| {
                    self.input_planes(planes, &per_channel, 0, task * TASK_ELEMENTS, dx);
                });
            }
            View::Columns(columns) => {
                let per_column =
                    InputGradientColumns::new((0..columns.width).map(|column| of(columns.channel(column))));
                let rows = TASK_ELEMENTS.div_ceil(columns.width);
                machine.each(dx.chunks_mut(rows * columns.width).enumerate().collect(), |(task, dx)| {
                    self.input_columns(columns, &per_column, 0, task * rows, dx.chunks_mut(columns.width));
                });
            }
        }
    }

    /// Writes the gradient of `channels` whole channels from `first` on, into the pieces of each row.
    fn owned_input(
        &self,
        view: &View,
        first: usize,
        channels: usize,
        of: impl Fn(usize) -> InputGradient + Clone,
        pieces: Vec<&mut [f32]>,
    ) {
        match view {
            View::Planes(planes) => {
                let per_channel: Vec<_> = (first..first + channels).map(of).collect();
                for (outer, dx) in pieces.into_iter().enumerate() {
                    let start = (outer * planes.channels + first) * planes.inner;
                    self.input_planes(planes, &per_channel, first, start, dx);
                }
            }
            View::Columns(columns) => {
                let width = channels * columns.inner;
                let per_column = InputGradientColumns::new((0..width).map(|i| of(first + i / columns.inner)));
                self.input_columns(columns, &per_column, first * columns.inner, 0, pieces.into_iter());
            }
        }
    }

    /// The sums of one part of one channel.
    fn plane_part(&self, planes: &Planes, normalise: Normalise, channel: usize, part: usize) -> GradientSums {
        let Self { simd, x, dy, .. } = *self;
        let residual = self.residual.unwrap_or(x);
        let task = PlanePart { planes, normalise, channel, part };
        match (self.relu, self.residual.is_some()) {
            (false, _) => simd.dispatch(
                #[inline(always)]
                || task.sums::<false, false>(x, dy, residual),
            ),
            (true, false) => simd.dispatch(
                #[inline(always)]
                || task.sums::<true, false>(x, dy, residual),
            ),
            (true, true) => simd.dispatch(
                #[inline(always)]
                || task.sums::<true, true>(x, dy, residual),
            ),
        }
    }

    /// The sums of the columns from `first` on over one part of the rows; `normalise` begins with column
    /// `origin`.
    fn columns_part(
        &self,
        columns: &Columns,
        normalise: &NormaliseColumns,
        origin: usize,
        part: usize,
        first: usize,
        into: &mut [GradientSums],
    ) {
        let Self { simd, x, dy, .. } = *self;
        let residual = self.residual.unwrap_or(x);
        let task = ColumnsPart { columns, normalise, origin, part, first };
        match (self.relu, self.residual.is_some()) {
            (false, _) => simd.dispatch(
                #[inline(always)]
                || task.sums::<false, false>(x, dy, residual, into),
            ),
            (true, false) => simd.dispatch(
                #[inline(always)]
                || task.sums::<true, false>(x, dy, residual, into),
            ),
            (true, true) => simd.dispatch(
                #[inline(always)]
                || task.sums::<true, true>(x, dy, residual, into),
            ),
        }
    }

    fn input_planes(&self, planes: &Planes, of: &[InputGradient], first: usize, start: usize, dx: &mut [f32]) {
        let range = start..start + dx.len();
        let (x, dy) = (&self.x[range.clone()], &self.dy[range.clone()]);
        let residual = self.residual.map_or(x, |residual| &residual[range]);
        let task = PlanesInput { planes, of, first, start };
        let simd = self.simd;
        match (self.frozen, self.relu, self.residual.is_some()) {
            (false, false, _) => {
                simd.dispatch(
                    #[inline(always)]
                    || task.run::<false, false, false>(x, dy, residual, dx),
                );
            }
            (false, true, false) => {
                simd.dispatch(
                    #[inline(always)]
                    || task.run::<false, true, false>(x, dy, residual, dx),
                );
            }
            (false, true, true) => {
                simd.dispatch(
                    #[inline(always)]
                    || task.run::<false, true, true>(x, dy, residual, dx),
                );
            }
            (true, false, _) => {
                simd.dispatch(
                    #[inline(always)]
                    || task.run::<true, false, false>(x, dy, residual, dx),
                );
            }
            (true, true, false) => {
                simd.dispatch(
                    #[inline(always)]
                    || task.run::<true, true, false>(x, dy, residual, dx),
                );
            }
            (true, true, true) => {
                simd.dispatch(
                    #[inline(always)]
                    || task.run::<true, true, true>(x, dy, residual, dx),
                );
            }
        }
    }

    fn input_columns<'d>(
        &self,
        columns: &Columns,
        of: &InputGradientColumns,
        first: usize,
        row: usize,
        rows: impl Iterator<Item = &'d mut [f32]>,
    ) {
        let start = row * columns.width + first;
        let (x, dy) = (&self.x[start..], &self.dy[start..]);
        let residual = self.residual.map_or(x, |residual| &residual[start..]);
        let task = ColumnsInput { width: columns.width, of };
        let simd = self.simd;
        match (self.frozen, self.relu, self.residual.is_some()) {
            (false, false, _) => {
                simd.dispatch(
                    #[inline(always)]
                    || task.run::<false, false, false>(x, dy, residual, rows),
                );
            }
            (false, true, false) => {
                simd.dispatch(
                    #[inline(always)]
                    || task.run::<false, true, false>(x, dy, residual, rows),
                );
            }
            (false, true, true) => {
                simd.dispatch(
                    #[inline(always)]
                    || task.run::<false, true, true>(x, dy, residual, rows),
                );
            }
            (true, false, _) => {
                simd.dispatch(
                    #[inline(always)]
                    || task.run::<true, false, false>(x, dy, residual, rows),
                );
            }
            (true, true, false) => {
                simd.dispatch(
                    #[inline(always)]
                    || task.run::<true, true, false>(x, dy, residual, rows),
                );
            }
            (true, true, true) => {
                simd.dispatch(
                    #[inline(always)]
                    || task.run::<true, true, true>(x, dy, residual, rows),
                );
            }
        }
    }
}

/// The gradient before the activation: its derivative is 1 where `z > 0` and 0 elsewhere.
#[inline(always)]
fn gate<const RELU: bool, const RESIDUAL: bool>(dy: f32, centred: f32, scale: f32, shift: f32, residual: f32) -> f32 {
    if RELU {
        let z = pre_activation::<RESIDUAL>(centred, scale, shift, residual);
        if z > 0.0 { dy } else { 0.0 }
    } else {
        dy
    }
}

struct PlanePart<'a> {
    planes: &'a Planes,
    normalise: Normalise,
    channel: usize,
    part: usize,
}

impl PlanePart<'_> {
    #[inline(always)]
    fn sums<const RELU: bool, const RESIDUAL: bool>(&self, x: &[f32], dy: &[f32], residual: &[f32]) -> GradientSums {
        let mut total = GradientSums::default();
        for (outer, run) in self.planes.part_blocks(self.part) {
            let mut sums = PairSums::zero();
            for o in outer {
                let range = self.planes.run(o, self.channel, &run);
                self.add_run::<RELU, RESIDUAL>(&mut sums, &x[range.clone()], &dy[range.clone()], &residual[range]);
            }
            let (gradient, centred) = sums.total();
            total = total.merge(GradientSums { gradient, centred });
        }
        total
    }

    #[inline(always)]
    fn add_run<const RELU: bool, const RESIDUAL: bool>(
        &self,
        sums: &mut PairSums,
        x: &[f32],
        dy: &[f32],
        residual: &[f32],
    ) {
        let (xs, x_rest) = x.as_chunks::<SUM_LANES>();
        let (gs, g_rest) = dy.as_chunks::<SUM_LANES>();
        let (rs, r_rest) = residual.as_chunks::<SUM_LANES>();
        for ((x, dy), r) in xs.iter().zip(gs).zip(rs) {
            for l in 0..SUM_LANES {
                self.add::<RELU, RESIDUAL>(sums, l, true, x[l], dy[l], r[l]);
            }
        }
        if x_rest.is_empty() {
            return;
        }
        if let (Some(x), Some(dy), Some(r)) =
            (x.last_chunk::<SUM_LANES>(), dy.last_chunk::<SUM_LANES>(), residual.last_chunk::<SUM_LANES>())
        {
            // The last lanes again, without those that are counted already: no scalar loop.
            let counted = SUM_LANES - x_rest.len();
            for l in 0..SUM_LANES {
                self.add::<RELU, RESIDUAL>(sums, l, l >= counted, x[l], dy[l], r[l]);
            }
            return;
        }
        for (l, ((x, dy), r)) in x_rest.iter().zip(g_rest).zip(r_rest).enumerate() {
            self.add::<RELU, RESIDUAL>(sums, l, true, *x, *dy, *r);
        }
    }

    #[inline(always)]
    fn add<const RELU: bool, const RESIDUAL: bool>(
        &self,
        sums: &mut PairSums,
        lane: usize,
        counts: bool,
        x: f32,
        dy: f32,
        residual: f32,
    ) {
        let n = &self.normalise;
        let centred = centre(x, n.anchor, n.offset);
        let g = gate::<RELU, RESIDUAL>(dy, centred, n.scale, n.shift, residual);
        sums.first[lane] += if counts { g } else { 0.0 };
        sums.second[lane] += if counts { g * centred } else { 0.0 };
    }
}

struct ColumnsPart<'a> {
    columns: &'a Columns,
    normalise: &'a NormaliseColumns,
    origin: usize,
    part: usize,
    first: usize,
}

impl ColumnsPart<'_> {
    #[inline(always)]
    fn sums<const RELU: bool, const RESIDUAL: bool>(
        &self,
        x: &[f32],
        dy: &[f32],
        residual: &[f32],
        into: &mut [GradientSums],
    ) {
        let rows = self.columns.part(self.part);
        let width = into.len();
        let mut gradients = [0.0f32; TILE_COLUMNS];
        let mut centreds = [0.0f32; TILE_COLUMNS];
        let (gradient, centred) = (&mut gradients[..width], &mut centreds[..width]);
        let row = |tensor, r: usize| row_of(tensor, r * self.columns.width + self.first, width);
        let mut r = rows.start;
        while r + 4 <= rows.end {
            let four = [r, r + 1, r + 2, r + 3];
            let (x, dy, residual) = (four.map(|r| row(x, r)), four.map(|r| row(dy, r)), four.map(|r| row(residual, r)));
            self.add_rows::<4, RELU, RESIDUAL>(x, dy, residual, gradient, centred);
            r += 4;
        }
        while r < rows.end {
            self.add_rows::<1, RELU, RESIDUAL>([row(x, r)], [row(dy, r)], [row(residual, r)], gradient, centred);
            r += 1;
        }
        if rows.end == self.columns.rows && self.columns.tail > self.first {
            let rest = width.min(self.columns.tail - self.first);
            let row = |tensor| [row_of(tensor, rows.end * self.columns.width + self.first, rest)];
            self.add_rows::<1, RELU, RESIDUAL>(
                row(x),
                row(dy),
                row(residual),
                &mut gradient[..rest],
                &mut centred[..rest],
            );
        }
        for ((sums, gradient), centred) in into.iter_mut().zip(gradient).zip(centred) {
            *sums = GradientSums { gradient: f64::from(*gradient), centred: f64::from(*centred) };
        }
    }

    #[inline(always)]
    fn add_rows<const R: usize, const RELU: bool, const RESIDUAL: bool>(
        &self,
        x: [&[f32]; R],
        dy: [&[f32]; R],
        residual: [&[f32]; R],
        gradient: &mut [f32],
        centred: &mut [f32],
    ) {
        let width = gradient.len();
        let centred = &mut centred[..width];
        let (x, dy, residual) =
            (x.map(|row| &row[..width]), dy.map(|row| &row[..width]), residual.map(|row| &row[..width]));
        let origin = self.first - self.origin;
        let per_column = |values| row_of(values, origin, width);
        let n = self.normalise;
        let (k, d, a, b) = (per_column(&n.anchor), per_column(&n.offset), per_column(&n.scale), per_column(&n.shift));
        for i in 0..width {
            let (mut s, mut t) = (0.0, 0.0);
            for r in 0..R {
                let c = centre(x[r][i], k[i], d[i]);
                let g = gate::<RELU, RESIDUAL>(dy[r][i], c, a[i], b[i], residual[r][i]);
                s += g;
                t += g * c;
            }
            gradient[i] += s;
            centred[i] += t;
        }
    }
}

#[inline(always)]
fn row_of(tensor: &[f32], start: usize, width: usize) -> &[f32] {
    &tensor[start..start + width]
}

struct PlanesInput<'a> {
    planes: &'a Planes,
    of: &'a [InputGradient],
    first: usize,
    start: usize,
}

impl PlanesInput<'_> {
    #[inline(always)]
    fn run<const FROZEN: bool, const RELU: bool, const RESIDUAL: bool>(
        &self,
        x: &[f32],
        dy: &[f32],
        residual: &[f32],
        dx: &mut [f32],
    ) {
        for_each_run(
            self.planes,
            self.start,
            dx.len(),
            #[inline(always)]
            |channel, run| {
                let (x, dy, residual, dx) = (&x[run.clone()], &dy[run.clone()], &residual[run.clone()], &mut dx[run]);
                let of = self.of[channel - self.first];
                let (xs, gs, rs) =
                    (x.as_chunks::<LANES>().0, dy.as_chunks::<LANES>().0, residual.as_chunks::<LANES>().0);
                let (chunks, rest) = dx.as_chunks_mut::<LANES>();
                let rest = rest.len();
                for (((dx, x), dy), r) in chunks.iter_mut().zip(xs).zip(gs).zip(rs) {
                    input_lanes::<FROZEN, RELU, RESIDUAL>(&of, x, dy, r, dx);
                }
                if rest == 0 {
                    return;
                }
                // The last lanes again, partly for the second time, rather than a scalar loop.
                if let (Some(x), Some(dy), Some(r), Some(dx)) =
                    (x.last_chunk(), dy.last_chunk(), residual.last_chunk(), dx.last_chunk_mut())
                {
                    input_lanes::<FROZEN, RELU, RESIDUAL>(&of, x, dy, r, dx);
                    return;
                }
                for (((dx, x), dy), r) in dx.iter_mut().zip(x).zip(dy).zip(residual) {
                    *dx = input_one::<FROZEN, RELU, RESIDUAL>(&of, *x, *dy, *r);
                }
            },
        );
    }
}

#[inline(always)]
fn input_lanes<const FROZEN: bool, const RELU: bool, const RESIDUAL: bool>(
    of: &InputGradient,
    x: &[f32; LANES],
    dy: &[f32; LANES],
    residual: &[f32; LANES],
    dx: &mut [f32; LANES],
) {
    let mut out = [0.0; LANES];
    for l in 0..LANES {
        out[l] = input_one::<FROZEN, RELU, RESIDUAL>(of, x[l], dy[l], residual[l]);
    }
    *dx = out;
}

#[inline(always)]
fn input_one<const FROZEN: bool, const RELU: bool, const RESIDUAL: bool>(
    of: &InputGradient,
    x: f32,
    dy: f32,
    residual: f32,
) -> f32 {
    let n = &of.normalise;
    let centred = centre(x, n.anchor, n.offset);
    let g = gate::<RELU, RESIDUAL>(dy, centred, n.scale, n.shift, residual);
    // A frozen gradient does not touch x: an infinite x must not reach it.
    if FROZEN { g * of.gain } else { ((g - of.mean_gradient) - centred * of.slope) * of.gain }
}

struct ColumnsInput<'a> {
    width: usize,
    of: &'a InputGradientColumns,
}

impl ColumnsInput<'_> {
    #[inline(always)]
    fn run<'d, const FROZEN: bool, const RELU: bool, const RESIDUAL: bool>(
        &self,
        x: &[f32],
        dy: &[f32],
        residual: &[f32],
        rows: impl Iterator<Item = &'d mut [f32]>,
    ) {
        for (row, dx) in rows.enumerate() {
            let (start, width) = (row * self.width, dx.len());
            let (x, dy, residual) = (row_of(x, start, width), row_of(dy, start, width), row_of(residual, start, width));
            let n = &self.of.normalise;
            let per_column = |values| row_of(values, 0, width);
            let (anchor, offset) = (per_column(&n.anchor), per_column(&n.offset));
            let (scale, shift) = (per_column(&n.scale), per_column(&n.shift));
            let (mean_gradient, slope) = (per_column(&self.of.mean_gradient), per_column(&self.of.slope));
            let gain = per_column(&self.of.gain);
            for i in 0..width {
                let normalise = Normalise { anchor: anchor[i], offset: offset[i], scale: scale[i], shift: shift[i] };
                let of = InputGradient { normalise, mean_gradient: mean_gradient[i], slope: slope[i], gain: gain[i] };
                dx[i] = input_one::<FROZEN, RELU, RESIDUAL>(&of, x[i], dy[i], residual[i]);
            }
        }
    }
}
