//! A seeded sweep: random shapes, configurations, data and placements, each held against the reference.

use std::fmt;

use ndarray::{Array1, Array3, ArrayView1, Axis};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::check::bounds::{self, Statistics};
use crate::check::cases::TensorVerdict;
use crate::check::compare::compare;
use crate::config::{Activation, Config, Momentum, RunningVariance};
use crate::dtype::DType;
use crate::error::Error;
use crate::host::{Gpu, Inputs, Outputs, Placement, execute_placed};
use crate::plan::{DeviceFacts, Gradients, Operation, ParameterGradients, Plan, Tuning};
use crate::reference::{self, Apply, Backward, Moments, Running};
use crate::shape::Shape;

/// A list of random cases, the same for the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// The seed of the first case; the next ones count on from it.
    pub seed: u64,
    /// How many cases.
    pub count: usize,
}

impl Sweep {
    /// The cases, made one by one.
    pub fn cases(&self) -> impl Iterator<Item = SweepCase> + use<> {
        let Self { seed, count } = *self;
        (0..count as u64).map(move |index| SweepCase::random(seed.wrapping_add(index)))
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.seed.wrapping_add((self.count as u64).saturating_sub(1));
        write!(f, "seeds {} to {last}", self.seed)
    }
}

/// What a channel holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Content {
    /// Normal numbers.
    Normal,
    /// The same, behind one 0.
    FirstIsZero,
    /// The same, behind a row of zeros.
    FirstRowIsZero,
    /// The same, behind a tile of one value.
    FirstTileIsConstant,
    /// One value throughout.
    Constant,
    /// In every other channel one value throughout.
    SomeConstant,
    /// A value that is not finite, somewhere in one channel of x.
    NotFinite(f32),
    /// A value that is not finite, somewhere in one channel of dy.
    NotFiniteGradient(f32),
}

/// One case of a sweep: what to compute, of what.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepCase {
    /// Makes the case and its data again: [`SweepCase::random`].
    pub seed: u64,
    /// The tensor's dimensions and channel axis.
    pub shape: Shape,
    /// The configuration.
    pub config: Config,
    /// What is computed.
    pub operation: Operation,
    /// Where the arguments lie.
    pub placement: Placement,
    /// Whether tensors are bound in windows, as many as the plan can be cut into where about a third is bound at once.
    pub windows: bool,
    /// What the channels hold.
    pub content: Content,
    /// The larger of mean and standard deviation.
    pub magnitude: f64,
    /// Mean over standard deviation.
    pub mean_over_std: f64,
}

impl fmt::Display for SweepCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, shape, config, operation, placement, windows, content, magnitude, mean_over_std } = self;
        let whole = if *windows { "in windows" } else { "whole" };
        write!(
            f,
            "seed {seed}: {operation:?} of {shape}, {content:?} of magnitude {magnitude:.1e} and mean/std \
             {mean_over_std:.0e}, {placement:?}, {whole}, {config:?}"
        )
    }
}

/// The tensors of a case; what the case does not read is there all the same.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepData {
    /// The input, `[elements]`; exact in the storage type, like `dy` and `residual`.
    pub x: Vec<f32>,
    /// The gradient of y, `[elements]`.
    pub dy: Vec<f32>,
    /// What is added before the activation, `[elements]`.
    pub residual: Vec<f32>,
    /// The scale, `[channels]`.
    pub gamma: Vec<f32>,
    /// The shift, `[channels]`.
    pub beta: Vec<f32>,
    /// The running mean, `[channels]`.
    pub running_mean: Vec<f32>,
    /// The running variance, `[channels]`.
    pub running_variance: Vec<f32>,
    /// Batches seen before.
    pub batches: u32,
    /// What the gradient of gamma is added to, `[channels]`.
    pub dgamma: Vec<f32>,
    /// What the gradient of beta is added to, `[channels]`.
    pub dbeta: Vec<f32>,
}

