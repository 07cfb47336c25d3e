//! The fast CPU implementation: all cores, and SIMD chosen at run time.
//!
//! The fair opponent of the GPU, and the fallback where there is none. Tensors are slices of f32, densely packed,
//! seen as `x[outer, channel, inner]` like everywhere in this crate; it needs neither wgpu nor ndarray.
//!
//! Results are bitwise the same from run to run, for every number of threads and every SIMD level: values are summed
//! in a grid that depends on the shape alone, merged in one order, and no multiplication and addition is contracted.
//! Work runs in rayon's current pool ([`rayon::ThreadPool::install`] chooses another), or on the calling thread where
//! a tensor is too small to be worth waking others.
//!
//! ```
//! use wgpu_batchnorm::{Config, Shape, cpu};
//! # fn main() -> Result<(), wgpu_batchnorm::Error> {
//! let shape = Shape::nchw(2, 1, 1, 2)?;
//! let (x, gamma, beta) = ([1.0, 3.0, 5.0, 7.0], [2.0], [10.0]);
//! let (mut y, mut saved) = ([0.0; 4], [cpu::Saved::default()]);
//! cpu::training(&shape, &Config { epsilon: 0.0, ..Config::pytorch() }, cpu::Training {
//!     x: &x, gamma: Some(&gamma), beta: Some(&beta), residual: None, y: &mut y, saved: &mut saved,
//! })?;
//! assert_eq!((saved[0].mean(), saved[0].variance), (4.0, 5.0));
//! assert!((y[0] - (10.0 - 2.0 * 3.0 / 5f32.sqrt())).abs() < 1e-6);
//! # Ok(())
//! # }
//! ```

mod apply;
mod backward;
mod kernel;
mod line;
mod moments;
mod partition;
mod reduce;
mod store;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use pulp::{Arch, Simd, WithSimd};

use crate::config::{Activation, Config, Momentum, RunningVariance};
use crate::dtype::DType;
use crate::error::Error;
use crate::shape::Shape;
use apply::{Apply, Normalises, Spread};
use moments::Moments;
use partition::{TASK_ELEMENTS, View};

pub use backward::{Backward, backward};

/// Below this many elements waking other threads costs more than they save: a pass over 1 MiB takes 30 µs, which two
/// threads of a busy machine did not improve on.
const SERIAL_BELOW: usize = 1 << 18;

/// Turns that a thread waits for the last tasks of others before it sleeps: tens of microseconds.
const SPINS: usize = 2000;

/// Elements of a tensor from which on a pass calls one helper more than it seats: 8 MiB, half a millisecond for two threads.
const SPARE_FROM: usize = 1 << 21;

/// The statistics of one channel as training leaves them: the same four numbers as a `vec4` of the GPU's saved
/// statistics.
///
/// The mean is the pair `anchor + offset`, so that `x − mean` is exact to the last bit or two even where the mean is a
/// million standard deviations.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Saved {
    /// K, the mean rounded to f32.
    pub anchor: f32,
    /// d, what the rounding left.
    pub offset: f32,
    /// `1 / √(variance + epsilon)`, and 0 where `variance + epsilon` is 0.
    pub inverse_std: f32,
    /// The population variance.
    pub variance: f32,
}

impl Saved {
    /// The statistics that inference and a frozen backward pass use, from a running mean and variance.
    pub fn from_running(mean: f32, variance: f32, epsilon: f32) -> Self {
        Self { anchor: mean, offset: 0.0, inverse_std: inverse_std(variance, epsilon), variance }
    }

    /// The mean, `anchor + offset`, rounded to f32.
    pub fn mean(&self) -> f32 {
        self.anchor + self.offset
    }
}

/// `1 / √(variance + epsilon)`, and 0 where that sum is 0.
#[inline(always)]
fn inverse_std(variance: f32, epsilon: f32) -> f32 {
    let sum = variance + epsilon;
    if sum == 0.0 { 0.0 } else { 1.0 / sum.sqrt() }
}