fn pick<T: Copy>(rng: &mut impl Rng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

fn normal(rng: &mut impl Rng) -> f64 {
    // Twelve uniform numbers less their mean: variance 1, and no tail that would need an argument of its own.
    (0..12).map(|_| f64::from(rng.random::<f32>())).sum::<f64>() - 6.0
}

/// A shape that can be had: mostly small and ragged, now and then as large as a limit asks for.
fn random_shape(rng: &mut impl Rng, seed: u64) -> Shape {
    loop {
        let (dimensions, axis) = random_dimensions(rng, seed);
        if let Ok(shape) = Shape::new(&dimensions, axis) {
            return shape;
        }
    }
}

/// Dimensions and axis. What kind they are of goes by the seed, so that all kinds come in any 200 cases.
fn random_dimensions(rng: &mut impl Rng, seed: u64) -> (Vec<usize>, isize) {
    let mut within = |least: usize, most: usize| rng.random_range(least..most + 1);
    match seed % 200 {
        // One channel of a million values, in each direction.
        0 => return (vec![1, 1, within(900_000, 1_000_000)], 1),
        40 => return (vec![within(900_000, 1_000_000), 1], 1),
        140 => return (vec![within(900, 1000), within(1, 2), within(300, 500)], 1),
        160 => return (vec![within(2, 4), 3, within(90_000, 110_000)], 1),
        // More channels, and more rows, than a grid has workgroups in one dimension.
        80 => return (vec![within(1, 3), 70_000, within(1, 2)], 1),
        120 => return (vec![within(2, 3), 70_000], 1),
        100 => return (vec![within(65_536, 70_000), within(1, 3), within(1, 3)], 1),
        _ => {}
    }
    match seed % 10 {
        // Any rank, any axis.
        0..4 => {
            let rank = within(1, 6);
            let most = [20_000, 150, 30, 14, 9, 7][rank - 1];
            let mut dimensions: Vec<usize> = (0..rank).map(|_| within(1, most)).collect();
            let axis = within(0, rank - 1);
            match seed % 40 {
                // One value per channel.
                1 => dimensions.iter_mut().enumerate().filter(|(i, _)| *i != axis).for_each(|(_, d)| *d = 1),
                // An empty batch.
                2 if rank > 1 => dimensions[(axis + 1) % rank] = 0,
                _ => {}
            }
            (dimensions, axis as isize)
        }
        // Channels first.
        4 | 5 => (vec![within(1, 8), within(1, 30), within(1, 130)], 1),
        6 => (vec![within(1, 40), within(1, 300), within(1, 6)], 1),
        7 => (vec![within(1, 3), within(1, 4), within(1, 9000)], 1),
        // Channels last.
        8 => (vec![within(1, 9), within(1, 12), within(1, 12), within(1, 130)], -1),
        _ => (vec![within(1, 400), within(1, 300)], -1),
    }
}

/// What makes a program of its own: storage, affine, activation and residual. Each pair of values comes in some row, but
/// only half of all combinations, since compiling takes most of a sweep's time.
fn random_program(rng: &mut impl Rng) -> (DType, (bool, bool), (Activation, bool)) {
    let row: usize = rng.random_range(0..24);
    let affine = row / 3 % 4;
    let fusion = (row % 3 + affine + 2 * (row / 12)) % 4;
    (
        DType::ALL[row % 3],
        [(true, true), (false, false), (true, false), (false, true)][affine],
        (if fusion % 2 == 1 { Activation::Relu } else { Activation::None }, fusion / 2 == 1),
    )
}

impl SweepCase {
    /// The case that a seed makes.
    pub fn random(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rng = &mut rng;
        let shape = random_shape(rng, seed);
        let (dtype, (gamma, beta), (activation, residual)) = random_program(rng);
        let gradients = Gradients {
            input: rng.random_range(0..5) > 0,
            parameters: pick(
                rng,
                &[
                    ParameterGradients::Overwrite,
                    ParameterGradients::Overwrite,
                    ParameterGradients::Accumulate,
                    ParameterGradients::None,
                ],
            ),
        };
        let operation = match rng.random_range(0..20) {
            0..6 => Operation::Training,
            6..8 => Operation::Inference,
            8 => Operation::FrozenForward,
            9..16 => Operation::Backward(gradients),
            _ => Operation::FrozenBackward(gradients),
        };
        let population = shape.values_per_channel() == 1 || rng.random::<bool>();
        let config = Config {
            epsilon: pick(rng, &[0.0, 1e-10, 1e-5, 1e-3]),
            momentum: pick(
                rng,
                &[
                    Momentum::NewValue(0.1),
                    Momentum::old_value(0.99),
                    Momentum::NewValue(1.0),
                    Momentum::NewValue(0.0),
                    Momentum::NewValue(-0.5),
                    Momentum::Cumulative,
                ],
            ),
            running_variance: if population { RunningVariance::Population } else { RunningVariance::Unbiased },
            gamma,
            beta,
            running_update: rng.random_range(0..3) > 0,
            count_batches: rng.random::<bool>(),
            dtype,
            activation,
            residual,
        };
        let content = match rng.random_range(0..20) {
            0 => Content::FirstIsZero,
            1 => Content::FirstRowIsZero,
            2 => Content::FirstTileIsConstant,
            3 => Content::Constant,
            4 => Content::SomeConstant,
            5 => Content::NotFinite(pick(rng, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY])),
            6 => Content::NotFiniteGradient(pick(rng, &[f32::NAN, f32::INFINITY])),
            _ => Content::Normal,
        };
        // f16 ends at 65504, and a half has no digits for a mean of many standard deviations.
        let (magnitude, most) = match dtype {
            DType::F16 => (rng.random_range(-2.0..2.0), 100.0),
            DType::Bf16 => (rng.random_range(-6.0..6.0), 100.0),
            DType::F32 => (rng.random_range(-6.0..6.0), 1e6),
        };
        let mean_over_std = f64::min(pick(rng, &[0.0, 0.0, 1.0, 1e2, 1e3, 1e4, 1e5, 1e6]), most);
        let placement = pick(
            rng,
            &[Placement::Separate, Placement::Separate, Placement::Separate, Placement::Arena, Placement::InPlace],
        );
        let windows = rng.random::<bool>();
        let magnitude = 10f64.powf(magnitude);
        Self { seed, shape, config, operation, placement, windows, content, magnitude, mean_over_std }
    }

    /// The binding limit under which the case runs on a device: its own, or where there are to be windows the least, from
    /// a third of the tensor up, at which there is a plan.
    fn binding_limit(&self, facts: &DeviceFacts, tuning: &Tuning) -> u64 {
        let third = self.config.dtype.tensor_bytes(u64::from(self.shape.elements())) / 3;
        let mut limit = third.next_multiple_of(facts.offset_alignment).max(facts.offset_alignment);
        // What backward reads, forward leaves.
        let forward = match self.operation {
            Operation::Backward(_) => Operation::Training,
            Operation::FrozenBackward(_) => Operation::FrozenForward,
            other => other,
        };
        let has_plan = |binding_bytes| {
            let facts = DeviceFacts { binding_bytes, ..facts.clone() };
            let has = |operation| Plan::new(operation, &self.shape, &self.config, &facts, tuning).is_ok();
            has(forward) && has(self.operation)
        };
        while self.windows && limit < facts.binding_bytes {
            if has_plan(limit) {
                return limit;
            }
            limit *= 2;
        }
        facts.binding_bytes
    }

    /// The tensors, made anew at each call.
    pub fn data(&self) -> SweepData {
        // Another stream than that of the case, so that a case edited by hand keeps its data.
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ 0x5eed_0000_0000_0000);
        let rng = &mut rng;
        let dimensions = reference::view(&self.shape);
        let [outer, channels, inner] = dimensions;
        let dtype = self.config.dtype;
        let std = self.magnitude / self.mean_over_std.max(1.0);
        let round = |v: f64| reference::round_to(dtype, v) as f32;
        let mut x = Array3::zeros(dimensions);
        for (c, mut values) in x.axis_iter_mut(Axis(1)).enumerate() {
            let mean = self.mean_over_std * std * (1.0 + 0.1 * normal(rng));
            values.map_inplace(|v| *v = round(mean + std * normal(rng)));
            let first = values.first().copied().unwrap_or(0.0);
            let (count, value) = match self.content {
                Content::FirstIsZero => (1, 0.0),
                Content::FirstRowIsZero => (inner.min(224), 0.0),
                Content::FirstTileIsConstant => (32, first),
                Content::Constant => (usize::MAX, first),
                Content::SomeConstant if c % 2 == 1 => (usize::MAX, first),
                _ => (0, 0.0),
            };
            values.iter_mut().take(count).for_each(|v| *v = value);
        }
        let (mean, std) = (pick(rng, &[0.0, 1.0]), pick(rng, &[1e-3, 1.0, 30.0]));
        let mut dy = Array3::from_shape_simple_fn(dimensions, || round(mean + std * normal(rng)));
        let residual = Array3::from_shape_simple_fn(dimensions, || round(normal(rng)));
        let spoilt = self.spoilt_channel();
        if let (Some(channel), true) = (spoilt, outer * inner > 0) {
            let place = [rng.random_range(0..outer), channel, rng.random_range(0..inner)];
            match self.content {
                Content::NotFinite(value) => x[place] = value,
                Content::NotFiniteGradient(value) => dy[place] = value,
                _ => {}
            }
        }
        let mut one = |scale: f64| (0..channels).map(|_| (scale * normal(rng)) as f32).collect::<Vec<f32>>();
        // Statistics near those of x, or else normalising with them would only overflow.
        let mut near: Vec<f32> = one(self.magnitude);
        if self.mean_over_std > 0.0 {
            near.iter_mut().for_each(|v| *v = *v * 0.01 + self.magnitude as f32);
        }
        let variance = std_of(self).powi(2);
        SweepData {
            gamma: one(1.0),
            beta: one(1.0),
            running_mean: near,
            running_variance: one(1.0).into_iter().map(|v| ((f64::from(v).abs() + 0.1) * variance) as f32).collect(),
            dgamma: one(10.0),
            dbeta: one(10.0),
            batches: (self.seed % 7) as u32,
            x: x.into_raw_vec_and_offset().0,
            dy: dy.into_raw_vec_and_offset().0,
            residual: residual.into_raw_vec_and_offset().0,
        }
    }

    /// Runs the case on a device; `data` is its own.
    ///
    /// # Errors
    /// As [`execute`](crate::host::execute).
    pub async fn run(&self, gpu: &Gpu, data: &SweepData) -> Result<Outputs, Error> {
        let inputs = Inputs {
            x: Some(&data.x),
            dy: Some(&data.dy),
            residual: Some(&data.residual),
            gamma: Some(&data.gamma),
            beta: Some(&data.beta),
            running_mean: Some(&data.running_mean),
            running_variance: Some(&data.running_variance),
            batches: data.batches,
            dgamma: Some(&data.dgamma),
            dbeta: Some(&data.dbeta),
        };
        let gpu = gpu.with_binding_limit(self.binding_limit(gpu.norms().facts(), gpu.norms().tuning()));
        execute_placed(&gpu, self.operation, &self.shape, &self.config, &inputs, self.placement).await
    }

    /// The channel that holds what is not finite.
    fn spoilt_channel(&self) -> Option<usize> {
        match self.content {
            Content::NotFinite(_) | Content::NotFiniteGradient(_) => {
                Some(self.seed as usize % self.shape.channels() as usize)
            }
            _ => None,
        }
    }
}

fn std_of(case: &SweepCase) -> f64 {
    case.magnitude / case.mean_over_std.max(1.0)
}

/// Runs a case on a device and holds every output against the reference under its [bounds].
///
/// # Errors
/// As [`execute`](crate::host::execute).
pub async fn check_one(gpu: &Gpu, case: &SweepCase) -> Result<Vec<TensorVerdict>, Error> {
    let data = case.data();
    let got = case.run(gpu, &data).await?;
    judge(case, &data, &got)
}

/// The tensors in f64.
struct Exact {
    x: Array3<f64>,
    dy: Array3<f64>,
    residual: Option<Array3<f64>>,
    gamma: Option<Array1<f64>>,
    beta: Option<Array1<f64>>,
    running_mean: Array1<f64>,
    running_variance: Array1<f64>,
}

impl Exact {
    fn new(case: &SweepCase, data: &SweepData) -> Result<Self, Error> {
        let tensor = |argument: &'static str, values: &[f32]| {
            let wide = values.iter().map(|&v| f64::from(v)).collect();
            Array3::from_shape_vec(reference::view(&case.shape), wide).map_err(|_| Error::WrongDimensions {
                argument,
                dimensions: vec![values.len()],
                needed: reference::view(&case.shape).to_vec(),
            })
        };
        let single = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Array1<f64>>();
        Ok(Self {
            x: tensor("x", &data.x)?,
            dy: tensor("dy", &data.dy)?,
            residual: case.config.residual.then(|| tensor("residual", &data.residual)).transpose()?,
            gamma: case.config.gamma.then(|| single(&data.gamma)),
            beta: case.config.beta.then(|| single(&data.beta)),
            running_mean: single(&data.running_mean),
            running_variance: single(&data.running_variance),
        })
    }

    fn apply<'a>(&'a self, mean: ArrayView1<'a, f64>, variance: ArrayView1<'a, f64>) -> Apply<'a> {
        Apply {
            x: self.x.view(),
            mean,
            variance,
            gamma: self.gamma.as_ref().map(|v| v.view()),
            beta: self.beta.as_ref().map(|v| v.view()),
            residual: self.residual.as_ref().map(|v| v.view()),
        }
    }
}