/// What [`training`] reads and writes. Slices may be longer than their shape needs; the rest is left alone.
#[derive(Debug)]
pub struct Training<'a> {
    /// `[outer, channels, inner]`
    pub x: &'a [f32],
    /// `[channels]`; present exactly if the configuration has a scale.
    pub gamma: Option<&'a [f32]>,
    /// `[channels]`; present exactly if the configuration has a shift.
    pub beta: Option<&'a [f32]>,
    /// `[outer, channels, inner]`; present exactly if the configuration adds a residual.
    pub residual: Option<&'a [f32]>,
    /// `[outer, channels, inner]`, written.
    pub y: &'a mut [f32],
    /// `[channels]`, written: what [`backward`] and [`running_update`] read.
    pub saved: &'a mut [Saved],
}

/// Normalises `x` with the statistics of this batch, and leaves them in `saved`.
///
/// `y[o, c, i] = gamma[c] · (x[o, c, i] − mean[c]) / √(var[c] + epsilon) + beta[c] (+ residual)`, then the activation.
/// One value per channel gives `var = 0` and `y = beta`; an empty batch an empty y.
///
/// # Errors
/// [`Error::TooSmall`] if a slice holds fewer elements than its shape · [`Error::Missing`] or [`Error::Unexpected`] if
/// an optional slice does not match the configuration · [`Config::validate`]'s
///
/// Ioffe & Szegedy 2015, algorithm 1; the same result as PyTorch's `BatchNorm2d.train()`.
pub fn training(shape: &Shape, config: &Config, arguments: Training) -> Result<(), Error> {
    let Training { x, gamma, beta, residual, y, saved } = arguments;
    let check = Check::new(shape, config)?;
    let x = check.tensor("x", x)?;
    let y = check.tensor_mut("y", y)?;
    let saved = check.channels_mut("saved", saved)?;
    let parameters = Parameters { gamma: check.gamma(gamma)?, beta: check.beta(beta)? };
    let residual = check.residual(residual)?;
    Machine::of(shape).training(shape, config, &parameters, x, residual, y, saved);
    Ok(())
}

/// What [`inference`] reads and writes. Slices may be longer than their shape needs; the rest is left alone.
#[derive(Debug)]
pub struct Inference<'a> {
    /// `[outer, channels, inner]`
    pub x: &'a [f32],
    /// `[channels]`, the running mean.
    pub mean: &'a [f32],
    /// `[channels]`, the running variance.
    pub variance: &'a [f32],
    /// `[channels]`; present exactly if the configuration has a scale.
    pub gamma: Option<&'a [f32]>,
    /// `[channels]`; present exactly if the configuration has a shift.
    pub beta: Option<&'a [f32]>,
    /// `[outer, channels, inner]`; present exactly if the configuration adds a residual.
    pub residual: Option<&'a [f32]>,
    /// `[outer, channels, inner]`, written.
    pub y: &'a mut [f32],
}

/// Normalises `x` with statistics that are already known.
///
/// `y[o, c, i] = gamma[c] · (x[o, c, i] − mean[c]) / √(variance[c] + epsilon) + beta[c] (+ residual)`, then the
/// activation.
///
/// # Errors
/// As [`training`].
///
/// Ioffe & Szegedy 2015, algorithm 2; the same result as PyTorch's `BatchNorm2d.eval()`.
pub fn inference(shape: &Shape, config: &Config, arguments: Inference) -> Result<(), Error> {
    let Inference { x, mean, variance, gamma, beta, residual, y } = arguments;
    let check = Check::new(shape, config)?;
    let x = check.tensor("x", x)?;
    let y = check.tensor_mut("y", y)?;
    let mean = check.channels("mean", mean)?;
    let variance = check.channels("variance", variance)?;
    let parameters = Parameters { gamma: check.gamma(gamma)?, beta: check.beta(beta)? };
    let residual = check.residual(residual)?;
    if y.is_empty() {
        return Ok(());
    }
    let (view, machine) = (View::of(shape), Machine::of(shape));
    let inverse_std = variance.iter().map(|variance| inverse_std(*variance, config.epsilon));
    let normalise = parameters.normalise(&view, mean.iter().copied(), None::<std::iter::Empty<f32>>, inverse_std);
    let relu = config.activation == Activation::Relu;
    machine.apply(&view, &normalise, Apply { simd: machine.simd, x, residual, relu }, y);
    Ok(())
}