/// Verdicts, as they come.
struct Judge<'a> {
    case: &'a SweepCase,
    verdicts: Vec<TensorVerdict>,
}

impl Judge<'_> {
    fn hold<'v>(
        &mut self,
        name: &'static str,
        got: Option<Vec<f64>>,
        expected: impl IntoIterator<Item = &'v f64>,
        bound: impl IntoIterator<Item = &'v f64>,
    ) {
        let expected: Vec<f64> = expected.into_iter().copied().collect();
        let bound: Vec<f64> = bound.into_iter().copied().collect();
        // A driver may take it that there is no NaN: what a maximum with 0 makes of one is left open, in a ReLU and in
        // the variance of very few values. Other channels are not.
        let open =
            self.case.config.activation == Activation::Relu || name.contains("variance") || name == "inverse_std";
        let lenient = self.case.spoilt_channel().filter(|_| open);
        let [_, channels, inner] = reference::view(&self.case.shape);
        let whole = expected.len() != channels;
        let comparison = got.map(|mut got| {
            if let Some(spoilt) = lenient {
                let of_channel = |i: usize| if whole { i / inner % channels } else { i } == spoilt;
                got.iter_mut().enumerate().filter(|(i, _)| of_channel(*i)).for_each(|(i, v)| {
                    *v = expected.get(i).copied().unwrap_or(*v);
                });
            }
            compare(got, &expected, |i| bound.get(i).copied().unwrap_or(0.0))
        });
        self.verdicts.push(TensorVerdict { name, comparison });
    }

    fn gradient(
        &mut self,
        name: &'static str,
        got: Option<&Vec<f32>>,
        before: Option<&Vec<f32>>,
        exact: &Array1<f64>,
        bound: &Array1<f64>,
    ) {
        let Some(before) = before else { return self.hold(name, wide(got), exact, bound) };
        let before: Array1<f64> = before.iter().map(|&v| f64::from(v)).collect();
        let sum = exact + &before;
        // One more rounding.
        let bound = bound + &(sum.mapv(f64::abs) + bound) * bounds::U;
        self.hold(name, wide(got), &sum, &bound);
    }
}