/// What [`running_update`] reads and writes. Slices may be longer than their shape needs; the rest is left alone.
#[derive(Debug)]
pub struct RunningUpdate<'a> {
    /// `[channels]`, as [`training`] left them.
    pub saved: &'a [Saved],
    /// `[channels]`, the running mean, updated.
    pub mean: &'a mut [f32],
    /// `[channels]`, the running variance, updated.
    pub variance: &'a mut [f32],
    /// Batches seen before, updated; read only by a cumulative average.
    pub batches: &'a mut u64,
}

/// Lets the running statistics follow one batch: once per batch, however often it is recomputed.
///
/// `mean = (1 − w) · mean + w · batch mean`, `variance = (1 − w) · variance + w · batch variance`, where the batch
/// variance is multiplied by `m / (m − 1)` if it is to be unbiased. An empty batch changes nothing.
///
/// # Errors
/// As [`training`] · [`Error::TooFewValues`] if an unbiased variance is asked for and there is one value per channel
pub fn running_update(shape: &Shape, config: &Config, arguments: RunningUpdate) -> Result<(), Error> {
    let RunningUpdate { saved, mean, variance, batches } = arguments;
    let check = Check::new(shape, config)?;
    let saved = check.channels("saved", saved)?;
    let mean = check.channels_mut("mean", mean)?;
    let variance = check.channels_mut("variance", variance)?;
    let values = shape.values_per_channel();
    if values == 0 {
        return Ok(());
    }
    let unbias = match config.running_variance {
        RunningVariance::Population => 1.0,
        RunningVariance::Unbiased if values < 2 => return Err(Error::TooFewValues { values }),
        RunningVariance::Unbiased => (f64::from(values) / f64::from(values - 1)) as f32,
    };
    let weight = match config.momentum {
        Momentum::NewValue(weight) => weight,
        Momentum::Cumulative => (1.0 / (*batches as f64 + 1.0)) as f32,
    };
    for ((saved, mean), variance) in saved.iter().zip(mean).zip(variance) {
        *mean = (1.0 - weight) * *mean + weight * saved.mean();
        *variance = (1.0 - weight) * *variance + weight * (saved.variance * unbias);
    }
    *batches += 1;
    Ok(())
}

/// Checks arguments against a shape and a configuration, and cuts them to size.
struct Check<'a> {
    config: &'a Config,
    elements: usize,
    channels: usize,
}

impl<'a> Check<'a> {
    fn new(shape: &Shape, config: &'a Config) -> Result<Self, Error> {
        config.validate()?;
        if config.dtype != DType::F32 {
            return Err(Error::Unexpected { argument: "dtype", reason: "the CPU implementation stores f32" });
        }
        Ok(Self { config, elements: shape.elements() as usize, channels: shape.channels() as usize })
    }

    fn too_small<T>(argument: &'static str, has: usize, needs: usize) -> Error {
        let bytes = |n: usize| n as u64 * size_of::<T>() as u64;
        Error::TooSmall { argument, bytes: bytes(has), needed: bytes(needs) }
    }

    fn cut<'s, T>(argument: &'static str, slice: &'s [T], needs: usize) -> Result<&'s [T], Error> {
        slice.get(..needs).ok_or(Self::too_small::<T>(argument, slice.len(), needs))
    }

    fn cut_mut<'s, T>(argument: &'static str, slice: &'s mut [T], needs: usize) -> Result<&'s mut [T], Error> {
        let has = slice.len();
        slice.get_mut(..needs).ok_or(Self::too_small::<T>(argument, has, needs))
    }

    fn tensor<'s>(&self, argument: &'static str, slice: &'s [f32]) -> Result<&'s [f32], Error> {
        Self::cut(argument, slice, self.elements)
    }

    fn tensor_mut<'s>(&self, argument: &'static str, slice: &'s mut [f32]) -> Result<&'s mut [f32], Error> {
        Self::cut_mut(argument, slice, self.elements)
    }

    fn channels<'s, T>(&self, argument: &'static str, slice: &'s [T]) -> Result<&'s [T], Error> {
        Self::cut(argument, slice, self.channels)
    }

    fn channels_mut<'s, T>(&self, argument: &'static str, slice: &'s mut [T]) -> Result<&'s mut [T], Error> {
        Self::cut_mut(argument, slice, self.channels)
    }

    fn optional<'s>(
        argument: &'static str,
        wanted: bool,
        given: Option<&'s [f32]>,
        needs: usize,
    ) -> Result<Option<&'s [f32]>, Error> {
        match (wanted, given) {
            (true, Some(slice)) => Self::cut(argument, slice, needs).map(Some),
            (false, None) => Ok(None),
            (true, None) => Err(Error::Missing { argument, reason: "the configuration asks for it" }),
            (false, Some(_)) => Err(Error::Unexpected { argument, reason: "the configuration does without it" }),
        }
    }

    fn gamma<'s>(&self, gamma: Option<&'s [f32]>) -> Result<Option<&'s [f32]>, Error> {
        Self::optional("gamma", self.config.gamma, gamma, self.channels)
    }

    fn beta<'s>(&self, beta: Option<&'s [f32]>) -> Result<Option<&'s [f32]>, Error> {
        Self::optional("beta", self.config.beta, beta, self.channels)
    }

    fn residual<'s>(&self, residual: Option<&'s [f32]>) -> Result<Option<&'s [f32]>, Error> {
        Self::optional("residual", self.config.residual, residual, self.elements)
    }
}

/// gamma and beta, or 1 and 0.
#[derive(Clone, Copy)]
struct Parameters<'a> {
    gamma: Option<&'a [f32]>,
    beta: Option<&'a [f32]>,
}

impl Parameters<'_> {
    /// How the values of each record of a view are normalised.
    #[inline(always)]
    fn normalise(
        &self,
        view: &View,
        anchor: impl ExactSizeIterator<Item = f32>,
        offset: Option<impl ExactSizeIterator<Item = f32>>,
        inverse_std: impl ExactSizeIterator<Item = f32> + Clone,
    ) -> Normalises {
        let anchor = Spread::new(view, anchor);
        let (scale, shift) = match self.gamma {
            Some(gamma) => {
                let scale = inverse_std.zip(gamma).map(|(inverse_std, gamma)| inverse_std * gamma);
                (Spread::new(view, scale.clone()), self.shift(view, offset, scale))
            }
            None => (Spread::new(view, inverse_std.clone()), self.shift(view, offset, inverse_std)),
        };
        Normalises { anchor, scale, shift }
    }

    /// `beta − offset · scale`
    #[inline(always)]
    fn shift(
        &self,
        view: &View,
        offset: Option<impl ExactSizeIterator<Item = f32>>,
        scale: impl ExactSizeIterator<Item = f32>,
    ) -> Spread {
        let Some(offset) = offset else {
            return match self.beta {
                Some(beta) => Spread::new(view, beta.iter().copied()),
                None => Spread::new(view, std::iter::repeat_n(0.0, scale.len())),
            };
        };
        let shift = |beta: f32, offset, scale: f32| without_offset(beta.into(), offset, scale.into()) as f32;
        let of = offset.zip(scale);
        match self.beta {
            Some(beta) => Spread::new(view, of.zip(beta).map(|((offset, scale), beta)| shift(*beta, offset, scale))),
            None => Spread::new(view, of.map(|(offset, scale)| shift(0.0, offset, scale))),
        }
    }

    #[inline(always)]
    fn normalise_saved(&self, view: &View, saved: &[Saved]) -> Normalises {
        let (anchor, offset) = (saved.iter().map(|saved| saved.anchor), saved.iter().map(|saved| saved.offset));
        self.normalise(view, anchor, Some(offset), saved.iter().map(|saved| saved.inverse_std))
    }
}

/// `value − offset · factor`, for passes that know the anchor of the mean alone. A mean that was not rounded takes nothing
/// away, not even of an infinite factor; without a branch, which the last bits of a mean would decide at random.
#[inline(always)]
fn without_offset(value: f64, offset: f32, factor: f64) -> f64 {
    value - f64::from(offset) * factor.clamp(f64::MIN, f64::MAX)
}

/// From the moments of each channel what training saves. At the SIMD level, as [`NormaliseSaved`] is: where a channel has
/// few values such passes weigh as much as those over the tensor.
struct Save<'a> {
    moments: &'a [Moments],
    epsilon: f32,
    saved: &'a mut [Saved],
}

impl WithSimd for Save<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (saved, moments) in self.saved.iter_mut().zip(self.moments) {
            *saved = moments.saved(self.epsilon);
        }
    }
}