fn wide(values: Option<&Vec<f32>>) -> Option<Vec<f64>> {
    values.map(|values| values.iter().map(|&v| f64::from(v)).collect())
}

/// Holds outputs against the reference.
fn judge(case: &SweepCase, data: &SweepData, got: &Outputs) -> Result<Vec<TensorVerdict>, Error> {
    let exact = Exact::new(case, data)?;
    let config = &case.config;
    let (kind, moments) = match case.operation {
        Operation::Training | Operation::Backward(_) => (Statistics::Batch, reference::moments(exact.x.view())),
        _ => {
            let (mean, variance) = (exact.running_mean.clone(), exact.running_variance.clone());
            (Statistics::Given, Moments { count: case.shape.values_per_channel() as usize, mean, variance })
        }
    };
    let a = exact.apply(moments.mean.view(), moments.variance.view());
    let mut judge = Judge { case, verdicts: Vec::new() };
    judge.hold("y", wide(got.y.as_ref()), &reference::apply(&a, config), &bounds::apply(&a, kind, config));
    if kind == Statistics::Batch {
        let inverse_std = reference::inverse_std(moments.variance.view(), f64::from(config.epsilon));
        let bounds = bounds::moments(&moments, config);
        let saved = got.saved.as_ref();
        judge.hold("mean", saved.map(|s| s.mean()), &moments.mean, &bounds.mean_pair);
        judge.hold("variance", wide(saved.map(|s| &s.variance)), &moments.variance, &bounds.variance);
        judge.hold("inverse_std", wide(saved.map(|s| &s.inverse_std)), &inverse_std, &bounds.inverse_std);
    }
    match case.operation {
        Operation::Training if config.running_update => {
            let running = Running {
                mean: exact.running_mean.view(),
                variance: exact.running_variance.view(),
                batches_before: u64::from(data.batches),
            };
            let (mean, variance) = reference::running_update(&running, &moments, config);
            let bounds = bounds::running_update(&running, &moments, config);
            judge.hold("running_mean", wide(got.running_mean.as_ref()), &mean, &bounds.0);
            judge.hold("running_variance", wide(got.running_variance.as_ref()), &variance, &bounds.1);
            if config.counts() {
                let counted = u32::from(moments.count > 0);
                let comparison = got.batches.map(|b| compare([b], &[f64::from(data.batches + counted)], |_| 0.0));
                judge.verdicts.push(TensorVerdict { name: "batches", comparison });
            }
        }
        Operation::Backward(gradients) | Operation::FrozenBackward(gradients) => {
            let Apply { x, mean, variance, gamma, beta, residual } = a;
            let frozen = kind == Statistics::Given;
            let b = Backward { x, dy: exact.dy.view(), mean, variance, gamma, beta, residual, frozen };
            let (expected, bounds) = (reference::backward(&b, config), bounds::backward(&b, config));
            if gradients.input {
                judge.hold("dx", wide(got.dx.as_ref()), &expected.dx, &bounds.dx);
                if let (Some(expected), Some(bound)) = (&expected.dresidual, &bounds.dresidual) {
                    judge.hold("dresidual", wide(got.dresidual.as_ref()), expected, bound);
                }
            }
            if gradients.parameters != ParameterGradients::None {
                let accumulates = gradients.parameters == ParameterGradients::Accumulate;
                if config.gamma {
                    let before = accumulates.then_some(&data.dgamma);
                    judge.gradient("dgamma", got.dgamma.as_ref(), before, &expected.dgamma, &bounds.dgamma);
                }
                if config.beta {
                    let before = accumulates.then_some(&data.dbeta);
                    judge.gradient("dbeta", got.dbeta.as_ref(), before, &expected.dbeta, &bounds.dbeta);
                }
            }
        }
        _ => {}
    }
    Ok(judge.verdicts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_case_and_data_again() {
        for case in (Sweep { seed: 3, count: 30 }).cases() {
            let again = SweepCase::random(case.seed);
            assert_eq!(format!("{case:?} {:?}", case.data()), format!("{again:?} {:?}", again.data()));
        }
    }

    #[test]
    fn any_two_hundred_cases_reach_the_limits() {
        for seed in [0, 77, 12_345] {
            let cases: Vec<SweepCase> = Sweep { seed, count: 200 }.cases().collect();
            let any = |what: &str, holds: &dyn Fn(&SweepCase) -> bool| {
                assert!(cases.iter().any(holds), "seed {seed}: no case with {what}");
            };
            any("an empty batch", &|c| c.shape.elements() == 0);
            any("one value per channel", &|c| c.shape.values_per_channel() == 1);
            any("many channels", &|c| c.shape.channels() > 65_535);
            any("many rows", &|c| c.shape.outer() > 65_535);
            any("many values", &|c| c.shape.values_per_channel() >= 900_000);
            any("rank 6", &|c| c.shape.dimensions().len() == 6);
            for dtype in DType::ALL {
                any(dtype.name(), &|c| c.config.dtype == dtype);
            }
            for facts in [DeviceFacts::FLOOR, DeviceFacts::SOFTWARE] {
                let tuning = Tuning::for_device(&facts);
                let dispatches = |case: &SweepCase, binding_bytes| {
                    let facts = DeviceFacts { binding_bytes, ..facts.clone() };
                    Plan::new(case.operation, &case.shape, &case.config, &facts, &tuning)
                        .map_or(0, |p| p.dispatches.len())
                };
                let cut = |c: &&SweepCase| {
                    dispatches(c, c.binding_limit(&facts, &tuning)) > dispatches(c, facts.binding_bytes)
                };
                let windows = cases.iter().filter(cut).count();
                assert!(windows >= 4, "seed {seed}: {windows} cases in windows");
            }
            let elements: u64 = cases.iter().map(|c| u64::from(c.shape.elements())).sum();
            assert!(elements < 10_000_000, "{elements} elements");
        }
    }
}