/// How the values of each record of a view are normalised with saved statistics.
struct NormaliseSaved<'a> {
    parameters: &'a Parameters<'a>,
    view: &'a View,
    saved: &'a [Saved],
}

impl WithSimd for NormaliseSaved<'_> {
    type Output = Normalises;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Normalises {
        self.parameters.normalise_saved(self.view, self.saved)
    }
}

/// The SIMD level and the number of threads that a call uses.
#[derive(Clone, Copy)]
struct Machine {
    simd: Arch,
    threads: usize,
    /// Helpers that are called beyond those that are seated.
    spare: usize,
}

impl Machine {
    fn of(shape: &Shape) -> Self {
        let elements = shape.elements() as usize;
        let threads = if elements < SERIAL_BELOW { 1 } else { rayon::current_num_threads() };
        Self { simd: Arch::new(), threads, spare: usize::from(elements >= SPARE_FROM) }
    }

    /// Runs `work` on each task, on several threads if there are several.
    ///
    /// The calling thread begins at once, the others join when they have woken: rayon's own loops leave it asleep until
    /// they end, and two threads then took up to three times as long on tensors of 6 MiB.
    fn each<T: Send>(&self, tasks: Vec<T>, work: impl Fn(T) + Send + Sync) {
        let helpers = self.threads.min(tasks.len()).saturating_sub(1);
        if helpers == 0 {
            return tasks.into_iter().for_each(work);
        }
        // A helper that has not slept since the last pass counts as awake, and rayon wakes no other for it. Where the system has put
        // it on this thread's core it waits there, and the pass takes as long as with one thread. So one more is called, and the
        // first to come are seated.
        let calls = helpers + self.spare;
        let come = AtomicUsize::new(0);
        let seated = || come.fetch_add(1, Ordering::Relaxed) < helpers;
        let unfinished = AtomicUsize::new(tasks.len());
        let tasks = Mutex::new(tasks.into_iter());
        let next = || tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work_off = || {
            for task in std::iter::from_fn(next) {
                work(task);
                unfinished.fetch_sub(1, Ordering::Release);
            }
            // Others end their last tasks sooner than this thread would wake again, and the next pass follows.
            let running = || unfinished.load(Ordering::Acquire) > 0;
            (0..SPINS).take_while(|_| running()).for_each(|_| std::hint::spin_loop());
        };
        rayon::in_place_scope(|scope| {
            (0..calls).for_each(|_| {
                scope.spawn(|_| {
                    if seated() {
                        work_off();
                    }
                });
            });
            work_off();
        });
    }

    #[expect(clippy::too_many_arguments, reason = "checked arguments of one public function")]
    fn training(
        &self,
        shape: &Shape,
        config: &Config,
        parameters: &Parameters,
        x: &[f32],
        residual: Option<&[f32]>,
        y: &mut [f32],
        saved: &mut [Saved],
    ) {
        if y.is_empty() {
            saved.fill(Saved::from_running(0.0, 0.0, config.epsilon));
            return;
        }
        let apply = Apply { simd: self.simd, x, residual, relu: config.activation == Activation::Relu };
        let view = View::of_sums(shape);
        let sum = |part, first, into: &mut [_]| moments::of_part(self.simd, &view, x, part, first, into);
        let moments: Vec<Moments> = self.reduce(&view, saved.len(), sum);
        self.simd.dispatch(Save { moments: &moments, epsilon: config.epsilon, saved });
        let view = View::of(shape);
        let normalise = self.simd.dispatch(NormaliseSaved { parameters, view: &view, saved });
        self.apply(&view, &normalise, apply, y);
    }

    /// The elementwise pass over the whole tensor.
    fn apply(&self, view: &View, normalise: &Normalises, apply: Apply, y: &mut [f32]) {
        match view {
            View::Planes(planes) => {
                self.each(y.chunks_mut(TASK_ELEMENTS).enumerate().collect(), |(task, y)| {
                    apply.planes(planes, normalise, task * TASK_ELEMENTS, y);
                });
            }
            View::Columns(columns) => {
                let rows = TASK_ELEMENTS.div_ceil(columns.width);
                self.each(y.chunks_mut(rows * columns.width).enumerate().collect(), |(task, y)| {
                    apply.columns(columns, normalise, task * rows, y);
                });
            }
        }
    }
}
